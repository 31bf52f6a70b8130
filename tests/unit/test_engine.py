"""Running a planned call: its phases, the outcome, kept plans, and running out of memory."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from math import inf
from types import SimpleNamespace
from typing import Any, Final
from weakref import ref

import pytest
import torch

from service import engine as module
from service.codecs import DecodeContext
from service.codecs.json.codec import JsonCodec
from service.core.arithmetic import Arithmetic
from service.core.call import Call, Spec, Tensor
from service.core.devices import Device, Devices, host_devices
from service.core.dtypes import DTYPES, FLOATS, INTEGERS
from service.core.timing import COMPILE, COMPUTE, DECODE, DOWNLOAD, PHASES, UPLOAD, Stopwatch
from service.engine import (
    MAX_PLANS,
    Engine,
    completed,
    free_memory_error,
    move,
)
from service.errors import (
    DeviceFailedError,
    IntegerOverflowError,
    LimitExceededError,
    OutOfMemoryError,
    UnsuitableStrategyError,
)
from service.operations import REGISTRY
from service.operations.recheck import Review, review
from service.planning.calibration import MAX_SAMPLE_NS
from service.planning.cost_model import CostModel, Curve
from service.planning.limits import Limits
from service.planning.plan import plans_at_once
from service.planning.planner import Planner
from service.registry import Inferred, Op, Registry, Sample, Work, parse_params
from tests.rigs.costs import cost_rows

CPU = Device("cpu", "cpu", "", None)
DEFAULTS: Final[dict[str, object]] = {"ord": None, "dim": None, "keepdim": False, "kind": "auto"}
# The norm of numbers whose squares are beyond float32.
OVERFLOW: Final = Call("norm", (torch.tensor([1e20, 1e20]),), DEFAULTS)
LIMITS = Limits(max_elements=1000, max_bytes=10_000, max_rank=4, deadline_ms=60_000)


def engine(registry: Registry = REGISTRY, devices: tuple[Device, ...] = (CPU,)) -> Engine:
    """Return an engine that measures so long a time for each sample that it runs only one."""
    ticks = count(0, MAX_SAMPLE_NS + 1)
    planner = Planner(Devices(devices), CostModel(), LIMITS)
    return Engine(registry, planner, clock=lambda: next(ticks))


def run(engine: Engine, call: Call) -> Any:
    """Plan and run a call."""
    return engine.run(call, engine.plan(call), Stopwatch.start())


def matmul(*operands: Tensor, **more: Any) -> Call:
    """Return the call of a product."""
    return Call("matmul", operands, {}, **more)


def test_outcome() -> None:
    """The outcome has the result, and how it was computed; on a CPU nothing is moved."""
    call = matmul(torch.eye(2), torch.ones(2, 1), strategy="dot", warnings=("digits lost",))
    watch = Stopwatch.start()
    here = engine()
    outcome = here.run(call, here.plan(call), watch)
    assert outcome.result.tolist() == [[1.0], [1.0]]
    assert (outcome.op, outcome.strategy, outcome.device) == ("matmul", "dot", "cpu")
    assert outcome.threads == torch.get_num_threads()
    assert outcome.warnings == ("digits lost",)
    assert outcome.explanation is None
    phases = dict(zip(PHASES, watch.sum_up(), strict=True))
    assert min(phases.pop("decode"), phases.pop("compute")) > 0
    assert phases == dict.fromkeys(("queue", "upload", "compile", "download", "encode"), 0)


@pytest.mark.parametrize(
    ("op", "size", "params", "is_checked"),
    [
        pytest.param("matmul", 2, {}, False, id="tiny"),
        pytest.param("matmul", 20, {}, False, id="larger"),
        pytest.param("einsum", 2, {"equation": "ij,jk"}, False, id="a product"),
        pytest.param("einsum", 2, {"equation": "ij,jk,kl"}, True, id="three operands"),
        pytest.param("norm", 2, {}, True, id="squares, which may underflow"),
    ],
)
def test_moderate_operands_need_no_check(
    monkeypatch: pytest.MonkeyPatch, op: str, size: int, params: dict[str, str], is_checked: bool
) -> None:
    """Sums of products of two are finite then; other results, and other operands, are checked."""
    seen: list[object] = []

    def see(*found: object) -> bytes:
        seen.append(found[-1])
        return b""

    monkeypatch.setattr(module, "is_suspect", see)
    monkeypatch.setattr(module, "orjson", SimpleNamespace(dumps=see))
    count = params.get("equation", "," * (op == "matmul")).count(",") + 1
    x = torch.ones(size, size)
    raw = parse_params(REGISTRY[op].params, params)
    for is_moderate in (True, False):
        seen.clear()
        run(engine(), Call(op, (x,) * count, raw, is_moderate=is_moderate))
        assert len(seen) == (is_checked or not is_moderate)


@pytest.mark.parametrize("padding", [b"", b" " * 3000, b" " * 2_000_000], ids=len)
def test_large_numbers_are_checked_however_they_are_read(padding: bytes) -> None:
    """Only a small body of moderate numbers has them; other readers take numbers of any size."""
    text = b'{"equation": "ii->", "operands": [[[%s,0],[0,%s]]], "dtype": "float64"}'
    context = DecodeContext(max_elements=1000, dtype=DTYPES["float64"], max_deadline_ms=1000)
    for number, is_moderate in ((b"1.7e308", False), (b"1.5", not padding)):
        body = text % (number, number) + padding
        call = JsonCodec().decode(body, REGISTRY["einsum"], context)
        assert call.is_moderate == is_moderate


def test_explanation() -> None:
    """A broadcast explains how its operands align."""
    params = {"op": "add", "views": None, "to": None}
    call = Call("broadcast", (torch.ones(2, 3), torch.ones(3)), params)
    explanation = run(engine(), call).explanation
    assert explanation["shape"] == [2, 3]


def test_warm() -> None:
    """The first run of a strategy, for a dtype and a precision, is not warm."""
    here = engine()
    single, double = torch.eye(2), torch.eye(2, dtype=torch.float64)
    first = [run(here, matmul(x, x)).warm for x in (single, double)]
    assert first == [False, False]
    again = [run(here, matmul(x, x)).warm for x in (single, double)]
    assert again == [True, True]
    assert not run(here, matmul(single, single, strategy="numpy")).warm
    asked = [Arithmetic(each) for each in ("ieee", "tf32", "tf32")]
    plan = here.plan(matmul(single, single))
    plans = [completed(replace(plan, arithmetic=each)) for each in asked]
    assert [here.is_warm(each) for each in plans] == [True, False, True]


def test_plan_of_operand_specs() -> None:
    """A plan needs shapes, no data; it is refused as the call would be."""
    here = engine()
    operand_specs = (Spec((2, 3), torch.float32), Spec((3, 300), torch.float32))
    spec = here.call_spec(Call("matmul", (), {}, operand_specs=operand_specs))
    assert here.planner.plan(spec).inferred.shape == (2, 300)
    larger = (Spec((4, 3), torch.float32), operand_specs[1])
    with pytest.raises(LimitExceededError):
        here.planner.plan(here.call_spec(Call("matmul", (), {}, operand_specs=larger)))


def test_plans_are_kept() -> None:
    """A call like another has its plan; one that differs in any field has its own."""
    here = engine()
    x, params = torch.ones(2, 2), {"equation": "ij,jk->ik", "optimize": "auto"}

    def call(**more: Any) -> Call:
        return replace(Call("einsum", (x, x), params), **more)

    plan = here.plan(call())
    assert here.prepare(call(operands=(x + 1, x), output="none", warnings=("a",))) is plan
    others = (
        call(operands=(torch.ones(3, 2), x)),
        call(params=params | {"equation": "ij,jk->ki"}),
        call(params=params | {"optimize": ((0, 1),)}),
        call(strategy="torch"),
        call(device="cpu"),
        call(deadline_ms=1000),
    )
    plans = [here.prepare(other) for other in others]
    assert None not in plans
    assert len({id(each) for each in (plan, *plans)}) == 1 + len(others)
    assert all(here.prepare(other) is each for other, each in zip(others, plans, strict=True))
    assert here.prepare(call()) is plan
    here.learn(cost_rows(CPU, Curve(0.0, (0.0,), (1.0,))))
    assert here.prepare(call()) is not plan, "what is learned may change it"


def test_as_many_plans_as_there_is_room_for() -> None:
    """Plans that are kept do not fill the memory."""
    here = engine()
    x = torch.ones(1, 1)
    plans = [here.plan(matmul(x, x, deadline_ms=ms + 1)) for ms in range(MAX_PLANS)]
    assert here.prepare(matmul(x, x, deadline_ms=1)) is plans[0]
    last = here.plan(matmul(x, x, deadline_ms=MAX_PLANS + 1))
    assert here.prepare(matmul(x, x, deadline_ms=1)) is not plans[0]
    assert here.prepare(matmul(x, x, deadline_ms=MAX_PLANS + 1)) is last
    assert len(here._plans) == 2


def test_refusals_are_not_kept() -> None:
    """A call that was refused has no plan, and is refused again."""
    here = engine()
    call = matmul(torch.ones(4, 3), torch.ones(3, 300))
    with pytest.raises(LimitExceededError):
        here.plan(call)
    assert not here._plans
    with pytest.raises(LimitExceededError):
        here.prepare(call)


def test_proof_comes_first() -> None:
    """Integers that would overflow are refused before anything is computed."""
    a = torch.full((1, 2), 100, dtype=torch.int8)
    with pytest.raises(IntegerOverflowError):
        run(engine(), matmul(a, a.T))


def failing(fail: Callable[[], object]) -> Engine:
    """Return an engine whose one operation fails on two numbers and more."""
    op: Op[Inferred] = Op(
        name="fail",
        summary="Fails.",
        operands=("x",),
        params=(),
        infer=lambda specs: Inferred(
            specs=specs, shape=specs[0].shape, dtype=specs[0].dtype, multiply_adds=1
        ),
        check_overflow=lambda inferred, operands: None,
        auto=("fail",),
        samples=(),
        error_samples=(),
        calibration_samples=(Sample("one", ((1,),)),),
    )

    def compute(x: Tensor) -> Tensor:
        """Fails."""
        if x.numel() > 1:
            fail()
        return x

    def adapt(compute: Any, inferred: Inferred, operands: Sequence[Tensor]) -> Tensor:
        result: Tensor = compute(*operands)
        return result

    for name, dtypes in (("fail", FLOATS), ("integers", INTEGERS)):
        op.strategy(name, adapt=adapt, work=lambda _: Work(1, 1), dtypes=dtypes)(compute)
    return engine(Registry(op))


def _raise(error: Exception) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    "fail",
    [
        pytest.param(_raise(MemoryError()), id="Python"),
        pytest.param(_raise(torch.OutOfMemoryError("CUDA out of memory")), id="a device"),
        pytest.param(_raise(RuntimeError("CUDA error: out of memory")), id="CUDA itself"),
        pytest.param(
            _raise(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when ...")), id="its BLAS"
        ),
        pytest.param(lambda: torch.empty(2**50), id="the host"),
    ],
)
def test_out_of_memory(fail: Callable[[], object]) -> None:
    """When memory runs out, the call is refused for now, and the next one is served."""
    here = failing(fail)
    with pytest.raises(OutOfMemoryError) as caught:
        run(here, Call("fail", (torch.ones(2),), {}))
    assert caught.value.detail == "cpu has not enough memory for fail by 'fail'"
    assert caught.value.__cause__ is not None
    assert not run(here, Call("fail", (torch.ones(1),), {})).warm


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "cuda:0"),
        (RuntimeError("CUDA error: out of memory"), "cuda:0"),
        (RuntimeError("[...] DefaultCPUAllocator: can't allocate memory"), "this host"),
        (MemoryError(), "this host"),
    ],
)
def test_whose_memory_has_run_out(error: Exception, name: str) -> None:
    """It may be that of the host, where operands come from and results go to."""
    plan = engine().plan(Call("matmul", (torch.ones(2, 2),) * 2, {}, strategy="torch"))
    there = replace(plan, device=replace(CPU, name="cuda:0", kind="cuda"))
    expected = f"{name} has not enough memory for matmul by 'torch'"
    assert free_memory_error(there, error).detail == expected


def test_memory_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing holds what the call has taken when the memory of the device is freed.

    The error does, by the frames of its traceback.
    """
    taken: list[ref[Tensor]] = []
    freed: list[bool] = []

    def fail() -> None:
        part = torch.ones(1000)
        taken.append(ref(part))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(taken[0]() is None))
    with pytest.raises(OutOfMemoryError):
        run(failing(fail), Call("fail", (torch.ones(2),), {}))
    assert freed == [True]


