"""Quantities as text, spelled as the service spells them: three significant digits and a unit."""

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context
from typing import Final

_TIMES: Final = (
    ("years", 31_557_600e3),
    ("days", 86_400e3),
    ("h", 3_600e3),
    ("min", 60e3),
    ("s", 1e3),
    ("ms", 1.0),
    ("us", 1e-3),
    ("ns", 1e-6),
)
_BYTES: Final = (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10), ("bytes", 1.0))
_THREE_DIGITS: Final = Context(prec=3, rounding=ROUND_HALF_UP)


def time_text(ms: float) -> str:
    """Return a time in a suitable unit: `9.31 us`, `720 ms`, `1.50 min`."""
    return _in_units(ms, _TIMES) if ms else "0 ns"


def bytes_text(count: int) -> str:
    """Return a size in memory: `15.3 KiB`; below a KiB it is exact."""
    return f"{count} bytes" if count < 1024 else _in_units(count, _BYTES)


def count_text(count: int) -> str:
    """Return a count with separators: `39,200`; from 10^15 on, three digits."""
    return f"{count:,}" if count < 10**15 else f"{_rounded(count):.2e}"


def ratio_text(ratio: float) -> str:
    """Return a ratio: `86,000×`."""
    return f"{_digits(ratio)}×"


def share_text(share: float) -> str:
    """Return a share: `87 %`; below a percent as `1 in 350`."""
    if share >= 0.01 or share == 0:
        return f"{100 * share:,.0f} %"
    return f"1 in {count_text(int(float(f'{1 / share:.1e}')))}"


def error_text(error: float) -> str:
    """Return an error in the unit of the result: `1.91e-06`, `0`, `infinite`."""
    if error == 0 or math.isinf(error):
        return "infinite" if error else "0"
    return f"{error:.2e}"


def ulp_text(error: float) -> str:
    """Return an error in units in the last place: `0.5`, `12.3`, `infinite`."""
    return "infinite" if math.isinf(error) else f"{error:.3g}"


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape: `5×784`; `()` for a single number."""
    return "×".join(map(str, shape)) or "()"


def _in_units(value: float, units: Sequence[tuple[str, float]]) -> str:
    # The value is rounded before the unit is chosen: 999.9 us is 1.00 ms.
    for unit, size in units[:-1]:
        if _rounded(value / size) >= 1:
            return f"{_digits(value / size)} {unit}"
    return f"{_digits(value / units[-1][1])} {units[-1][0]}"


def _digits(value: float) -> str:
    """Return three significant digits; larger numbers end in zeros."""
    rounded = _rounded(value)
    if rounded >= 100:
        return f"{rounded:,.0f}"
    return f"{rounded:.1f}" if rounded >= 10 else f"{rounded:#.3g}"


def _rounded(value: float) -> float:
    return float(_THREE_DIGITS.create_decimal_from_float(value))
