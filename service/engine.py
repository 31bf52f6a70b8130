"""Execution of planned calls: upload, compute, synchronise, download, each phase timed."""

import gc
import logging
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter_ns
from traceback import clear_frames
from typing import Any, Final

import orjson
import torch

from service.core.arithmetic import precision_of
from service.core.call import Call, Outcome, Spec, Stored, StoreTarget, Tensor
from service.core.dask_cluster import Cluster
from service.core.devices import Device, check_here, exhausted_name, is_exhausted, synchronize
from service.core.dtypes import DTYPES, IN_NUMPY, INTEGERS, describe
from service.core.pinned_memory import to_host
from service.core.timing import COMPILE, COMPUTE, DECODE, DOWNLOAD, NS_PER_MS, UPLOAD, Stopwatch
from service.errors import (
    DeviceFailedError,
    OutOfMemoryError,
    UnsuitableStrategyError,
    UnsupportedDtypeError,
)
from service.operations.recheck import (
    Review,
    is_suspect,
    may_leave_range,
    recheck_of,
    review,
    unreviewed,
)
from service.planning.calibration import Clock, calibrate, is_measured_ahead
from service.planning.cost_model import CurveRow
from service.planning.peaks import measure_peaks
from service.planning.plan import MAX_OPERANDS_AT_ONCE, CallSpec, Plan, WarmKey
from service.planning.planner import Planner, fails_on
from service.planning.transfers import measure_transfers
from service.registry import Op, Recheck, Registry

log: Final = logging.getLogger("service.calibration")
MAX_PLANS: Final = 1024
# Results of up to so many numbers are checked as text.
TINY: Final = 16
# A number, since `in` is five times as fast with it as with b"n".
LETTER_N: Final = ord("n")
# A second computation takes so many times the memory and the time of the first: it is in float64.
RECHECK_FACTOR: Final = 4
NOT_ON_CLUSTERS: Final = "a cluster does not do that"
PROBE: Final = [[1.0, 2.0], [3.0, 4.0]]
PROBED: Final = [[7.0, 10.0], [15.0, 22.0]]


