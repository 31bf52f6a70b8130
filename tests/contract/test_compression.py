"""Content codings: compressed bodies are read within the limit, answers compressed when asked."""

import asyncio
import gzip
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest
from httpx import AsyncClient, Response
from starlette.types import Message

from service.api.compression import INLINE_BYTES, CompressingSender
from service.codecs.compression import inflate
from service.codecs.zstd import ZstdCompressor
from service.http.negotiation import choose_coding
from tests.rigs.apps import Serve
from tests.rigs.request_bodies import (
    JSON,
    NPY,
    NPZ,
    RAW,
    SAFETENSORS,
    npy_of,
    npz_of,
    safetensors_of,
    tensor_of,
)
from tests.rigs.servers import serving


def zstd(data: bytes) -> bytes:
    """One frame."""
    machine = ZstdCompressor(level=1)
    return machine.compress(data) + machine.flush()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd,
}
SMALL = orjson.dumps({"x": [3, 4]})
EVENTS = "text/event-stream"


def large(size: int = 40_000) -> bytes:
    """A request whose answer is longer than what is compressed in the event loop."""
    return orjson.dumps({"operands": [[0.5]], "to": [size]})


async def send(client: AsyncClient, path: str, body: bytes, coding: str, **more: str) -> Response:
    """The answer to a body in that coding."""
    headers = {"Content-Type": JSON, "Content-Encoding": coding, **more}
    return await client.post(path, content=body, headers=headers)


async def plain(
    client: AsyncClient, method: str, path: str, accept: str, body: bytes = b"", **more: str
) -> tuple[Response, bytes]:
    """An answer, and its bytes as they are on the wire."""
    headers = {"Accept-Encoding": accept, "Content-Type": JSON, **more}
    async with client.stream(method, path, content=body, headers=headers) as response:
        raw = b"".join([chunk async for chunk in response.aiter_raw()])
    return response, raw


@pytest.mark.parametrize("coding", [*PACK, "GZIP", "x-gzip", " zstd "])
async def test_a_compressed_body_is_read(client: AsyncClient, coding: str) -> None:
    """On any route that takes a body."""
    body = PACK[coding.strip().lower().removeprefix("x-")](SMALL)
    found = await send(client, "/norm", body, coding)
    assert found.json()["result"]["data"] == 5
    assert (await send(client, "/norm/plan", body, coding)).json()["accepted"] is True
    assert (await send(client, "/norm/compare", body, coding)).status_code == 200


@pytest.mark.parametrize("coding", PACK)
@pytest.mark.parametrize("content", [SAFETENSORS, NPZ, NPY])
async def test_bytes_may_be_compressed_too(client: AsyncClient, coding: str, content: str) -> None:
    """A coding is around any format."""
    tensor = tensor_of("int32", (100,))
    body = {
        SAFETENSORS: safetensors_of({"0": tensor}),
        NPZ: npz_of({"0": tensor.numpy()}),
        NPY: npy_of(tensor.numpy()),
    }[content]
    response = await send(
        client,
        "/broadcast?to=[100]",
        PACK[coding](body),
        coding,
        **{"Content-Type": content, "Accept": RAW},
    )
    assert response.content == tensor.numpy().tobytes()


async def test_identity_is_no_coding(client: AsyncClient) -> None:
    """It is allowed, and means nothing."""
    assert (await send(client, "/norm", SMALL, "identity")).status_code == 200


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "gzip,zstd", "compress", "", "aes128gcm"])
async def test_other_codings_are_refused(client: AsyncClient, coding: str) -> None:
    """The problem lists what is read; chains are not."""
    response = await send(client, "/norm", SMALL, coding)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (415, "unsupported-media-type")
    assert "gzip, deflate, zstd" in problem["detail"]
    assert ("several" in problem["detail"]) == ("," in coding)


@pytest.mark.parametrize("coding", PACK)
@pytest.mark.parametrize(
    "change",
    [
        lambda body: b"",
        lambda body: body[:-1],
        lambda body: body + b"\0",
        lambda body: body + body[:-1],
        lambda body: b"{}",
        lambda body: body[:4] + b"\xff" * 20,
    ],
    ids=["empty", "cut", "more", "twice and cut", "plain", "noise"],
)
async def test_a_bad_stream_is_malformed(
    client: AsyncClient, coding: str, change: Callable[[bytes], bytes]
) -> None:
    """Every broken stream gets a 400."""
    response = await send(client, "/norm", change(PACK[coding](SMALL)), coding)
    assert (response.status_code, response.json()["code"]) == (400, "malformed-body")
    assert response.json()["detail"].startswith("the body is not ")
    assert not re.search("Error|ompress", response.json()["detail"])


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_a_body_may_have_several_members(client: AsyncClient, coding: str) -> None:
    """They are one body: so writes `cat a.gz b.gz`, and what compresses in parallel."""
    body = PACK[coding](SMALL[:5]) + PACK[coding](SMALL[5:])
    response = await send(client, "/norm", body, coding)
    assert response.json()["result"]["data"] == 5


