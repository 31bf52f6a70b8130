"""The figures of a GPU behind the service, beside their goals; nothing is timed here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import httpx
import pytest
import torch
from rich.console import Console

from tests.bench import gpu
from tests.bench.client import Connection
from tests.bench.gpu import Times, alone, hop, load, products, show


class Answers:
    """A connection whose calls take some milliseconds for copies, and for computing."""

    def __init__(self, copies_ms: float, compute_ms: float):
        """Split the copies between upload and download."""
        half = copies_ms * 500
        self.phases = {"upload": half, "compute": compute_ms * 1e3, "download": half, "encode": 9.0}

    def exchange(self, message: bytes) -> int:
        """Return the nanoseconds of a call: 0.1 ms more on the GPU."""
        return 500_000 if b'"cuda"' in message else 400_000

    def phases_us(self) -> dict[str, float]:
        """Return the phases."""
        return self.phases


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """A function that gives connections of the bench answers with such phases."""

    def answer(copies_ms: float, compute_ms: float) -> None:
        @contextmanager
        def connections(port: int, count: int) -> Iterator[list[Answers]]:
            yield [Answers(copies_ms, compute_ms) for _ in range(count)]

        monkeypatch.setattr(gpu, "connections", connections)

    return answer


def printed(figures: dict[str, Any]) -> str:
    """Return what is printed of the figures."""
    text = StringIO()
    show(Console(file=text, width=100), figures)
    return text.getvalue()


@pytest.mark.parametrize(("compute_ms", "is_met"), [(3.8, True), (3.9, False)])
def test_figures_and_goals(
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[float, float], None],
    *,
    compute_ms: float,
    is_met: bool,
) -> None:
    """Copies and computing take 1.2 times those beside at most, or the goal is not met."""
    answer(1.0, compute_ms)
    monkeypatch.setattr(gpu, "alone", lambda *_: lambda: Times(2.0, 2.0))
    rows: list[dict[str, Any]] = [*products(0, [8], 2, "cpu", 60)]
    assert [(row["n"], row["dtype"], row["rounds"]) for row in rows] == [
        (8, "float32", 2),
        (8, "float16", 2),
    ]
    for row in rows:
        assert (row["most_ratio"], row["is_met"]) == (1.2, is_met)
        assert row["ratio"] == pytest.approx((1 + compute_ms) / 4)
        assert row["service_ms"] == {"copies": 1.0, "compute": compute_ms}
    assert rows[0]["alone_gb_per_s"] == pytest.approx(3 * 64 * 4 / 2e6)
    small: dict[str, Any] = hop(0, 1)
    assert (small["more_ms"], small["most_ms"]) == (pytest.approx(0.1), 0.3)
    loads: list[dict[str, Any]] = [
        {"n": 8, **load(0, b"", clients, 0.01)} for clients in gpu.CLIENTS
    ]
    for each in loads:
        # The calls take no time here, so that they are computed all the time.
        assert (each["busy"], each["least_busy"], each["is_met"]) == (1, 0.6, True)
    loads[1] |= {"busy": 0.4, "is_met": False}
    text = printed({"small": small, "load": loads, "products": rows})
    assert "0.1 ms more (goal ≤ 0.3 ms: met)" in text
    assert text.count("goal ≤ 1.2: met" if is_met else "goal ≤ 1.2: not met") == 2
    assert text.count("goal ≥ 60%: not met") == 1
    assert text.count("copies leave") == 2


def test_products_end_in_time(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[float, float], None]
) -> None:
    """Each has a share, to which the ones before add what they leave, and one round at least."""
    answer(1.0, 1.0)
    now = 0.0
    took = iter([1.0, 1.0, 20.0, 20.0])

    def beside(n: int, dtype: torch.dtype, device: str) -> Callable[[], Times]:
        seconds = next(took)

        def time_once() -> Times:
            nonlocal now
            now += seconds
            return Times(1.0, 1.0)

        return time_once

    monkeypatch.setattr(gpu, "alone", beside)
    monkeypatch.setattr(gpu, "perf_counter", lambda: now)
    found = [row["rounds"] for row in products(0, [8, 16], 7, "cpu", 80)]
    # The first two take 16 s of 40, the third until 76 of 60, the last one until 116 of 80.
    assert found == [7, 7, 2, 1]


def test_what_stands_beside() -> None:
    """Copies and the product are timed apart, by the clock of the host where there is no GPU."""
    found = alone(16, torch.float32, "cpu")()
    assert found.copies > 0
    assert found.compute > 0
    assert found.total == found.copies + found.compute
    assert Times.median([Times(1, 5), Times(2, 3), Times(9, 4)]) == Times(2, 4)


def test_devices_that_are_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are waited for, and the error has the reason of one that does not become so."""
    reasons = iter(["it is starting", None])

    class Ready:
        def json(self) -> dict[str, Any]:
            return {"devices": {"cpu": None, "cuda:0": next(reasons)}}

    monkeypatch.setattr(httpx, "get", lambda url, timeout: Ready())
    gpu.wait_for_devices(0)
    reasons = iter(["it has no memory"])
    monkeypatch.setattr(gpu, "START_S", -1.0)
    with pytest.raises(RuntimeError, match="it has no memory"):
        gpu.wait_for_devices(0)


def test_the_stand_in_is_like_a_connection() -> None:
    """It has methods of the same names."""
    assert {"exchange", "phases_us"} <= {*dir(Answers)} & {*dir(Connection)}
