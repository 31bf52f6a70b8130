"""The process executor, with real worker processes that are killed in every way."""

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from service.errors import (
    DeadlineExceededError,
    DrainingError,
    OutOfMemoryError,
    OverloadedError,
    WorkerDiedError,
)
from service.executors import Bytes, Config, ForkServer, ProcessPool, WorkerFaultError
from service.executors.worker_handle import WorkerHandle
from service.executors.worker_loop import NICE, OOM_SCORE
from tests.unit.executors.processes import LONG_MS, ROOT, is_alive, pid_in, pid_of, until

MEMORY_BYTES = 2**28
MakeExecutor = Callable[..., ProcessPool]


@pytest.fixture
async def make_executor(fork_server: ForkServer) -> AsyncIterator[MakeExecutor]:
    """A function that makes executors with a handler of the tests; they are closed at the end."""
    made = []

    def make(handler: str = "obey", *, slots: int = 1, queue: int = 4) -> ProcessPool:
        config = Config(make=f"tests.unit.executors.handlers:{handler}", memory_bytes=MEMORY_BYTES)
        executor = ProcessPool(fork_server.fork, lambda: config, slots=slots, queue=queue)
        made.append(executor)
        return executor

    yield make
    for executor in made:
        await executor.close()


@pytest.fixture
def executor(make_executor: MakeExecutor) -> ProcessPool:
    """An executor with one slot and a queue of four."""
    return make_executor()


async def test_answer(executor: ProcessPool) -> None:
    """Heads and bodies of any size are returned, by one process that stays."""
    found = set()
    for size in (0, 1, 2**20 - 1, 2**20, 5_000_001, 3):
        body = os.urandom(size)
        answer, payload = await executor.run(b"pid", body, deadline_ms=LONG_MS)
        assert payload == body
        found.add(int(answer))
    assert len(found) == 1
    assert found != {os.getpid()}
    assert executor.active_calls == 0


async def test_buffers_of_idle_workers_are_trimmed(executor: ProcessPool) -> None:
    """Their memory is returned, and the process serves the next request."""
    pid = await pid_of(executor)
    await executor.run(b"pid", bytes(2**20), deadline_ms=LONG_MS)
    (worker,) = executor._idle
    assert worker._buffers[0].size > 2**21
    executor.trim_memory()
    assert worker._buffers[0].size == 0
    assert await pid_of(executor) == pid


async def test_workers_yield(executor: ProcessPool) -> None:
    """The event loop has priority on the cores, and the server survives a lack of memory."""
    nice, _ = await executor.run(b"nice", b"", deadline_ms=LONG_MS)
    assert int(nice) == os.getpriority(os.PRIO_PROCESS, 0) + NICE
    score, _ = await executor.run(b"oom", b"", deadline_ms=LONG_MS)
    assert score == OOM_SCORE[1].encode()


async def pids_of(executor: ProcessPool) -> set[int]:
    """Return the ids of the processes that handle two requests at once."""
    coming = (executor.run(b"sleep 0.1", b"", deadline_ms=LONG_MS) for _ in range(2))
    return {int(answer) for answer, _ in await asyncio.gather(*coming)}


async def test_slots_run_in_parallel(make_executor: MakeExecutor) -> None:
    """There are as many processes as slots, and no more."""
    executor = make_executor(slots=2)
    answers = await asyncio.gather(
        *(executor.run(b"sleep 0.3", b"", deadline_ms=LONG_MS) for _ in range(4))
    )
    assert len({bytes(answer) for answer, _ in answers}) == 2


async def test_late_work_is_killed(executor: ProcessPool, tmp_path: Path) -> None:
    """Its core is free, and the next request in the queue is served."""
    file = tmp_path / "pid"
    late = asyncio.create_task(executor.run(f"spin {file}".encode(), b"", deadline_ms=2500))
    pid = await pid_in(file)
    following = asyncio.create_task(executor.run(b"pid", b"", deadline_ms=LONG_MS))
    with pytest.raises(DeadlineExceededError):
        await late
    await until(lambda: not is_alive(pid))
    assert int((await following)[0]) != pid
    assert executor.active_calls == 0


