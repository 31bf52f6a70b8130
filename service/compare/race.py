"""Race of the strategies of an operation on the same inputs, with a check against a reference.

Strategies run in rounds of a few runs each, so that a disturbance of the host affects all of them.
Each runs at least once, and until `repeat` runs or the time budget are used up. What has to be
compiled races after the rest.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from statistics import median
from typing import Any, Final

from service.compare.agreement import agreement
from service.compare.bench import Bench, LocalBench, Runs, SkippedError, Stop
from service.compare.chains import estimate_chain, step_strategies
from service.compare.fields import call_fields
from service.compare.options import CompareOptions
from service.compare.rates import curves_of
from service.compare.reference import Reference, chain_references, reference_of
from service.compare.report import Report, Row, host, skipped_row
from service.core.arithmetic import Arithmetic
from service.core.call import AUTO, Call, StoreTarget, Tensor
from service.core.devices import CLUSTER, Device
from service.core.timing import NS_PER_MS
from service.core.units import time_text
from service.engine import Engine, read
from service.errors import InvalidFieldError, Place, UnknownStrategyError
from service.operations.chain import CHAIN, chain_op
from service.planning.chain_steps import InferredChain
from service.planning.plan import CallSpec, Estimate, Plan
from service.planning.planner import Planner
from service.registry import Inferred, Op, Registry, Strategy

RUNS_PER_ROUND: Final = 5
# What takes longer to compile races only if it is named: a race takes a second otherwise.
MOST_COMPILE_NS: Final = 5_000_000_000


@dataclass(slots=True)
class StrategyRun:
    """A strategy in a race: its plan, the bench that runs it, its times, and why it has ended."""

    plan: Plan
    bench: Bench
    share_ns: int
    rounds: list[Runs] = field(default_factory=list)
    compile_ns: int = 0
    skipped: str | None = None

    @property
    def times_ns(self) -> list[int]:
        """Times of all runs so far."""
        return [time_ns for runs in self.rounds for time_ns in runs.times_ns]

    def warm_up(self) -> bool:
        """Prepare the runs; return whether they may begin."""
        try:
            self.compile_ns = self.bench.warm_up(self.plan)
        except SkippedError as error:
            self.skipped = str(error)
        return self.skipped is None

    def run_round(self, repeat: int, stop: Stop) -> bool:
        """Run a few times, or until `stop`; return whether another round is due."""
        most = min(RUNS_PER_ROUND, repeat - len(self.times_ns))
        try:
            runs = self.bench.run(self.plan, most, self.share_ns - self._spent_ns(), stop)
        except SkippedError as error:
            self.skipped = str(error)
            return False
        self.rounds.append(runs)
        return self._spent_ns() < self.share_ns and len(self.times_ns) < repeat

    def _spent_ns(self) -> int:
        copied_ns = sum(runs.upload_ns + runs.download_ns for runs in self.rounds)
        return sum(self.times_ns) + copied_ns


@dataclass(frozen=True, slots=True)
class Race:
    """A prepared race: a plan or a skipped row for each strategy, in the order of the registry."""

    engine: Engine
    call: Call
    options: CompareOptions
    inferred: Inferred
    entries: tuple[Plan | Row, ...]

    def run(
        self, stop: Stop = lambda: False, bench_of: Callable[[Device], Bench] | None = None
    ) -> Iterator[Row]:
        """Yield each row as its strategy finishes, skipped rows first; none after `stop`.

        `bench_of` makes the bench of a device that has a process of its own.
        """
        yield from (entry for entry in self.entries if isinstance(entry, Row))
        racing = self._strategy_runs(bench_of)
        if not racing or stop():
            return
        references = self._references()
        # Compiling takes seconds, in which no row would come.
        for group in (
            [each for each in racing if each.plan.strategy.compile is None],
            [each for each in racing if each.plan.strategy.compile is not None],
        ):
            for entrant in tuple(group):
                if not entrant.warm_up():
                    group.remove(entrant)
                    yield self._row(entrant, references)
            while group:
                for entrant in tuple(group):
                    if stop():
                        return
                    if not entrant.run_round(self.options.repeat, stop):
                        group.remove(entrant)
                        yield self._row(entrant, references)

    def report(self, rows: Iterable[Row]) -> Report:
        """Return the report of the rows that `run` yielded, in the order of the registry."""
        order = [_key(entry) for entry in self.entries]
        ordered = tuple(sorted(rows, key=lambda row: order.index(_key(row))))
        slowest = next((row.strategy for row in ordered if row.times_ns), None)
        planner = self.engine.planner
        return Report(
            op=self.call.op,
            specs=self.call.specs,
            multiply_adds=self.inferred.multiply_adds,
            baseline=self.options.baseline or slowest,
            host=host(planner.devices, planner.cost_model, self.inferred),
            rows=ordered,
            params=call_fields(operation_of(self.engine.registry, self.call), self.call.params),
        )

    def _strategy_runs(
        self, bench_of: Callable[[Device], Bench] | None = None
    ) -> list[StrategyRun]:
        """Return the strategies that race, with the benches of their devices."""
        plans = [entry for entry in self.entries if isinstance(entry, Plan)]
        budget_ms = min(self.options.budget_ms, _deadline_ms(self.engine.planner, self.call))
        share_ns = budget_ms * NS_PER_MS // max(1, len(plans))
        benches: dict[str, Bench] = {}
        for device in {plan.device for plan in plans}:
            if device.has_process and bench_of is not None:
                benches[device.name] = bench_of(device)
            else:
                benches[device.name] = LocalBench(device, read(self.call.operands))
        return [StrategyRun(plan, benches[plan.device.name], share_ns) for plan in plans]

    def _references(self) -> Sequence[Reference]:
        """Return what results are judged by; only a chain has several."""
        call, inferred, operands = self.call, self.inferred, read(self.call.operands)
        if isinstance(inferred, InferredChain):
            steps: Any = call.params["steps"]
            return chain_references(inferred, steps, operands)
        return [reference_of(self.engine.registry[call.op], inferred, call.params, operands)]

    def _row(self, run: StrategyRun, references: Sequence[Reference]) -> Row:
        """Return the row of a strategy that has finished, or cannot go on."""
        plan = run.plan
        if run.skipped is None:
            try:
                return self._measured(run, run.bench.results(references), references)
            except SkippedError as error:
                run.skipped = str(error)
        return skipped_row(plan, run.skipped)

    def _measured(
        self, run: StrategyRun, results: Sequence[Tensor], references: Sequence[Reference]
    ) -> Row:
        """Return the row of a finished strategy."""
        plan, options = run.plan, self.options
        dtype, moved = self.call.specs[0].dtype, plan.sizes.outer_bytes
        peak = self.engine.planner.cost_model.peak(plan.device.name, dtype, moved)
        return Row(
            plan.strategy.name,
            plan.device.name,
            plan.run_ns,
            tuple(run.times_ns),
            agreement(results, references, rtol=options.rtol, atol=options.atol),
            rates=curves_of(plan, peak, median(run.times_ns)),
            compile_ns=run.compile_ns,
            arithmetic=plan.arithmetic,
            upload_ns=median(runs.upload_ns for runs in run.rounds),
            download_ns=median(runs.download_ns for runs in run.rounds),
        )


def _key(entry: Plan | Row) -> tuple[str, str, Arithmetic | None]:
    """Return strategy, device and arithmetic."""
    if isinstance(entry, Plan):
        return entry.strategy.name, entry.device.name, entry.arithmetic
    return entry.strategy, entry.device, entry.arithmetic


def _in_precisions(call: Call, precisions: Sequence[str] | None) -> list[Call]:
    """Return a copy of the call for each precision; the call itself if `precisions` is None."""
    if precisions is None:
        return [call]
    asked = call.arithmetic or Arithmetic()
    return [replace(call, arithmetic=replace(asked, precision=each)) for each in precisions]


def prepare_race(engine: Engine, call: Call, options: CompareOptions) -> Race:
    """Return the race of a call, or raise the error that explains why there is none."""
    op = operation_of(engine.registry, call)
    inferred = op.infer(call.specs, **call.params)
    ways = _strategies(op, call)
    for name in (
        *(options.strategies or ()),
        *([] if options.baseline is None else [options.baseline]),
    ):
        op.resolve(name)
        if name not in ways:
            what = (
                f"auto chooses among the strategies of {op.name} and is none of them"
                if name == AUTO
                else f"no step that races has a strategy {name}"
            )
            raise UnknownStrategyError(f"{what}; choose from {', '.join(ways)}")
    if isinstance(call.output, StoreTarget):
        raise InvalidFieldError(
            "a race gives times, and keeps no result",
            places=[Place("/output", "expected no such field")],
        )
    entries = _entries(engine.planner, op, ways, call, options)
    if any(isinstance(each, Plan) for each in entries):  # else it may be too large to be read
        op.check_overflow(inferred, read(call.operands))
    return Race(engine, call, options, inferred, tuple(entries))


def operation_of(registry: Registry, call: Call) -> Op[Any]:
    """Return the operation of a call, or that of chains."""
    return chain_op(registry) if call.op == CHAIN else registry[call.op]


def _strategies(op: Op[Any], call: Call) -> Mapping[str, Sequence[Strategy[Any]]]:
    """Return what each name stands for: in a chain, the strategy of each step that has one."""
    if call.op == CHAIN:
        return step_strategies(op, call)
    return {name: [strategy] for name, strategy in op.strategies.items()}


def _entries(
    planner: Planner,
    op: Op[Any],
    ways: Mapping[str, Sequence[Strategy[Any]]],
    call: Call,
    options: CompareOptions,
) -> list[Plan | Row]:
    """Return a plan for each strategy that races and a row for each skipped one.

    They are in the order of the registry. The fastest strategies are admitted first, as long as
    all of them together stay within the deadline.
    """
    # A race is held on this host: a strategy for a cluster alone has a row only if it is named. The
    # same holds for one that some steps of a chain do not have.
    steps = max(map(len, ways.values()))
    here = [
        name
        for name, found in ways.items()
        if len(found) == steps and any(each.dtypes or each.cuda for each in found)
    ]
    wanted = (options.baseline, *(here if options.strategies is None else options.strategies))
    names = [name for name in ways if name in wanted]
    devices = dict.fromkeys(
        device
        for name in ((call.device,) if options.devices is None else options.devices)
        for device in planner.devices.candidates(name)
    )
    estimates = []
    for name, device, asked in product(names, devices, _in_precisions(call, options.precisions)):
        if device.kind == CLUSTER and not any(each.cluster for each in ways[name]):
            continue
        if options.precisions and options.strategies is None and not _has(ways[name], asked):
            continue
        estimate = estimate_strategy(planner, op, asked, name, device)
        entry = _plan_or_row(planner, estimate, options, ways[name])
        if isinstance(entry, Row):
            entry = replace(entry, arithmetic=asked.arithmetic)
        estimates.append(entry)
    left_ns = _deadline_ms(planner, call) * NS_PER_MS
    compile_ns = planner.cost_model.compile_ns
    for needed_ns, plan in sorted(
        (
            (each.estimated_ns + compile_ns(each.strategy, each.device), each)
            for each in estimates
            if isinstance(each, Plan)
        ),
        key=lambda pair: (pair[1].strategy.name != options.baseline, pair[0]),
    ):
        if needed_ns > left_ns:
            reason = (
                f"would take about {time_text(needed_ns)}, and the deadline leaves "
                f"{time_text(left_ns)} for it"
            )
            estimates[estimates.index(plan)] = skipped_row(plan, reason)
        else:
            left_ns -= needed_ns
    return estimates


def _has(strategies: Sequence[Strategy[Any]], call: Call) -> bool:
    """Return whether one of the strategies has the precision of a call."""
    precision = call.arithmetic.precision if call.arithmetic else None
    return any(precision in each.precisions for each in strategies)


def estimate_strategy(
    planner: Planner, op: Op[Any], call: Call, name: str, device: Device
) -> Estimate:
    """Return the cost of a call, or of a chain, by one strategy on one device."""
    if call.op == CHAIN:
        return estimate_chain(planner, call, name, device)
    where = name, device.name, call.deadline_ms
    spec = CallSpec(op, call.specs, call.params, *where, arithmetic=call.arithmetic)
    return planner.estimate(spec)


def _deadline_ms(planner: Planner, call: Call) -> int:
    """Return the deadline of the call, or the service's."""
    return call.deadline_ms or planner.limits.deadline_ms


