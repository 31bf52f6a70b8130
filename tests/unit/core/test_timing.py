"""Phases of a request, and how they are written."""

import re
from json import loads
from time import perf_counter_ns

from service.core.timing import (
    COMPUTE,
    DECODE,
    PHASES,
    QUEUE,
    Stopwatch,
    Timings,
    server_timing,
    timing_json,
)

TIMINGS = Timings(1, 20_000, 300_000, 4_000_000, 50_000_000, 600_000_000)


def total_ns(timings: Timings) -> int:
    """The sum of all phases."""
    return sum(getattr(timings, f"{phase}_ns") for phase in PHASES)


def test_json() -> None:
    """In JSON each phase and their sum are in milliseconds."""
    assert loads(b"{%b}" % timing_json(TIMINGS.texts())) == {
        "decode_ms": 1e-6,
        "queue_ms": 0.02,
        "upload_ms": 0.3,
        "compute_ms": 4.0,
        "download_ms": 50.0,
        "encode_ms": 600.0,
        "total_ms": 654.320001,
    }


def test_server_timing() -> None:
    """The header lists the phases and their sum, in the grammar of W3C Server Timing."""
    header = server_timing(TIMINGS.texts()).decode()
    found = re.findall(r"([a-z]+);dur=([0-9.e-]+)(?:, |$)", header)
    assert [name for name, _ in found] == [*PHASES, "total"]
    assert ", ".join(f"{name};dur={text}" for name, text in found) == header
    assert [float(text) for _, text in found] == [1e-6, 0.02, 0.3, 4, 50, 600, 654.320001]


def test_laps_are_disjoint() -> None:
    """Laps follow each other without gap or overlap, from the start to the last one."""
    started = perf_counter_ns()
    watch = Stopwatch(started)
    for phase in (*range(len(PHASES)), COMPUTE):
        watch.lap(phase)
    ended = perf_counter_ns()
    assert 0 < total_ns(watch.timings) <= ended - started
    assert min(watch.timings.compute_ns, watch.timings.encode_ns) >= 0


def test_lap_from_an_earlier_start() -> None:
    """A watch may begin at an earlier reading of the clock; a phase keeps what it had."""
    watch = Stopwatch(perf_counter_ns() - 10**9)
    watch.lap(DECODE)
    once = watch.timings.decode_ns
    assert once >= 10**9
    watch.lap(DECODE)
    assert watch.timings.decode_ns >= once
    assert total_ns(watch.timings) == watch.timings.decode_ns


def test_watch_starts_now() -> None:
    """Without a start, time counts from when the watch was made."""
    before = perf_counter_ns()
    watch = Stopwatch()
    watch.lap(QUEUE)
    assert watch.timings.queue_ns <= perf_counter_ns() - before
