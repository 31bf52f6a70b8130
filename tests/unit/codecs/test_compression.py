"""Compressed requests in bounded steps, and compressed responses."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.codecs import READERS, WRITERS, DecodeContext, InflatingReader, PackingWriter
from service.codecs.compression import (
    CODINGS,
    MOST_STREAMS,
    PACKERS,
    SHORTEST_BYTES,
    STEP_IN,
    STEP_OUT,
    inflate,
    pack,
)
from service.codecs.zstd import ZstdCompressor
from service.core.dtypes import parse_dtype
from service.core.response import HttpResponse
from service.errors import BodyTooLargeError, MalformedBodyError
from service.operations import REGISTRY
from tests.rigs.request_bodies import JSON
from tests.unit.codecs.encoding import encode

NOISE = np.random.default_rng(0).bytes(3 * STEP_OUT)
CODING = pytest.mark.parametrize("coding", CODINGS)


def zstd(data: bytes) -> bytes:
    """Return one frame."""
    machine = ZstdCompressor(level=1)
    return machine.compress(data) + machine.flush()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd,
}


@CODING
@pytest.mark.parametrize(
    "size", [0, 1, STEP_IN - 20, STEP_IN, STEP_OUT - 1, STEP_OUT, STEP_OUT + 1, 3 * STEP_OUT]
)
def test_any_length_is_inflated(coding: str, size: int) -> None:
    """Random bytes and zeros, around the length of a step."""
    for data in (NOISE[:size], b"\0" * size):
        assert inflate(PACK[coding](data), coding, size) == data


@CODING
@given(data=st.binary(max_size=5000))
def test_what_is_packed_is_inflated(coding: str, data: bytes) -> None:
    """Compressed responses can be sent as requests."""
    chunks = (data[:100], memoryview(data)[100:])
    assert inflate(PACKERS[coding](chunks), coding, len(data)) == data


@CODING
def test_one_byte_over_the_limit_is_refused(coding: str) -> None:
    """The limit is that of a plain body."""
    body = PACK[coding](NOISE)
    assert len(inflate(body, coding, len(NOISE))) == len(NOISE)
    with pytest.raises(BodyTooLargeError, match="SERVICE_MAX_BODY_BYTES"):
        inflate(body, coding, len(NOISE) - 1)


@CODING
def test_a_bomb_costs_no_more_than_the_limit(coding: str) -> None:
    """64 MB of zeros within a limit of 1 MB."""
    bomb = PACK[coding](b"\0" * 2**26)
    tracemalloc.start()
    with pytest.raises(BodyTooLargeError):
        inflate(bomb, coding, 2**20)
    assert tracemalloc.get_traced_memory()[1] < 2**20 * 2
    tracemalloc.stop()


@CODING
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda body: b"", "within its stream"),
        (lambda body: body[:-1], "within its stream"),
        (lambda body: body[: len(body) // 2], "within its stream"),
        (lambda body: body + b"\0", ""),
        (lambda body: body + body[:-1], "stream"),
        (lambda body: body + b"\0" * STEP_IN * 3, "is not"),
        (lambda body: b"x" + body, "is not"),
        (lambda body: b"{}", "is not"),
        (lambda body: bytes(40), "is not"),
        (lambda body: zlib.compress(NOISE, wbits=-15), "is not"),
    ],
    ids=range(10),
)
def test_a_malformed_stream_is_refused(
    coding: str, change: Callable[[bytes], bytes], why: str
) -> None:
    """Cut, continued, or in another format."""
    with pytest.raises(MalformedBodyError) as caught:
        inflate(change(PACK[coding](NOISE)), coding, 2**30)
    assert why in caught.value.detail


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("count", [2, 1000])
def test_several_streams_are_one_body(coding: str, count: int) -> None:
    """Members of gzip and frames of zstd, empty ones too, whatever their sizes."""
    parts = [b"", b"a", b"\0" * 2 * STEP_OUT, NOISE][:: -1 if count == 2 else 1] * (count // 2)
    parts = parts[:count]
    packed = {part: PACK[coding](part) for part in set(parts)}
    body = b"".join(packed[part] for part in parts)
    assert inflate(body, coding, 2**30) == b"".join(parts)
    with pytest.raises(BodyTooLargeError):
        inflate(body, coding, sum(map(len, parts)) - 1)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_too_many_streams_are_refused(coding: str) -> None:
    """Empty ones would take time without end."""
    empty = PACK[coding](b"")
    assert inflate(empty * MOST_STREAMS, coding, 10) == b""
    with pytest.raises(MalformedBodyError, match=f"{len(empty)} bytes are left after the end of"):
        inflate(empty * (MOST_STREAMS + 1), coding, 10)


def test_deflate_is_one_stream() -> None:
    """Its format (RFC 1950) has no members."""
    with pytest.raises(MalformedBodyError, match="bytes are left after the end of its stream"):
        inflate(zlib.compress(NOISE) * 2, "deflate", 2**30)


def test_a_frame_to_be_skipped_is_skipped() -> None:
    """A frame of zstd with metadata (RFC 8878, section 3.1.2) has no content."""
    frame = (0x184D2A50).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"meta"
    assert inflate(frame + PACK["zstd"](NOISE) + frame, "zstd", 2**30) == NOISE


def test_the_checksum_is_verified() -> None:
    """One changed byte is refused."""
    body = bytearray(gzip.compress(b"a" * 100))
    body[-5] ^= 1
    with pytest.raises(MalformedBodyError, match="incorrect data check"):
        inflate(body, "gzip", 1000)


@CODING
@given(noise=st.binary(max_size=100), position=st.integers(0, 60))
def test_random_bytes_are_refused_or_read(coding: str, noise: bytes, position: int) -> None:
    """Errors are those of the service, whatever the bytes."""
    for body in (noise, PACK[coding](b"abc" * 20)[:position] + noise):
        with suppress(MalformedBodyError, BodyTooLargeError):
            inflate(body, coding, 10_000)


@CODING
def test_a_reader_decodes_the_inflated_body(coding: str) -> None:
    """Within the limit of its context; never in the event loop."""
    reader = InflatingReader(READERS[JSON], coding)
    assert reader.media_type == JSON
    context = DecodeContext(
        max_elements=9, dtype=parse_dtype("float32"), max_deadline_ms=9, max_body_bytes=40
    )
    body = PACK[coding](b'{"x": [3, 4]}')
    (x,) = reader.decode(body, REGISTRY["norm"], context).operands
    assert x.tolist() == [3, 4]
    assert reader.try_decode(body, REGISTRY["norm"], context) is None
    with pytest.raises(BodyTooLargeError):
        reader.decode(PACK[coding](b" " * 41), REGISTRY["norm"], context)


@CODING
@pytest.mark.parametrize("size", [1, 100_000])
def test_a_writer_compresses_long_responses(coding: str, size: int) -> None:
    """A short response is unchanged."""
    plain = WRITERS[JSON]
    writer = PackingWriter(plain, coding)
    assert (writer.media_type, writer.dtypes) == (JSON, plain.dtypes)
    assert writer.has_outputs == plain.has_outputs
    assert writer.element_ns > plain.element_ns
    expected = encode(plain, torch.ones(size))
    found = encode(writer, torch.ones(size))
    sent, text = b"".join(found.chunks), b"".join(expected.chunks)
    headers = dict(found.headers)
    if len(text) < SHORTEST_BYTES:
        assert headers.keys() == dict(expected.headers).keys()
        assert without_timing(sent) == without_timing(text)
        return
    assert headers[b"content-encoding"] == coding.encode()
    assert headers[b"vary"] == b"Accept-Encoding"
    assert headers[b"content-length"] == str(len(sent)).encode()
    assert without_timing(inflate(sent, coding, 10**7)) == without_timing(text)


def without_timing(text: bytes | bytearray) -> dict[str, object]:
    """Return the fields of a response but its timing, which differs from call to call."""
    fields: dict[str, object] = json.loads(text)
    assert fields.pop("timing")
    return fields


@CODING
def test_a_packed_response_is_the_plain_one(coding: str) -> None:
    """Status and other headers are kept, and a short response is not copied."""
    for text in (b"a" * (SHORTEST_BYTES - 1), b"a" * SHORTEST_BYTES):
        plain = HttpResponse.of(JSON, (text,), b"x-a: b\r\n", status=201)
        packed = pack(plain, coding)
        if len(text) < SHORTEST_BYTES:
            assert packed is plain
            continue
        (body,) = packed.chunks
        assert inflate(body, coding, SHORTEST_BYTES) == text
        assert packed.length == len(body)
        assert (packed.status, packed.headers) == (
            201,
            (
                (b"content-type", JSON.encode()),
                (b"x-a", b"b"),
                (b"content-length", str(len(body)).encode()),
                (b"content-encoding", coding.encode()),
                (b"vary", b"Accept-Encoding"),
            ),
        )
