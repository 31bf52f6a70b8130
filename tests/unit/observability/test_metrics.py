"""Metrics: their text for Prometheus, instruments, and sums over processes."""

import asyncio
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families

from service.core.timing import PHASES
from service.observability.counters import BATCH, Counters, Histogram
from service.observability.metrics import MEDIA_TYPE, Metrics
from service.observability.multiprocess import CountersFolder
from service.observability.prometheus import BOUND_BITS

LAPS = [4_000, 0, 300, 0, 3_000, 200, 5_000_000_000]
MATMUL = ("matmul", "torch", "inline", 200)
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: bytes) -> Samples:
    """Return the samples of an exposition by name and labels, read by Prometheus' own parser."""
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, "each sample is there once"
            found[key] = sample.value
    return found


def sample(found: Samples, name: str, **labels: str) -> float | None:
    """Return the sample of this name and these labels."""
    return found.get((f"tensor_service_{name}", tuple(sorted(labels.items()))))


async def test_calls_are_counted_by_their_labels() -> None:
    """Their labels are operation, strategy, executor and status; they are requests as well."""
    metrics = Metrics()
    for _ in range(3):
        metrics.counters.count_call(MATMUL, LAPS)
    metrics.counters.count_call(("matmul", "", "", 422), None)
    metrics.counters.requests["POST", "/matmul", 401] += 1
    metrics.counters.requests["GET", "/limits", 200] += 2
    found = samples(await metrics.text())
    labels = {"op": "matmul", "strategy": "torch", "executor": "inline", "status": "200"}
    assert sample(found, "calls_total", **labels) == 3
    labels = {"op": "matmul", "strategy": "", "executor": "", "status": "422"}
    assert sample(found, "calls_total", **labels) == 1
    for route, method, status, count in (
        ("/matmul", "POST", "200", 3),
        ("/matmul", "POST", "422", 1),
        ("/matmul", "POST", "401", 1),
        ("/limits", "GET", "200", 2),
    ):
        labels = {"route": route, "method": method, "status": status}
        assert sample(found, "requests_total", **labels) == count


async def test_phases_are_histograms() -> None:
    """A bucket counts phases up to its bound; sum and count are exact."""
    metrics = Metrics()
    metrics.counters.count_call(MATMUL, LAPS)
    metrics.counters.count_call(("matmul", "torch", "thread", 200), LAPS)
    metrics.counters.count_call(("matmul", "torch", "inline", 500), None)
    found = samples(await metrics.text())
    for phase, ns in zip(PHASES, LAPS, strict=True):
        labels = {"op": "matmul", "strategy": "torch", "phase": phase}
        assert sample(found, "phase_seconds_count", **labels) == 2
        assert sample(found, "phase_seconds_sum", **labels) == pytest.approx(2 * ns / 1e9)
        for bits in BOUND_BITS:
            expected = 2 if ns < 2**bits else 0
            le = str(2**bits / 1e9)
            assert sample(found, "phase_seconds_bucket", le=le, **labels) == expected
        assert sample(found, "phase_seconds_bucket", le="+Inf", **labels) == 2


async def test_instruments_are_read_when_the_text_is_written() -> None:
    """Those of one name with different labels are one family."""
    metrics, now = Metrics(), {"jobs": 1.5}
    metrics.gauge("jobs", "Jobs.", lambda: now["jobs"], executor="a")
    metrics.gauge("jobs", "Jobs.", lambda: 7, executor="b")
    metrics.counter("restarts", "Restarts.", lambda: 3)
    now["jobs"] = 2.5
    text = await metrics.text()
    found = samples(text)
    assert sample(found, "jobs", executor="a") == 2.5
    assert sample(found, "jobs", executor="b") == 7
    assert sample(found, "restarts_total") == 3
    assert text.count(b"# HELP tensor_service_jobs ") == 1
    assert b"# TYPE tensor_service_restarts_total counter" in text
    with pytest.raises(ValueError, match=r"jobs \{'executor': 'a'\} is shown already"):
        metrics.gauge("jobs", "Again.", lambda: 0, executor="a")


async def test_the_process_is_measured() -> None:
    """A server of one process has memory, descriptors and CPU time."""
    found = samples(await Metrics().text())
    assert found["process_resident_memory_bytes", ()] > 1e6
    assert found["process_open_fds", ()] > 0


def test_counters_survive_their_text() -> None:
    """They equal those that were dumped for another process."""
    counters = Counters()
    counters.count_call(MATMUL, LAPS)
    counters.requests["GET", "/limits", 200] += 2
    found = Counters.load(counters.with_readings({"x {}": 1.5}).dump())
    assert found.requests == counters.requests
    assert found.readings == {"x {}": 1.5}
    (key,) = found.calls
    assert key == MATMUL
    histogram = counters.calls[key]
    assert found.calls[key].count == histogram.count == 1
    assert [*found.calls[key].sums] == [*histogram.sums] == LAPS
    assert np.array_equal(found.calls[key].bins, histogram.bins)


