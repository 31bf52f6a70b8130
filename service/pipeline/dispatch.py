"""The choice of an executor for a request, and its way there and back.

A request is decoded and planned here, on a thread if that takes time; then its plan decides:

a device that has a process of its own      that process
a cluster                                   a thread, which waits for the cluster
long, or a lot of time under the GIL        a worker process, which can be killed
compiled                                    a worker process, since a compiler takes memory
anything else                               a thread

Long text that compiled code does not read would hold the GIL, so that a worker process does it all.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from service.codecs.base import SlowTextError
from service.core.devices import CPU
from service.core.response import HttpResponse
from service.core.timing import COMPILE, DECODE, QUEUE, Stopwatch
from service.errors import BodyTooLargeError
from service.executors import (
    PROCESS,
    THREAD,
    AnyExecutor,
    DeviceProcess,
    ProcessPool,
    ThreadPool,
)
from service.pipeline.messages import WorkerRequest, WrongDeviceError, response_from
from service.pipeline.race_slices import run_slice
from service.pipeline.request import PipelineRequest
from service.pipeline.service import TRIM_BYTES, Service
from service.planning.chain import ChainPlan
from service.planning.plan import Plan

# Up to here a call runs in the event loop: a thread that holds the GIL would stall it as long.
INLINE_NS: Final = 1_000_000
# Longer calls have to be killed at their deadline, which a thread cannot be.
KILLABLE_NS: Final = 250_000_000
T = TypeVar("T")


def planned_executor(service: Service, plan: Plan | ChainPlan, *, may_wait: bool) -> AnyExecutor:
    """Return the executor of a planned call.

    A call that `may_wait` for a disk is not given to a worker, which could run it twice, unless it
    has to be compiled: a compiler is never in this process.
    """
    if plan.device.has_process:
        return service.device_processes[plan.device.name]
    if plan.device.cluster is not None:
        return service.cluster_threads
    is_long = plan.interpreter_ns > INLINE_NS or plan.estimated_ns > KILLABLE_NS
    if (plan.is_compiled or (is_long and not may_wait)) and service.worker_pool is not None:
        return service.worker_pool
    return service.threads


async def dispatch(request: PipelineRequest) -> HttpResponse:
    """Return the response of a request that an executor makes."""
    service, response = request.service, None
    try:
        if request.reading is None or not service.threads.is_busy:
            response = await _prepare(request, service.threads, partial(_prepare_and_run, request))
        else:
            # While it waits for a thread that computes, its text would take memory.
            await _prepare(request, service.reading_threads, partial(_prepare_to_wait, request))
        if response is None:
            response = await _run(request, request.choose_executor())
        if response.length > TRIM_BYTES:
            service.trim_memory_later()
        return response
    except BodyTooLargeError:  # a short one that was inflated
        service.trim_memory_later()
        raise
    finally:
        request.is_over = True


async def prepare(request: PipelineRequest) -> None:
    """Decode and plan a request on a thread, unless that is done, or has to be left to a worker."""
    await _prepare(request, request.service.threads, request.prepare)


async def _prepare(request: PipelineRequest, pool: ThreadPool, job: Callable[[], T]) -> T | None:
    """Return the result of a job on a thread that prepares a request, None if that is not done."""
    if not request.is_prepared and not request.is_slow_text:
        try:
            return await _run_on_thread(request, pool, job, None)
        except SlowTextError:
            request.is_slow_text = True
    return None


def _prepare_to_wait(request: PipelineRequest) -> None:
    """Prepare a request, and let go of its body unless another process is to get that."""
    request.prepare()
    if isinstance(request.choose_executor(), ThreadPool):
        request.drop_body()


def _prepare_and_run(request: PipelineRequest) -> HttpResponse | None:
    """Prepare a request, and run it if its plan and its deadline leave it to the same thread."""
    request.prepare()
    service = request.service
    has_deadline = request.deadline_ms < service.settings.deadline_ms
    if has_deadline or request.choose_executor() is not service.threads:
        return None
    request.drop_body()
    return request.run()


async def _run(request: PipelineRequest, executor: AnyExecutor) -> HttpResponse:
    """Return the response of a prepared request, or of one whose text is slow."""
    if not isinstance(executor, ThreadPool):
        return await _run_in_process(request, executor)
    request.drop_body()
    if request.emit is not None:
        loop, emit = asyncio.get_running_loop(), request.emit
        request.emit = lambda part: loop.call_soon_threadsafe(emit, part)
    return await _run_on_thread(request, executor, request.run, request.estimated_ns)


def with_planning_state(message: WorkerRequest, service: Service) -> WorkerRequest:
    """Return the message with what a plan in a worker depends on, beside the host.

    These are the devices that are absent now, and the costs of devices that have processes of
    their own, which may have started since.
    """
    planner, processes = service.engine.planner, service.device_processes
    rows = [row for row in planner.cost_model.to_rows() if row[2] in processes] if processes else []
    devices = planner.devices
    absences, with_tf32 = devices.readiness.absences, [*devices.with_tf32]
    return replace(message, absences=absences, curves=rows, with_tf32=with_tf32)


async def _run_on_thread(
    request: PipelineRequest, pool: ThreadPool, job: Callable[[], T], estimated_ns: int | None
) -> T:
    """Return the result of `job`, once a slot is free for it."""
    request.executor = THREAD
    request.watch.lap(DECODE)

    def run() -> T:
        request.watch.lap(QUEUE)
        return job()

    return await pool.run(run, estimated_ns=estimated_ns, deadline_ms=request.left_ms)


async def _run_in_process(
    request: PipelineRequest, executor: ProcessPool | DeviceProcess
) -> HttpResponse:
    """Return the response of another process, which gets the body as it came."""
    service = request.service
    request.executor = PROCESS
    request.watch.lap(DECODE)
    message, estimated_ns, deadline_ms = request.message(), request.estimated_ns, request.left_ms
    try:
        return await _ask(request, executor, message, estimated_ns, deadline_ms)
    except WrongDeviceError as found:
        # What was not planned here has been planned by the worker: the device is next.
        admitted = found.admitted
        message = replace(message, admitted=admitted, marks=found.marks, absences={}, curves=[])
        deadline_ms = found.deadline_ms or service.settings.deadline_ms
        left = max(1, deadline_ms - Stopwatch([*found.marks]).elapsed_ms)
        process = service.device_processes[admitted.device]
        return await _ask(request, process, message, admitted.estimated_ns, left)


async def _ask(
    request: PipelineRequest,
    executor: ProcessPool | DeviceProcess,
    message: WorkerRequest,
    estimated_ns: int | None,
    deadline_ms: int,
) -> HttpResponse:
    body = request.body
    if isinstance(executor, ProcessPool):
        head, payload = await executor.run(
            message.to_json(),
            body,
            estimated_ns=estimated_ns,
            deadline_ms=deadline_ms,
            emit=request.emit,
            respond=partial(run_slice, request, message),
        )
    else:
        head, payload = await executor.run(
            message.to_json(), body, estimated_ns=estimated_ns, deadline_ms=deadline_ms
        )
    response, request.watch, request.strategy = response_from(head, payload)
    compile_ns = request.watch.phases[COMPILE]
    if compile_ns and request.strategy in request.negotiated.op.strategies:
        device = executor.device if isinstance(executor, DeviceProcess) else CPU.name
        cost_model = request.service.engine.planner.cost_model
        cost_model.learn_compiling(request.op_name, request.strategy, device, compile_ns)
    return response
