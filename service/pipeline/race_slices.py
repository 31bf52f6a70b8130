"""Races on devices that have processes of their own: each part is cut into slices.

A slice is one request to the device process: some runs of one strategy, or what its result is
checked by. Slices wait in the queue of the device as calls do, and other calls run between them.

race process    a `ProcessBench` asks the server for slices
server          `run_slice` passes them on, with the body where the device process has not got it
device process  `SliceHandler` runs them on a bench of its own
"""

import logging
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import orjson

from service.codecs.tensor_bytes import from_bytes, to_bytes
from service.compare.bench import LocalBench, Runs, SkippedError, Stop
from service.compare.race import estimate_strategy, operation_of
from service.compare.reference import Reference, select
from service.core.arithmetic import Arithmetic
from service.core.call import Call, Tensor
from service.core.devices import Device
from service.core.dtypes import describe, parse_dtype
from service.core.pinned_memory import pinned_copy
from service.engine import Engine, read
from service.errors import DeviceUnreadyError, ServiceError
from service.executors import Ask, Bytes, WorkerFaultError, WorkerResponse
from service.pipeline.messages import WorkerRequest
from service.pipeline.request import PipelineRequest
from service.planning.plan import Plan

# Begins the head of a message to a device process that asks for a slice.
SLICE: Final = b"slice "
# Answer of a device process that has not got the body of the race.
UNKNOWN: Final = b""
# Planned time of a slice. A longer run is a slice of its own.
SLICE_NS: Final = 100_000_000
FAULTY: Final = "it fails on this device; the log of the server has the error"
log: Final = logging.getLogger("service.devices")


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a race on one device.

    `race` is unique to the race. `precision` is that of its products, or None. `most` and
    `enough_ns` are bounds of runs. `grids` has for each axis of each result the indices that are
    checked, None for all. `request` is the message that the race process got, for a device process
    that has not got the body.
    """

    race: str
    device: str
    strategy: str
    act: Literal["warm_up", "run", "results"]
    estimated_ns: int
    precision: str | None = None
    most: int = 0
    enough_ns: int = 0
    grids: Sequence[Sequence[Sequence[int] | None]] = ()
    request: str | None = None

    def to_json(self) -> bytes:
        """Return the bytes that `from_json` reads."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: Bytes) -> "Slice":
        """Return the slice that `to_json` wrote."""
        return cls(**orjson.loads(text))