def test_other_errors_are_ours() -> None:
    """An error of another kind is no refusal."""
    with pytest.raises(RuntimeError, match="a bug") as caught:
        run(failing(_raise(RuntimeError("a bug"))), Call("fail", (torch.ones(2),), {}))
    assert caught.value.__cause__ is None
    with pytest.raises(ZeroDivisionError):
        run(failing(_raise(ZeroDivisionError())), Call("fail", (torch.ones(2),), {}))


def test_warm_up() -> None:
    """Warming up measures every strategy that takes float32 and is not compiled, once."""
    here = engine()
    assert (REGISTRY["norm"], torch.float32, CPU) in here.unmeasured()
    here.warm_up()
    model = here.planner.cost_model
    assert model.measured() == {
        (op.name, strategy.name, "cpu", torch.float32)
        for op in REGISTRY.values()
        for strategy in op.strategies.values()
        if strategy.dtypes and strategy.compile is None
    }
    left = here.unmeasured()
    assert (REGISTRY["norm"], torch.float64, CPU) in left
    assert (REGISTRY["broadcast"], torch.bool, CPU) in left
    assert (REGISTRY["norm"], torch.bool, CPU) not in left, "no strategy takes it"
    assert torch.float32 not in {dtype for _, dtype, _ in left}, "what is compiled is not measured"
    rows = model.to_rows()
    here.warm_up()
    assert model.to_rows() == rows


