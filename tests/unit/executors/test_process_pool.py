"""The lane of worker processes: real ones, which are killed in every way."""

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from service.errors import (
    DeadlineExceededError,
    DrainingError,
    OutOfMemoryError,
    OverloadedError,
    WorkerDiedError,
)
from service.executors import Block, Bytes, Config, ForkServer, Pool, ProcessPool, WorkerFaultError
from service.executors.shared_memory import Arena
from service.executors.worker_loop import NICE, OOM_SCORE

ROOT = Path(__file__).parents[3]
LONG_MS = 60_000
MEMORY_BYTES = 2**28
Lanes = Callable[..., ProcessPool]


@pytest.fixture
async def lanes(template: ForkServer) -> AsyncIterator[Lanes]:
    """Makes lanes, with a handler of the tests, and closes them."""
    made = []

    def make(
        handler: str = "obey", *, slots: int = 1, queue: int = 4, pool: Pool | None = None
    ) -> ProcessPool:
        config = Config(make=f"tests.unit.executors.handlers:{handler}", memory_bytes=MEMORY_BYTES)
        lane = ProcessPool(template.fork, lambda: config, slots=slots, queue=queue, pool=pool)
        made.append(lane)
        return lane

    yield make
    for lane in made:
        await lane.close()


@pytest.fixture
def lane(lanes: Lanes) -> ProcessPool:
    """One slot, and a queue of four."""
    return lanes()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it did not come")


def text_of(file: Path) -> str:
    """What is in a file; nothing if there is none."""
    return file.read_text(encoding="ascii") if file.exists() else ""


async def pid_in(file: Path) -> int:
    """The id that a spinning worker has written."""
    await until(lambda: text_of(file))
    return int(text_of(file))


async def pid_of(lane: ProcessPool) -> int:
    """The id of the process that takes the next request."""
    answer, _ = await lane.run(b"pid", b"", deadline_ms=LONG_MS)
    return int(answer)


async def test_answer(lane: ProcessPool) -> None:
    """Heads and bodies of any size come back, from one process that stays."""
    found = set()
    for size in (0, 1, 2**20 - 1, 2**20, 5_000_001, 3):
        body = os.urandom(size)
        answer, payload = await lane.run(b"pid", body, deadline_ms=LONG_MS)
        assert payload == body
        found.add(int(answer))
    assert len(found) == 1
    assert found != {os.getpid()}
    assert lane.inside == 0


@pytest.fixture
def pool() -> Iterator[Pool]:
    """Room for two bodies of a megabyte."""
    pool = Pool(2**21)
    yield pool
    pool.close()


def block_of(pool: Pool, body: bytes) -> Block:
    """A block that has received a body."""
    block = pool.take(len(body))
    assert block is not None
    block.view[:] = body
    return block


async def test_a_body_in_the_pool(lanes: Lanes, pool: Pool, tmp_path: Path) -> None:
    """It is read where it is, by a second process too; and between bodies that are not in it."""
    lane = lanes(pool=pool)
    bodies = [os.urandom(2**20) for _ in range(2)]
    blocks = [block_of(pool, body) for body in bodies]
    for head in ("pid", f"once {tmp_path / 'died'}", "tell 1 pid"):
        for block, body in zip(blocks, bodies, strict=True):
            assert (await lane.run(head.encode(), block, deadline_ms=LONG_MS))[1] == body
        assert (await lane.run(head.encode(), b"other", deadline_ms=LONG_MS))[1] == b"other"
    assert lane.ends == 1
    # Where workers have no pool, as owners of devices, it is copied.
    assert (await lanes().run(b"pid", blocks[0], deadline_ms=LONG_MS))[1] == bodies[0]


async def test_a_body_stays_until_nobody_reads_it(lanes: Lanes, pool: Pool, tmp_path: Path) -> None:
    """Its client has left, but the process that reads it has yet to be killed."""
    lane, block = lanes(pool=pool), block_of(pool, bytes(2**21))
    file = tmp_path / "pid"
    head = f"spin {file}".encode()
    coming = asyncio.create_task(lane.run(head, block, deadline_ms=LONG_MS))
    pid = await pid_in(file)
    coming.cancel()
    block.release()
    while lane.inside:
        assert not is_alive(pid) or pool.take(1) is None
        await asyncio.sleep(0)
    assert pool.take(2**21) is not None


