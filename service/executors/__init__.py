"""Executors: threads, worker processes that can be killed, and the processes of devices.

admission       limits on calls and on bytes in flight: slots, queue length, expected wait
thread_pool     `ThreadPool`: a fixed number of threads, for work that releases the GIL
process_pool    `ProcessPool`: a fixed number of worker processes, for work that holds the GIL
worker_handle   the server's end of one worker process
worker_loop     the worker's end: receive a request, call the handler, send the response
forkserver      `ForkServer`: the process that workers are forked from
background      tasks that nothing awaits, whose faults are logged
device_process  `DeviceProcess`: one process that owns a device and is replaced when it is lost
shared_buffer   memory that the server shares with a worker, for requests and responses
__main__        entry points of the processes: `python -m service.executors`

This package imports no web framework, so a worker process starts without one.
"""

from typing import Final, Literal

from service.executors.admission import Admission, ByteBudget, Hold
from service.executors.background import run_in_background
from service.executors.device_process import (
    ECHO,
    ECHO_SIZES,
    HANDSHAKE,
    PROBE,
    UNMAP,
    DeviceProcess,
    spawn,
)
from service.executors.forkserver import ForkServer
from service.executors.process_pool import ProcessPool
from service.executors.shared_buffer import Bytes, MappedBuffer, SharedBuffer
from service.executors.thread_pool import ThreadPool
from service.executors.worker_handle import WorkerFaultError
from service.executors.worker_loop import (
    NICE,
    Ask,
    Channel,
    Config,
    Emit,
    ExhaustedError,
    FatalError,
    Handler,
    WorkerResponse,
)

__all__ = [
    "ECHO",
    "ECHO_SIZES",
    "HANDSHAKE",
    "INLINE",
    "NICE",
    "PROBE",
    "PROCESS",
    "THREAD",
    "UNMAP",
    "Admission",
    "AnyExecutor",
    "Ask",
    "ByteBudget",
    "Bytes",
    "Channel",
    "Config",
    "DeviceProcess",
    "Emit",
    "Executor",
    "ExhaustedError",
    "FatalError",
    "ForkServer",
    "Handler",
    "Hold",
    "MappedBuffer",
    "ProcessPool",
    "SharedBuffer",
    "ThreadPool",
    "WorkerFaultError",
    "WorkerResponse",
    "run_in_background",
    "spawn",
]

AnyExecutor = ThreadPool | ProcessPool | DeviceProcess
# Names of executors, as answers and metrics state them.
Executor = Literal["inline", "thread", "process"]
INLINE: Final = "inline"
THREAD: Final = "thread"
PROCESS: Final = "process"
