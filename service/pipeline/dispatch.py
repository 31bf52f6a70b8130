"""A request, given to another process, and by that perhaps to a third: the owner of a device."""

from dataclasses import replace
from typing import Final

from service.core.timing import Stopwatch
from service.executors import Bytes, DeviceProcess, PoolBlock, ProcessPool
from service.http.response import HttpResponse
from service.pipeline.messages import WorkerRequest, WrongDeviceError, reply_of
from service.pipeline.service import Service

Processes = ProcessPool | DeviceProcess
# Bodies from here on leave so much behind that it is worth a few milliseconds to return it.
TIDIED_BYTES: Final = 4_000_000


async def hand_over(
    service: Service,
    to: Processes,
    task: WorkerRequest,
    body: Bytes | PoolBlock,
    *,
    estimated_ns: int | None,
    deadline_ms: int,
) -> tuple[HttpResponse, Stopwatch, str]:
    """The reply to a task, the stopwatch of who made it, and the strategy that ran.

    What has not been admitted yet is planned where it is decoded. If the plan is for a device with
    an owner, that one gets the body next, as it came.
    """
    if task.admitted is None and service.owners:
        planner = service.engine.planner
        task = replace(
            task,
            absences=planner.devices.readiness.absences,
            rates=[row for row in planner.cost_model.to_rows() if row[2] in service.owners],
        )
    try:
        return await _ask(service, to, task, body, (estimated_ns, deadline_ms))
    except WrongDeviceError as found:
        admitted, watch = found.admitted, found.watch
        task = replace(task, admitted=admitted, watch=watch, absences={}, rates=[])
        deadline_ms = found.deadline_ms or service.settings.deadline_ms
        left_ms = max(1, deadline_ms - Stopwatch.resume(watch).elapsed_ms)
        owner = service.owners[admitted.device]
        return await _ask(service, owner, task, body, (admitted.estimated_ns, left_ms))


async def _ask(
    service: Service,
    to: Processes,
    task: WorkerRequest,
    body: Bytes | PoolBlock,
    times: tuple[int | None, int],
) -> tuple[HttpResponse, Stopwatch, str]:
    estimated_ns, deadline_ms = times
    head, payload = await to.run(
        task.to_json(), body, estimated_ns=estimated_ns, deadline_ms=deadline_ms
    )
    if len(payload) > TIDIED_BYTES:
        service.tidy_later()
    return reply_of(head, payload)
