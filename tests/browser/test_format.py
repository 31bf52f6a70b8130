"""Quantities on the page are written as in the terminal."""

from collections.abc import Callable
from typing import Any

from service.core.units import bytes_text, count_text, share_text, time_text
from tests.browser.conftest import Visit

TEXTS = """async ([name, values]) => {
    const format = await import("/lab/any/format.js");
    return values.map((ms) => format[name](ms));
}"""
# Nanoseconds: halves of the last digit, edges of units, and every order of magnitude.
TIMES_NS = [
    *(0, 0.25, 1, 12.5, 999.4, 999.5, 999.6, 9_310, 12_250, 12_350, 1_225_000, 99_950, 999_500),
    *(59.94e9, 59.96e9, 119e9, 3_597e9, 3_599e9, 86_399e9, 31_400_000e9, 31_557_600e9),
    *(int(digits * 10**power) for power in range(3, 30) for digits in (1, 1.235, 4.565, 9.995)),
]


async def test_times_are_those_of_the_terminal(visit: Visit) -> None:
    """Of nanoseconds, which answers have as milliseconds."""
    page = await visit.open()
    texts = await page.evaluate(TEXTS, ["time", [ns / 1e6 for ns in TIMES_NS]])
    expected = {ns: time_text(ns) for ns in TIMES_NS}
    assert dict(zip(TIMES_NS, texts, strict=True)) == expected


SIZES = [
    *(0, 1, 999, 1000, 1023, 1024, 1029, 12_345, 1_022_975, 1_048_000, 1_048_575, 2**30, 5 * 2**43),
    *(int(digits * 1e3**power) for power in range(2, 7) for digits in (1, 1.234, 45.65, 999.5)),
]
SHARES = [0, 1e-12, 1 / 1_312_000, 1 / 354, 0.0099, 0.00999, 0.01, 0.0149, 0.874, 1, 1.004, 12.3]


async def test_quantities_are_those_of_the_terminal(visit: Visit) -> None:
    """Sizes in memory, counts, and shares of a peak."""
    page = await visit.open()
    quantities: list[tuple[str, Callable[[Any], str], list[Any]]] = [
        ("bytes", bytes_text, SIZES),
        ("count", count_text, SIZES),
        ("share", share_text, SHARES),
    ]
    for name, text, values in quantities:
        texts = await page.evaluate(TEXTS, [name, values])
        assert dict(zip(values, texts, strict=True)) == {value: text(value) for value in values}


async def test_ticks_of_an_axis(visit: Visit) -> None:
    """Powers of ten, up to seconds, as in the charts of the command line."""
    page = await visit.open()
    texts = await page.evaluate(TEXTS, ["decade", [1e-7, 1e-6, 1e-3, 0.1, 1, 100, 1e3, 1e7]])
    assert texts == ["0.1 ns", "1 ns", "1 us", "100 us", "1 ms", "100 ms", "1 s", "10,000 s"]
