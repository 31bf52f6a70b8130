"""Content codings: compressed requests to any format, and compressed responses.

Bodies are inflated in bounded steps, and the output is counted after each. A decompression bomb
thus costs as much memory as the limit allows, and no more time than filling that takes.

Only text is compressed, because tensors as bytes hardly get smaller. Level 1 of zstd makes JSON
numbers 2.2 times smaller at 390 MB/s, that of gzip 2.0 times at 52; of 2 MB of normal float64 gzip
saves 4 % at 42 MB/s. Higher levels save no more and take far longer.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import torch

from service.codecs.base import (
    NO_FIELDS,
    UNBOUNDED_BYTES,
    Body,
    Buffer,
    DecodeContext,
    Reader,
    WholeReader,
    Writer,
)
from service.core.call import Call, Outcome, Output
from service.core.response import HttpResponse, header_lines
from service.core.timing import Stopwatch
from service.errors import BodyTooLargeError, MalformedBodyError
from service.registry import Op

STEP_IN: Final = 65_536
STEP_OUT: Final = 2**18
# Members of gzip (RFC 1952, section 2.2) or frames of zstd (RFC 8878, section 3) in one body: empty
# ones take time, and count for no other limit.
MOST_STREAMS: Final = 10_000
_Decompress = Callable[[Buffer], tuple[bytes, Buffer]]
# The argument `wbits` of zlib: a window of 32 KB, and the kind of header.
GZIP_WBITS: Final = 31
ZLIB_WBITS: Final = 15  # the content coding deflate (RFC 9110, section 8.4.1.2)
DEFLATE_WBITS: Final = -15  # no header
# The largest window of zstd that this content coding allows (RFC 9659): 2^23 bytes.
WINDOW_LOG: Final = 23
# A shorter response fits in one packet as it is.
SHORTEST_BYTES: Final = 1024
LEVEL: Final = 1
VARY: Final = (b"vary", b"Accept-Encoding")
# Time to compress an element, which is about 20 bytes of JSON.
PACK_ELEMENT_NS: Final = {"zstd": 50, "gzip": 400, "deflate": 400}


def inflate(body: Body, coding: str, limit: int) -> bytearray:
    """Return the body without its content coding; BodyTooLargeError beyond `limit` bytes."""
    inflated = bytearray()
    for piece in CODINGS[coding](memoryview(body)):
        if len(inflated) + len(piece) > limit:
            raise BodyTooLargeError(
                f"the body may have {limit} bytes (SERVICE_MAX_BODY_BYTES), and its {len(body)} "
                f"bytes of {coding} inflate to more"
            )
        inflated += piece
    return inflated


def zlib_pieces(
    data: memoryview, wbits: int, name: str, *, most_streams: int = 1
) -> Iterator[bytes]:
    """Iterate over the pieces of zlib streams, which have to take up all of the data.

    `wbits` is the window and the kind of header, `name` the beginning of errors.
    """

    def start() -> tuple[_Decompressor, _Decompress]:
        decompressor = zlib.decompressobj(wbits)

        def decompress(rest: Buffer) -> tuple[bytes, Buffer]:
            piece = decompressor.decompress(rest, STEP_OUT)
            return piece, decompressor.unconsumed_tail

        return decompressor, decompress

    return _pieces(data, start, name, zlib.error, most_streams)


def _gzip_pieces(data: memoryview) -> Iterator[bytes]:
    return zlib_pieces(data, GZIP_WBITS, "the body is not gzip", most_streams=MOST_STREAMS)


def _deflate_pieces(data: memoryview) -> Iterator[bytes]:
    return zlib_pieces(data, ZLIB_WBITS, "the body is not zlib, as the coding deflate is")


def _zstd_pieces(data: memoryview) -> Iterator[bytes]:
    from service.codecs.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

    def start() -> tuple[_Decompressor, _Decompress]:
        decompressor = ZstdDecompressor(options={DecompressionParameter.window_log_max: WINDOW_LOG})

        def decompress(rest: Buffer) -> tuple[bytes, Buffer]:
            return decompressor.decompress(rest, STEP_OUT), b""

        return decompressor, decompress

    return _pieces(data, start, "the body is not zstd", ZstdError, MOST_STREAMS)


class _Decompressor(Protocol):
    """Attributes common to the decompressors of zlib and zstd."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


