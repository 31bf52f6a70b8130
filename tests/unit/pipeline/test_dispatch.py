"""The choice of an executor, and what a process is sent beside a body."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from threading import Event
from typing import Any

import pytest
import torch

from service.core.call import Call
from service.core.devices import Device
from service.core.response import HttpResponse
from service.errors import BodyTooLargeError, UnknownFieldError
from service.executors import Bytes, Channel, Emit, Handler, ProcessPool
from service.executors.worker_handle import Respond, no_answer
from service.pipeline import device_worker, worker
from service.pipeline import dispatch as module
from service.pipeline.dispatch import (
    INLINE_NS,
    KILLABLE_NS,
    planned_executor,
    with_planning_state,
)
from service.pipeline.messages import Admitted, WorkerRequest
from service.pipeline.operation import OperationEndpoint, OperationRequest
from service.pipeline.request import STREAMED_BYTES
from service.pipeline.service import Service
from service.planning.plan import Plan
from tests.rigs.device_processes import GPU, curves_of

BODY = b'{"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}'
# Text of this kind is read by Python, and with the padding it is long.
SLOW = BODY.replace(b'"a"', b'"\\u0061"')
PADDING = b" " * 2**20
ANY: Any = object()
CLUSTER = Device("cluster", "cluster", "", None, cluster=ANY)
DEVICE_PROCESS: Any = object()
WORKERS: Any = object()
Change = Callable[[Plan], Plan]
MESSAGE = WorkerRequest("matmul", (), "", "mine", ())


class LocalProcess:
    """The process of a device, whose handler works in this process, on a copy of the body."""

    def __init__(self, handler: Handler):
        """Begin without calls."""
        self.handler = handler
        self.messages: list[WorkerRequest] = []
        self.limits: list[tuple[float | None, int]] = []

    async def run(
        self,
        head: bytes,
        body: Bytes,
        *,
        estimated_ns: float | None = None,
        deadline_ms: int,
        emit: Emit | None = None,
        respond: Respond = no_answer,
    ) -> tuple[bytearray, bytearray]:
        """Return the answer of the handler."""
        self.messages.append(WorkerRequest.from_json(head))
        self.limits.append((estimated_ns, deadline_ms))
        copy = bytearray(body)
        channel = Channel(print, emit or print, bytearray)
        answer = await asyncio.to_thread(self.handler.answer, head, copy, channel)
        return bytearray(answer.head), bytearray(b"".join(answer.chunks))


class LocalPool(LocalProcess, ProcessPool):
    """Worker processes of that kind."""


def lasting(estimated_ns: int) -> Change:
    """Return a change of a plan to this estimated time."""
    return lambda plan: replace(plan, estimated_ns=estimated_ns)


def keeping_gil(interpreter_ns: int) -> Change:
    """Return a change of a plan to this time in the interpreter."""
    return lambda plan: replace(plan, interpreter_ns=interpreter_ns)


def compiled(plan: Plan) -> Plan:
    """Change a plan to a strategy that has to be compiled."""
    strategy = replace(plan.strategy, compile=lambda inferred, operands: True)
    return replace(plan, strategy=strategy)


def on(device: Device) -> Change:
    """Return a change of a plan to this device, with times that make a worker necessary."""
    return lambda plan: replace(plan, device=device, estimated_ns=KILLABLE_NS + 1)


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """An entry for each trim of memory that was asked for."""
    found: list[None] = []
    monkeypatch.setattr(Service, "trim_memory_later", lambda _: found.append(None))
    return found


@pytest.fixture
def plan(service: Service) -> Plan:
    """The plan of a small product."""
    plan = service.engine.plan(Call("matmul", (torch.eye(2), torch.eye(2)), {}))
    return replace(plan, interpreter_ns=0, estimated_ns=1000)


@pytest.fixture
def product(service: Service) -> OperationRequest:
    """A request that has just been started."""
    op = service.engine.registry["matmul"]
    request = OperationEndpoint(service, op).negotiate({}).begin("mine")
    request.start(b"", b"")
    return request


@dataclass(frozen=True)
class Case:
    """A change of a short plan, and the part of a service that is to compute it."""

    executor: str
    change: Change = lambda plan: plan
    may_wait: bool = False


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case("threads"), id="short"),
        pytest.param(Case("threads", lasting(KILLABLE_NS)), id="medium"),
        pytest.param(Case("worker_pool", lasting(KILLABLE_NS + 1)), id="long"),
        pytest.param(Case("threads", keeping_gil(INLINE_NS)), id="GIL"),
        pytest.param(Case("worker_pool", keeping_gil(INLINE_NS + 1)), id="more of the GIL"),
        pytest.param(Case("threads", lasting(KILLABLE_NS + 1), may_wait=True), id="stored arrays"),
        pytest.param(Case("worker_pool", compiled), id="compiled"),
        pytest.param(Case("worker_pool", compiled, may_wait=True), id="compiled, stored arrays"),
        pytest.param(Case("device_processes", on(GPU), may_wait=True), id="GPU"),
        pytest.param(Case("cluster_threads", on(CLUSTER)), id="cluster"),
    ],
)
def test_the_plan_chooses_the_executor(service: Service, plan: Plan, case: Case) -> None:
    """Devices come first, then what has to be killable, holds the GIL or is compiled."""
    service.worker_pool = WORKERS
    service.device_processes = {"cuda:0": DEVICE_PROCESS}
    changed = case.change(plan)
    found = planned_executor(service, changed, may_wait=case.may_wait)
    of_device = case.executor == "device_processes"
    assert found is (DEVICE_PROCESS if of_device else getattr(service, case.executor))


def test_without_workers_threads_compute(service: Service, plan: Plan) -> None:
    """A registry that workers cannot import stays in the server."""
    long = replace(plan, estimated_ns=KILLABLE_NS + 1)
    for each in (long, compiled(plan)):
        assert planned_executor(service, each, may_wait=False) is service.threads


def test_planning_state(service: Service) -> None:
    """A worker gets the costs of devices with processes, and those that are absent."""
    model = service.engine.planner.cost_model
    model.update(curves_of(GPU))
    service.device_processes = {"cuda:0": DEVICE_PROCESS}
    service.engine.planner.devices.readiness.lose("cuda:0", "it died", 3)
    call = with_planning_state(MESSAGE, service)
    assert {row[2] for row in call.curves} == {"cuda:0"}
    assert len(call.curves) == len(curves_of(GPU))
    assert call.absences == {"cuda:0": ("it died", 3)}
    service.device_processes = {}
    assert with_planning_state(MESSAGE, service).curves == []


async def test_a_body_that_inflates_to_too_much_is_followed_by_a_trim(
    service: Service, trims: list[None]
) -> None:
    """It is short itself, and leaves as much memory behind as a body may have."""
    service = replace(service, context=replace(service.context, max_body_bytes=1000))
    coded = {b"content-encoding": b"gzip"}
    for size, expected in ((1000, 0), (1001, 1)):
        endpoint = OperationEndpoint(service, service.engine.registry["matmul"])
        request = endpoint.negotiate(coded).begin("mine")
        request.start(gzip.compress(BODY.ljust(size)), b"")
        with suppress(BodyTooLargeError):
            await module.dispatch(request)
        assert len(trims) == expected


@pytest.fixture
def elsewhere(service: Service) -> tuple[LocalPool, LocalProcess]:
    """Worker processes, and the process of a GPU, which computes on the CPU."""
    curves = [*service.engine.planner.cost_model.to_rows(), *curves_of(GPU)]
    settings = service.settings.model_dump(mode="json")
    row = asdict(replace(GPU, has_process=False, torch_device="cpu"))
    workers = LocalPool(worker.make(settings, curves, gpus=[asdict(GPU)]))
    process: Any = LocalProcess(device_worker.make(settings, curves, row))
    service.worker_pool = workers
    service.device_processes = {"cuda:0": process}
    service.context = replace(service.context, max_slow_bytes=2**20)
    return workers, process


async def answer_to(request: OperationRequest, body: bytes) -> dict[str, Any]:
    """Return the answer to a call that need not be short."""
    response = request.respond(bytearray(body), b"")
    assert not isinstance(response, HttpResponse)
    answer: dict[str, Any] = json.loads(b"".join((await response).chunks))
    return answer


@pytest.mark.parametrize("may_wait", [False, True])
async def test_long_plain_text_is_read_in_the_server(
    elsewhere: tuple[LocalPool, LocalProcess], product: OperationRequest, may_wait: bool
) -> None:
    """No worker gets it for its length, nor any text of a call that may wait for a disk."""
    workers, _ = elsewhere
    if may_wait:
        product.service.context = replace(product.service.context, arrays=ANY)
    body = b'{"ref": 0, ' * may_wait + (SLOW[1:] if may_wait else BODY) + PADDING
    coming = product.respond(bytearray(body), b"")
    assert not isinstance(coming, HttpResponse)
    assert product.may_wait == may_wait
    if may_wait:
        with pytest.raises(UnknownFieldError, match="ref"):
            await coming
    else:
        assert json.loads(b"".join((await coming).chunks))["timing"]["executor"] == "thread"
    assert (product.is_slow_text, workers.messages) == (False, [])


async def test_a_worker_gets_long_slow_text_as_it_came(
    elsewhere: tuple[LocalPool, LocalProcess], product: OperationRequest
) -> None:
    """The worker plans; strategy and stopwatch of the request are those of the worker."""
    workers, _ = elsewhere
    body = SLOW[:-1] + b', "strategy": "dot", "device": "cpu"}' + PADDING
    answer = await answer_to(product, body)
    assert (answer["strategy"], answer["timing"]["executor"]) == ("dot", "process")
    (message,) = workers.messages
    assert (message.admitted, workers.limits[0][0]) == (None, None)
    assert (product.strategy, product.executor) == ("dot", "process")
    assert sum(product.watch.phases) > 0


async def test_a_worker_gets_an_admitted_plan(
    elsewhere: tuple[LocalPool, LocalProcess], product: OperationRequest
) -> None:
    """A call planned here runs there by the same strategy, with the rest of its deadline."""
    workers, _ = elsewhere
    side = [[1.0] * 24] * 24
    fields = {"a": side, "b": side, "strategy": "loops", "deadline_ms": 9000}
    answer = await answer_to(product, json.dumps(fields).encode())
    assert answer["strategy"] == "loops"
    (message,), ((estimated_ns, deadline_ms),) = workers.messages, workers.limits
    assert message.admitted == Admitted("loops", "cpu", product.plan.estimated_ns)
    assert estimated_ns == product.plan.estimated_ns + product.encode_ns
    assert 8000 < deadline_ms <= 9000
    assert message.curves == []


@pytest.mark.parametrize(("stated", "least"), [(b', "deadline_ms": 9000', 8000), (b"", 29_000)])
async def test_a_worker_passes_a_call_on(
    elsewhere: tuple[LocalPool, LocalProcess],
    product: OperationRequest,
    stated: bytes,
    least: int,
) -> None:
    """A plan for a GPU is admitted by the worker, and the process of the GPU gets the body."""
    workers, process = elsewhere
    body = SLOW[:-1] + stated + b', "device": "cuda"}' + PADDING
    answer = await answer_to(product, body)
    assert (answer["device"], answer["result"]["data"]) == ("cuda:0", [[19.0, 22.0], [43.0, 50.0]])
    (first,), (second,) = workers.messages, process.messages
    assert {row[2] for row in first.curves} == {"cuda:0"}
    assert second.admitted is not None
    assert (second.admitted.device, second.curves, second.absences) == ("cuda:0", [], {})
    ((estimated_ns, deadline_ms),) = process.limits
    assert estimated_ns == second.admitted.estimated_ns
    assert least < deadline_ms <= least + 1000


@pytest.fixture(params=[("loops", "process"), ("torch", "thread")], ids=lambda each: each[1])
async def long_answer(
    request: pytest.FixtureRequest,
    elsewhere: tuple[LocalPool, LocalProcess],
    product: OperationRequest,
) -> Callable[[int], Awaitable[None]]:
    """A function that has an executor write a result with so many rows and columns."""
    assert elsewhere
    strategy, executor = request.param

    async def respond(side: int) -> None:
        fields = {"a": [[1.0]] * side, "b": [[1.0] * side], "strategy": strategy, "device": "cpu"}
        answer = await answer_to(product, json.dumps(fields).encode() + PADDING)
        assert answer["timing"]["executor"] == executor

    return respond


@pytest.mark.parametrize(("side", "count"), [(100, 0), (300, 1)])
async def test_large_answers_are_followed_by_a_trim(
    long_answer: Callable[[int], Awaitable[None]],
    trims: list[None],
    monkeypatch: pytest.MonkeyPatch,
    side: int,
    count: int,
) -> None:
    """Their memory is returned to the system, too, whichever executor wrote them."""
    monkeypatch.setattr(module, "TRIM_BYTES", 200_000)
    await long_answer(side)
    assert len(trims) == count


@pytest.mark.parametrize(("strategy", "executor"), [("torch", "thread"), ("loops", "process")])
@pytest.mark.usefixtures("elsewhere")
async def test_text_that_has_been_read_does_not_wait_for_a_thread(
    service: Service, strategy: str, executor: str
) -> None:
    """The call has its tensors; a worker process gets the text as it came."""
    body = bytearray(b'{"strategy": "%b", ' % strategy.encode() + BODY[1:] + b" " * STREAMED_BYTES)
    op = service.engine.registry["matmul"]
    request = OperationEndpoint(service, op).negotiate({}).begin("mine", len(body))
    assert request.reading is not None
    request.buffer[:] = body
    ends = Event()
    slots = range(service.settings.slots)
    busy = [service.threads.submit(ends.wait, deadline_ms=9000) for _ in slots]
    assert service.threads.is_busy
    with pytest.MonkeyPatch.context() as patch:
        if strategy == "loops":  # as if it took long
            patch.setattr(module, "INLINE_NS", -1)
        coming = request.respond(request.buffer, b"")
        assert not isinstance(coming, HttpResponse)
        answering = asyncio.ensure_future(coming)
        for _ in range(1000):
            if request.is_prepared and not service.reading_threads.active_calls:
                break
            await asyncio.sleep(0.01)
        assert bool(request.body) == (executor == "process")
        ends.set()
        response = await answering
    await asyncio.gather(*busy)
    answer = json.loads(b"".join(response.chunks))
    assert answer["result"]["data"] == [[19.0, 22.0], [43.0, 50.0]]
    assert (answer["strategy"], answer["timing"]["executor"]) == (strategy, executor)
    request.release()
