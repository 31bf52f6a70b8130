"""Plans and races as answers: records of the engine to the models of the document."""

import math
from dataclasses import asdict
from typing import Any, Final, Literal

from service.compare import Report, Row
from service.core.arithmetic import Arithmetic
from service.core.dtypes import DTYPES, describe
from service.http import schemas
from service.http.chain_schemas import ChainPlanAnswer, ChainPlanStep, ChainWork
from service.planning.chain import ChainExplanation, ChainSpec
from service.planning.cost_model import CostModel, Peak
from service.planning.plan import CallSpec, Explanation
from service.registry import Inferred

ERRORS: Final = (
    "max_abs_error",
    "median_abs_error",
    "max_rel_error",
    "median_rel_error",
    "max_ulp_error",
    "median_ulp_error",
)
RATES: Final = ("gflops", "gb_per_s", "peak_share")
BASES: Final[tuple[Literal["prior"], Literal["measured"]]] = ("prior", "measured")


def plan_answer(request: CallSpec, found: Explanation) -> schemas.PlanAnswer:
    """Return the answer to a plan."""
    inferred, plan = found.inferred, found.plan
    dtype = describe(inferred.dtype)
    shown = plan or found.cheapest
    return schemas.PlanAnswer(
        op=request.op.name,
        accepted=found.reason is None,
        reason=found.reason,
        strategy=plan.strategy.name if plan else None,
        device=plan.device.name if plan else None,
        result=schemas.PlannedResult(
            shape=list(inferred.shape),
            dtype=dtype.name,
            elements=found.sizes.elements,
            bytes=found.sizes.elements * dtype.itemsize,
        ),
        work=schemas.PlannedWork(
            multiply_adds=inferred.multiply_adds,
            peak_elements=shown.work.peak_elements if shown else 0,
            peak_bytes=shown.peak_bytes if shown else found.sizes.outer_bytes,
        ),
        strategies=[
            schemas.PlannedStrategy(
                strategy=each.strategy,
                device=each.device,
                available=each.plan is not None,
                accepted=each.reason is None,
                estimated_ms=_ms(each.estimated_ns),
                transfer_ms=None if each.plan is None else each.plan.transfer_ns / 1e6,
                compile_ms=_ms(each.compile_ns),
                basis=None if each.plan is None else BASES[each.plan.is_measured],
                reason=each.reason,
            )
            for each in found.estimates
        ],
        reproduce=request.reproduce(inferred),
        **_stated(request.arithmetic),
        **_blocks(inferred),
    )


def _planned_result(inferred: Inferred) -> schemas.PlannedResult:
    elements, dtype = inferred.elements, describe(inferred.dtype)
    return schemas.PlannedResult(
        shape=list(inferred.shape),
        dtype=dtype.name,
        elements=elements,
        bytes=elements * dtype.itemsize,
    )


def chain_plan_answer(chain: ChainSpec, found: ChainExplanation) -> ChainPlanAnswer:
    """Return the answer to a plan of a chain."""
    inferred, plan = found.inferred, found.plan
    names = [step.name for step in chain.steps]
    by_name = dict(zip(names, inferred.steps, strict=True))
    return ChainPlanAnswer(
        op="chain",
        accepted=found.reason is None,
        reason=found.reason,
        device=plan.device.name if plan else None,
        estimated_ms=_ms(plan.estimated_ns) if plan else None,
        transfer_ms=_ms(plan.transfer_ns) if plan else None,
        results={name: _planned_result(by_name[name]) for name in inferred.results},
        work=ChainWork(
            multiply_adds=inferred.multiply_adds, peak_bytes=plan.peak_bytes if plan else None
        ),
        steps=[
            ChainPlanStep(name=name, **_given(plan_answer(call, step)))
            for name, (call, step) in zip(names, found.steps, strict=True)
        ],
        **_stated(chain.arithmetic),
    )


def _given(answer: schemas.PlanAnswer) -> dict[str, Any]:
    """Return the fields of an answer without those that it lacks."""
    return {name: value for name, value in answer if name in answer.model_fields_set}