async def test_workers_yield(lane: ProcessPool) -> None:
    """To the server's event loop in time, and to the server when the host has no memory left."""
    nice, _ = await lane.run(b"nice", b"", deadline_ms=LONG_MS)
    assert int(nice) == os.getpriority(os.PRIO_PROCESS, 0) + NICE
    score, _ = await lane.run(b"oom", b"", deadline_ms=LONG_MS)
    assert score == OOM_SCORE[1].encode()


async def test_slots_run_beside_each_other(lanes: Lanes) -> None:
    """As many processes as slots, and no more."""
    lane = lanes(slots=2)
    answers = await asyncio.gather(
        *(lane.run(b"sleep 0.3", b"", deadline_ms=LONG_MS) for _ in range(4))
    )
    assert len({bytes(answer) for answer, _ in answers}) == 2


async def test_late_work_is_killed(lane: ProcessPool, tmp_path: Path) -> None:
    """504 for it, a free core, and the next request in the queue is served."""
    file = tmp_path / "pid"
    late = asyncio.create_task(lane.run(f"spin {file}".encode(), b"", deadline_ms=2500))
    pid = await pid_in(file)
    following = asyncio.create_task(lane.run(b"pid", b"", deadline_ms=LONG_MS))
    with pytest.raises(DeadlineExceededError):
        await late
    await until(lambda: not is_alive(pid))
    assert int((await following)[0]) != pid
    assert lane.inside == 0


async def test_a_worker_shortens_its_deadline(lane: ProcessPool) -> None:
    """The request itself had named one."""
    pid = await pid_of(lane)
    with pytest.raises(DeadlineExceededError):
        await lane.run(b"shorten 50", b"", deadline_ms=LONG_MS)
    assert await pid_of(lane) != pid
    with pytest.raises(DeadlineExceededError):
        await lane.run(b"shorten 60000", b"", deadline_ms=400)  # which is no longer one


async def test_parts_come_before_the_answer(lane: ProcessPool) -> None:
    """Each when it is told, whole and in order; who asks for none gets the answer alone."""
    for size in (0, 3, 2**21 + 1):
        body = os.urandom(size)
        parts: list[Bytes] = []
        answer, payload = await lane.run(
            b"tell 3 pid", body, deadline_ms=LONG_MS, tell=parts.append
        )
        assert parts == [b"%d:%b" % (index, body) for index in range(3)]
        assert (int(answer), bytes(payload)) == (await pid_of(lane), body)
        answer, payload = await lane.run(b"tell 3 pid", body, deadline_ms=LONG_MS)
        assert (int(answer), bytes(payload)) == (await pid_of(lane), body)


async def test_a_part_comes_while_the_worker_goes_on(lane: ProcessPool, tmp_path: Path) -> None:
    """It need not be over; and then it can be killed as any other."""
    file = tmp_path / "pid"
    parts: asyncio.Queue[Bytes] = asyncio.Queue()
    coming = asyncio.create_task(
        lane.run(f"tell 2 spin {file}".encode(), b"", deadline_ms=LONG_MS, tell=parts.put_nowait)
    )
    assert [await parts.get(), await parts.get()] == [b"0:", b"1:"]
    pid = await pid_in(file)
    coming.cancel()
    await until(lambda: not is_alive(pid) and not lane.inside)


async def test_who_has_told_a_part_is_not_tried_again(lane: ProcessPool, tmp_path: Path) -> None:
    """The parts of another try might be others; without any it is tried again."""
    parts: list[Bytes] = []
    head = b"tell %d once " + str(tmp_path / "died").encode()
    with pytest.raises(WorkerDiedError, match="a part of its answer"):
        await lane.run(head % 1, b"", deadline_ms=LONG_MS, tell=parts.append)
    assert (len(parts), lane.ends) == (1, 1)
    (tmp_path / "died").unlink()
    await lane.run(head % 0, b"", deadline_ms=LONG_MS, tell=parts.append)
    assert (len(parts), lane.ends) == (1, 2)