def _plan_or_row(
    planner: Planner,
    estimate: Estimate,
    options: CompareOptions,
    strategies: Sequence[Strategy[Any]],
) -> Plan | Row:
    """Return the plan of a strategy, or the row with the reason why it is skipped.

    One that takes long to compile has to be named. `strategies` are those that the name stands for.
    """
    is_named = options.strategies is not None or options.baseline == estimate.strategy
    if estimate.plan is not None and not is_named:
        compile_ns = planner.cost_model.compile_ns(estimate.plan.strategy, estimate.plan.device)
        if compile_ns > MOST_COMPILE_NS:
            reason = (
                f"takes about {time_text(compile_ns)} to compile in a new process; it races if "
                "strategies names it"
            )
            return Row(estimate.strategy, estimate.device, estimate.run_ns, skipped=reason)
    if estimate.plan is not None and estimate.plan.device.kind == CLUSTER:
        reason = "runs beyond this host, and a race is held on it"
        return Row(estimate.strategy, estimate.device, estimate.run_ns, skipped=reason)
    if estimate.plan is not None and estimate.reason is None:
        return estimate.plan
    lacking = any(each.lacking(planner.devices.absent) for each in strategies)
    return Row(
        estimate.strategy,
        estimate.device,
        estimate.run_ns,
        skipped=estimate.reason,
        is_available=not lacking,
    )
