"""Keys, quotas, origins, figures and the log: on the shorter way they are those of the other."""

import logging
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.auth import key_hash
from service.observability.counters import Counters
from service.server.fast_path import Protocol
from tests.unit.server.test_fast_path import WAITING, Lab, laboratory, post, product, square

KEYS: dict[str, Any] = {"api_keys": key_hash(b"right")}
PAGE = "https://lab.example.org"
WAYS = pytest.mark.parametrize("kind", [Protocol, HttpToolsProtocol], ids=["short", "asgi"])
Kind = type[HttpToolsProtocol]


def figures(lab: Lab) -> Counters:
    """What the app has counted."""
    found: Counters = lab.app.state.reception.metrics.figures
    return found


def calls(lab: Lab) -> dict[tuple[str, ...], int]:
    """How many calls there were, by strategy, lane and status."""
    found = figures(lab).calls.items()
    return {(*key[1:3], str(key[3])): tally.count for key, tally in found}


@WAYS
async def test_a_key_is_asked_for(kind: Kind) -> None:
    """The connection goes on after a refusal, and the refused body is no request."""
    async with laboratory(**KEYS) as lab:
        texts = (post(), post(x_api_key="wrong"), post(x_api_key="right"),
                 post(authorization="Bearer right"))  # fmt: skip
        _, answers = await lab.exchange(b"".join(texts), kind=kind)
        assert [each.status_code for each in answers] == [401, 401, 200, 200]
        assert answers[0].json()["code"] == "unauthorized"
        assert answers[0].headers["x-content-type-options"] == "nosniff"
        assert product(answers[3]) == [[19.0, 22.0], [43.0, 50.0]]
        assert calls(lab) == {("torch", "inline", "200"): 2}
        assert figures(lab).requests == {("POST", "/matmul", 401): 2}


@WAYS
async def test_a_quota_counts_each_request_once(kind: Kind) -> None:
    """Whichever way it is answered; of one that is refused no part is used up."""
    async with laboratory(rate=0.001, rate_burst=3) as lab:
        # The second comes by the other way, since its type is known to be wrong at once.
        texts = (post(), post(content_type="image/png"), post(), post(), post())
        _, answers = await lab.exchange(b"".join(texts), kind=kind)
        assert [each.status_code for each in answers] == [200, 415, 200, 429, 429]
        assert int(answers[3].headers["retry-after"]) >= 1


@WAYS
async def test_a_page_of_another_origin_reads_its_answer(kind: Kind) -> None:
    """With the headers that let it."""
    async with laboratory(cors_origins=PAGE) as lab:
        texts = (post(origin=PAGE), post(origin="https://other.example.org"), post())
        _, answers = await lab.exchange(b"".join(texts), kind=kind)
        assert [each.status_code for each in answers] == [200] * 3
        allowed = [each.headers.get("access-control-allow-origin") for each in answers]
        assert allowed == [PAGE, None, None]


@WAYS
async def test_calls_are_counted_and_logged(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    """By lane, with their phases; faults and refusals too."""
    async with laboratory() as lab:
        lab.gate.open.set()
        with caplog.at_level(logging.INFO, "service.requests"):
            texts = (post(x_request_id="r-1"), post(b"{"), post(square("fail")), post(WAITING))
            _, answers = await lab.exchange(b"".join(texts), kind=kind)
        assert [each.status_code for each in answers] == [200, 400, 500, 200]
        assert calls(lab) == {
            ("torch", "inline", "200"): 1,
            ("", "", "400"): 1,
            ("fail", "inline", "500"): 1,
            ("wait", "thread", "200"): 1,
        }
        for tally in figures(lab).calls.values():
            tally.settle()
        assert figures(lab).calls["matmul", "wait", "thread", 200].sums.sum() > 0
        assert figures(lab).calls["matmul", "fail", "inline", 500].sums.sum() == 0
        lines = [each for each in caplog.records if each.name == "service.requests"]
        assert [each.getMessage()[-3:] for each in lines] == ["200", "400", "500", "200"]
        assert [each.levelname for each in lines] == ["INFO", "INFO", "WARNING", "INFO"]
        assert lines[0].fields["request_id"] == "r-1"  # type: ignore[attr-defined]  # as logs has it
        assert lines[0].fields["strategy"] == "torch"  # type: ignore[attr-defined]  # as logs has it


async def test_a_head_that_comes_again_is_let_in_again() -> None:
    """It has the same key; another head is looked at, and each request is counted."""
    async with laboratory(**KEYS) as lab:
        right, wrong = post(x_api_key="right"), post(x_api_key="wrong")
        _, answers = await lab.exchange(right, right, right, wrong, wrong, right)
        assert [each.status_code for each in answers] == [200, 200, 200, 401, 401, 200]
        assert calls(lab) == {("torch", "inline", "200"): 4}
        assert figures(lab).requests == {("POST", "/matmul", 401): 2}


async def test_a_head_that_comes_again_uses_up_its_quota() -> None:
    """However it is read."""
    async with laboratory(rate=0.001, rate_burst=2) as lab:
        _, answers = await lab.exchange(*[post()] * 4)
        assert [each.status_code for each in answers] == [200, 200, 429, 429]


async def test_a_client_that_left_is_counted_as_such() -> None:
    """With nginx' number, since no answer was sent."""
    async with laboratory() as lab:
        protocol, wire = lab.connect()
        protocol.data_received(post(WAITING))
        await lab.gate.wait()
        wire.close()
        lab.gate.open.set()
        await lab.settle()
        assert calls(lab) == {("wait", "thread", "499"): 1}


async def test_what_is_no_http_is_counted() -> None:
    """By its status, with no method and no route that could be told."""
    async with laboratory() as lab:
        await lab.exchange(b"\x16\x03\x01rubbish\r\n\r\n")
        assert figures(lab).requests == {("other", "other", 400): 1}
