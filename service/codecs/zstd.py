"""zstd, from the standard library since Python 3.14 and from backports.zstd before.

A module apart, because `compression` imports it with the first body in zstd: it takes 1 MB.
"""

import sys

if sys.version_info >= (3, 14):  # pragma: no cover  # each Python runs one branch
    from compression.zstd import (
        DecompressionParameter,
        ZstdCompressor,
        ZstdDecompressor,
        ZstdError,
    )
else:  # pragma: no cover
    from backports.zstd import (
        DecompressionParameter,
        ZstdCompressor,
        ZstdDecompressor,
        ZstdError,
    )

__all__ = ["DecompressionParameter", "ZstdCompressor", "ZstdDecompressor", "ZstdError"]