async def test_a_worker_shortens_its_deadline(executor: ProcessPool) -> None:
    """A handler can bring the deadline forward, and cannot extend it."""
    pid = await pid_of(executor)
    with pytest.raises(DeadlineExceededError):
        await executor.run(b"deadline 50", b"", deadline_ms=LONG_MS)
    assert await pid_of(executor) != pid
    with pytest.raises(DeadlineExceededError):
        await executor.run(b"deadline 60000", b"", deadline_ms=400)


async def test_parts_precede_the_answer(executor: ProcessPool) -> None:
    """Each part is complete and in order; a call without `emit` gets the answer only."""
    for size in (0, 3, 2**21 + 1):
        body = os.urandom(size)
        parts: list[Bytes] = []
        answer, payload = await executor.run(
            b"emit 3 pid", body, deadline_ms=LONG_MS, emit=parts.append
        )
        assert parts == [b"%d:%b" % (index, body) for index in range(3)]
        assert (int(answer), bytes(payload)) == (await pid_of(executor), body)
        answer, payload = await executor.run(b"emit 3 pid", body, deadline_ms=LONG_MS)
        assert (int(answer), bytes(payload)) == (await pid_of(executor), body)


async def test_a_question_of_a_worker(executor: ProcessPool) -> None:
    """The caller answers it; an error of the caller is that of the request."""

    async def double(question: bytearray) -> Bytes:
        return bytes(2 * question)

    long = b"!" * (2**21 + 1)
    for body in (b"", long):
        answer, payload = await executor.run(
            b"ask which?", body, deadline_ms=LONG_MS, respond=double
        )
        assert (bytes(answer), bytes(payload)) == (b"which?which?", body)
    with pytest.raises(LookupError, match="which"):
        await executor.run(b"ask which?", b"", deadline_ms=LONG_MS)
    await pid_of(executor)


async def test_a_part_comes_while_the_worker_goes_on(executor: ProcessPool, tmp_path: Path) -> None:
    """A part is passed on before the handler returns, and the worker can be killed after it."""
    file = tmp_path / "pid"
    parts: asyncio.Queue[Bytes] = asyncio.Queue()
    head = f"emit 2 spin {file}".encode()
    coming = asyncio.create_task(
        executor.run(head, b"", deadline_ms=LONG_MS, emit=parts.put_nowait)
    )
    assert [await parts.get(), await parts.get()] == [b"0:", b"1:"]
    pid = await pid_in(file)
    coming.cancel()
    await until(lambda: not is_alive(pid) and not executor.active_calls)


async def test_no_retry_after_a_part(executor: ProcessPool, tmp_path: Path) -> None:
    """The parts of a second attempt might differ; without any part there is one."""
    parts: list[Bytes] = []
    head = b"emit %d once " + str(tmp_path / "died").encode()
    with pytest.raises(WorkerDiedError, match="a part of its answer"):
        await executor.run(head % 1, b"", deadline_ms=LONG_MS, emit=parts.append)
    assert (len(parts), executor.exits) == (1, 1)
    (tmp_path / "died").unlink()
    await executor.run(head % 0, b"", deadline_ms=LONG_MS, emit=parts.append)
    assert (len(parts), executor.exits) == (1, 2)


async def test_unwanted_work_is_killed(executor: ProcessPool, tmp_path: Path) -> None:
    """The worker of a cancelled request exits."""
    file = tmp_path / "pid"
    left = asyncio.create_task(executor.run(f"spin {file}".encode(), b"", deadline_ms=LONG_MS))
    pid = await pid_in(file)
    left.cancel()
    await until(lambda: not is_alive(pid) and not executor.active_calls)


async def test_a_request_that_waits_and_is_unwanted(executor: ProcessPool, tmp_path: Path) -> None:
    """It leaves the queue, and the running request goes on."""
    file = tmp_path / "pid"
    held = asyncio.create_task(executor.run(f"spin {file}".encode(), b"", deadline_ms=LONG_MS))
    pid = await pid_in(file)
    with pytest.raises(DeadlineExceededError):
        await executor.run(b"pid", b"", deadline_ms=30)
    assert executor.active_calls == 1
    assert is_alive(pid)
    held.cancel()