def _pieces(
    data: memoryview,
    start: Callable[[], tuple[_Decompressor, _Decompress]],
    name: str,
    error_type: type[Exception],
    most_streams: int,
) -> Iterator[bytes]:
    """Iterate over the pieces of one stream or several, which have to take up all of the data.

    `start` begins a stream. Its second value returns a piece of at most STEP_OUT bytes, and the
    input that it has not used.
    """
    position = 0
    for _ in range(most_streams):
        decompressor, decompress = start()
        while position < len(data) and not decompressor.eof:
            rest: Buffer = data[position : position + STEP_IN]
            position += len(rest)
            full = False
            # A decompressor may hold back output after it has taken all input: a full piece is
            # followed by another attempt.
            while (len(rest) or full) and not decompressor.eof:
                try:
                    piece, rest = decompress(rest)
                except error_type as error:
                    why = str(error).rpartition(": ")[2]  # before it, the library's own words
                    raise MalformedBodyError(f"{name}: {why}") from None
                yield piece
                full = len(piece) == STEP_OUT
        if not decompressor.eof:
            raise MalformedBodyError(f"{name}: it ends after {len(data)} bytes, within its stream")
        position -= len(decompressor.unused_data)
        if position == len(data):
            return
    left, end = (
        len(data) - position,
        "its stream" if most_streams == 1 else f"{most_streams} streams",
    )
    raise MalformedBodyError(f"{name}: {left} bytes are left after the end of {end}")


CODINGS: Final[Mapping[str, Callable[[memoryview], Iterator[bytes]]]] = {
    "gzip": _gzip_pieces,
    "deflate": _deflate_pieces,
    "zstd": _zstd_pieces,
}


@dataclass(frozen=True, slots=True)
class InflatingReader(WholeReader):
    """Reader of a format inside a content coding."""

    reader: Reader
    coding: str

    @property
    def thread_bytes(self) -> int:
        """0 for text, since a few bytes may inflate to much of it."""
        return 0 if self.reader.thread_bytes < UNBOUNDED_BYTES else UNBOUNDED_BYTES

    @property
    def media_type(self) -> str:
        """That of the format."""
        return self.reader.media_type

    def try_decode(self, *_: object) -> Call | None:
        """Return None: a few bytes may inflate to all that is allowed."""
        return None

    def decode(
        self, body: Body, op: Op[Any], context: DecodeContext, query: Mapping[str, str] = NO_FIELDS
    ) -> Call:
        """Inflate the body, and decode it."""
        inflated = inflate(body, self.coding, context.max_body_bytes)
        return self.reader.decode(inflated, op, context, query)


def _pack_zstd(chunks: Iterable[bytes | memoryview]) -> bytes:
    from service.codecs.zstd import ZstdCompressor

    compressor = ZstdCompressor(level=LEVEL)
    return b"".join([*map(compressor.compress, chunks), compressor.flush()])


def _pack_zlib(chunks: Iterable[bytes | memoryview], wbits: int) -> bytes:
    compressor = zlib.compressobj(LEVEL, wbits=wbits)
    return b"".join([*map(compressor.compress, chunks), compressor.flush()])


# The fastest first.
PACKERS: Final[dict[str, Callable[[Iterable[bytes | memoryview]], bytes]]] = {
    "zstd": _pack_zstd,
    "gzip": partial(_pack_zlib, wbits=GZIP_WBITS),
    "deflate": partial(_pack_zlib, wbits=ZLIB_WBITS),
}


def pack(plain: HttpResponse, coding: str) -> HttpResponse:
    """Return a compressed response, or the plain one if it is short."""
    if plain.length < SHORTEST_BYTES:
        return plain
    packed = PACKERS[coding](plain.chunks)
    coded = (b"content-encoding", coding.encode())
    headers = tuple(each for each in plain.headers if each[0] != b"content-length")
    length = (b"content-length", b"%d" % len(packed))
    lines = header_lines((*headers, length, coded, VARY))
    return HttpResponse(plain.status, lines, (packed,), len(packed))


@dataclass(frozen=True, slots=True)
class PackingWriter:
    """Writer of a format inside a content coding. No phase has the time that compressing takes."""

    writer: Writer
    coding: str

    @property
    def media_type(self) -> str:
        """That of the format."""
        return self.writer.media_type

    @property
    def dtypes(self) -> frozenset[torch.dtype]:
        """Those of the format."""
        return self.writer.dtypes

    @property
    def has_outputs(self) -> bool:
        """That of the format."""
        return self.writer.has_outputs

    @property
    def element_ns(self) -> int:
        """Approximate time to write and compress an element."""
        return self.writer.element_ns + PACK_ELEMENT_NS[self.coding]

    def encode(
        self, outcome: Outcome, output: Output, watch: Stopwatch, request_id: str
    ) -> HttpResponse:
        """Write the response, and compress it unless it is short."""
        return pack(self.writer.encode(outcome, output, watch, request_id), self.coding)
