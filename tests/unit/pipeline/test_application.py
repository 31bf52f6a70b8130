"""Admission on the fast path: keys, quotas and origins, as in the ASGI application."""

from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.auth import key_hash
from service.server.fast_path import FastPathProtocol
from tests.rigs.connections import post, product
from tests.rigs.laboratory import Lab, laboratory

KEYS: dict[str, Any] = {"api_keys": key_hash(b"right")}
PAGE = "https://lab.example.org"
KINDS = pytest.mark.parametrize("kind", [FastPathProtocol, HttpToolsProtocol], ids=["fast", "asgi"])
Kind = type[HttpToolsProtocol]


def counts(lab: Lab) -> tuple[dict[Any, int], dict[Any, int]]:
    """Return the number of calls by strategy, executor and status, and of other requests."""
    counters = lab.app.state.recorder.counters
    calls = {key[1:]: histogram.count for key, histogram in counters.calls.items()}
    return calls, dict(counters.requests)


@KINDS
async def test_a_key_is_required(kind: Kind) -> None:
    """The connection stays open after a 401, and the body of a refused request is skipped."""
    async with laboratory(**KEYS) as lab:
        texts = (post(), post(x_api_key="wrong"), post(x_api_key="right"),
                 post(authorization="Bearer right"))  # fmt: skip
        _, responses = await lab.exchange(b"".join(texts), kind=kind)
        assert [each.status_code for each in responses] == [401, 401, 200, 200]
        assert responses[0].json()["code"] == "unauthorized"
        assert responses[0].headers["x-content-type-options"] == "nosniff"
        assert product(responses[3]) == [[19.0, 22.0], [43.0, 50.0]]
        assert counts(lab) == ({("torch", "inline", 200): 2}, {("POST", "/matmul", 401): 2})


@KINDS
async def test_a_quota_counts_each_request_once(kind: Kind) -> None:
    """A refused request uses up nothing, on the fast path and in the ASGI application."""
    async with laboratory(rate=0.001, rate_burst=3) as lab:
        # The second one leaves the fast path, since its type is wrong.
        texts = (post(), post(content_type="image/png"), post(), post(), post())
        _, responses = await lab.exchange(b"".join(texts), kind=kind)
        assert [each.status_code for each in responses] == [200, 415, 200, 429, 429]
        assert int(responses[3].headers["retry-after"]) >= 1


@KINDS
async def test_a_page_of_another_origin_may_read_its_response(kind: Kind) -> None:
    """The response has the header that allows it."""
    async with laboratory(cors_origins=PAGE) as lab:
        texts = (post(origin=PAGE), post(origin="https://other.example.org"), post())
        _, responses = await lab.exchange(b"".join(texts), kind=kind)
        assert [each.status_code for each in responses] == [200] * 3
        allowed = [each.headers.get("access-control-allow-origin") for each in responses]
        assert allowed == [PAGE, None, None]


async def test_a_repeated_head_is_admitted_again() -> None:
    """It has the same key; another head is checked, and each request is counted."""
    async with laboratory(**KEYS) as lab:
        right, wrong = post(x_api_key="right"), post(x_api_key="wrong")
        _, responses = await lab.exchange(right, right, right, wrong, wrong, right)
        assert [each.status_code for each in responses] == [200, 200, 200, 401, 401, 200]
        assert counts(lab) == ({("torch", "inline", 200): 4}, {("POST", "/matmul", 401): 2})


async def test_a_repeated_head_uses_up_its_quota() -> None:
    """Heads that are not parsed again are counted as well."""
    async with laboratory(rate=0.001, rate_burst=2) as lab:
        _, responses = await lab.exchange(*[post()] * 4)
        assert [each.status_code for each in responses] == [200, 200, 429, 429]