async def test_a_full_queue(make_executor: MakeExecutor, tmp_path: Path) -> None:
    """A request beyond the queue is rejected at once."""
    executor = make_executor(queue=0)
    file = tmp_path / "pid"
    held = asyncio.create_task(executor.run(f"spin {file}".encode(), b"", deadline_ms=LONG_MS))
    await pid_in(file)
    with pytest.raises(OverloadedError):
        await executor.run(b"pid", b"", deadline_ms=LONG_MS)
    held.cancel()


async def test_a_death_is_not_noticed(executor: ProcessPool, tmp_path: Path) -> None:
    """The whole request is sent to another process."""
    body = os.urandom(3_000_000)
    head = f"once {tmp_path / 'died'}".encode()
    assert (await executor.run(head, body, deadline_ms=LONG_MS))[1] == body


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_what_kills_twice_is_rejected(executor: ProcessPool, way: signal.Signals) -> None:
    """The cause may be the request, so there is no third attempt; others are served."""
    with pytest.raises(WorkerDiedError):
        await executor.run(b"die %d" % way, b"", deadline_ms=LONG_MS)
    assert executor.exits == 2
    assert (await executor.run(b"pid", b"body", deadline_ms=LONG_MS))[1] == b"body"


async def test_an_idle_worker_dies(executor: ProcessPool) -> None:
    """The next request succeeds, in another process."""
    pid = await pid_of(executor)
    assert executor.exits == 0
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not is_alive(pid))
    assert await pid_of(executor) != pid
    assert executor.exits == 1


async def test_workers_are_renewed(make_executor: MakeExecutor, tmp_path: Path) -> None:
    """Idle ones end at once, a busy one before its next request; no call notices."""
    executor = make_executor(slots=2)
    file = tmp_path / "pid"
    spinning = asyncio.create_task(executor.run(f"spin {file}".encode(), b"", deadline_ms=1000))
    busy = await pid_in(file)
    idle = await pid_of(executor)
    await executor.renew_workers()
    assert not is_alive(idle)
    assert is_alive(busy)
    with pytest.raises(DeadlineExceededError):
        await spinning
    assert {await pid_of(executor), await pid_of(executor)}.isdisjoint({busy, idle})


async def test_a_busy_worker_is_renewed_after_its_answer(executor: ProcessPool) -> None:
    """Its process goes on until it has answered, and the next request has another one."""
    first = asyncio.create_task(pid_of(executor))
    await until(lambda: executor._busy)
    await executor.renew_workers()
    assert await pid_of(executor) != await first
    assert executor.exits == 0


