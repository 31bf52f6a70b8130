"""Routes about the service itself: strategies, devices, limits, health, problems, metrics."""

from typing import Any

import torch
from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from service.api.guide import ResourceRoute, with_page
from service.codecs import number_text
from service.core.arithmetic import TF32
from service.core.devices import CLUSTER, Device
from service.core.dtypes import DTYPES
from service.errors import did_you_mean, quote
from service.http import schemas
from service.http.errors import NotFoundError
from service.http.problems import problem_answers, problem_kinds
from service.http.serializers import device_peak_answer
from service.observability.metrics import MEDIA_TYPE, Metrics
from service.pipeline.service import Service
from service.planning.transfers import wins_from
from service.registry import Op, Strategy
from service.settings import NO_LIMITS, PREFIX


def system_router(service: Service, metrics: Metrics) -> APIRouter:
    """Return the routes that compute nothing."""
    router = APIRouter(tags=["system"], route_class=ResourceRoute)

    @router.get("/strategies", responses=with_page())
    def strategies() -> list[schemas.OperationInfo]:
        """Every operation and strategy: summary, source, dtypes, and limits of work here."""
        return _operations(service)

    @router.get("/devices", responses=with_page())
    def devices() -> schemas.DeviceList:
        """The devices of this host."""
        found = service.engine.planner.devices
        return schemas.DeviceList(
            devices=[_device(service, device) for device in found.members],
            default=found.default,
            tf32=torch.backends.cuda.matmul.fp32_precision == TF32,
            threads=torch.get_num_threads(),
        )

    @router.get("/limits", responses=with_page())
    def limits() -> list[schemas.LimitInfo]:
        """Every limit and setting of a call, with the variable that changes it."""
        found = [
            schemas.LimitInfo(
                name=name,
                value=getattr(service.settings, name),
                setting=PREFIX + name.upper(),
                description=field.description or "",
            )
            for name, field in type(service.settings).model_fields.items()
            if name not in NO_LIMITS
        ]
        return [*found, _number_text()]

    @router.get("/health/live")
    async def live() -> schemas.Health:
        """Liveness: the process answers, whatever it computes."""
        return schemas.Health(status="live")

    @router.get("/health/ready", responses=problem_answers(503))
    async def ready() -> schemas.Readiness:
        """Readiness: calls are taken.

        Each device of this host that is ready has just computed a product of 2 x 2; a GPU with
        calls in progress, or without free memory, is not tried.
        """
        service.check_ready()
        await service.check_devices()
        devices = service.engine.planner.devices
        return schemas.Readiness(
            status="ready",
            devices={
                each.name: devices.readiness.reason(each.name)
                for each in devices.members
                if each.cluster is None
            },
        )

    @router.get("/problems", responses=with_page())
    def problems() -> list[schemas.ProblemKind]:
        """Every problem code, with its meaning and its remedy."""
        return list(problem_kinds().values())

    @router.get("/problems/{code}", responses=with_page(404))
    def problem(code: str) -> schemas.ProblemKind:
        """Meaning and remedy of a problem code."""
        known = problem_kinds()
        if code not in known:
            raise NotFoundError(
                f"no problem has the code {quote(code)}", hint=did_you_mean(code, known)
            )
        return known[code]

    @router.get("/metrics", response_class=PlainTextResponse)
    async def figures() -> Response:
        """Metrics of this server in Prometheus' text format."""
        return Response(await metrics.text(), media_type=MEDIA_TYPE)

    return router


def _device(service: Service, device: Device) -> schemas.DeviceInfo:
    planner = service.engine.planner
    reason = planner.devices.readiness.reason(device.name)
    wins = wins_from(planner, service.engine.registry, device)
    # A device with a process of its own is described by that.
    report = service.device_reports.get(device.name, device)
    return schemas.DeviceInfo(
        name=device.name,
        kind=device.kind,
        description=report.description,
        memory_bytes=report.memory_bytes,
        ready=reason is None,
        reason=reason,
        precisions=[*service.engine.planner.devices.precisions(device)],
        peak=None
        if device.cluster is not None
        else device_peak_answer(planner.cost_model, device.name),
        wins_from=None if wins is None else schemas.DeviceAdvantage.model_validate(wins),
    )


def _number_text() -> schemas.LimitInfo:
    """Return what reads and writes the numbers of JSON."""
    reason = number_text.reason
    return schemas.LimitInfo(
        name="number_text",
        value="python" if reason else "compiled",
        setting=number_text.NO_EXTENSIONS,
        description=f"JSON numbers are read and written by Python, slower: {reason}"
        if reason
        else "JSON numbers are read and written by compiled code.",
    )


def _operations(service: Service) -> list[schemas.OperationInfo]:
    return [
        schemas.OperationInfo(
            name=op.name,
            summary=op.summary,
            operands=list(op.operands or ["operands"]),
            auto=list(op.auto),
            strategies=[_strategy(service, op, each) for each in op.strategies.values()],
        )
        for op in service.engine.registry.values()
    ]


def _strategy(service: Service, op: Op[Any], strategy: Strategy[Any]) -> schemas.StrategyInfo:
    devices = service.engine.planner.devices
    here = [device for device in devices.ready if strategy.dtypes_on(device.kind)]
    return schemas.StrategyInfo(
        op=strategy.op,
        name=strategy.name,
        summary=strategy.summary,
        snippet=strategy.snippet,
        dtypes={
            kind: [each.name for each in DTYPES.values() if each.torch in dtypes]
            for kind, dtypes in (
                ("cpu", strategy.dtypes),
                ("cuda", strategy.cuda),
                (CLUSTER, strategy.cluster),
            )
        },
        available=bool(here),
        reason=None
        if here
        else strategy.lacking(devices.absent) or "no device of this host runs it",
        precisions=[*strategy.precisions],
        accumulates_in=strategy.accumulates_in,
        deterministic=strategy.is_deterministic,
        work_limits=[
            schemas.WorkLimit(
                device=limit.device.name,
                multiply_adds=limit.multiply_adds,
                ns_per_multiply_add=limit.ns_per_multiply_add,
            )
            for limit in (service.engine.planner.work_limit(strategy, op, each) for each in here)
        ],
    )