async def test_unwanted_work_is_killed(lane: ProcessPool, tmp_path: Path) -> None:
    """A client that leaves takes its work along."""
    file = tmp_path / "pid"
    left = asyncio.create_task(lane.run(f"spin {file}".encode(), b"", deadline_ms=LONG_MS))
    pid = await pid_in(file)
    left.cancel()
    await until(lambda: not is_alive(pid) and not lane.inside)


async def test_a_request_that_waits_and_is_unwanted(lane: ProcessPool, tmp_path: Path) -> None:
    """It leaves its place; what runs goes on."""
    file = tmp_path / "pid"
    held = asyncio.create_task(lane.run(f"spin {file}".encode(), b"", deadline_ms=LONG_MS))
    pid = await pid_in(file)
    with pytest.raises(DeadlineExceededError):
        await lane.run(b"pid", b"", deadline_ms=30)
    assert lane.inside == 1
    assert is_alive(pid)
    held.cancel()


async def test_a_full_queue(lanes: Lanes, tmp_path: Path) -> None:
    """Who finds no place is told at once."""
    lane = lanes(queue=0)
    file = tmp_path / "pid"
    held = asyncio.create_task(lane.run(f"spin {file}".encode(), b"", deadline_ms=LONG_MS))
    await pid_in(file)
    with pytest.raises(OverloadedError):
        await lane.run(b"pid", b"", deadline_ms=LONG_MS)
    held.cancel()


async def test_a_death_is_not_noticed(lane: ProcessPool, tmp_path: Path) -> None:
    """The request is given to another process, which has it whole."""
    body = os.urandom(3_000_000)
    head = f"once {tmp_path / 'died'}".encode()
    assert (await lane.run(head, body, deadline_ms=LONG_MS))[1] == body


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_what_kills_twice_is_refused(lane: ProcessPool, way: signal.Signals) -> None:
    """It is the request's fault, perhaps; others are served."""
    with pytest.raises(WorkerDiedError):
        await lane.run(b"die %d" % way, b"", deadline_ms=LONG_MS)
    assert lane.ends == 2
    assert (await lane.run(b"pid", b"body", deadline_ms=LONG_MS))[1] == b"body"


async def test_an_idle_worker_dies(lane: ProcessPool) -> None:
    """The next request does not notice."""
    pid = await pid_of(lane)
    assert lane.ends == 0
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not is_alive(pid))
    assert await pid_of(lane) != pid
    assert lane.ends == 1


async def test_a_worker_that_cannot_begin(lanes: Lanes) -> None:
    """No endless row of processes."""
    with pytest.raises(WorkerDiedError):
        await lanes("broken").run(b"pid", b"", deadline_ms=LONG_MS)


async def test_a_handler_that_fails(lane: ProcessPool) -> None:
    """The server gets the traceback, and the process goes on."""
    pid = await pid_of(lane)
    with pytest.raises(WorkerFaultError, match="ValueError: because"):
        await lane.run(b"fail because", b"", deadline_ms=LONG_MS)
    assert await pid_of(lane) == pid