def test_what_other_processes_have_measured() -> None:
    """It is not measured again."""
    here, there = engine(), engine()
    there.measure(REGISTRY["norm"], torch.float64, CPU)
    here.learn(there.planner.cost_model.to_rows())
    assert (REGISTRY["norm"], torch.float64, CPU) not in here.unmeasured()


def test_a_device_of_another_process() -> None:
    """It is not measured here, and neither is a cluster."""
    elsewhere = replace(CPU, name="cuda:0", kind="cuda", has_process=True)
    here = engine(devices=(elsewhere,))
    here.warm_up()
    assert here.planner.cost_model.measured() == set()
    assert {device for _, _, device in here.unmeasured()} == {elsewhere}
    cluster: Any = object()
    assert engine(devices=(replace(CPU, cluster=cluster),)).unmeasured() == []


def test_warm_up_in_float32() -> None:
    """A strategy that does not take float32 is left to later."""
    here = failing(_raise(RuntimeError("a sample is small")))
    here.warm_up()
    assert {key[1] for key in here.planner.cost_model.measured()} == {"fail"}
    here.measure(here.registry["fail"], torch.int8, CPU)
    assert {key[1] for key in here.planner.cost_model.measured()} == {"fail", "integers"}


def compiling(compiled: list[Inferred]) -> Engine:
    """Return an engine whose one operation has a strategy that is compiled."""
    here = failing(lambda: None)
    op = here.registry["fail"]
    strategy = op.strategies["fail"]

    def compile_first(inferred: Inferred, operands: Sequence[Tensor]) -> bool:
        compiled.append(inferred)
        return len(compiled) == 1

    op.strategy(
        "compiled",
        adapt=strategy.adapt,
        work=strategy.work,
        dtypes=FLOATS,
        cuda=FLOATS,
        compile=compile_first,
    )(strategy.compute)
    return here