@dataclass(frozen=True, slots=True)
class Engine:
    """The registry, joined to the devices and limits of this host.

    `scratch` gives a file for a cluster's result of which only a summary is wanted. `clock` returns
    nanoseconds, and times the strategies that are measured.
    """

    registry: Registry
    planner: Planner
    scratch: StoreTarget | None = None
    clock: Clock = perf_counter_ns
    _warm: set[WarmKey | None] = field(default_factory=set)
    _plans: dict[Hashable, Plan] = field(default_factory=dict)

    def warm_up(self) -> None:
        """Measure in float32 what is computed here and is not measured yet: about a second."""
        for op, dtype, device in self.unmeasured():
            if dtype == torch.float32 and not device.has_process:
                self.measure(op, dtype, device)

    def measure(
        self, op: Op[Any], dtype: torch.dtype, device: Device, *, compiles: bool = True
    ) -> None:
        """Measure strategies with `dtype` on a device that are not measured yet: up to 2 s.

        The peak rates of the device and copies to it come first, once for all operations.
        Strategies that have to be compiled are left out, but on a GPU if it `compiles`. One that
        cannot be compiled on this host costs no other its measurements.
        """
        measure_peaks(self.planner.cost_model, dtype, device, self.clock)
        measure_transfers(self.planner.cost_model, device, self.clock)
        measured = self.planner.cost_model.measured()
        for strategy in op.strategies.values():
            is_new = (op.name, strategy.name, device.name, dtype) not in measured
            is_wanted = is_measured_ahead(strategy, device) and (compiles or not strategy.compile)
            if is_new and is_wanted and dtype in strategy.dtypes_on(device.kind):
                try:
                    curves = calibrate(op, strategy, device, dtype, self.clock)
                except Exception as error:
                    if strategy.compile is None:
                        raise
                    where = op.name, strategy.name, device.name
                    log.warning("%s by %s is not measured on %s: %r", *where, error)
                    if not is_exhausted(error):
                        self.planner.cost_model.fail(*where, dtype)
                    continue
                for kind, curve in curves.items():
                    key = (op.name, strategy.name, device.name, dtype, kind)
                    self.planner.cost_model.add(key, curve)

    def unmeasured(self) -> list[tuple[Op[Any], torch.dtype, Device]]:
        """Return operations, dtypes and devices with strategies that are not measured yet.

        Those of clusters follow from what is measured here.
        """
        measured = self.planner.cost_model.measured()
        return [
            (op, dtype.torch, device)
            for device in self.planner.devices.members
            if device.cluster is None
            for dtype in DTYPES.values()
            for op in self.registry.values()
            if any(
                (op.name, strategy.name, device.name, dtype.torch) not in measured
                for strategy in op.strategies.values()
                if is_measured_ahead(strategy, device)
                if dtype.torch in strategy.dtypes_on(device.kind)
            )
        ]

    def learn(self, rows: Iterable[CurveRow]) -> None:
        """Take over what another process on this host has measured."""
        self.planner.cost_model.update(rows)

    def check_devices(self) -> None:
        """Compute a product of 2 x 2 on each device that this process computes on.

        DeviceFailedError if one gives another. One whose memory other programs have taken works: it
        says so. A cluster is left out: without it, all other calls go on.
        """
        for device in self.planner.devices.members:
            if device.has_process or device.cluster is not None:
                continue
            place = device.torch_device
            try:
                a = torch.tensor(PROBE).to(place)
                found = (a @ a).tolist()
            except (MemoryError, RuntimeError) as error:
                if is_exhausted(error):
                    continue
                raise DeviceFailedError(f"{device.name} fails: {error}") from error
            if found != PROBED:
                raise DeviceFailedError(
                    f"{device.name} takes the square of {PROBE} for {found}; it is {PROBED}"
                )

    def prepare(self, call: Call) -> Plan | None:
        """Return the plan of `call` if that takes less than a millisecond, else None.

        None leaves the call to `plan`, on a thread: an order of contraction has to be searched.
        """
        key = self._key(call)
        plan = self._plans.get(key)
        if plan is None and len(call.operands) <= MAX_OPERANDS_AT_ONCE:
            return self._new_plan(call, key)
        return plan

    def plan(self, call: Call) -> Plan:
        """Return the plan of `call`, or raise the error that says why it is not admitted."""
        return self._new_plan(call, self._key(call))

    def admitted_plan(self, call: Call, estimated_ns: int, *, is_auto: bool) -> Plan:
        """Return the plan of a call that another process has admitted, with its estimate.

        The call names the strategy, whether a client or, with `is_auto`, the planner chose it.
        """
        plan = self.planner.admitted(self.call_spec(call), estimated_ns)
        return completed(replace(plan, is_auto=is_auto))

    def _new_plan(self, call: Call, key: Hashable) -> Plan:
        plan = completed(self.planner.plan(self.call_spec(call)))
        if isinstance(call.output, StoreTarget):
            check_storable(plan.inferred.dtype)
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        self._plans[key] = plan
        return plan

    def _key(self, call: Call) -> Hashable:
        """Return what calls with the same plan have in common: fields, shapes and dtype."""
        operands, output = call.operands, call.output
        return (
            call.op,
            call.strategy,
            call.device,
            call.deadline_ms,
            call.arithmetic,
            output == "summary",
            output.__class__,
            operands[0].dtype,
            self.planner.devices.readiness.changes,
            self.planner.cost_model.changes,
            *call.params.values(),
            *[x.shape for x in operands],
        )

    def call_spec(self, call: Call) -> CallSpec:
        """Return the specification of `call` that the planner takes."""
        op = self.registry[call.op]
        return CallSpec(
            op,
            call.specs,
            call.params,
            call.strategy,
            call.device,
            call.deadline_ms,
            self._writes_to_store(call),
            call.arithmetic,
        )

    def _writes_to_store(self, call: Call) -> bool:
        """Return whether the result may be written to a file instead of held in memory."""
        summary = call.output == "summary" and self.scratch is not None
        return summary or isinstance(call.output, StoreTarget)

    def run(self, call: Call, plan: Plan, watch: Stopwatch) -> Outcome:
        """Compute a planned call, and mark the end of each phase on `watch`.

        OutOfMemoryError if the device or this host has not enough memory.
        """
        try:
            if plan.device.cluster is None:
                result, review = self._run_here(call, plan, watch)
            else:
                result, review = self._run_on(plan.device.cluster, call, plan, watch)
        except (MemoryError, RuntimeError) as error:
            if not is_exhausted(error):
                raise
            raise free_memory_error(plan, error) from error
        warm = plan.warm_key in self._warm
        if not warm:
            self._warm.add(plan.warm_key)
        # By position: every small request passes here, and names take nearly twice the time.
        return Outcome(
            call.op,
            result,
            plan.strategy.name if review is None else review.strategy,
            plan.device.name,
            torch.get_num_threads(),
            warm,
            call.warnings if review is None else call.warnings + review.warnings,
            plan.explanation,
            call.arithmetic,
        )

    def is_warm(self, plan: Plan) -> bool:
        """Return whether such a call has run before; from now on it has."""
        warm = plan.warm_key in self._warm
        self._warm.add(plan.warm_key)
        return warm

    def _run_here(self, call: Call, plan: Plan, watch: Stopwatch) -> tuple[Tensor, Review | None]:
        """Return the result, and its review if a check asked for one."""
        inferred, strategy, marks = plan.inferred, plan.strategy, watch.marks
        review = None
        operands = read(call.operands)
        if plan.may_overflow:
            plan.op.check_overflow(inferred, operands)
        marks.append((DECODE, perf_counter_ns()))
        if plan.device.kind == "cpu":  # no copies, and no synchronisation
            if strategy.compile is not None and self.compile(plan, operands):
                watch.lap(COMPILE)
            result = strategy.adapt(strategy.compute, inferred, operands)
            is_checked = not (plan.is_finite_if_moderate and call.is_moderate)
            recheck = plan.recheck
            if recheck is not None and is_checked and needs_review(plan, recheck, operands, result):
                review = self.reviewed(call, plan, operands, result)
            marks.append((COMPUTE, perf_counter_ns()))
        else:
            operands = move(operands, plan.device)
            watch.lap(UPLOAD)
            if strategy.compile is not None and self.compile(plan, operands):
                watch.lap(COMPILE)
            result = strategy.run(inferred, operands)
            if plan.recheck is not None and needs_review(plan, plan.recheck, operands, result):
                review = self.reviewed(call, plan, operands, result)
            synchronize(plan.device)
            watch.lap(COMPUTE)
        result = result if review is None else review.result
        if plan.device.kind != "cpu":
            result = to_host(result)
            watch.lap(DOWNLOAD)
        if isinstance(call.output, StoreTarget):
            result = store(call.output, result)
            watch.lap(DOWNLOAD)
        return result, review

    def compile(self, plan: Plan, operands: Sequence[Tensor]) -> bool:
        """Compile the code of a plan for its operands; return whether there was any to compile.

        UnsuitableStrategyError if that fails, unless memory ran out or the device itself fails.
        """
        compile_, names = plan.strategy.compile, (plan.op.name, plan.strategy.name)
        try:
            return compile_ is not None and compile_(plan.inferred, operands)
        except Exception as error:
            if is_exhausted(error):
                raise
            self.check_devices()
            log.warning(
                "%s by %s cannot be compiled for %s", *names, plan.device.name, exc_info=True
            )
            raise UnsuitableStrategyError(
                f"{names[0]} strategy {names[1]!r} {fails_on(plan.device)}"
            ) from error

    def reviewed(
        self, call: Call, plan: Plan, operands: Sequence[Tensor], result: Tensor
    ) -> Review:
        """Return the review of a suspect result, if memory and deadline leave room for it."""
        limits = self.planner.limits
        deadline_ms = call.deadline_ms or limits.deadline_ms
        if plan.peak_bytes * RECHECK_FACTOR > limits.max_bytes:
            return unreviewed(plan, result, "that takes more memory than SERVICE_MAX_BYTES")
        if plan.estimated_ns * RECHECK_FACTOR > deadline_ms * NS_PER_MS:
            return unreviewed(plan, result, "that takes longer than the deadline")
        return review(plan, operands, result)

    def _run_on(
        self, cluster: Cluster, call: Call, plan: Plan, watch: Stopwatch
    ) -> tuple[Tensor, Review | None]:
        """Return the result of a cluster, whose strategies take and return arrays in blocks.

        A suspect result is not computed again. One that is in a file is not checked.
        """
        deadline_s = (call.deadline_ms or self.planner.limits.deadline_ms) / 1000
        blocks: Any = cluster.to_blocks(call.operands)
        watch.lap(UPLOAD)
        array: Any = plan.strategy.run(plan.inferred, blocks)
        if not plan.writes_to_store:
            elements = cluster.fetch(array, deadline_s)
            result = torch.as_tensor(elements)
            suspect = plan.recheck is not None and is_suspect(plan.recheck, result)
            watch.lap(COMPUTE)
            return result, unreviewed(plan, result, NOT_ON_CLUSTERS) if suspect else None
        output: Any = call.output if isinstance(call.output, StoreTarget) else self.scratch
        with output.create(Spec(plan.inferred.shape, plan.inferred.dtype)) as sink:
            cluster.fill(sink, array, deadline_s)
            watch.lap(COMPUTE)
            return torch.from_numpy(sink.read()), None


