"""Quantities are written with their unit and three significant digits."""

import math

import pytest

from service.core.units import (
    bytes_text,
    count_text,
    error_text,
    rate_text,
    ratio_text,
    shape_text,
    share_text,
    time_text,
    ulp_text,
)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (0.25, "0.250 ns"),
        (1, "1.00 ns"),
        (999.4, "999 ns"),
        (999.6, "1.00 us"),
        (9_310, "9.31 us"),
        (12_345, "12.3 us"),
        (12_250, "12.3 us"),
        (999_600, "1.00 ms"),
        (720_000_000, "720 ms"),
        (59.96e9, "60.0 s"),
        (2_379e9, "39.6 min"),
        (10_404e9, "2.89 h"),
        (3 * 10**16, "347 days"),
        (10**19, "317 years"),
        (10**23, "3,170,000 years"),
    ],
)
def test_times(ns: float, text: str) -> None:
    """The unit is chosen after rounding, so that none is written as 1000 of a smaller one.

    Halves are rounded up, as on the page.
    """
    assert time_text(ns) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.00 KiB"), (2**30, "1.00 GiB")],
)
def test_bytes(count: int, text: str) -> None:
    """Below a KiB a size is exact."""
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (12.3, "1,230 %"),
        (0.874, "87 %"),
        (0.01, "1 %"),
        (0.0099, "1 in 100"),
        (1 / 354, "1 in 350"),
        (1 / 1_312_000, "1 in 1,300,000"),
    ],
)
def test_shares(share: float, text: str) -> None:
    """A share below a percent is told by how many of it make the whole."""
    assert share_text(share) == text


def test_rates() -> None:
    """Three digits, two where there would be many zeros; the unit is that of the column."""
    rates = (1234, 118, 1.5, 0.0021, 2.14e-5)
    assert [rate_text(rate) for rate in rates] == ["1,230", "118", "1.50", "0.00210", "2.1e-05"]


def test_counts_ratios_and_errors() -> None:
    """Counts below 10^15 are exact."""
    assert [count_text(39_200), count_text(10**18)] == ["39,200", "1.00e+18"]
    assert [ratio_text(1), ratio_text(86_045)] == ["1.00×", "86,000×"]
    assert [error_text(x) for x in (0, 1.9073e-6, math.inf)] == ["0", "1.91e-06", "infinite"]
    assert [ulp_text(x) for x in (0, 0.5, 12.345, 1.2e9, math.inf)] == [
        "0",
        "0.5",
        "12.3",
        "1.2e+09",
        "infinite",
    ]


def test_shapes() -> None:
    """A single number has the shape `()`."""
    assert [shape_text((5, 784)), shape_text((3,)), shape_text(())] == ["5×784", "3", "()"]
