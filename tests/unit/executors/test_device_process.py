"""The executor of a device, with real processes that are lost in every way and replaced."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from service.core.devices import DeviceReadiness
from service.errors import (
    DeadlineExceededError,
    DeviceUnreadyError,
    OutOfMemoryError,
    OverloadedError,
)
from service.executors import (
    ECHO_SIZES,
    Bytes,
    Config,
    DeviceProcess,
    ForkServer,
    WorkerFaultError,
    device_process,
    spawn,
)
from service.executors.device_process import BUFFERS
from service.executors.worker_handle import StagedRequest, StartProcess
from tests.unit.executors.processes import LONG_MS, ROOT, is_alive, pid_in, pid_of, until

CONFIG = Config(make="tests.unit.executors.handlers:obey", memory_bytes=None, nice=0)
MakeExecutor = Callable[..., DeviceProcess]


class Reports:
    """Reports of the processes of a test."""

    def __init__(self) -> None:
        """Begin with none; `fails` is the exception to raise on the next one."""
        self.found: list[int] = []
        self.fails: Exception | None = None

    def take(self, text: bytearray, round_trips_ns: Sequence[int]) -> None:
        """Append a report, or raise `fails`."""
        assert len(round_trips_ns) == len(ECHO_SIZES)
        assert min(round_trips_ns) > 0
        if self.fails is not None:
            raise self.fails
        self.found.append(int(text))


@pytest.fixture
def reports() -> Reports:
    """The reports of a test's processes."""
    return Reports()


@pytest.fixture
def readiness() -> DeviceReadiness:
    """The readiness of the test's device."""
    return DeviceReadiness()


@pytest.fixture
async def make_executor(
    fork_server: ForkServer, reports: Reports, readiness: DeviceReadiness
) -> AsyncIterator[MakeExecutor]:
    """A function that starts executors of "cuda:0" with a handler of the tests."""
    made = []

    def make(
        handler: str = "obey",
        *,
        start: StartProcess = fork_server.fork,
        queue: int = 4,
        longest_ms: int = LONG_MS,
    ) -> DeviceProcess:
        config = replace(CONFIG, make=f"tests.unit.executors.handlers:{handler}")
        found = DeviceProcess(
            "cuda:0",
            start,
            lambda: config,
            readiness=readiness,
            report=reports.take,
            queue=queue,
            longest_ms=longest_ms,
        )
        found.start()
        made.append(found)
        return found

    yield make
    for each in made:
        if each._supervision is not None and not each._supervision.done():  # the test left it open
            await each.close()


async def until_ready(readiness: DeviceReadiness) -> None:
    """Wait until the device is ready."""
    await until(lambda: not readiness.absences)


async def test_a_process_that_stays(
    make_executor: MakeExecutor, reports: Reports, readiness: DeviceReadiness
) -> None:
    """It starts before the first call, sends its report, and answers one call after another."""
    executor = make_executor()
    with pytest.raises(DeviceUnreadyError, match="its process is starting") as rejected:
        await executor.run(b"pid", b"", deadline_ms=LONG_MS)
    assert rejected.value.retry_after_s >= 1
    await until_ready(readiness)
    body = os.urandom(3_000_000)
    assert (await executor.run(b"pid", body, deadline_ms=LONG_MS))[1] == body
    assert [await pid_of(executor)] == reports.found
    await executor.probe()
    assert len(reports.found) == 1
    assert executor.exits == executor.active_calls == 0


async def test_the_next_call_is_written_meanwhile(
    make_executor: MakeExecutor, readiness: DeviceReadiness
) -> None:
    """A request is in a buffer before the process has answered another one."""
    executor = make_executor("map_buffers")
    await until_ready(readiness)
    size = 3_000_000
    calls, bodies = [], [os.urandom(size) for _ in range(BUFFERS + 1)]
    for body in bodies:
        calls.append(asyncio.create_task(executor.run(b"sleep 0.1", body, deadline_ms=LONG_MS)))
        await asyncio.sleep(0)
    buffers = executor._worker._buffers
    await until(lambda: all(each.size > size for each in buffers))
    assert not any(call.done() for call in calls)
    assert [payload for _, payload in await asyncio.gather(*calls)] == bodies
    assert executor.active_calls == 0