def completed(plan: Plan) -> Plan:
    """Return the plan with the explanation that each answer repeats, and the check of its result.

    The check of few real numbers is fastest as text. A sum of products of two moderate numbers
    cannot overflow.
    """
    recheck = recheck_of(plan.op, plan.inferred)
    is_plain = recheck is not None and recheck.bounds is None and not plan.inferred.dtype.is_complex
    dtype = plan.inferred.specs[0].dtype
    return replace(
        plan,
        explanation=plan.inferred.explanation,
        recheck=recheck,
        warm_key=(plan.strategy, plan.device.name, dtype, precision_of(plan.arithmetic)),
        may_overflow=plan.inferred.dtype in INTEGERS,
        is_checked_as_text=is_plain and plan.sizes.elements <= TINY,
        is_finite_if_moderate=is_plain and len(plan.inferred.specs) <= 2,
        is_elsewhere=plan.device.has_process or plan.is_compiled,
    )


def needs_review(plan: Plan, recheck: Recheck, operands: Sequence[Tensor], result: Tensor) -> bool:
    """Return whether intermediate values may have spoiled numbers of a result."""
    if plan.is_checked_as_text:
        # orjson writes null for numbers that are not finite: 0.8 us, where `is_suspect` takes 2.
        return LETTER_N in orjson.dumps(result.tolist())
    if recheck.is_chain and may_leave_range(operands, result.dtype):
        return True
    return is_suspect(recheck, result)