async def test_a_worker_that_is_taken_during_the_renewal(
    make_executor: MakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request has a new process, and each worker is ended once."""
    executor = make_executor(slots=2)
    before = await pids_of(executor)
    stop, begun, going_on = WorkerHandle.stop, asyncio.Event(), asyncio.Event()

    async def held(worker: WorkerHandle) -> None:
        begun.set()
        await going_on.wait()
        await stop(worker)

    monkeypatch.setattr(WorkerHandle, "stop", held)
    renewing = asyncio.create_task(executor.renew_workers())
    await begun.wait()
    monkeypatch.undo()
    taken = await pid_of(executor)
    going_on.set()
    await renewing
    after = await pids_of(executor)
    assert len(before) == len(after) == 2
    assert taken in after
    assert before.isdisjoint(after)
    assert not executor._outdated


async def test_a_worker_that_cannot_begin(make_executor: MakeExecutor) -> None:
    """Processes that exit at their start are not replaced without end."""
    with pytest.raises(WorkerDiedError):
        await make_executor("broken").run(b"pid", b"", deadline_ms=LONG_MS)


async def test_a_handler_that_fails(executor: ProcessPool) -> None:
    """The error says where, without the text of the exception, and the process goes on."""
    pid = await pid_of(executor)
    with pytest.raises(WorkerFaultError, match=r"failed by ValueError$") as failed:
        await executor.run(b"fail because", b"", deadline_ms=LONG_MS)
    assert "handlers.py" in failed.value.trace
    assert "because" not in failed.value.trace
    assert await pid_of(executor) == pid


async def test_a_handler_whose_process_is_unusable(executor: ProcessPool) -> None:
    """The process has exited, so the request is sent to another one."""
    with pytest.raises(WorkerDiedError):
        await executor.run(b"end it is broken", b"", deadline_ms=LONG_MS)
    assert executor.exits == 2


async def test_memory_is_bounded(executor: ProcessPool) -> None:
    """A request beyond the limit fails, and its process goes on."""
    pid = await pid_of(executor)
    with pytest.raises(OutOfMemoryError, match="more memory than its process may have"):
        await executor.run(b"fill %d" % (MEMORY_BYTES + 2**23), b"", deadline_ms=LONG_MS)
    with pytest.raises(OutOfMemoryError, match=r"^the disk is full$"):
        await executor.run(b"exhaust the disk is full", b"", deadline_ms=LONG_MS)
    await executor.run(b"fill %d" % (MEMORY_BYTES // 2), b"", deadline_ms=LONG_MS)
    assert await pid_of(executor) == pid


async def test_closing_kills_what_runs(make_executor: MakeExecutor, tmp_path: Path) -> None:
    """Running requests fail, later ones are rejected, and no process is left."""
    executor = make_executor(slots=2)
    idle = await pid_of(executor)
    file = tmp_path / "pid"
    held = asyncio.create_task(executor.run(f"spin {file}".encode(), b"", deadline_ms=LONG_MS))
    busy = await pid_in(file)
    await executor.close()
    with pytest.raises(DrainingError):
        await held
    await until(lambda: not is_alive(idle) and not is_alive(busy))
    with pytest.raises(DrainingError):
        await executor.run(b"pid", b"", deadline_ms=LONG_MS)


async def test_leaving_while_a_worker_starts() -> None:
    """A process whose request was cancelled during the start is stopped."""
    fork_server = ForkServer(())
    config = Config(make="tests.unit.executors.handlers:obey", memory_bytes=MEMORY_BYTES)
    executor = ProcessPool(fork_server.fork, lambda: config, slots=1, queue=0)
    with pytest.raises(DeadlineExceededError):
        await executor.run(b"pid", b"", deadline_ms=20)
    await until(lambda: not executor.active_calls)
    assert await pid_of(executor)
    await executor.close()
    fork_server.close()


async def test_no_descriptor_is_left(
    executor: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a descriptor for the buffer or the socket the request fails, and no slot is lost."""

    def none(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    for module, name in ((os, "memfd_create"), (socket, "socketpair")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, none)
            with pytest.raises(WorkerDiedError):
                await executor.run(b"pid", b"", deadline_ms=LONG_MS)
        await until(lambda: not executor.active_calls)
    assert await pid_of(executor)


SERVER = """
import asyncio
from service.executors import Bytes, Config, ForkServer, ProcessPool

async def main():
    fork_server = ForkServer(())
    config = Config(make="tests.unit.executors.handlers:obey", memory_bytes=2**28)
    executor = ProcessPool(fork_server.fork, lambda: config, slots=2, queue=2)
    asyncio.create_task(executor.run(b"spin {file}", b"", deadline_ms=600_000))
    idle, _ = await executor.run(b"pid", b"", deadline_ms=60_000)
    print(fork_server.pid, int(idle), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_the_server_is_killed(tmp_path: Path) -> None:
    """The busy worker, the idle one and the fork server exit by themselves."""
    file = tmp_path / "pid"
    command = [sys.executable, "-c", SERVER.format(file=file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pids = [*map(int, server.stdout.readline().split()), asyncio.run(pid_in(file))]
        assert all(map(is_alive, pids))
        server.kill()
        asyncio.run(until(lambda: not any(map(is_alive, pids))))