@pytest.mark.parametrize("coding", PACK)
async def test_what_is_inside_has_its_own_errors(client: AsyncClient, coding: str) -> None:
    """Errors in a compressed body are those of the same body uncompressed."""
    response = await send(client, "/norm", PACK[coding](b'{"x": }'), coding)
    assert (response.status_code, response.json()["code"]) == (400, "malformed-json")


@pytest.mark.parametrize("coding", PACK)
async def test_the_limit_counts_what_is_inflated(serve: Serve, coding: str) -> None:
    """One byte more gets a 413, and so does a compression bomb."""
    async with serve(max_body_bytes=1000) as client:
        for size, status in ((1000, 200), (1001, 413), (10**8, 413)):
            body = PACK[coding](SMALL.ljust(size))
            response = await send(client, "/norm", body[: 10**4], coding)
            if len(body) <= 1000:
                assert response.status_code == status, response.text
            else:
                assert (response.status_code, response.json()["code"]) == (413, "body-too-large")


def peak_bytes(url: str) -> int:
    """Return the peak memory of the server with this port on its command line."""
    port = url.rpartition(":")[2].encode()
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if command.read_bytes().endswith(b"--port\0" + port + b"\0"):
                status = command.with_name("status").read_text()
                return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    raise ProcessLookupError(url)


def test_bombs_leave_the_memory_of_a_server_alone() -> None:
    """A gigabyte of spaces and a quarter of one, four of each at a time, within a limit of 16 MB.

    Each of the two slots has a window of 8 MB, and twice the limit while its buffer grows: 80 MB,
    and up to 137 were seen with what the allocator keeps. One bomb alone would take 256 MB.
    """
    bombs = [("zstd", zstd(b" " * 2**30)), ("gzip", gzip.compress(b" " * 2**28, 6))]

    async def throw(url: str) -> list[Response]:
        async with AsyncClient(base_url=url, timeout=60) as client:
            return await asyncio.gather(
                *(send(client, "/norm", bomb, coding) for coding, bomb in bombs for _ in range(4))
            )

    limits = {"SERVICE_MAX_BODY_BYTES": str(2**24), "SERVICE_SLOTS": "2"}
    with serving(**limits) as url:
        assert httpx.post(f"{url}/norm", content=SMALL).status_code == 200
        before = peak_bytes(url)
        assert {response.status_code for response in asyncio.run(throw(url))} == {413}
        assert peak_bytes(url) - before < 12 * 2**24


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate", "gzip"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("gzip;q=0, *", "zstd"),
        ("zstd;q=0, *", "gzip"),
        ("*", "zstd"),
        ("GZIP;Q=0.5", "gzip"),
        ("identity;q=0.5, gzip;q=0.4", "identity"),
        ("identity, gzip", "gzip"),
        ("identity;q=0", "identity"),
        ("*;q=0", "identity"),
        ("gzip;q=0", "identity"),
        ("gzip;q=nan", "gzip"),
        ("gzip;q=.5, zstd;q=.4", "gzip"),
        ("gzip;q=7, zstd;q=1", "zstd"),
        ("gzip;q=-1", "identity"),
        ("gzip;q=1.0,deflate;q=0.6,identity;q=0.3", "gzip"),
        ("br", "identity"),
        ("", "identity"),
        (",;=", "identity"),
    ],
)
def test_the_client_chooses_the_coding(accepted: str, coding: str) -> None:
    """The highest quality wins; the faster coding wins a tie, and any coding wins against none."""
    assert choose_coding(accepted) == coding


@pytest.mark.parametrize("coding", PACK)
@pytest.mark.parametrize("size", [300, 4000, 40_000])
async def test_an_answer_is_compressed_when_asked(
    client: AsyncClient, coding: str, size: int
) -> None:
    """On either way through the service, with its length, and with Vary."""
    response, raw = await plain(client, "POST", "/broadcast", coding, large(size))
    assert response.headers["Content-Encoding"] == coding
    assert response.headers["Vary"] == "Accept-Encoding"
    assert int(response.headers["Content-Length"]) == len(raw)
    answer = orjson.loads(inflate(raw, coding, 10**7))
    assert answer["result"]["data"] == [0.5] * size
    assert len(raw) < 2 * size


@pytest.mark.parametrize("accept", ["identity", "br", "gzip;q=0", ""])
async def test_only_accepted_codings_are_used(client: AsyncClient, accept: str) -> None:
    """Without a matching Accept-Encoding, the response is plain JSON."""
    response, raw = await plain(client, "POST", "/broadcast", accept, large())
    assert "Content-Encoding" not in response.headers
    assert len(orjson.loads(raw)["result"]["data"]) == 40_000


