"""The cache of a parsed head: which requests need no parser, and which heads are kept."""

import asyncio
from typing import cast

import pytest
from httptools import HttpRequestParser

from tests.rigs.connections import BODY, get, post, product, responses
from tests.rigs.laboratory import MAX_BODY, WAITING, Lab, laboratory

OTHER_BODY = b'{"a": [[1, 2], [3, 4]], "b": [[50, 60], [7, 8]], "output": "flat"}'


class UnusedParser:
    """A parser that must not be called."""

    def feed_data(self, data: bytes) -> None:
        """Fail."""
        pytest.fail(f"{data[:20]!r} was parsed")


async def test_a_head_like_the_one_before_is_not_parsed(lab: Lab) -> None:
    """The length of the body may differ; the responses equal those by a parser."""
    protocol, transport = lab.connect()
    protocol.data_received(post())
    protocol.parser = cast("HttpRequestParser", UnusedParser())
    for body in (BODY, OTHER_BODY):
        await asyncio.sleep(0)
        protocol.data_received(post(body))
    await asyncio.sleep(0)
    first, second, third = responses(transport.written)
    _, (expected,) = await lab.exchange(post(OTHER_BODY))
    assert product(first) == product(second)
    assert product(third) == product(expected)
    assert len({each.headers["x-request-id"] for each in (first, second, third)}) == 3


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(post(path="/norm"), id="another path"),
        pytest.param(post(accept="application/json"), id="one more header"),
        pytest.param(post()[:-1], id="not whole"),
        pytest.param(post() + b"P", id="more than one"),
        pytest.param(post(content_length=f"+{len(BODY)}"), id="no digits"),
        pytest.param(post(content_length=f"{len(BODY):011}"), id="many digits"),
        pytest.param(post(content_length=f"0{len(BODY)}"), id="a zero before the digits"),
        pytest.param(post(content_length=str(len(BODY) + 1)), id="another length than it states"),
        pytest.param(post(b" " * (MAX_BODY + 1)), id="too large"),
        pytest.param(post()[:30], id="a part of the head"),
    ],
)
async def test_any_other_head_is_parsed(lab: Lab, data: bytes) -> None:
    """The data reach the parser unchanged."""
    protocol, _ = lab.connect()
    protocol.data_received(post())
    given: list[bytes] = []

    class RecordingParser:
        def feed_data(self, data: bytes) -> None:
            given.append(data)

    protocol.parser = cast("HttpRequestParser", RecordingParser())
    await asyncio.sleep(0)
    protocol.data_received(data)
    assert given == [data]


@pytest.mark.parametrize(
    "before",
    [
        pytest.param([post(x_request_id="mine")], id="an id of its own"),
        pytest.param([post() + post()], id="two in one piece"),
        pytest.param([post()[:9], post()[9:]], id="in two pieces"),
        pytest.param([post(padding="x" * 3000)], id="a long head"),
        pytest.param([post(content_length=f"{len(BODY)} ")], id="a space after the length"),
        pytest.param([get("/health/live")], id="another route"),
    ],
)
async def test_a_head_that_is_not_kept(lab: Lab, before: list[bytes]) -> None:
    """Only the head of one plain request in one piece is kept, if it is short and has no id."""
    protocol, transport = lab.connect()
    for piece in before:
        protocol.data_received(piece)
        await asyncio.sleep(0)
    await lab.settle()
    assert protocol._head is None
    protocol.data_received(post())
    await asyncio.sleep(0)
    assert product(responses(transport.written)[-1]) == [[19, 22], [43, 50]]


async def test_a_head_like_the_one_before_while_no_call_is_taken(lab: Lab) -> None:
    """The request is parsed, and refused as any other."""
    protocol, transport = lab.connect()
    protocol.data_received(post())
    lab.service.state = "draining"
    protocol.data_received(post())
    await lab.settle()
    lab.service.state = "ready"
    assert [each.status_code for each in responses(transport.written)] == [200, 503]


async def test_bodies_after_a_known_head_are_counted() -> None:
    """They count as bytes in flight, as the first one does."""
    async with laboratory() as lab:
        inflight = lab.service.inflight
        protocol, _ = lab.connect()
        for _ in range(2):
            lab.gate.shut()
            protocol.data_received(post(WAITING))
            await lab.gate.wait()
            assert inflight.held == len(WAITING)
            lab.gate.open.set()
            await lab.settle()
            assert inflight.held == 0
