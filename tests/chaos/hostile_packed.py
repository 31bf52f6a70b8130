"""Small bodies that grow: gzip, deflate, zstd, and archives."""

import gzip
import io
import struct
import zipfile
import zlib
from typing import Final

from service.codecs.zstd import ZstdCompressor
from tests.chaos.hostile_files import FILE, described
from tests.chaos.hostile_request import Hostile, posts
from tests.rigs.request_bodies import NPY, NPZ, npy, zip_of

GOOD: Final = b'{"x":[3,4]}'
MUCH: Final = 16 * 2**20


def zstd(data: bytes) -> bytes:
    """One frame."""
    return ZstdCompressor().compress(data, ZstdCompressor.FLUSH_FRAME)


GZIP: Final = gzip.compress(GOOD)
GZIPS: Final[tuple[bytes, ...]] = (
    b"", b"\x1f", b"\x1f\x8b", GZIP[:10], GZIP[:-1], GZIP[:-8], GZIP + b"\x00", GZIP + GZIP[:-1],
    GZIP[:-8] + b"\x00" * 8, GZIP[:-4] + b"\xff" * 4, GOOD, zlib.compress(GOOD), zstd(GOOD),
    b"\x00" * 100, GZIP[:3] + b"\xff" + GZIP[4:], GZIP[:2] + b"\x07" + GZIP[3:],
)  # fmt: skip
DEFLATE: Final = zlib.compress(GOOD)
DEFLATES: Final[tuple[bytes, ...]] = (
    b"", DEFLATE[:1], DEFLATE[:-1], DEFLATE + b"\x00", DEFLATE[2:-4], b"\x79" + DEFLATE[1:], GZIP,
    DEFLATE[:-4] + bytes(4), DEFLATE + DEFLATE, GOOD,
)  # fmt: skip
# A frame of no bytes that a reader skips.
SKIPPED: Final = b"\x50\x2a\x4d\x18\x00\x00\x00\x00"
ZSTD: Final = zstd(GOOD)
# Its descriptor asks for a window of 2^41 bytes, and the last one for a dictionary.
ZSTDS: Final[tuple[bytes, ...]] = (
    b"", ZSTD[:4], ZSTD[:-1], ZSTD[1:], ZSTD + b"\x00", ZSTD + ZSTD[:-1], GZIP, GOOD, b"\x00" * 100,
    ZSTD[:4] + b"\x00\xf8" + ZSTD[6:], ZSTD[:4] + b"\x03\xff\xff\xff\xff\xff",
    b"\x50\x2a\x4d\x18\xff\xff\xff\xff", ZSTD[:4] + b"\xff" * 50,
)  # fmt: skip


def _bomb(size: int = MUCH) -> bytes:
    return zip_of(
        {"x.npy": npy(described(shape=f"({size // 4},)")) + bytes(size)},
        method=zipfile.ZIP_DEFLATED,
    )


def _many() -> bytes:
    """Sixteen members, each a megabyte of zeros: none is over the limit, all are."""
    return zip_of(
        {f"{i}.npy": npy(described(shape=f"({2**18},)")) + bytes(2**20) for i in range(16)},
        method=zipfile.ZIP_DEFLATED,
    )


def _overlapping(times: int) -> bytes:
    """One packed megabyte that several entries of the directory point at."""
    file = io.BytesIO(zip_of({"x.npy": bytes(2**20)}, method=zipfile.ZIP_DEFLATED))
    whole = file.getvalue()
    directory_at = whole.index(b"PK\x01\x02")
    end_at = whole.index(b"PK\x05\x06")
    entries = b"".join(
        whole[directory_at:end_at].replace(b"x.npy", b"%05d" % index) for index in range(times)
    )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, times, times, len(entries), directory_at, 0)
    return whole[:directory_at] + entries + end


SPACES: Final = gzip.compress(b" " * MUCH, 1)
ZEROS: Final = bytes(MUCH)
TOO_LARGE: Final = "body-too-large"
PACKED_RECORDS: Final[tuple[Hostile, ...]] = (
    *posts("gzip", "/norm", {"malformed-body": GZIPS}, 400, content_encoding="gzip"),
    *posts(
        "gzip",
        "/norm",
        {"malformed-json": (gzip.compress(b""), GZIP + GZIP)},
        400,
        content_encoding="gzip",
    ),
    *posts(
        "zstd",
        "/norm",
        {"malformed-json": (SKIPPED, zstd(b""), ZSTD + ZSTD)},
        400,
        content_encoding="zstd",
    ),
    *posts("deflate", "/norm", {"malformed-body": DEFLATES}, 400, content_encoding="deflate"),
    *posts("zstd", "/norm", {"malformed-body": ZSTDS}, 400, content_encoding="zstd"),
    *posts("bombs", "/norm", {TOO_LARGE: (_bomb(), _many())}, 413, kind=NPZ),
    *posts("bombs", "/norm", {"malformed-body": (_overlapping(3),)}, 400, kind=NPZ),
    *posts("bombs", "/norm", {"limit-exceeded": (_overlapping(1_000),)}, 422, kind=NPZ),
    *posts("bombs", "/norm", {TOO_LARGE: (SPACES,)}, 413, content_encoding="gzip"),
    # One inside the other: the outer one is all that is taken off.
    *posts(
        "bombs",
        "/norm",
        {"invalid-utf8": (gzip.compress(SPACES), gzip.compress(GZIP))},
        400,
        content_encoding="gzip",
    ),
    *posts("bombs", "/norm", {TOO_LARGE: (zlib.compress(ZEROS),)}, 413, content_encoding="deflate"),
    *posts(
        "bombs",
        "/norm",
        {TOO_LARGE: (zstd(ZEROS), zstd(FILE + ZEROS))},
        413,
        kind=NPY,
        content_encoding="zstd",
    ),
    *posts(
        "bombs",
        "/v2/models/norm/infer",
        {"": (SPACES,)},
        413,
        content_encoding="gzip",
    ),
    *posts("bombs", "/norm/plan", {TOO_LARGE: (SPACES,)}, 413, content_encoding="gzip"),
    *posts("bombs", "/norm/compare", {TOO_LARGE: (SPACES,)}, 413, content_encoding="gzip"),
)
