"""zstd, from the standard library where it is there: from Python 3.14 on."""

import sys

if sys.version_info >= (3, 14):  # pragma: no cover  # one Python has one of them
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
