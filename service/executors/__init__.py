"""Where a call runs: on a thread, or in a process that can be killed. No web in here.

admission   who may enter: places, the wait to expect, bytes in flight
threads     a slot for each of a few threads, for what releases the GIL
processes   a slot for each worker process > process (the server's end of one), template (what they
            are forked from) > worker (the inside of one) > arena (memory that both ends share),
            pool (memory that all of them share, for bodies)
owner       a process that a device has for itself, which is replaced when it is lost
"""

from typing import Final, Literal

from service.executors.admission import Admission, ByteBudget, Hold
from service.executors.device_process import HANDSHAKE, DeviceProcess, spawn
from service.executors.forkserver import ForkServer
from service.executors.process_pool import ProcessPool, WorkerFaultError
from service.executors.shared_memory import Block, Bytes, Pool
from service.executors.thread_pool import ThreadPool
from service.executors.worker_loop import (
    NICE,
    Channel,
    Config,
    FatalError,
    Handler,
    Tell,
    WorkerResponse,
)

__all__ = [
    "HANDSHAKE",
    "INLINE",
    "NICE",
    "PROCESS",
    "THREAD",
    "Admission",
    "Block",
    "ByteBudget",
    "Bytes",
    "Channel",
    "Config",
    "DeviceProcess",
    "FatalError",
    "ForkServer",
    "Handler",
    "Hold",
    "Lane",
    "Pool",
    "ProcessPool",
    "Tell",
    "ThreadPool",
    "WorkerFaultError",
    "WorkerResponse",
    "spawn",
]

Lane = Literal["inline", "thread", "process"]
INLINE: Final = "inline"
THREAD: Final = "thread"
PROCESS: Final = "process"