def read(operands: Sequence[Tensor]) -> list[Tensor]:
    """Return the operands as tensors; those in files are read now."""
    # Not by `isinstance`, which asks the metaclass of tensors first.
    return [x.load() if type(x) is Stored else x for x in operands]


def move(operands: Sequence[Tensor], device: Device) -> list[Tensor]:
    """Return the operands on `device`; themselves where they are there already."""
    if device.kind == "cpu":
        return [*operands]
    check_here(device)
    moved = [x.to(device.torch_device) for x in operands]
    synchronize(device)
    return moved


def check_storable(dtype: torch.dtype) -> None:
    """Raise UnsupportedDtypeError if no npy file holds results of a dtype."""
    if dtype not in IN_NUMPY:
        raise UnsupportedDtypeError(
            f"npy files, which results are stored as, cannot hold {describe(dtype).name}",
            hint='send the operands with "dtype": "float32"',
        )


def store(output: StoreTarget, result: Tensor) -> Tensor:
    """Write a result to its file, and return a tensor of its shape and dtype alone."""
    with output.create(Spec(tuple(result.shape), result.dtype)) as sink:
        sink[...] = result.resolve_conj().resolve_neg().numpy()
    return result.to("meta")


def free_memory_error(plan: Plan, error: BaseException) -> OutOfMemoryError:
    """Free what can be freed, and return the error for one of torch's or numpy's."""
    clear_frames(error.__traceback__)  # they hold operands and intermediate results
    gc.collect()
    torch.cuda.empty_cache()
    name = exhausted_name(error, plan.device)
    return OutOfMemoryError(
        f"{name} has not enough memory for {plan.op.name} by {plan.strategy.name!r}"
    )