class ProcessBench:
    """Bench of a device that another process computes on: it asks the server for each slice.

    Once the device has been lost, no strategy of the race goes on there.
    """

    _plan: Plan

    def __init__(self, ask: Ask, race: str, device: Device):
        """Begin without a question; `race` is unique to the race."""
        self._ask_server = ask
        self._race = race
        self._device = device
        self._lost: str | None = None

    def warm_up(self, plan: Plan) -> int:
        """Compile what has to be, and run once if a run is short; return the time of compiling."""
        return int(self._ask(plan, "warm_up", plan.run_ns)["compile_ns"])

    def run(self, plan: Plan, most: int, enough_ns: int, stop: Stop) -> Runs:
        """Run as often as a slice has time for."""
        most = min(most, max(1, SLICE_NS // max(1, plan.run_ns)))
        fields = {"most": most, "enough_ns": min(enough_ns, SLICE_NS)}
        self._plan = plan
        return Runs(**self._ask(plan, "run", most * plan.run_ns, **fields))

    def results(self, references: Sequence[Reference]) -> list[Tensor]:
        """Return the elements of the results of the last run that are checked."""
        grids = [
            [
                None if len(indices) == size else indices.tolist()
                for indices, size in zip(reference.grid, shape, strict=True)
            ]
            for reference, shape in zip(references, self._plan.result_shapes, strict=True)
        ]
        found = self._ask(self._plan, "results", 0, grids=grids)
        return [
            from_bytes(
                bytearray(b64decode(each["b64"])),
                parse_dtype(each["dtype"]),
                tuple(each["shape"]),
                "",
            )
            for each in found["results"]
        ]

    def _ask(
        self,
        plan: Plan,
        act: Literal["warm_up", "run", "results"],
        estimated_ns: int,
        **fields: Any,
    ) -> dict[str, Any]:
        """Return what the device process has found, or raise a SkippedError."""
        if self._lost is not None:
            raise SkippedError(self._lost)
        device, strategy = self._device.name, plan.strategy.name
        precision = plan.arithmetic.precision if plan.arithmetic else None
        part = Slice(self._race, device, strategy, act, estimated_ns, precision, **fields)
        found: dict[str, Any] = orjson.loads(self._ask_server(part.to_json()))
        if "skipped" in found:
            if found["is_lost"]:
                self._lost = found["skipped"]
            raise SkippedError(found["skipped"])
        return found


async def run_slice(request: PipelineRequest, message: WorkerRequest, question: bytearray) -> bytes:
    """Return the answer of a device process to a question of the race process of a `request`.

    `message` is the one that the race process got. An error of the device is an answer, too: it
    ends the strategy, and not the race.
    """
    part, service = Slice.from_json(question), request.service
    process = service.device_processes[part.device]
    limits: Any = {
        "estimated_ns": part.estimated_ns,
        "deadline_ms": service.settings.deadline_ms,
    }
    try:
        answer, _ = await process.run(SLICE + question, b"", **limits)
        if answer == UNKNOWN:
            message = replace(message, absences={}, curves=[])
            part = replace(part, request=message.to_json().decode())
            answer, _ = await process.run(SLICE + part.to_json(), request.body, **limits)
    except ServiceError as error:
        return _skipped(error.detail, is_lost=isinstance(error, DeviceUnreadyError))
    except WorkerFaultError:
        where = request.op_name, part.strategy, part.device
        log.exception("%s by %s on %s failed", *where)
        return _skipped(FAULTY)
    return bytes(answer)


def _skipped(reason: str, *, is_lost: bool = False) -> bytes:
    return orjson.dumps({"skipped": reason, "is_lost": is_lost})


class SliceHandler:
    """Runs slices in a device process: it keeps the operands of one race until it is idle."""

    _call: Call
    _bench: LocalBench

    def __init__(
        self, decode: Callable[[WorkerRequest, Bytes], Call], engine: Engine, device: Device
    ):
        """Begin without a race; `decode` returns the call of one."""
        self._decode = decode
        self._engine = engine
        self._device = device
        self._race: str | None = None
        self._plans: dict[tuple[str, str | None], Plan] = {}
        self._last: Plan | None = None  # the one whose result the bench has

    def answer(self, head: bytes, body: Bytes) -> WorkerResponse:
        """Return what a slice has found, the reason why it cannot be, or UNKNOWN."""
        part = Slice.from_json(head.removeprefix(SLICE))
        try:
            if part.request is not None:
                self._begin(part.race, WorkerRequest.from_json(part.request.encode()), body)
            if part.race != self._race:
                return WorkerResponse(UNKNOWN)
            return WorkerResponse(self._run(part))
        except SkippedError as error:
            return WorkerResponse(_skipped(str(error)))
        except ServiceError as error:
            return WorkerResponse(_skipped(error.detail))

    def forget(self) -> None:
        """Let go of the operands and the result of a race."""
        if self._race is not None:
            self._race = self._last = None
            self._plans.clear()
            del self._call, self._bench

    def _begin(self, race: str, message: WorkerRequest, body: Bytes) -> None:
        self.forget()
        call = self._decode(message, body)
        # The next request takes the place of this one, whose operands may be in its memory.
        operands = tuple(pinned_copy(x, self._device) for x in read(call.operands))
        self._call = replace(call, operands=operands)
        self._bench = LocalBench(self._device, operands)
        self._race = race

    def _run(self, part: Slice) -> bytes:
        registry, planner = self._engine.registry, self._engine.planner
        plan = self._plans.get((part.strategy, part.precision))
        if plan is None:
            op, call = operation_of(registry, self._call), self._call
            if part.precision is not None:
                asked = replace(call.arithmetic or Arithmetic(), precision=part.precision)
                call = replace(call, arithmetic=asked)
            estimate = estimate_strategy(planner, op, call, part.strategy, self._device)
            plan = estimate.plan
            if plan is None:
                return _skipped(str(estimate.reason))
            self._plans[part.strategy, part.precision] = plan
        if part.act == "warm_up":
            return orjson.dumps({"compile_ns": self._bench.warm_up(plan)})
        if part.act == "run":
            self._last = plan
            return orjson.dumps(asdict(self._bench.run(plan, part.most, part.enough_ns, _never)))
        if plan is not self._last:  # the process has been idle since, or is another one
            self._bench.run(plan, 1, 0, _never)
            self._last = plan
        return orjson.dumps({"results": [*map(_checked_elements, self._bench.last, part.grids)]})


def _checked_elements(result: Tensor, grid: Sequence[Sequence[int] | None]) -> dict[str, object]:
    """Return the elements of a result at a grid, with dtype and shape."""
    found = select(result, [None if each is None else np.array(each, np.int64) for each in grid])
    text = b64encode(to_bytes(found)).decode()
    return {"dtype": describe(found.dtype).name, "shape": [*found.shape], "b64": text}


def _never() -> bool:
    return False