@pytest.mark.parametrize("accept", [SAFETENSORS, NPY, RAW])
async def test_tensors_as_bytes_are_never_compressed(client: AsyncClient, accept: str) -> None:
    """They would hardly get smaller."""
    response, _ = await plain(client, "POST", "/broadcast", "gzip, zstd", large(), Accept=accept)
    assert response.headers["Content-Type"] == accept
    assert "Content-Encoding" not in response.headers


async def test_short_answers_are_not_compressed(client: AsyncClient) -> None:
    """Results and problems alike."""
    for body, status in ((SMALL, 200), (b"{", 400)):
        response, raw = await plain(client, "POST", "/norm", "gzip", body)
        assert response.status_code == status
        assert "Content-Encoding" not in response.headers
        assert orjson.loads(raw)


@pytest.mark.parametrize("coding", PACK)
@pytest.mark.parametrize("path", ["/openapi.json", "/strategies", "/docs/assets/swagger-ui.css"])
async def test_pages_are_compressed(client: AsyncClient, coding: str, path: str) -> None:
    """Small ones inline, large ones on a thread, with Vary for caches."""
    response, raw = await plain(client, "GET", path, coding)
    identity, expected = await plain(client, "GET", path, "identity")
    assert response.headers["Content-Encoding"] == coding
    assert "Content-Encoding" not in identity.headers
    varies = "Accept, Accept-Encoding" if path == "/strategies" else "Accept-Encoding"
    assert response.headers["Vary"] == identity.headers["Vary"] == varies
    assert int(response.headers["Content-Length"]) == len(raw) < len(expected)
    assert inflate(raw, coding, 10**7) == expected


async def test_what_is_no_text_is_left_alone(client: AsyncClient) -> None:
    """A picture is compressed already."""
    response, _ = await plain(client, "GET", "/docs/assets/favicon-32x32.png", "gzip")
    assert "Content-Encoding" not in response.headers
    assert "Vary" not in response.headers


async def test_a_head_has_the_headers_of_the_plain_answer(client: AsyncClient) -> None:
    """There is no body to compress."""
    response, raw = await plain(client, "HEAD", "/openapi.json", "gzip")
    assert (response.status_code, raw) == (200, b"")
    assert "Content-Encoding" not in response.headers


async def test_plans_and_races_are_compressed(client: AsyncClient) -> None:
    """They are JSON as well, sent by the framework."""
    body = orjson.dumps({"operands": [[1, 2]] * 30, "op": "add"})
    for path in ("/broadcast/plan", "/broadcast/compare"):
        response, raw = await plain(client, "POST", path, "zstd", body)
        assert response.status_code == 200, raw
        assert response.headers["Content-Encoding"] == "zstd"
        assert orjson.loads(inflate(raw, "zstd", 10**7))["op"] == "broadcast"


async def test_events_are_never_compressed(client: AsyncClient) -> None:
    """Each is sent when it is ready."""
    response, raw = await plain(client, "POST", "/norm/compare", "gzip, zstd", SMALL, Accept=EVENTS)
    assert response.headers["Content-Type"].startswith(EVENTS)
    assert "Content-Encoding" not in response.headers
    assert b"event: report" in raw


def test_a_real_server_and_client_agree() -> None:
    """An HTTP client decompresses the response; the connection is kept."""
    values = np.random.default_rng(0).standard_normal((64, 64))
    body = orjson.dumps({"operands": [values], "to": [64, 64], "dtype": "float64"},
                        option=orjson.OPT_SERIALIZE_NUMPY)  # fmt: skip
    with serving() as url, httpx.Client(base_url=url) as client:
        for coding, pack in PACK.items():
            headers = {"Accept-Encoding": coding, "Content-Encoding": coding}
            response = client.post("/broadcast", content=pack(body), headers=headers)
            assert response.headers["Content-Encoding"] == coding
            assert response.headers["Vary"] == "Accept-Encoding"
            if coding == "gzip":
                assert response.json()["result"]["data"] == values.tolist()
        raw = client.post(
            "/broadcast?to=[64,64]",
            content=npy_of(values),
            headers={"Content-Type": NPY, "Accept": RAW},
        )
        assert raw.content == values.tobytes()
        assert raw.headers["X-Tensor-Shape"] == "64,64"


def test_what_is_packed_in_the_event_loop_is_short() -> None:
    """The tests above are on both sides of it."""
    assert 4000 * 4 < INLINE_BYTES < 40_000 * 4


async def test_an_answer_in_parts_is_packed_whole() -> None:
    """Its length is that of all of them together."""
    sent: list[Message] = []

    async def keep(message: Message) -> None:
        sent.append(message)

    sender = CompressingSender(keep, "gzip")
    await sender({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
    await sender({"type": "http.response.body", "body": b"ab", "more_body": True})
    assert sent == []
    await sender({"type": "http.response.body", "body": b"cd"})
    start, body = sent
    assert inflate(body["body"], "gzip", 4) == b"abcd"
    length = (b"content-length", b"%d" % len(body["body"]))
    assert start["headers"] == [(b"x", b"y"), (b"content-encoding", b"gzip"), length]
