"""The lane of an owned device: real processes, which are lost in every way and replaced."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
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
    Config,
    DeviceProcess,
    ForkServer,
    Pool,
    WorkerFaultError,
    spawn,
)
from service.executors import (
    device_process as owner,
)
from service.executors.worker_handle import Start
from tests.unit.executors.test_process_pool import ROOT, is_alive, pid_in, until

LONG_MS = 60_000
CONFIG = Config(make="tests.unit.executors.handlers:obey", memory_bytes=None, nice=0)
Owners = Callable[..., DeviceProcess]


class Reports:
    """What owners have told."""

    def __init__(self) -> None:
        """Nothing yet; `fails` is what to raise on the next."""
        self.found: list[int] = []
        self.fails: Exception | None = None

    def take(self, text: bytearray) -> None:
        """Keep one, or fail."""
        if self.fails is not None:
            raise self.fails
        self.found.append(int(text))


@pytest.fixture
def reports() -> Reports:
    """What the owners of a test have told."""
    return Reports()


@pytest.fixture
def readiness() -> DeviceReadiness:
    """What is known of the test's device."""
    return DeviceReadiness()


@pytest.fixture
async def owners(
    template: ForkServer, reports: Reports, readiness: DeviceReadiness
) -> AsyncIterator[Owners]:
    """Makes owners of "cuda:0" with a handler of the tests, starts and closes them."""
    made = []

    def make(
        handler: str = "obey",
        *,
        start: Start = template.fork,
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
        if each._keeping is not None and not each._keeping.done():  # the test has not closed it
            await each.close()


async def until_ready(readiness: DeviceReadiness) -> None:
    """Wait until the device can be had."""
    await until(lambda: not readiness.absences)


async def pid_of(lane: DeviceProcess) -> int:
    """The id of the process."""
    answer, _ = await lane.run(b"pid", b"", deadline_ms=LONG_MS)
    return int(answer)


async def test_a_body_stays_until_it_is_read(owners: Owners, readiness: DeviceReadiness) -> None:
    """Nobody waits for the answer any more, but the process has yet to take it in."""
    lane, pool = owners(), Pool(2**21)
    await until_ready(readiness)
    for waits in (False, True):
        block = pool.take(2**21)
        assert block is not None
        block.view[:] = bytes(2**21)
        coming = asyncio.create_task(lane.run(b"pid", block, deadline_ms=LONG_MS))
        await asyncio.sleep(0)
        block.release()
        assert pool.take(1) is None
        if waits:
            assert (await coming)[1] == bytes(2**21)
        else:
            coming.cancel()
        await until(lambda: not lane.inside)
    assert pool.take(2**21) is not None
    pool.close()


async def test_a_process_that_stays(
    owners: Owners, reports: Reports, readiness: DeviceReadiness
) -> None:
    """It is started before anybody asks, tells its report, and answers one call after another."""
    lane = owners()
    with pytest.raises(DeviceUnreadyError, match="its process is starting") as refused:
        await lane.run(b"pid", b"", deadline_ms=LONG_MS)
    assert refused.value.retry_after_s >= 1
    await until_ready(readiness)
    body = os.urandom(3_000_000)
    assert (await lane.run(b"pid", body, deadline_ms=LONG_MS))[1] == body
    lane.tidy()
    assert lane._worker._arena.size == 0
    assert [await pid_of(lane)] == reports.found
    await lane.probe()
    assert len(reports.found) == 1
    assert lane.ends == lane.inside == 0


async def test_it_does_not_yield(owners: Owners, readiness: DeviceReadiness) -> None:
    """Its calls are as urgent as the server's."""
    lane = owners()
    await until_ready(readiness)
    nice, _ = await lane.run(b"nice", b"", deadline_ms=LONG_MS)
    assert int(nice) == os.getpriority(os.PRIO_PROCESS, 0)


async def test_a_fresh_interpreter(owners: Owners, readiness: DeviceReadiness) -> None:
    """It is a child of this very process, forked from no template, and it is reaped."""
    lane = owners(start=spawn)
    await until_ready(readiness)
    pid = await pid_of(lane)
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    assert int(stat[1]) == os.getpid()
    await lane.close()
    await until(lambda: not Path(f"/proc/{pid}").exists())


async def test_no_interpreter_to_be_had(
    owners: Owners, readiness: DeviceReadiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again after a while, and until then the reason is told."""
    monkeypatch.setattr(owner, "PAUSES_S", (0.01, 0.05))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        lane = owners(start=spawn)
        await until(lambda: "could not be started" in (readiness.reason("cuda:0") or ""))
        assert "its process died" in str(readiness.reason("cuda:0"))
    await until_ready(readiness)
    assert await pid_of(lane)


async def test_a_death_while_nobody_asks(
    owners: Owners, reports: Reports, readiness: DeviceReadiness
) -> None:
    """It is noticed at once, and the next process is there before it is needed."""
    lane = owners()
    await until_ready(readiness)
    os.kill(reports.found[0], signal.SIGKILL)
    await until(lambda: len(reports.found) == 2 and not readiness.absences)
    assert [await pid_of(lane)] == reports.found[1:]
    assert lane.ends == 1


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_a_death_during_a_call(
    owners: Owners, reports: Reports, readiness: DeviceReadiness, way: signal.Signals
) -> None:
    """It is not tried again, for that might cost the next process; those who wait are told."""
    lane = owners()
    await until_ready(readiness)
    dying = asyncio.create_task(lane.run(b"die %d" % way, b"", deadline_ms=LONG_MS))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(lane.run(b"pid", b"", deadline_ms=LONG_MS))
    with pytest.raises(DeviceUnreadyError, match=r"lost during the call: its process died"):
        await dying
    with pytest.raises(DeviceUnreadyError, match="its process died; its process is being repl"):
        await waiting
    assert lane.inside == 0
    await until_ready(readiness)
    assert [await pid_of(lane)] == reports.found[1:]
    assert lane.ends == 1


async def test_a_device_that_takes_no_more_work(
    owners: Owners, reports: Reports, readiness: DeviceReadiness
) -> None:
    """The process says so, ends by itself, and is replaced."""
    lane = owners()
    await until_ready(readiness)
    with pytest.raises(DeviceUnreadyError, match="lost during the call: an illegal address"):
        await lane.run(b"end an illegal address", b"", deadline_ms=LONG_MS)
    await until(lambda: not is_alive(reports.found[0]))
    await until_ready(readiness)
    assert [await pid_of(lane)] == reports.found[1:]


async def test_a_late_call_goes_on(
    owners: Owners, reports: Reports, readiness: DeviceReadiness
) -> None:
    """Its client is told in time; the process is not given up for a deadline that it chose."""
    lane = owners()
    await until_ready(readiness)
    with pytest.raises(DeadlineExceededError):
        await lane.run(b"sleep 0.4", b"", deadline_ms=50)
    assert lane.inside == 1
    assert [await pid_of(lane)] == reports.found


async def test_an_unwanted_call_goes_on(
    owners: Owners, reports: Reports, readiness: DeviceReadiness
) -> None:
    """A client that leaves does not cost the others their device, whatever comes of its call."""
    lane = owners()
    await until_ready(readiness)
    left = asyncio.create_task(lane.run(b"sleep 0.2", b"", deadline_ms=LONG_MS))
    await until(lambda: lane._asking)
    waiting = asyncio.create_task(lane.run(b"fail too soon", b"", deadline_ms=LONG_MS))
    await until(lambda: lane.inside == 2)
    left.cancel()
    waiting.cancel()
    await asyncio.wait([left, waiting])
    assert lane.inside == 1  # what had not begun is forgotten
    assert [await pid_of(lane)] == reports.found


async def test_a_call_that_holds_the_device(
    owners: Owners, reports: Reports, readiness: DeviceReadiness, tmp_path: Path
) -> None:
    """After the longest time that any call may have, the process is replaced."""
    lane = owners(longest_ms=1500)
    await until_ready(readiness)
    file = tmp_path / "pid"
    late = asyncio.create_task(lane.run(f"spin {file}".encode(), b"", deadline_ms=500))
    waiting = asyncio.create_task(lane.run(b"pid", b"", deadline_ms=LONG_MS))
    pid = await pid_in(file)
    with pytest.raises(DeadlineExceededError):
        await late
    assert is_alive(pid)
    with pytest.raises(DeviceUnreadyError, match="it did not answer for 1500 ms"):
        await waiting
    await until(lambda: not is_alive(pid))
    await until_ready(readiness)
    assert [await pid_of(lane)] == reports.found[1:]


async def test_a_probe_in_vain(
    owners: Owners, reports: Reports, readiness: DeviceReadiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that does not even greet any more is replaced; one that computes is believed."""
    lane = owners()
    await until_ready(readiness)
    busy = asyncio.create_task(lane.run(b"sleep 0.2", b"", deadline_ms=LONG_MS))
    await until(lambda: lane._asking)
    lane.tidy()  # not what stands in its arena
    await lane.probe()
    assert not busy.done()
    await busy
    monkeypatch.setattr(owner, "PROBE_MS", 50)
    os.kill(reports.found[0], signal.SIGSTOP)
    with pytest.raises(DeviceUnreadyError, match="it did not answer for 50 ms"):
        await lane.probe()
    await until(lambda: not is_alive(reports.found[0]))
    await until_ready(readiness)
    assert [await pid_of(lane)] == reports.found[1:]


async def test_what_does_not_cost_the_process(
    owners: Owners, reports: Reports, readiness: DeviceReadiness
) -> None:
    """A full queue, and a handler that fails."""
    lane = owners(queue=0)
    await until_ready(readiness)
    held = asyncio.create_task(lane.run(b"sleep 0.2", b"", deadline_ms=LONG_MS))
    await until(lambda: lane.inside)
    with pytest.raises(OverloadedError):
        await lane.run(b"pid", b"", deadline_ms=LONG_MS)
    await held
    with pytest.raises(WorkerFaultError, match="ValueError: because"):
        await lane.run(b"fail because", b"", deadline_ms=LONG_MS)
    with pytest.raises(OutOfMemoryError):
        await lane.run(b"fill %d" % 2**62, b"", deadline_ms=LONG_MS)
    lane.tidy()
    assert [await pid_of(lane)] == reports.found


async def test_an_arena_that_cannot_grow(
    owners: Owners, reports: Reports, readiness: DeviceReadiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the arena then is nobody's message: the process is replaced, too."""
    lane = owners()
    await until_ready(readiness)

    def write(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(lane._worker._arena, "write", write)
        with pytest.raises(DeviceUnreadyError, match="No space left on device"):
            await lane.run(b"pid", b"", deadline_ms=LONG_MS)
    await until(lambda: len(reports.found) == 2)


async def test_starts_that_fail(
    owners: Owners, reports: Reports, readiness: DeviceReadiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is told to who asks for the device; it is tried again, ever more seldom."""
    monkeypatch.setattr(owner, "PAUSES_S", (0.01, 0.05))
    lane = owners("unwell")
    await until(lambda: lane.ends >= 3)
    with pytest.raises(DeviceUnreadyError, match="could not be started: it has no driver"):
        await lane.run(b"pid", b"", deadline_ms=LONG_MS)
    await lane.close()

    reports.fails = ValueError("no report")
    lane = owners()
    await until(lambda: "no report" in str(readiness.reason("cuda:0")))
    reports.fails = None
    await until_ready(readiness)
    assert await pid_of(lane)


async def test_closing_kills_what_runs(
    owners: Owners, readiness: DeviceReadiness, tmp_path: Path
) -> None:
    """Its clients are told, nothing is started again, and nobody gets the device any more."""
    lane = owners()
    await until_ready(readiness)
    file = tmp_path / "pid"
    held = asyncio.create_task(lane.run(f"spin {file}".encode(), b"", deadline_ms=LONG_MS))
    pid = await pid_in(file)
    await lane.close()
    with pytest.raises(DeviceUnreadyError, match="lost during the call"):
        await held
    assert not is_alive(pid)
    with pytest.raises(DeviceUnreadyError, match="the service is shutting down"):
        await lane.run(b"pid", b"", deadline_ms=LONG_MS)


async def test_closing_what_was_never_started(readiness: DeviceReadiness, reports: Reports) -> None:
    """There is nothing to end."""
    lane = DeviceProcess(
        "cuda:0",
        spawn,
        lambda: CONFIG,
        readiness=readiness,
        report=reports.take,
        queue=1,
        longest_ms=LONG_MS,
    )
    await lane.close()
    with pytest.raises(DeviceUnreadyError, match="shutting down"):
        await lane.probe()


async def test_closing_while_it_starts(owners: Owners, readiness: DeviceReadiness) -> None:
    """The process that nobody needs any more is found and ended."""
    lane = owners(start=spawn)
    await until(lambda: lane._worker._starting is not None)
    await lane.close()
    assert lane._worker._bell is None


SERVER = """
import asyncio
from service.core.devices import Readiness
from service.executors import Config, Owner, spawn

async def main():
    readiness = Readiness()
    config = Config(make="tests.unit.executors.handlers:obey", memory_bytes=None, nice=0)
    owner = Owner("cuda:0", spawn, lambda: config, readiness=readiness,
                  report=lambda text: print(int(text), flush=True), queue=1, longest_ms=600_000)
    owner.start()
    while readiness.absences:
        await asyncio.sleep(0.01)
    await owner.run(b"spin {file}", b"", deadline_ms=600_000)

asyncio.run(main())
"""


def test_the_server_is_killed(tmp_path: Path) -> None:
    """Nothing is left: the owner ends by itself, even while it computes."""
    file = tmp_path / "pid"
    command = [sys.executable, "-c", SERVER.format(file=file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert asyncio.run(pid_in(file)) == pid
        server.kill()
        asyncio.run(until(lambda: not is_alive(pid)))
