"""Requests of the fast path: answered in batches, cancelled when a client leaves, released."""

import asyncio
import json
import sys
from itertools import count

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.server.fast_path import FastPathProtocol
from service.server.fast_request import FastRequest, ResponseBatch
from service.server.receivers import BodyReceiver
from tests.rigs.connections import (
    BODY,
    PADDING,
    MemoryTransport,
    get,
    post,
    responses,
)
from tests.rigs.laboratory import WAITING, Lab, laboratory, square
from tests.rigs.waiting import until

SIDE = [[1.0] * 60] * 60


def large(strategy: str) -> bytes:
    """Return the body of a product that takes a while."""
    return json.dumps({"a": SIDE, "b": SIDE, "strategy": strategy}).encode()


@pytest.mark.parametrize("behind", [b"", post()], ids=["alone", "pipelined"])
async def test_the_client_leaves_while_its_call_runs(
    lab: Lab, behind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is written, nothing fails, and the slot is free again."""
    protocol, transport = lab.connect()
    protocol.data_received(post(WAITING) + behind)
    await lab.gate.wait()
    transport.close()
    await asyncio.sleep(0)
    lab.gate.open.set()
    await lab.settle()
    assert not transport.written
    assert protocol not in lab.server.connections
    assert not caplog.records
    _, (answer,) = await lab.exchange(post(WAITING))
    assert answer.status_code == 200


async def test_the_client_leaves_while_a_process_works(whole: Lab) -> None:
    """The process is killed, so that its core and its slot are free at once."""
    workers = whole.service.worker_pool
    protocol, transport = whole.connect()
    protocol.data_received(post(large("loops")))
    await until(lambda: workers.active_calls == 1)
    transport.close()
    await until(lambda: not workers.active_calls)
    assert not transport.written
    await whole.settle()


async def test_the_client_leaves_with_a_second_request_behind(whole: Lab) -> None:
    """The process of the first request is killed."""
    workers = whole.service.worker_pool
    for behind in (post(), get("/health/live"), post()[:-1]):
        protocol, transport = whole.connect()
        protocol.data_received(post(large("loops")) + behind)
        await until(lambda: workers.active_calls == 1)
        transport.close()
        await until(lambda: not workers.active_calls)
        await whole.settle()


async def test_bodies_in_flight_are_counted() -> None:
    """They count from their head to their response, or until the client leaves."""
    async with laboratory(max_inflight_bytes=2_500_000) as lab:
        inflight = lab.service.inflight
        size = len(WAITING)
        protocol, _ = lab.connect()
        protocol.data_received(post(WAITING)[:-1])
        assert inflight.held == size
        _, transport = lab.connect()
        transport.feed(post(WAITING)[:-1])
        assert inflight.held == 2 * size
        _, (refused,) = await lab.exchange(post(WAITING))
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        transport.close()
        await until(lambda: inflight.held == size)
        lab.gate.open.set()
        protocol.data_received(post(WAITING)[-1:])
        await lab.settle()
        assert inflight.held == 0


async def test_the_client_leaves_before_its_body_is_whole(lab: Lab) -> None:
    """The received part is dropped at once, not when Python collects cycles."""
    protocol, transport = lab.connect()
    protocol.data_received(post(BODY + PADDING)[:-1])
    assert protocol._receiving is not None
    body = protocol._receiving._request.buffer
    protocol.connection_lost(ConnectionResetError())
    assert sys.getrefcount(body) == 2
    assert not transport.written


async def test_the_client_leaves_within_a_large_body(lab: Lab) -> None:
    """The received part and its share of the bytes in flight are given back at once."""
    protocol, transport = lab.connect()
    transport.feed(post(BODY + PADDING)[:300_000])
    assert isinstance(transport.protocol, BodyReceiver)
    inflight = lab.service.inflight
    assert inflight.held
    paused = []
    for notify in (transport.protocol.pause_writing, transport.protocol.resume_writing):
        notify()
        paused.append(protocol.flow.write_paused)
    assert paused == [True, False]
    assert not transport.protocol.eof_received()
    transport.protocol.connection_lost(ConnectionResetError())
    assert not inflight.held
    assert protocol not in lab.server.connections
    assert not transport.written


async def test_calls_of_one_iteration_are_answered_together(lab: Lab) -> None:
    """All responses are made before the first one is sent, unless it is alone."""
    opened = [lab.connect() for _ in range(40)]
    alone = opened[0]

    def writes(*received: tuple[FastPathProtocol, MemoryTransport]) -> list[int]:
        before = [transport.writes for _, transport in opened]
        for protocol, _ in received:
            protocol.data_received(post())
        after = [transport.writes for _, transport in opened]
        return [new - old for new, old in zip(after, before, strict=True)]

    assert writes(*opened) == [1] + [0] * 39, "after no request, the first waits for none"
    await asyncio.sleep(0)
    assert {transport.writes for _, transport in opened} == {1}
    assert writes(*opened) == [0] * 40, "after many requests, all of them wait"
    await asyncio.sleep(0)
    assert {transport.writes for _, transport in opened} == {2}
    assert writes(alone) == [0] * 40
    await asyncio.sleep(0)
    assert writes(alone) == [1] + [0] * 39, "after one request, the first waits for none"
    await asyncio.sleep(0)


@pytest.mark.parametrize("padding", [b"", PADDING], ids=["inline", "on a thread"])
async def test_a_fault_has_its_request_id(
    lab: Lab, padding: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The response has the id, the log has the reason, and the connection stays open."""
    failing = post(square("fail") + padding, x_request_id="f-1")
    transport, (answer, after) = await lab.exchange(failing, post())
    assert (answer.status_code, after.status_code) == (500, 200)
    assert answer.json()["detail"] == "request f-1 failed"
    assert answer.headers["x-request-id"] == "f-1"
    assert "ZeroDivisionError" in caplog.text
    assert b"fault" not in transport.written


@pytest.mark.parametrize("padding", [b"", PADDING], ids=["inline", "on a thread"])
@pytest.mark.parametrize(
    ("body", "code"),
    [(b'{"a": [1], "b": [null]}', "invalid-element"), (BODY[:-1], "malformed-json")],
)
async def test_a_refusal_is_a_problem(lab: Lab, padding: bytes, body: bytes, code: str) -> None:
    """The connection stays open, whichever executor decoded the body."""
    _, (answer, after) = await lab.exchange(post(body + padding), post())
    assert answer.json()["code"] == code
    assert answer.headers["content-type"] == "application/problem+json"
    assert after.status_code == 200


async def test_a_call_without_a_slot_is_refused() -> None:
    """The one slot is taken, and there is no queue."""
    async with laboratory(slots=1, queue=0) as lab:
        protocol, _ = lab.connect()
        protocol.data_received(post(WAITING))
        await lab.gate.wait()
        other, transport = lab.connect()
        other.data_received(post(BODY + PADDING))
        await until(lambda: transport.written)
        (answer,) = responses(transport.written)
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1


async def test_memory_is_trimmed_when_nothing_runs(lab: Lab) -> None:
    """During a call it is deferred, since the memory would be taken again."""
    service = lab.service
    protocol, _ = lab.connect()
    protocol.data_received(post(WAITING))
    await lab.gate.wait()
    service.trim_memory()
    assert service._trims
    lab.gate.open.set()
    await lab.settle()
    await until(lambda: not service._trims)


async def test_a_call_past_its_deadline_is_answered(lab: Lab) -> None:
    """The response is a 504, although the slot is still taken.

    A thread runs the call. In the event loop it could not be answered before its end.
    """
    body = square("wait", deadline_ms=300) + PADDING
    _, (answer,) = await lab.exchange(post(body))
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline-exceeded")
    assert lab.gate.entered.is_set()


def test_a_request_has_the_attributes_of_a_cycle() -> None:
    """It has the attributes that uvicorn reads and sets of its own cycles."""
    used = {"disconnected", "keep_alive", "message_event", "response_complete"}
    assert used <= set(dir(FastRequest))
    assert used <= set(RequestResponseCycle.__init__.__code__.co_names)


class InstantRequest(FastRequest):
    """A request that takes no time."""

    def __init__(self, *, answered: bool = True) -> None:
        """Be answered at once, or by an executor."""
        self.response_complete = answered

    def answer(self) -> None:
        """Do nothing."""

    def send(self) -> None:
        """Do nothing."""


async def iterations(number: int) -> None:
    """Let the event loop pass so many iterations, without sleep."""
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("again", "read"),
    [pytest.param(False, 6, id="once"), pytest.param(True, 11, id="again after three iterations")],
)
async def test_the_loop_goes_on_until_the_time_is_over(again: bool, read: int) -> None:
    """Each response begins the time anew; each reading of the clock takes ten nanoseconds."""
    ticks = count(0, 10)
    batch = ResponseBatch(50, ticks.__next__)
    batch.add(InstantRequest(), asyncio.get_running_loop())
    await iterations(3)
    if again:
        batch.add(InstantRequest(), asyncio.get_running_loop())
    await iterations(20)
    assert next(ticks) == 10 * read


