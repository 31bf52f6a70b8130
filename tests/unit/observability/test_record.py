"""Records of requests: on the fast path they equal those of the ASGI application."""

import logging

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.observability.counters import Counters
from service.server.fast_path import FastPathProtocol
from tests.rigs.connections import PADDING, post
from tests.rigs.laboratory import WAITING, Lab, laboratory, square

KINDS = pytest.mark.parametrize("kind", [FastPathProtocol, HttpToolsProtocol], ids=["fast", "asgi"])
Kind = type[HttpToolsProtocol]


def counters(lab: Lab) -> Counters:
    """Return the counters of the app."""
    found: Counters = lab.app.state.recorder.counters
    return found


def calls(lab: Lab) -> dict[tuple[str, ...], int]:
    """Return the number of calls by strategy, executor and status."""
    found = counters(lab).calls.items()
    return {(*key[1:3], str(key[3])): histogram.count for key, histogram in found}


@KINDS
async def test_calls_are_counted_and_logged(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    """They are counted by executor, with their phases; faults and refusals as well."""
    async with laboratory() as lab:
        lab.gate.open.set()
        with caplog.at_level(logging.INFO, "service.requests"):
            texts = (post(x_request_id="r-1"), post(b"{"), post(square("fail")), post(WAITING))
            _, responses = await lab.exchange(b"".join(texts), kind=kind)
        assert [each.status_code for each in responses] == [200, 400, 500, 200]
        assert calls(lab) == {
            ("torch", "inline", "200"): 1,
            ("", "", "400"): 1,
            ("fail", "inline", "500"): 1,
            ("wait", "thread", "200"): 1,
        }
        for histogram in counters(lab).calls.values():
            histogram.settle()
        assert counters(lab).calls["matmul", "wait", "thread", 200].sums.sum() > 0
        assert counters(lab).calls["matmul", "fail", "inline", 500].sums.sum() == 0
        lines = [each for each in caplog.records if each.name == "service.requests"]
        assert [each.getMessage()[-3:] for each in lines] == ["200", "400", "500", "200"]
        assert [each.levelname for each in lines] == ["INFO", "INFO", "WARNING", "INFO"]
        assert lines[0].fields["request_id"] == "r-1"  # type: ignore[attr-defined]  # as logs has it
        assert lines[0].fields["strategy"] == "torch"  # type: ignore[attr-defined]  # as logs has it


async def test_a_late_call_is_logged_with_its_wait(caplog: pytest.LogCaptureFixture) -> None:
    """The total is the time until the refusal, though no phase has ended meanwhile."""
    late = square("wait", deadline_ms=300) + PADDING
    async with laboratory() as lab:
        with caplog.at_level(logging.INFO, "service.requests"):
            _, responses = await lab.exchange(post(late))
        lab.gate.open.set()
    assert [each.status_code for each in responses] == [504]
    (line,) = (each for each in caplog.records if each.name == "service.requests")
    fields = line.fields  # type: ignore[attr-defined]  # as logs has it
    assert 300 <= fields["total_ms"] < 10_000


async def test_a_client_that_left_is_counted() -> None:
    """It has the status 499, since no response was sent."""
    async with laboratory() as lab:
        protocol, transport = lab.connect()
        protocol.data_received(post(WAITING))
        await lab.gate.wait()
        transport.close()
        lab.gate.open.set()
        await lab.settle()
        assert calls(lab) == {("wait", "thread", "499"): 1}


async def test_what_is_no_http_is_counted() -> None:
    """It is counted by its status; method and route are unknown."""
    async with laboratory() as lab:
        await lab.exchange(b"\x16\x03\x01rubbish\r\n\r\n")
        assert counters(lab).requests == {("other", "other", 400): 1}