@pytest.mark.parametrize(
    ("kind", "phases"),
    [
        ("cpu", [DECODE, DECODE, COMPILE, COMPUTE]),
        ("cuda", [DECODE, DECODE, UPLOAD, COMPILE, COMPUTE, DOWNLOAD]),
    ],
)
def test_compiling_is_a_phase(kind: str, phases: list[int]) -> None:
    """A strategy is compiled before it computes, and only that is the phase."""
    compiled: list[Inferred] = []
    here = compiling(compiled)
    devices = Devices((replace(CPU, name=kind, kind=kind),))
    here = replace(here, planner=replace(here.planner, devices=devices))
    call, watch = Call("fail", (torch.ones(2),), {}, strategy="compiled"), Stopwatch.start()
    plan = here.plan(call)
    assert plan.is_elsewhere
    assert here.run(call, plan, watch).result.tolist() == [1, 1]
    assert [phase for phase, _ in watch.marks] == phases
    assert compiled[0] is plan.inferred
    again = Stopwatch.start()
    here.run(call, plan, again)
    assert [phase for phase, _ in again.marks] == [each for each in phases if each != COMPILE]


def test_what_is_compiled_is_measured_on_a_gpu_alone() -> None:
    """Nothing is compiled for a CPU before a call asks for it; kernels are when they may be."""
    compiled: list[Inferred] = []
    here = compiling(compiled)
    here.warm_up()
    op = here.registry["fail"]
    here.measure(op, torch.float32, CPU)
    assert not compiled
    assert (op, torch.float32, CPU) not in here.unmeasured()
    gpu = replace(CPU, name="cuda:0", kind="cuda")
    there = replace(here, planner=replace(here.planner, devices=Devices((gpu,))))
    there.measure(op, torch.float32, gpu, compiles=False)
    assert not compiled
    assert (op, torch.float32, gpu) in there.unmeasured()
    there.measure(op, torch.float32, gpu)
    assert compiled
    assert (op, torch.float32, gpu) not in there.unmeasured()