async def test_the_loop_may_sleep_at_once() -> None:
    """With no time to wait, the clock is read for the response and once more."""
    ticks = count(0, 10)
    batch = ResponseBatch(0, ticks.__next__)
    batch.add(InstantRequest(), asyncio.get_running_loop())
    batch.add(InstantRequest(), asyncio.get_running_loop())
    await iterations(20)
    assert next(ticks) == 20


@pytest.mark.parametrize("answered", [[False], [True, False], [False, True]])
async def test_the_loop_sleeps_while_another_computes(answered: list[bool]) -> None:
    """Polling would take the core of the process that computes."""
    ticks = count(0, 10)
    batch = ResponseBatch(50, ticks.__next__)
    for each in answered:
        batch.add(InstantRequest(answered=each), asyncio.get_running_loop())
    await iterations(20)
    assert next(ticks) == 10


async def test_a_body_is_dropped_when_it_is_decoded(lab: Lab) -> None:
    """Its text, twice as large as the tensors, is not kept while a thread computes."""
    protocol, _ = lab.connect()
    protocol.data_received(post(WAITING))
    await lab.gate.wait()
    assert protocol._last is not None
    request = protocol._last._request
    assert not request.body
    assert not request.buffer
    lab.gate.open.set()
    await lab.settle()
