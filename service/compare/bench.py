"""Benches of a race: each runs strategies on one device, and times them and the copies beside them.

A bench of this process is a `LocalBench`. A device that has a process of its own is reached through
another bench, which the caller of a race provides.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Final, Protocol

from service.compare.reference import Reference
from service.core.arithmetic import computing
from service.core.call import Tensor
from service.core.devices import Device, is_exhausted, synchronize
from service.core.pinned_memory import to_host
from service.engine import free_memory_error, move
from service.planning.plan import Plan

# A run shorter than this is warmed up first; a cold cache does not matter to a longer one.
WARM_UP_NS: Final = 50_000_000
Stop = Callable[[], bool]


class SkippedError(Exception):
    """A strategy cannot go on in a race; the message is the reason that its row has."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Times of some runs in a row, and of the copies of operands and result, in nanoseconds."""

    times_ns: Sequence[int]
    upload_ns: int = 0
    download_ns: int = 0


class Bench(Protocol):
    """Runs of strategies on one device; SkippedError if a strategy cannot go on there."""

    def warm_up(self, plan: Plan) -> int:
        """Compile what has to be, and run once if a run is short; return the time of compiling."""
        ...

    def run(self, plan: Plan, most: int, enough_ns: int, stop: Stop) -> Runs:
        """Run up to `most` times, until `enough_ns` are used up, or until `stop`."""
        ...

    def results(self, references: Sequence[Reference]) -> Sequence[Tensor]:
        """Return the results of the last run, or the elements of them that are checked."""
        ...


class LocalBench:
    """Bench of a device that this process computes on.

    Operands are uploaded before the runs of a round and the last results are downloaded after them,
    so that between two rounds nothing is in the memory of a GPU.
    """

    last: Sequence[Tensor]  # the results of the last run, in the memory of the host

    def __init__(self, device: Device, operands: Sequence[Tensor]):
        """Begin with operands in the memory of the host."""
        self._device = device
        self._operands = operands

    def warm_up(self, plan: Plan) -> int:
        """Compile what has to be, and run once if a run is short; return the time of compiling."""
        strategy, compile_ns = plan.strategy, 0
        with _computing(plan):
            operands = move(self._operands, self._device)
            if strategy.compile is not None:
                started = perf_counter_ns()
                if strategy.compile(plan.inferred, operands):
                    compile_ns = perf_counter_ns() - started
            if plan.run_ns < WARM_UP_NS:
                in_host(plan.run(operands))
        return compile_ns

    def run(self, plan: Plan, most: int, enough_ns: int, stop: Stop) -> Runs:
        """Run up to `most` times, until `enough_ns` are used up, or until `stop`."""
        device = self._device
        times_ns: list[int] = []
        with _computing(plan):
            started = perf_counter_ns()
            operands = move(self._operands, device)
            upload_ns = perf_counter_ns() - started
            results = self._timed(plan, operands, times_ns)
            while len(times_ns) < most and sum(times_ns) < enough_ns and not stop():
                results = self._timed(plan, operands, times_ns)
            started = perf_counter_ns()
            self.last = in_host(results)
            download_ns = perf_counter_ns() - started
        if device.kind == "cpu":  # there is nothing to copy
            return Runs(times_ns)
        return Runs(times_ns, upload_ns, download_ns)

    def _timed(
        self, plan: Plan, operands: Sequence[Tensor], times_ns: list[int]
    ) -> Sequence[Tensor]:
        """Return the results of a run, whose time is appended."""
        started = perf_counter_ns()
        results = plan.run(operands)
        synchronize(self._device)
        times_ns.append(perf_counter_ns() - started)
        return results

    def results(self, references: Sequence[Reference]) -> Sequence[Tensor]:
        """Return the results of the last run."""
        return self.last


def in_host(results: Sequence[Tensor]) -> list[Tensor]:
    """Return results in the memory of the host."""
    return [to_host(result) for result in results]


@contextmanager
def _computing(plan: Plan) -> Iterator[None]:
    """Compute as the plan asks for; raise a SkippedError where memory runs out."""
    try:
        with computing(plan.arithmetic, plan.device.kind):
            yield
    except (MemoryError, RuntimeError) as error:
        if not is_exhausted(error):
            raise
        raise SkippedError(free_memory_error(plan, error).detail) from error
