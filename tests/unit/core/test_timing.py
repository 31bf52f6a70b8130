"""Phases of a request, and how they are written."""

import re
from json import loads
from time import perf_counter_ns

import pytest

from service.core import timing
from service.core.timing import (
    COMPILE,
    COMPUTE,
    DECODE,
    DOWNLOAD,
    ENCODE,
    NO_PHASES,
    PHASES,
    QUEUE,
    UPLOAD,
    Stopwatch,
    server_timing,
)

LAPS = (1, 20_000, 300_000, 7_000_000_000, 4_000_000, 50_000_000, 600_000_000)


@pytest.fixture
def text(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The text of a stopwatch that has been stopped after a lap of each phase."""
    now, marks = 0, [(DECODE, 0)]
    for phase in (DECODE, QUEUE, UPLOAD, COMPILE, COMPUTE, DOWNLOAD):
        now += LAPS[phase]
        marks.append((phase, now))
    monkeypatch.setattr(timing, "perf_counter_ns", lambda: now + LAPS[ENCODE])
    watch = Stopwatch(marks)
    assert watch.phases == NO_PHASES
    text = watch.stop()
    assert tuple(watch.phases) == LAPS
    return text


def test_json(text: bytes) -> None:
    """In JSON each phase and their sum are in milliseconds."""
    assert loads(b"{%b}" % text) == {
        "decode_ms": 1e-6,
        "queue_ms": 0.02,
        "upload_ms": 0.3,
        "compile_ms": 7000.0,
        "compute_ms": 4.0,
        "download_ms": 50.0,
        "encode_ms": 600.0,
        "total_ms": 7654.320001,
    }


def test_server_timing(text: bytes) -> None:
    """The header lists the phases and their sum, in the grammar of W3C Server Timing."""
    header = server_timing(text).decode()
    found = re.findall(r"([a-z]+);dur=([0-9.e-]+)(?:, |$)", header)
    assert [name for name, _ in found] == [*PHASES, "total"]
    assert ", ".join(f"{name};dur={each}" for name, each in found) == header
    assert [float(each) for _, each in found] == [1e-6, 0.02, 0.3, 7000, 4, 50, 600, 7654.320001]


def test_laps_are_disjoint() -> None:
    """Laps follow each other without gap or overlap, from the start to the last one."""
    started = perf_counter_ns()
    watch = Stopwatch([(DECODE, started)])
    for phase in (*range(len(PHASES)), COMPUTE):
        watch.lap(phase)
    ended = perf_counter_ns()
    phases = watch.sum_up()
    assert sum(phases) == watch.marks[-1][1] - started
    assert 0 < sum(phases) <= ended - started
    assert min(phases) >= 0


def test_lap_from_an_earlier_start() -> None:
    """A watch may begin at an earlier reading of the clock; a phase keeps what it had."""
    watch = Stopwatch([(DECODE, perf_counter_ns() - 10**9)])
    watch.lap(DECODE)
    once = watch.sum_up()[DECODE]
    assert once >= 10**9
    assert watch.elapsed_ms == once // 10**6
    watch.lap(DECODE)
    phases = watch.sum_up()
    assert phases[DECODE] >= once
    assert sum(phases) == phases[DECODE]


def test_a_watch_starts_now() -> None:
    """Time counts from when the watch was started."""
    before = perf_counter_ns()
    watch = Stopwatch.start()
    watch.lap(QUEUE)
    assert watch.sum_up()[QUEUE] <= perf_counter_ns() - before
    assert watch.sum_up()[DECODE] == 0


def test_a_watch_is_continued_from_its_marks() -> None:
    """Another process goes on where the first one left off; the clock is that of the host."""
    first = Stopwatch.start()
    first.lap(DECODE)
    second = Stopwatch([*first.marks])
    second.lap(QUEUE)
    assert second.sum_up()[DECODE] == first.sum_up()[DECODE]
    assert len(first.marks) == 2
    second.stop()
    assert sum(second.phases) == second.marks[-1][1] - first.marks[0][1]