def fail_to_adapt(compute: Any, inferred: Inferred, operands: Sequence[Tensor]) -> Tensor:
    """Fail, as a strategy with a bug does."""
    raise RuntimeError("a bug")


def test_a_compiler_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """The strategy has no measurements and the log a line; all others are measured."""
    here = compiling([])
    op = here.registry["fail"]

    def fail(inferred: Inferred, operands: Sequence[Tensor]) -> bool:
        raise OSError("no space left")

    broken = replace(op.strategies["compiled"], compile=fail)
    able = replace(op.strategies["fail"], cuda=FLOATS)
    strategies = {"broken": replace(broken, name="broken"), "fail": able}
    op = replace(op, _strategies=strategies)
    gpu = replace(CPU, name="cuda:0", kind="cuda")
    here.measure(op, torch.float32, gpu)
    assert here.planner.cost_model.failures == {("fail", "broken", "cuda:0", torch.float32)}
    (line,) = caplog.messages
    assert line == "fail by broken is not measured on cuda:0: OSError('no space left')"
    plain = {"broken": replace(broken, name="broken", compile=None, adapt=fail_to_adapt)}
    with pytest.raises(RuntimeError, match="a bug"):
        compiling([]).measure(replace(op, _strategies=plain), torch.float32, gpu)


def exhausted(inferred: Inferred, operands: Sequence[Tensor]) -> bool:
    """Find no memory to compile in."""
    raise MemoryError


def test_a_compiler_without_memory() -> None:
    """The strategy may be measured another time."""
    here = compiling([])
    op = here.registry["fail"]
    op = replace(op, _strategies={"c": replace(op.strategies["compiled"], compile=exhausted)})
    here.measure(op, torch.float32, replace(CPU, name="cuda:0", kind="cuda"))
    assert not here.planner.cost_model.measured()


