"""Slices of races: what a race process asks, what a device process answers, and what ends rows."""

from base64 import b64decode
from dataclasses import asdict, replace

import numpy as np
import orjson
import pytest
import torch
from safetensors.torch import save

from service.compare.bench import LocalBench, Runs, SkippedError, Stop
from service.compare.chains import estimate_chain
from service.compare.reference import Reference, reference_of
from service.core.arithmetic import Arithmetic
from service.core.call import Call, Tensor
from service.core.timing import Stopwatch
from service.engine import Engine, free_memory_error
from service.executors import Channel
from service.operations import REGISTRY
from service.pipeline.device_worker import DeviceRequestHandler, make
from service.pipeline.messages import WorkerRequest
from service.pipeline.race_slices import SLICE, SLICE_NS, UNKNOWN, ProcessBench, Slice
from service.planning.cost_model import CostModel
from service.planning.plan import Plan
from service.settings import Settings
from tests.rigs.device_processes import GPU, curves_of

BODY = b'{"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}'
OPERANDS = (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, 6.0], [7.0, 8.0]]))
MESSAGE = WorkerRequest("matmul", (None,) * 4, "", "mine", Stopwatch.start().marks, streams=False)


class Server:
    """A server that passes slices on to the handler of a device process, and counts bodies."""

    def __init__(self, handler: DeviceRequestHandler):
        """Begin without a question."""
        self.handler = handler
        self.asked: list[Slice] = []
        self.bodies = 0
        self.answer: bytes | None = None  # instead of that of the device process

    def ask(self, question: bytes) -> bytearray:
        """Answer as `run_slice` does."""
        part = Slice.from_json(question)
        self.asked.append(part)
        if self.answer is not None:
            return bytearray(self.answer)
        channel = Channel(print, print, bytearray)
        answer = self.handler.answer(SLICE + question, b"", channel).head
        if answer == UNKNOWN:
            self.bodies += 1
            part = replace(part, request=MESSAGE.to_json().decode())
            answer = self.handler.answer(SLICE + part.to_json(), bytearray(BODY), channel).head
        return bytearray(answer)


@pytest.fixture
def server(cost_model: CostModel) -> Server:
    """A server of a device process that computes on the CPU."""
    row = asdict(replace(GPU, has_process=False, torch_device="cpu"))
    known = [*cost_model.to_rows(), *curves_of(GPU)]
    made = make(settings=Settings().model_dump(mode="json"), curves=known, device=row)
    assert isinstance(made, DeviceRequestHandler)
    return Server(made)


@pytest.fixture
def bench(server: Server) -> ProcessBench:
    """A bench of it."""
    return ProcessBench(server.ask, "1", GPU)


@pytest.fixture
def plan(server: Server) -> Plan:
    """The plan of a product on the device."""
    engine: Engine = server.handler._engine
    call = Call("matmul", OPERANDS, {}, strategy="torch", device="cuda:0")
    return engine.plan(call)


@pytest.fixture
def reference(plan: Plan) -> Reference:
    """The reference of the product."""
    return reference_of(REGISTRY["matmul"], plan.inferred, {}, OPERANDS)


def never() -> bool:
    """Go on."""
    return False


def test_a_strategy(server: Server, bench: ProcessBench, plan: Plan, reference: Reference) -> None:
    """The body is sent once, and times, copies and the result come back."""
    assert bench.warm_up(plan) == 0
    runs = bench.run(plan, 3, 10**9, never)
    assert len(runs.times_ns) == 3
    assert min(runs.upload_ns, runs.download_ns) > 0
    assert bench.results([reference])[0].tolist() == [[19.0, 22.0], [43.0, 50.0]]
    assert [part.act for part in server.asked] == ["warm_up", "run", "results"]
    assert server.bodies == 1


def test_operands_stay(server: Server) -> None:
    """The body of the race is in memory that the next request takes."""
    part = Slice("1", "cuda:0", "torch", "run", 1000, most=1)
    headers = ("application/x-safetensors", None, None, None)
    message = replace(MESSAGE, headers=headers).to_json().decode()
    body = bytearray(save({"a": OPERANDS[0], "b": OPERANDS[1]}))
    channel = Channel(print, print, bytearray)
    head = SLICE + replace(part, request=message).to_json()
    assert orjson.loads(server.handler.answer(head, body, channel).head)["times_ns"]
    body[:] = bytes(len(body))
    server.handler.answer(SLICE + part.to_json(), b"", channel)
    head = SLICE + replace(part, act="results", grids=((None, None),)).to_json()
    (found,) = orjson.loads(server.handler.answer(head, b"", channel).head)["results"]
    assert np.frombuffer(b64decode(found["b64"]), np.float32).tolist() == [19.0, 22.0, 43.0, 50.0]


def test_a_chain(server: Server) -> None:
    """All its results are sent, in the shapes that they have."""
    product = {"name": "y", "operation": "matmul", "a": {"operand": 0}, "b": {"operand": 1}}
    length = {"name": "z", "operation": "norm", "x": {"step": "y"}, "dim": 1}
    fields = {"operands": [x.tolist() for x in OPERANDS], "steps": [product, length]}
    body = orjson.dumps({**fields, "results": ["z", "y"]})
    message = replace(MESSAGE, op="chain")
    call = server.handler._worker.decode(message, body)
    plan = estimate_chain(
        server.handler._engine.planner, call, "torch", server.handler._device
    ).plan
    assert plan is not None
    assert plan.result_shapes == ((2,), (2, 2))
    lengths, products = plan.run(OPERANDS)
    assert products.tolist() == [[19.0, 22.0], [43.0, 50.0]]
    assert torch.equal(lengths, products.norm(dim=1))


