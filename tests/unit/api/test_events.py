"""Races as event streams: rows, pings, reports, problems and cancellation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.responses import Response
from starlette.types import Message

from service.api.events import RaceEvents, RaceResponse
from service.core.response import HttpResponse
from service.errors import DeadlineExceededError, OverloadedError
from tests.rigs.event_streams import Sse, read_stream

REPORT = HttpResponse.of("application/json", (b'{"report": ', b"1}"))
REFUSED = HttpResponse.of("application/problem+json", (b'{"status": 504}',), status=504)


@asynccontextmanager
async def race() -> AsyncIterator[asyncio.Future[HttpResponse]]:
    """Yield a race without end, which is cancelled if the test does not end it."""
    racing = asyncio.get_running_loop().create_future()
    yield racing
    racing.cancel()


async def sent(response: Response) -> list[Sse]:
    """Return the events of a stream."""
    assert isinstance(response, RaceResponse)
    parts = []
    async for part in response.body_iterator:
        assert isinstance(part, bytes)
        parts.append(part.decode())
    return list(read_stream("".join(parts)))


@pytest.mark.parametrize("at_once", [True, False])
async def test_rows_come_before_the_report(at_once: bool) -> None:
    """The stream begins at once, or with the first row."""
    async with race() as racing:
        events = RaceEvents("r-1")
        coming = asyncio.create_task(events.response(racing, at_once=at_once))
        for _ in range(3):
            await asyncio.sleep(0)
        assert coming.done() == at_once
        events.emit_row(b'{"row": 1}')
        response = await coming
        events.emit_row(memoryview(b'{"row": 2}'))
        racing.set_result(REPORT)
        found = [(each.event, each.data) for each in await sent(response)]
    assert found == [("row", {"row": 1}), ("row", {"row": 2}), ("report", {"report": 1})]
    assert response.headers["cache-control"] == "no-store"


async def test_a_silent_stream_has_comments() -> None:
    """They keep proxies from closing the connection."""
    async with race() as racing:
        events = RaceEvents("r-1", ping_s=0.01)
        response = await events.response(racing, at_once=True)
        asyncio.get_running_loop().call_later(0.2, racing.set_result, REPORT)
        *pings, report = await sent(response)
    assert len(pings) >= 2
    assert {(*each.comments, each.data) for each in pings} == {("racing", None)}
    assert report.event == "report"


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_error_before_the_stream_is_raised(at_once: bool) -> None:
    """Then the response is that of any refused request."""
    async with race() as racing:
        racing.set_exception(OverloadedError("no slot is free"))
        with pytest.raises(OverloadedError):
            await RaceEvents("r-1").response(racing, at_once=at_once)


async def test_a_refusal_of_a_worker_before_the_stream_is_a_response() -> None:
    """It is no stream, and has its own status."""
    async with race() as racing:
        racing.set_result(REFUSED)
        response = await RaceEvents("r-1").response(racing, at_once=False)
    assert not isinstance(response, RaceResponse)
    assert (response.status_code, response.body) == (504, b'{"status": 504}')
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("is_raised", [True, False], ids=["raised", "of a worker"])
async def test_an_error_within_the_stream_is_a_problem_event(is_raised: bool) -> None:
    """It is the last event, with the problem document."""
    async with race() as racing:
        events = RaceEvents("r-1")
        response = await events.response(racing, at_once=True)
        events.emit_row(b'{"row": 1}')
        if is_raised:
            racing.set_exception(DeadlineExceededError("it took too long"))
        else:
            racing.set_result(REFUSED)
        row, problem = await sent(response)
    assert (row.event, problem.event) == ("row", "problem")
    assert isinstance(problem.data, dict)
    assert problem.data["status"] == 504


async def test_a_fault_within_the_stream_is_a_problem_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It says nothing but the request id; the log has the trace."""
    async with race() as racing:
        response = await RaceEvents("r-1").response(racing, at_once=True)
        racing.set_exception(RuntimeError("a secret"))
        (problem,) = await sent(response)
    assert problem.event == "problem"
    assert isinstance(problem.data, dict)
    assert (problem.data["status"], problem.data["detail"]) == (500, "request r-1 failed")
    (failed,) = caplog.records
    assert failed.exc_info is not None
    assert failed.exc_info[0] is RuntimeError


async def test_a_client_that_leaves_before_the_stream_cancels_its_race() -> None:
    """The race is cancelled, though the stream has not begun."""
    async with race() as racing:
        coming = asyncio.create_task(RaceEvents("r-1").response(racing, at_once=False))
        await asyncio.sleep(0)
        coming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await coming
        assert racing.cancelled()


async def test_a_client_that_leaves_within_the_stream_cancels_its_race() -> None:
    """The race is cancelled when the stream ends, whatever ended it."""
    async with race() as racing:
        response = await RaceEvents("r-1").response(racing, at_once=True)
        started = asyncio.Event()

        async def receive() -> Message:
            await started.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            started.set()

        await response({"type": "http", "method": "POST"}, receive, send)
        assert racing.cancelled()
