"""Plans as requests: at once, or on a thread where an order of contraction is searched."""

import json
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.codecs import READERS
from service.codecs.media_types import JSON
from service.codecs.stored_arrays import ArrayFolder
from service.core.response import HttpResponse
from service.errors import MissingFieldError
from service.operations import REGISTRY
from service.pipeline.plan import PlanRequest
from service.pipeline.request import Negotiated
from service.pipeline.service import READY, Service, build_service
from service.planning.cost_model import CostModel
from service.settings import Settings

BODY = b'{"a": [[1, 2]], "b": [[3], [4]], "device": "cpu"}'


def begin(service: Service) -> PlanRequest:
    """Return the plan of a product."""
    op = service.engine.registry["matmul"]
    return PlanRequest(Negotiated(service, op, READERS[JSON]), "mine")


async def plan_of(response: HttpResponse | Awaitable[HttpResponse]) -> dict[str, Any]:
    """Return the plan in a response."""
    found = response if isinstance(response, HttpResponse) else await response
    assert (found.status, dict(found.headers)[b"content-type"]) == (200, JSON.encode())
    plan: dict[str, Any] = json.loads(b"".join(found.chunks))
    return plan


async def test_a_plan_at_once(service: Service) -> None:
    """Short plain bodies are planned in this thread."""
    response = begin(service).respond(BODY, b"strategy=dot")
    assert isinstance(response, HttpResponse)
    plan = await plan_of(response)
    assert (plan["strategy"], plan["accepted"]) == ("dot", True)


async def test_many_operands_are_planned_on_a_thread(service: Service) -> None:
    """Up to four are planned at once."""
    op = service.engine.registry["einsum"]
    for count, is_at_once in ((4, True), (5, False)):
        body = json.dumps({"equation": ",".join("i" * count), "operands": [[1, 2]] * count})
        request = PlanRequest(Negotiated(service, op, READERS[JSON]), "mine")
        response = request.respond(body.encode(), b"")
        assert isinstance(response, HttpResponse) == is_at_once
        assert (await plan_of(response))["accepted"] is True
        assert request.executor == ("inline" if is_at_once else "thread")


async def test_a_dtype_that_has_not_been_measured(cost_model: CostModel) -> None:
    """The plan says that its estimates are priors, and measures nothing."""
    rows = [row for row in cost_model.to_rows() if row[3] == "float32"]
    service = build_service(Settings(), REGISTRY, CostModel.from_rows(rows))
    service.state, engine = READY, service.engine
    body = BODY[:-1] + b', "dtype": "float64"}'
    for text, basis in ((BODY, "measured"), (body, "prior")):
        rows = (await plan_of(begin(service).respond(text, b"")))["strategies"]
        assert {row["basis"] for row in rows if row["available"]} == {basis}
        assert {row["basis"] for row in rows if not row["available"]} == {None}
    left = {(op.name, dtype) for op, dtype, _ in engine.unmeasured()}
    assert ("matmul", torch.float64) in left


async def test_a_result_of_any_size(service: Service) -> None:
    """A plan states itself that a size is over a limit."""
    shapes = b'{"a": {"shape": [1000000, 3]}, "b": {"shape": [3, 1000000]}, "device": "cpu"}'
    plan = await plan_of(begin(service).respond(shapes, b""))
    assert plan["accepted"] is False
    assert plan["result"]["shape"] == [1_000_000, 1_000_000]


@pytest.mark.parametrize(
    "body",
    [
        BODY + b" " * 2**20,
        b'{"a": {"ref": "a.npy"}, "b": [[3], [4]], "device": "cpu"}',
        b'{"a": {"shape": [1, 2]}, "b": {"shape": [2, 1]}, "device": "cpu"}',
    ],
    ids=["long", "stored", "shapes"],
)
async def test_what_takes_time_to_decode(service: Service, tmp_path: Path, body: bytes) -> None:
    """Long text and stored arrays are left to a thread; the plan is the same."""
    np.save(tmp_path / "a.npy", np.ones((1, 2), np.float32))
    folder = ArrayFolder(tmp_path)
    service.context = replace(service.context, arrays=folder)
    service.plan_context = replace(service.plan_context, arrays=folder)
    request = begin(service)
    plan = await plan_of(request.respond(body, b""))
    assert (plan["accepted"], plan["result"]["shape"]) == (True, [1, 1])
    assert request.executor == ("inline" if b"shape" in body else "thread")


async def test_a_body_that_is_no_call(service: Service) -> None:
    """Its error is that of the call."""
    with pytest.raises(MissingFieldError):
        await plan_of(begin(service).respond(b'{"a": [1]}', b""))


def test_the_deadline_is_that_of_the_server(service: Service) -> None:
    """The deadline of the call is a part of what is planned."""
    request = begin(service)
    request.respond(BODY[:-1] + b', "deadline_ms": 5}', b"")
    assert request.call is not None
    assert request.call.deadline_ms == 5
    assert request.deadline_ms == service.settings.deadline_ms