def _stated(arithmetic: Arithmetic | None) -> dict[str, Any]:
    """Return the fields about its arithmetic that a request has."""
    return {} if arithmetic is None else arithmetic.stated


def _blocks(inferred: Inferred) -> dict[str, Any]:
    """Return the blocks that only some operations have."""
    blocks: dict[str, Any] = {}
    if inferred.path is not None:
        blocks["path"] = [schemas.PathStep.model_validate(step) for step in inferred.path]
    if inferred.explanation is not None:
        blocks["broadcast"] = schemas.Alignment.model_validate(inferred.explanation)
    return blocks


def row_answer(row: Row, speedup: float | None = None) -> schemas.CompareRow:
    """Return the answer for one strategy."""
    found = schemas.CompareRow(
        strategy=row.strategy, device=row.device, estimated_ms=_ms(row.estimated_ns)
    )
    if row.arithmetic is not None:
        found = found.model_copy(update=row.arithmetic.stated)
    if row.agreement is None:
        return found.model_copy(update={"skipped": row.skipped})
    if row.agreement.worst_result:
        found = found.model_copy(update={"worst_result": row.agreement.worst_result})
    return found.model_copy(
        update={
            "runs": len(row.times_ns),
            "median_ms": _ms(row.median_ns),
            "min_ms": _ms(min(row.times_ns)),
            "iqr_ms": _ms(row.iqr_ns),
            "compile_ms": _ms(row.compile_ns),
            "upload_ms": _ms(row.upload_ns),
            "download_ms": _ms(row.download_ns),
            "speedup": speedup,
            **{name: _number(getattr(row.agreement, name)) for name in ERRORS},
            "agrees": row.agreement.agrees,
            "disagreeing": row.agreement.disagreeing,
            "worst": None if row.agreement.worst is None else list(row.agreement.worst),
            **{name: _rounded(getattr(row.rates, name, None)) for name in RATES},
        }
    )


def peak_answer(peak: Peak) -> schemas.PeakRates:
    """Return the answer for the peak rates of a device with one dtype."""
    return schemas.PeakRates(gflops=_rounded(peak.gflops), gb_per_s=_rounded(peak.gb_per_s))


def device_peak_answer(costs: CostModel, device: str) -> schemas.DevicePeak:
    """Return the answer for all peak rates of a device that have been measured."""
    peaks = {dtype.name: costs.peak(device, dtype.torch) for dtype in DTYPES.values()}
    found = {name: peak_answer(peak) for name, peak in peaks.items()}
    return schemas.DevicePeak(
        gflops={name: each.gflops for name, each in found.items() if each.gflops is not None},
        gb_per_s=found["float32"].gb_per_s,
    )


def report_answer(report: Report) -> schemas.CompareAnswer:
    """Return the answer to a whole race."""
    basis = report.basis
    return schemas.CompareAnswer(
        op=report.op,
        params=dict(report.params),
        shapes=[list(spec.shape) for spec in report.specs],
        dtype=describe(report.specs[0].dtype).name,
        multiply_adds=report.multiply_adds,
        baseline=report.baseline,
        reference=None if basis is None else schemas.CompareReference(**asdict(basis)),
        host=schemas.CompareHost(
            cpu=report.host.cpu,
            threads=report.host.threads,
            devices=list(report.host.devices),
            versions=dict(report.host.versions),
            peaks={name: peak_answer(peak) for name, peak in report.host.peaks.items()},
        ),
        rows=[row_answer(row, report.speedup(row)) for row in report.rows],
    )


def _ms(ns: float | None) -> float | None:
    return None if ns is None else round(ns / 1e6, 6)


def _rounded(rate: float | None) -> float | None:
    """Return six significant digits, which are more than two measurements have in common."""
    return None if rate is None else float(f"{rate:.6g}")


def _number(value: float) -> float | str:
    """Return a number for JSON, where infinities are words."""
    return value if math.isfinite(value) else "Infinity"