async def test_a_process_that_is_replaced_while_a_call_is_written(
    make_executor: MakeExecutor,
    reports: Reports,
    readiness: DeviceReadiness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The call fails: the process before may have written to its buffer. No other call does."""
    executor = make_executor()
    await until_ready(readiness)
    stage, begun, goes_on = executor._worker.stage, asyncio.Event(), asyncio.Event()

    async def stage_later(head: bytes, body: Bytes, number: int) -> StagedRequest:
        if head == b"pid":
            begun.set()
            await goes_on.wait()
        return await stage(head, body, number)

    with monkeypatch.context() as patch:
        patch.setattr(executor._worker, "stage", stage_later)
        written = asyncio.create_task(executor.run(b"pid", b"", deadline_ms=LONG_MS))
        await begun.wait()
        os.kill(reports.found[0], signal.SIGKILL)
        await until(lambda: len(reports.found) == 2 and not readiness.absences)
        goes_on.set()
        with pytest.raises(DeviceUnreadyError, match="it was replaced while the call was written"):
            await written
    assert [await pid_of(executor)] == reports.found[1:]


async def test_buffers_are_trimmed(
    make_executor: MakeExecutor,
    reports: Reports,
    readiness: DeviceReadiness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process unmaps them, and what is beyond KEPT_BYTES is returned to the system."""
    monkeypatch.setattr(device_process, "KEPT_BYTES", 1000)
    executor = make_executor("map_buffers")
    await until_ready(readiness)
    buffers = executor._worker._buffers
    trimmed: asyncio.Task[None] | None = None
    for _ in range(2):  # what has been unmapped is mapped again
        for body in (os.urandom(3_000_000), b"", os.urandom(6_000_000), os.urandom(2_000_000)):
            assert (await executor.run(b"pid", body, deadline_ms=LONG_MS))[1] == body
        assert all(each.size > 1000 for each in buffers)
        executor.trim_memory()
        assert executor._trimming is not trimmed
        trimmed = executor._trimming
        assert trimmed is not None
        executor.trim_memory()  # once is enough
        assert executor._trimming is trimmed
        await trimmed
        assert [each.size for each in buffers] == [1000] * BUFFERS
    executor.trim_memory()  # there is nothing to trim
    assert executor._trimming is trimmed
    assert [await pid_of(executor)] == reports.found


async def test_a_process_that_is_lost_while_its_buffers_are_trimmed(
    make_executor: MakeExecutor,
    reports: Reports,
    readiness: DeviceReadiness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Buffers that it may still have mapped are not shrunk, and the next process uses them."""
    monkeypatch.setattr(device_process, "KEPT_BYTES", 1000)
    monkeypatch.setattr(device_process, "PROBE_MS", 50)
    executor = make_executor("map_buffers")
    await until_ready(readiness)
    body = os.urandom(3_000_000)
    await executor.run(b"pid", body, deadline_ms=LONG_MS)
    os.kill(reports.found[0], signal.SIGSTOP)
    executor.trim_memory()
    assert executor._trimming is not None
    await executor._trimming
    assert executor._worker.holds(3_000_000)
    assert readiness.absences
    await until_ready(readiness)
    assert (await executor.run(b"pid", body, deadline_ms=LONG_MS))[1] == body
    assert len(reports.found) == 2


@pytest.mark.parametrize("way", ["_stage", "_ask"])
async def test_memory_that_runs_out_while_buffers_are_trimmed(
    make_executor: MakeExecutor,
    readiness: DeviceReadiness,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    way: str,
) -> None:
    """That trim leaves them as they are, and the next one shrinks them."""
    monkeypatch.setattr(device_process, "KEPT_BYTES", 1000)
    executor = make_executor("map_buffers")
    await until_ready(readiness)
    await executor.run(b"pid", bytes(3_000_000), deadline_ms=LONG_MS)

    async def fail(*_: object) -> StagedRequest:
        raise OutOfMemoryError("this host has no room")

    for fails in (True, False):
        with monkeypatch.context() as patch:
            if fails:
                patch.setattr(executor, way, fail)
            executor.trim_memory()
            assert executor._trimming is not None
            await executor._trimming
        assert executor._worker.holds(1000) == fails
    assert not [each for each in caplog.records if each.levelname == "ERROR"]
    assert not readiness.absences


async def test_it_is_closed_while_its_buffers_are_trimmed(
    make_executor: MakeExecutor,
    reports: Reports,
    readiness: DeviceReadiness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The trim ends with it."""
    monkeypatch.setattr(device_process, "KEPT_BYTES", 1000)
    executor = make_executor("map_buffers")
    await until_ready(readiness)
    await executor.run(b"pid", bytes(3_000_000), deadline_ms=LONG_MS)
    os.kill(reports.found[0], signal.SIGSTOP)
    executor.trim_memory()
    await until(executor._lock.locked)
    await executor.close()
    assert executor._trimming is not None
    assert executor._trimming.cancelled()


async def test_no_descriptor_is_left(
    make_executor: MakeExecutor,
    reports: Reports,
    readiness: DeviceReadiness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process that runs is watched without another one, and goes on."""

    def none(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "dup", none)
    executor = make_executor()
    await until_ready(readiness)
    for _ in range(3):
        assert [await pid_of(executor)] == reports.found
    os.kill(reports.found[0], signal.SIGKILL)
    await until(lambda: len(reports.found) == 2 and not readiness.absences)
    assert executor.exits == 1


async def test_it_does_not_yield(make_executor: MakeExecutor, readiness: DeviceReadiness) -> None:
    """The process has the niceness of the server."""
    executor = make_executor()
    await until_ready(readiness)
    nice, _ = await executor.run(b"nice", b"", deadline_ms=LONG_MS)
    assert int(nice) == os.getpriority(os.PRIO_PROCESS, 0)


async def test_a_fresh_interpreter(make_executor: MakeExecutor, readiness: DeviceReadiness) -> None:
    """The process is a child of this one, forked from no fork server, and it is reaped."""
    executor = make_executor(start=spawn)
    await until_ready(readiness)
    pid = await pid_of(executor)
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    assert int(stat[1]) == os.getpid()
    await executor.close()
    await until(lambda: not Path(f"/proc/{pid}").exists())


async def test_an_interpreter_that_cannot_start(
    make_executor: MakeExecutor, readiness: DeviceReadiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start is repeated after a pause, and errors have the reason until it succeeds."""
    monkeypatch.setattr(device_process, "PAUSES_S", (0.01, 0.05))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        executor = make_executor(start=spawn)
        await until(lambda: "could not be started" in (readiness.reason("cuda:0") or ""))
        assert "its process died" in str(readiness.reason("cuda:0"))
    await until_ready(readiness)
    assert await pid_of(executor)


async def test_a_death_without_a_call(
    make_executor: MakeExecutor, reports: Reports, readiness: DeviceReadiness
) -> None:
    """It is noticed at once, and the next process starts before the next call."""
    executor = make_executor()
    await until_ready(readiness)
    os.kill(reports.found[0], signal.SIGKILL)
    await until(lambda: len(reports.found) == 2 and not readiness.absences)
    assert [await pid_of(executor)] == reports.found[1:]
    assert executor.exits == 1


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_a_death_during_a_call(
    make_executor: MakeExecutor, reports: Reports, readiness: DeviceReadiness, way: signal.Signals
) -> None:
    """The call is not retried, as it might kill the next process; waiting calls fail, too."""
    executor = make_executor()
    await until_ready(readiness)
    dying = asyncio.create_task(executor.run(b"die %d" % way, b"", deadline_ms=LONG_MS))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(executor.run(b"pid", b"", deadline_ms=LONG_MS))
    with pytest.raises(DeviceUnreadyError, match=r"lost during the call: its process died"):
        await dying
    with pytest.raises(DeviceUnreadyError, match="its process died; its process is being repl"):
        await waiting
    assert executor.active_calls == 0
    await until_ready(readiness)
    assert [await pid_of(executor)] == reports.found[1:]
    assert executor.exits == 1


async def test_a_device_that_accepts_no_more_work(
    make_executor: MakeExecutor, reports: Reports, readiness: DeviceReadiness
) -> None:
    """The process reports it, exits by itself, and is replaced."""
    executor = make_executor()
    await until_ready(readiness)
    with pytest.raises(DeviceUnreadyError, match="lost during the call: an illegal address"):
        await executor.run(b"end an illegal address", b"", deadline_ms=LONG_MS)
    await until(lambda: not is_alive(reports.found[0]))
    await until_ready(readiness)
    assert [await pid_of(executor)] == reports.found[1:]


async def test_a_late_call_goes_on(
    make_executor: MakeExecutor, reports: Reports, readiness: DeviceReadiness
) -> None:
    """It fails in time, and the process is not replaced because of its deadline."""
    executor = make_executor()
    await until_ready(readiness)
    with pytest.raises(DeadlineExceededError):
        await executor.run(b"sleep 0.4", b"", deadline_ms=50)
    assert executor.active_calls == 1
    assert [await pid_of(executor)] == reports.found


async def test_an_unwanted_call_goes_on(
    make_executor: MakeExecutor, reports: Reports, readiness: DeviceReadiness
) -> None:
    """A cancelled call does not cost others their device, whatever its result is."""
    executor = make_executor()
    await until_ready(readiness)
    left = asyncio.create_task(executor.run(b"sleep 0.2", b"", deadline_ms=LONG_MS))
    await until(lambda: executor._calls)
    waiting = asyncio.create_task(executor.run(b"fail too soon", b"", deadline_ms=LONG_MS))
    await until(lambda: executor.active_calls == 2)
    left.cancel()
    waiting.cancel()
    await asyncio.wait([left, waiting])
    assert executor.active_calls == 1  # a call that had not begun is dropped
    for _ in range(BUFFERS):
        written = asyncio.create_task(executor.run(b"pid", bytes(2**24), deadline_ms=LONG_MS))
        await until(lambda: executor.active_calls == 2)
        written.cancel()
        await asyncio.wait([written])
        assert executor.active_calls == 1  # so is one whose body was being written
    assert [await pid_of(executor)] == reports.found


async def test_a_call_that_holds_the_device(
    make_executor: MakeExecutor, reports: Reports, readiness: DeviceReadiness, tmp_path: Path
) -> None:
    """After the longest time that any call may have, the process is replaced."""
    executor = make_executor(longest_ms=1500)
    await until_ready(readiness)
    file = tmp_path / "pid"
    late = asyncio.create_task(executor.run(f"spin {file}".encode(), b"", deadline_ms=500))
    waiting = asyncio.create_task(executor.run(b"pid", b"", deadline_ms=LONG_MS))
    pid = await pid_in(file)
    with pytest.raises(DeadlineExceededError):
        await late
    assert is_alive(pid)
    with pytest.raises(DeviceUnreadyError, match="it did not answer for 1500 ms"):
        await waiting
    await until(lambda: not is_alive(pid))
    await until_ready(readiness)
    assert [await pid_of(executor)] == reports.found[1:]


async def test_a_failed_probe(
    make_executor: MakeExecutor,
    reports: Reports,
    readiness: DeviceReadiness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that does not answer a probe is replaced; one that computes is not probed."""
    executor = make_executor()
    await until_ready(readiness)
    busy = asyncio.create_task(executor.run(b"sleep 0.2", b"", deadline_ms=LONG_MS))
    await until(lambda: executor._calls)
    executor.trim_memory()  # leaves a buffer that is in use
    await executor.probe()
    assert not busy.done()
    await busy
    monkeypatch.setattr(device_process, "PROBE_MS", 50)
    os.kill(reports.found[0], signal.SIGSTOP)
    with pytest.raises(DeviceUnreadyError, match="it did not answer for 50 ms"):
        await executor.probe()
    await until(lambda: not is_alive(reports.found[0]))
    await until_ready(readiness)
    assert [await pid_of(executor)] == reports.found[1:]


async def test_errors_that_keep_the_process(
    make_executor: MakeExecutor, reports: Reports, readiness: DeviceReadiness
) -> None:
    """A full queue, a handler that fails, and a lack of memory."""
    executor = make_executor(queue=0)
    await until_ready(readiness)
    held = asyncio.create_task(executor.run(b"sleep 0.2", b"", deadline_ms=LONG_MS))
    await until(lambda: executor.active_calls)
    with pytest.raises(OverloadedError):
        await executor.run(b"pid", b"", deadline_ms=LONG_MS)
    await held
    with pytest.raises(WorkerFaultError, match=r"failed by ValueError$"):
        await executor.run(b"fail because", b"", deadline_ms=LONG_MS)
    with pytest.raises(OutOfMemoryError, match="more memory than its process may have"):
        await executor.run(b"fill %d" % 2**62, b"", deadline_ms=LONG_MS)
    with pytest.raises(OutOfMemoryError, match=r"^cuda:0 is full$"):
        await executor.run(b"exhaust cuda:0 is full", b"", deadline_ms=LONG_MS)
    executor.trim_memory()
    assert [await pid_of(executor)] == reports.found


async def test_a_buffer_that_cannot_grow(
    make_executor: MakeExecutor,
    reports: Reports,
    readiness: DeviceReadiness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The call fails, and the process and later calls go on."""
    executor = make_executor()
    await until_ready(readiness)

    def write(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        for each in executor._worker._buffers:
            patch.setattr(each, "write", write)
        for _ in range(BUFFERS + 1):
            with pytest.raises(OutOfMemoryError, match="this host has no room for 3 bytes"):
                await executor.run(b"pid", b"abc", deadline_ms=LONG_MS)
    assert executor.active_calls == 0
    assert [await pid_of(executor)] == reports.found


async def test_starts_that_fail(
    make_executor: MakeExecutor,
    reports: Reports,
    readiness: DeviceReadiness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Errors have the reason, and the start is repeated after ever longer pauses."""
    monkeypatch.setattr(device_process, "PAUSES_S", (0.01, 0.05))
    executor = make_executor("unwell")
    await until(lambda: executor.exits >= 3)
    with pytest.raises(DeviceUnreadyError, match="could not be started: it has no driver"):
        await executor.run(b"pid", b"", deadline_ms=LONG_MS)
    await executor.close()

    reports.fails = ValueError("no report")
    executor = make_executor()
    await until(lambda: "no report" in str(readiness.reason("cuda:0")))
    reports.fails = None
    await until_ready(readiness)
    assert await pid_of(executor)


async def test_closing_kills_what_runs(
    make_executor: MakeExecutor, readiness: DeviceReadiness, tmp_path: Path
) -> None:
    """Running calls fail, no process is started again, and later calls are rejected."""
    executor = make_executor()
    await until_ready(readiness)
    file = tmp_path / "pid"
    held = asyncio.create_task(executor.run(f"spin {file}".encode(), b"", deadline_ms=LONG_MS))
    pid = await pid_in(file)
    await executor.close()
    with pytest.raises(DeviceUnreadyError, match="lost during the call"):
        await held
    assert not is_alive(pid)
    with pytest.raises(DeviceUnreadyError, match="the service is shutting down"):
        await executor.run(b"pid", b"", deadline_ms=LONG_MS)


async def test_closing_before_the_start(readiness: DeviceReadiness, reports: Reports) -> None:
    """There is no process to stop."""
    executor = DeviceProcess(
        "cuda:0",
        spawn,
        lambda: CONFIG,
        readiness=readiness,
        report=reports.take,
        queue=1,
        longest_ms=LONG_MS,
    )
    await executor.close()
    with pytest.raises(DeviceUnreadyError, match="shutting down"):
        await executor.probe()


async def test_closing_while_it_starts(
    make_executor: MakeExecutor, readiness: DeviceReadiness
) -> None:
    """The process that is being started is stopped."""
    executor = make_executor(start=spawn)
    await until(lambda: executor._worker._starting is not None)
    await executor.close()
    assert executor._worker._socket is None


SERVER = """
import asyncio
from service.core.devices import DeviceReadiness
from service.executors import Config, DeviceProcess, spawn

async def main():
    readiness = DeviceReadiness()
    config = Config(make="tests.unit.executors.handlers:obey", memory_bytes=None, nice=0)
    executor = DeviceProcess(
        "cuda:0", spawn, lambda: config, readiness=readiness,
        report=lambda text, _: print(int(text), flush=True), queue=1, longest_ms=600_000)
    executor.start()
    while readiness.absences:
        await asyncio.sleep(0.01)
    await executor.run(b"spin {file}", b"", deadline_ms=600_000)

asyncio.run(main())
"""


def test_the_server_is_killed(tmp_path: Path) -> None:
    """The process exits by itself, even while it computes."""
    file = tmp_path / "pid"
    command = [sys.executable, "-c", SERVER.format(file=file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert asyncio.run(pid_in(file)) == pid
        server.kill()
        asyncio.run(until(lambda: not is_alive(pid)))