def test_a_call_that_cannot_be_compiled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The strategy does not take it, as any other reason says; faults of devices are told apart."""
    here = compiling([])
    call = Call("fail", (torch.ones(2),), {}, strategy="compiled")
    plan = here.plan(call)

    def run(fault: Exception) -> None:
        def fail(inferred: Inferred, operands: Sequence[Tensor]) -> bool:
            raise fault

        broken = replace(plan.strategy, compile=fail)
        here.run(call, replace(plan, strategy=broken), Stopwatch.start())

    with pytest.raises(UnsuitableStrategyError) as caught:
        run(OSError("no space left"))
    reason = "fails on cpu; the log of the server has the error"
    assert caught.value.detail == f"fail strategy 'compiled' {reason}"
    (record,) = caplog.records
    assert record.message == "fail by compiled cannot be compiled for cpu"
    assert record.exc_info
    with pytest.raises(OutOfMemoryError):
        run(MemoryError())
    fail = _raise(DeviceFailedError("cpu fails"))
    monkeypatch.setattr(Engine, "check_devices", lambda _: fail())
    with pytest.raises(DeviceFailedError):
        run(RuntimeError("an illegal address"))


def test_plans_at_once() -> None:
    """Plans of up to four operands are made at once."""
    assert plans_at_once([Spec((2,), torch.int8)] * 4)
    assert not plans_at_once([Spec((2,), torch.int8)] * 5)


def test_operands_stay_on_the_cpu() -> None:
    """Tensors that are on the device already are not copied."""
    operands = (torch.ones(2), torch.ones(3))
    moved = move(operands, host_devices("cpu").candidates("auto")[0])
    assert len(moved) == 2
    assert all(found is given for found, given in zip(moved, operands, strict=True))


def test_operands_of_a_gpu() -> None:
    """They are moved, waited for and brought back; here, from the CPU to the CPU."""
    here = engine(devices=(Device("cuda:0", "cuda", "", None),))
    outcome = run(here, matmul(torch.eye(2), torch.ones(2, 1)))
    assert (outcome.device, outcome.result.tolist()) == ("cuda:0", [[1.0], [1.0]])


def test_a_device_of_another_process_is_left_alone() -> None:
    """It is planned with the curves of its device process, and neither measured nor computed on."""
    gpu = Device("cuda:0", "cuda", "", None, torch_device="cuda:0", has_process=True)
    here = engine(devices=(gpu, CPU))
    here.warm_up()
    here.check_devices()
    assert {row[2] for row in here.planner.cost_model.to_rows()} == {"cpu"}
    call = matmul(torch.eye(2), torch.eye(2))
    plan = here.plan(call)
    assert plan.device is gpu
    with pytest.raises(LookupError, match="cuda:0 is computed on by the process that owns it"):
        here.run(call, plan, Stopwatch.start())


def test_plans_of_a_lost_device_are_forgotten() -> None:
    """So are those that were made without it, once it is there again."""
    gpu = Device("cuda:0", "cuda", "", None)
    here = engine(devices=(gpu, CPU))
    readiness = here.planner.devices.readiness
    call = matmul(torch.eye(2), torch.eye(2))
    plan = here.plan(call)
    assert here.prepare(call) is plan
    assert plan.device is gpu
    readiness.lose("cuda:0", "it died", 1)
    without = here.prepare(call)
    assert without is not None
    assert without.device is CPU
    assert here.prepare(call) is without
    readiness.regain("cuda:0")
    again = here.prepare(call)
    assert again is not None
    assert again.device is gpu


def test_devices_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each computes a product of 2 x 2; one that cannot, or gives another, is named."""
    here = engine()
    here.check_devices()
    empty = Device("meta", "cpu", "", None, torch_device="meta")
    broken = replace(here, planner=replace(here.planner, devices=Devices((CPU, empty))))
    with pytest.raises(DeviceFailedError, match="meta fails"):
        broken.check_devices()
    monkeypatch.setattr(module, "PROBED", [[0.0]])
    with pytest.raises(DeviceFailedError, match=r"cpu takes .* for \[\[7.0, 10.0\], \[15.0"):
        here.check_devices()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["torch", "cuBLAS", "host", "Python"],
)
def test_a_device_without_free_memory_works(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Its memory may be another program's; the devices after it are checked all the same."""
    checked: list[torch.Tensor] = []

    def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        checked.append(a)
        if len(checked) == 1:
            raise error
        return torch.zeros(2, 2)

    monkeypatch.setattr(torch.Tensor, "__matmul__", multiply)
    here = engine(devices=(Device("cuda:0", "cuda", "", None), CPU))
    with pytest.raises(DeviceFailedError, match="cpu takes"):
        here.check_devices()
    assert len(checked) == 2


def test_a_result_is_checked_on_a_gpu() -> None:
    """It is computed again there, before it is brought back; here, on the CPU."""
    here = engine(devices=(Device("cuda:0", "cuda", "", None),))
    outcome = run(here, OVERFLOW)
    assert (outcome.device, outcome.strategy) == ("cuda:0", "scaled")
    assert outcome.result.item() == pytest.approx(1.4142135e20)
    assert len(outcome.warnings) == 1


@pytest.mark.parametrize("change", [{"max_bytes": 50}, {"deadline_ms": 3}])
def test_a_call_that_is_too_large_to_be_computed_again(change: dict[str, int]) -> None:
    """Its result stays, with a warning, and so does the strategy."""
    here = engine()
    plan = replace(here.plan(OVERFLOW), estimated_ns=1_000_000)
    limits = replace(here.planner.limits, **change)
    tight = replace(here, planner=replace(here.planner, limits=limits))
    outcome = tight.run(OVERFLOW, plan, Stopwatch.start())
    assert outcome.result.item() == inf
    assert outcome.strategy == "torch"
    (warning,) = outcome.warnings
    limit = "SERVICE_MAX_BYTES" if "max_bytes" in change else "the deadline"
    assert warning.endswith(limit)


def test_the_time_of_a_second_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a part of the time of computing, which ends after it."""
    here, watch = engine(), Stopwatch.start()
    reviewed: list[int] = []

    def spy(*arguments: Any) -> Review:
        reviewed.append(len(watch.marks))
        return review(*arguments)

    monkeypatch.setattr(module, "review", spy)
    here.run(OVERFLOW, here.plan(OVERFLOW), watch)
    assert [phase for phase, _ in watch.marks] == [DECODE, DECODE, COMPUTE]
    assert reviewed == [2]


def test_a_worker_is_told_that_auto_chose() -> None:
    """Its plan names a strategy, and the result of `auto` is mended all the same."""
    here = engine()
    call = replace(OVERFLOW, strategy="torch")
    for is_auto, strategy in ((True, "scaled"), (False, "torch")):
        plan = here.admitted_plan(call, 1, is_auto=is_auto)
        assert here.run(call, plan, Stopwatch.start()).strategy == strategy