def test_a_precision(server: Server, bench: ProcessBench, plan: Plan) -> None:
    """It is asked for with each slice, and has a plan of its own in the device process."""
    for asked in (None, "ieee"):
        arithmetic = None if asked is None else Arithmetic(asked)
        bench.run(replace(plan, arithmetic=arithmetic), 1, 0, never)
        assert server.asked[-1].precision == asked
    plans = server.handler._slices._plans
    assert [each.arithmetic for each in plans.values()] == [None, Arithmetic("ieee")]


def test_a_slice_is_short(server: Server, bench: ProcessBench, plan: Plan) -> None:
    """As many runs as are planned for its time, at least one, and no longer than that or enough."""
    for estimated_ns, most, enough_ns, expected in (
        (1000, 5, 10**9, (5, SLICE_NS)),
        (SLICE_NS // 2, 5, 10**9, (2, SLICE_NS)),
        (SLICE_NS * 3, 5, 10**9, (1, SLICE_NS)),
        (0, 5, 7, (5, 7)),
    ):
        bench.run(replace(plan, estimated_ns=estimated_ns), most, enough_ns, never)
        part = server.asked[-1]
        assert (part.most, part.enough_ns) == expected
        assert part.estimated_ns == part.most * estimated_ns


def test_a_part_of_a_result(
    server: Server, bench: ProcessBench, plan: Plan, reference: Reference
) -> None:
    """Only what is checked is sent: whole axes, and some indices of others."""
    bench.run(plan, 1, 0, never)
    (rows, columns) = reference.grid
    some = replace(reference, grid=(rows[1:], columns))
    assert bench.results([some])[0].tolist() == [[43.0, 50.0]]
    assert server.asked[-1].grids == [[[1], None]]


def test_a_process_that_has_let_go_of_a_race(
    server: Server, bench: ProcessBench, plan: Plan, reference: Reference
) -> None:
    """It gets the body again, and runs once more for a result that it does not have."""
    bench.run(plan, 1, 0, never)
    server.handler.trim_memory()
    server.handler.trim_memory()
    assert bench.results([reference])[0].tolist() == [[19.0, 22.0], [43.0, 50.0]]
    assert server.bodies == 2
    other = ProcessBench(server.ask, "2", GPU)
    other.run(plan, 1, 0, never)
    assert server.bodies == 3


def test_results_are_those_of_the_strategy(
    server: Server,
    bench: ProcessBench,
    plan: Plan,
    reference: Reference,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bench has the results of one strategy, and another one is run again."""
    ran: list[str] = []
    run = LocalBench.run

    def noted(self: LocalBench, plan: Plan, most: int, enough_ns: int, stop: Stop) -> Runs:
        ran.append(plan.strategy.name)
        return run(self, plan, most, enough_ns, stop)

    monkeypatch.setattr(LocalBench, "run", noted)
    other = replace(plan, strategy=REGISTRY["matmul"].strategies["einsum"])
    bench.run(plan, 1, 0, never)
    for each in (other, plan, plan):
        bench._plan = each
        bench.results([reference])
    assert ran == ["torch", "einsum", "torch"]


def test_what_ends_a_strategy(server: Server, bench: ProcessBench, plan: Plan) -> None:
    """An error of the device ends it, and no other one."""
    numpy = replace(plan, strategy=REGISTRY["matmul"].strategies["numpy"])
    with pytest.raises(SkippedError, match="does not run on cuda"):
        bench.warm_up(numpy)
    server.answer = orjson.dumps({"skipped": "no memory", "is_lost": False})
    with pytest.raises(SkippedError, match="no memory"):
        bench.run(plan, 1, 0, never)
    server.answer = None
    bench.run(plan, 1, 0, never)


def test_a_body_that_cannot_be_read(server: Server) -> None:
    """A stored array may have changed since: it ends the strategy with the reason."""
    part = Slice("1", "cuda:0", "torch", "run", 1000, request=MESSAGE.to_json().decode())
    channel = Channel(print, print, bytearray)
    answer = server.handler.answer(SLICE + part.to_json(), bytearray(b"{}"), channel)
    found = orjson.loads(answer.head)
    assert "needs" in found["skipped"]


def test_a_lost_device(server: Server, bench: ProcessBench, plan: Plan) -> None:
    """It is asked for no more: all of its strategies end."""
    server.answer = orjson.dumps({"skipped": "it died", "is_lost": True})
    for _ in range(2):
        with pytest.raises(SkippedError, match="it died"):
            bench.run(plan, 1, 0, never)
    assert len(server.asked) == 1


def test_memory_that_runs_out_on_the_device(
    server: Server, bench: ProcessBench, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the strategy with the reason; any other error is a fault of the process."""
    bench.warm_up(plan)

    def fail(*_: object) -> Tensor:
        raise error

    monkeypatch.setattr("service.compare.bench.LocalBench._timed", fail)
    error: Exception = RuntimeError("CUDA error: out of memory")
    with pytest.raises(SkippedError) as caught:
        bench.run(plan, 1, 0, never)
    assert str(caught.value) == free_memory_error(plan, error).detail
    error = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        bench.run(plan, 1, 0, never)