@pytest.mark.parametrize("calls", [0, 1, BATCH - 1, BATCH, 2 * BATCH + 1])
def test_phases_are_counted_in_batches(calls: int) -> None:
    """Whole batches are counted at once, the rest by `settle`; each by its length in bits."""
    histogram = Histogram()
    laps = [[number, 2**number % 2**50, 1, 0, 3, 7, 2**40 + 1] for number in range(calls)]
    for each in laps:
        histogram.add(each)
    assert histogram.bins.sum() == calls // BATCH * BATCH * len(PHASES)
    histogram.settle()
    histogram.settle()
    for phase in range(len(PHASES)):
        lengths = Counter(each[phase].bit_length() for each in laps)
        assert {bits: n for bits, n in enumerate(histogram.bins[phase]) if n} == lengths
        assert histogram.sums[phase] == sum(each[phase] for each in laps)


async def test_processes_add_up(tmp_path: Path) -> None:
    """Each process has the sum; of one that has ended the counters remain, and no gauges."""
    here = Metrics(CountersFolder(tmp_path, "1.0"))
    theirs = CountersFolder(tmp_path, "1.0")
    there = Metrics(theirs)
    for metrics, calls in ((here, 2), (there, 3)):
        metrics.gauge("jobs", "Jobs.", lambda: 5)
        metrics.counter("restarts", "Restarts.", lambda: 1)
        for _ in range(calls):
            metrics.counters.count_call(MATMUL, LAPS)
        metrics.counters.requests["GET", "/limits", 200] += 1
        metrics.publish()
    labels = {"op": "matmul", "strategy": "torch", "executor": "inline", "status": "200"}
    for metrics in (here, there):
        found = samples(await metrics.text())
        assert sample(found, "calls_total", **labels) == 5
        assert sample(found, "requests_total", method="GET", route="/limits", status="200") == 2
        assert sample(found, "jobs") == 10
        assert sample(found, "restarts_total") == 2
        assert ("process_open_fds", ()) not in found, "it would be that of one process"
    theirs._own.rename(tmp_path / "4194305-0.1.0.json")  # no process has such a number
    for _ in range(2):
        found = samples(await here.text())
        assert sample(found, "calls_total", **labels) == 5
        assert sample(found, "jobs") == 5
        assert sample(found, "restarts_total") == 2


def counted(calls: int, **readings: float) -> bytes:
    """Return what a process with so many calls writes."""
    counters = Counters()
    for _ in range(calls):
        counters.count_call(MATMUL, LAPS)
    return counters.with_readings(readings).dump()


def calls_in(folder: CountersFolder) -> int:
    """Return the number of calls of the other processes."""
    return sum(histogram.count for histogram in folder.others(["jobs"]).calls.values())


def test_files_of_ended_processes_become_one(tmp_path: Path) -> None:
    """No count is lost or counted twice, also if the process that merges them is killed."""
    folder = CountersFolder(tmp_path, "1.0")
    folder.put(counted(100))
    for calls in (1, 2, 3):
        name = f"4194305-{calls}.1.0.json"  # no process has such a number
        (tmp_path / name).write_bytes(counted(calls, jobs=1.0, restarts=2.0))
        found = folder.others(["jobs"])
        assert found.readings == {"restarts": 2.0 * calls}
    assert calls_in(folder) == 6
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".json", ".json"]
    left = tmp_path / "4194305-3.1.0.json"
    left.write_bytes(counted(3))  # it has been merged, and not been deleted
    assert calls_in(folder) == 6
    assert not left.exists()
    assert calls_in(CountersFolder(tmp_path, "1.0")) == 106


def test_another_version_is_left_out(tmp_path: Path) -> None:
    """It may count other things: it is neither read, nor kept once its process has ended."""
    folder = CountersFolder(tmp_path, "1.0")
    running = tmp_path / f"{os.getpid()}-0.0.9.json"
    names = ("4194305-0.json", "4194305-0.0.9.json", "ended.0.9.json", running.name, "mine.json")
    for name in names:
        (tmp_path / name).write_bytes(b"[1]")
    assert calls_in(folder) == 0
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"ended.0.9.json", running.name, "mine.json", "lock"}


class WatchedFolder(CountersFolder):
    """A folder that notifies of each write."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "1.0")
        self.put_now = asyncio.Event()

    def put(self, text: bytes) -> None:
        """Write the counters, and notify of it."""
        super().put(text)
        self.put_now.set()

    def calls(self) -> int:
        """Return the number of calls in the folder."""
        return calls_in(CountersFolder(self._path, "1.0"))


async def test_counters_are_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written repeatedly while the server runs, and once more at its end."""
    monkeypatch.setattr("service.observability.metrics.PUBLISH_S", 0.001)
    folder = WatchedFolder(tmp_path)
    metrics = Metrics(folder)
    async with metrics.published(), asyncio.timeout(10):
        for count in range(3):
            folder.put_now.clear()
            await folder.put_now.wait()
            assert folder.calls() == count
            metrics.counters.count_call(MATMUL, LAPS)
    assert folder.calls() == 3


async def test_one_process_publishes_nothing() -> None:
    """There is no folder to write to."""
    metrics = Metrics()
    async with metrics.published():
        metrics.publish()
    assert samples(await metrics.text())


def test_the_media_type_is_that_of_the_text() -> None:
    """It is a constant, so that prometheus-client is not loaded for it."""
    assert f"{MEDIA_TYPE}; charset=utf-8" == CONTENT_TYPE_LATEST