async def test_memory_is_bounded(lane: ProcessPool) -> None:
    """Beyond its budget a request ends, and not its process."""
    pid = await pid_of(lane)
    with pytest.raises(OutOfMemoryError):
        await lane.run(b"fill %d" % (MEMORY_BYTES + 2**23), b"", deadline_ms=LONG_MS)
    await lane.run(b"fill %d" % (MEMORY_BYTES // 2), b"", deadline_ms=LONG_MS)
    assert await pid_of(lane) == pid


async def test_closing_kills_what_runs(lanes: Lanes, tmp_path: Path) -> None:
    """Its clients are told, and no process is left."""
    lane = lanes(slots=2)
    idle = await pid_of(lane)
    file = tmp_path / "pid"
    held = asyncio.create_task(lane.run(f"spin {file}".encode(), b"", deadline_ms=LONG_MS))
    busy = await pid_in(file)
    await lane.close()
    with pytest.raises(DrainingError):
        await held
    await until(lambda: not is_alive(idle) and not is_alive(busy))
    with pytest.raises(DrainingError):
        await lane.run(b"pid", b"", deadline_ms=LONG_MS)


async def test_leaving_while_a_worker_starts(lanes: Lanes) -> None:
    """The process that nobody waits for any more is found and ended."""
    template = ForkServer(())
    config = Config(make="tests.unit.executors.handlers:obey", memory_bytes=MEMORY_BYTES)
    lane = ProcessPool(template.fork, lambda: config, slots=1, queue=0)
    with pytest.raises(DeadlineExceededError):
        await lane.run(b"pid", b"", deadline_ms=20)
    await until(lambda: not lane.inside)
    assert await pid_of(lane)
    await lane.close()
    template.close()


async def test_the_template_dies() -> None:
    """Workers stay, and another template is started when a worker is wanted."""
    template = ForkServer(())
    template.warm()
    template.warm()
    config = Config(make="tests.unit.executors.handlers:obey", memory_bytes=MEMORY_BYTES)
    lane = ProcessPool(template.fork, lambda: config, slots=1, queue=1)
    first = await pid_of(lane)
    pid = template.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not is_alive(pid))
    assert await pid_of(lane) == first
    os.kill(first, signal.SIGKILL)
    assert await pid_of(lane) != first
    await lane.close()
    template.close()
    template.close()


async def test_no_template_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same as a worker that dies: 503."""
    template = ForkServer(())
    monkeypatch.setattr(sys, "executable", "/bin/false")
    config = Config(make="tests.unit.executors.handlers:obey", memory_bytes=MEMORY_BYTES)
    lane = ProcessPool(template.fork, lambda: config, slots=1, queue=1)
    with pytest.raises(WorkerDiedError):
        await lane.run(b"pid", b"", deadline_ms=LONG_MS)
    await lane.close()
    template.close()


async def test_no_descriptor_is_left(lane: ProcessPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for an arena nor for a socket: 503, and no place is lost."""

    def none(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    for module, name in ((os, "memfd_create"), (socket, "socketpair")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, none)
            with pytest.raises(WorkerDiedError):
                await lane.run(b"pid", b"", deadline_ms=LONG_MS)
        await until(lambda: not lane.inside)
    assert await pid_of(lane)


def test_a_template_that_ends_when_it_is_asked(template: ForkServer) -> None:
    """It has taken the message, and gives no worker: its socket is closed."""
    template.warm()
    assert template._running is not None
    line, theirs = socket.socketpair()
    bell, _ = pair = socket.socketpair()

    def end() -> None:
        socket.recv_fds(theirs, 1, 2)
        theirs.close()

    thread = Thread(target=end)
    thread.start()
    with line, pair[0], pair[1], pytest.raises(ConnectionResetError):
        replace(template._running, line=line).fork(bell, Arena())
    thread.join()


SERVER = """
import asyncio
from service.executors import Bytes, Config, ForkServer, ProcessPool

async def main():
    template = ForkServer(())
    config = Config(make="tests.unit.executors.handlers:obey", memory_bytes=2**28)
    lane = ProcessPool(template.fork, lambda: config, slots=2, queue=2)
    asyncio.create_task(lane.run(b"spin {file}", b"", deadline_ms=600_000))
    idle, _ = await lane.run(b"pid", b"", deadline_ms=60_000)
    print(template.pid, int(idle), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_the_server_is_killed(tmp_path: Path) -> None:
    """Nothing is left: the busy worker, the idle one and the template end by themselves."""
    file = tmp_path / "pid"
    command = [sys.executable, "-c", SERVER.format(file=file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pids = [*map(int, server.stdout.readline().split()), asyncio.run(pid_in(file))]
        assert all(map(is_alive, pids))
        server.kill()
        asyncio.run(until(lambda: not any(map(is_alive, pids))))
