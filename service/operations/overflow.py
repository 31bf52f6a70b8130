"""Check that an integer result fits its dtype, before it is computed.

Integer arithmetic in torch and numpy wraps around without an error. Sums, differences and products
wrap modulo a power of two. If the exact result fits the dtype, the computed one is therefore exact,
even if intermediate values wrapped: it is enough to check the exact result.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from service.core.dtypes import Dtype
from service.errors import IntegerOverflowError

Array = npt.NDArray[Any]
Evaluate = Callable[..., Array]

# One operation on Python integers costs about 100 ns: a tenth of a second at this many.
MAX_PYTHON_OPERATIONS: Final = 1_000_000
# A float64 sum of n products is off by at most n * 2**-53 of the sum of magnitudes; n < 2**30.
ROUNDING: Final = 1e-6
IN_INT64: Final = 2.0**62


@np.errstate(over="ignore", invalid="ignore")  # such values are checked exactly
def check_fits(
    dtype: Dtype,
    arrays: Sequence[Array],
    *,
    bound: int,
    magnitude: Evaluate,
    evaluate: Evaluate,
    operations: int,
) -> None:
    """Raise IntegerOverflowError unless all of `evaluate(*arrays)` fits `dtype`.

    `bound` is a bound of every element; `magnitude` bounds each element by the operands'
    magnitudes; `operations` is the number of operations of `evaluate`. Four checks are tried, each
    more expensive than the one before: the bound, the magnitudes, an estimate in float64, and the
    exact result.
    """
    if bound <= dtype.high:
        return
    doubles = [array.astype(np.float64) for array in arrays]
    magnitudes = np.asarray(magnitude(*map(np.abs, doubles)))
    if magnitudes.size == 0 or magnitudes.max() * (1 + ROUNDING) <= dtype.high:
        return
    estimate, error = np.abs(evaluate(*doubles)), magnitudes * ROUNDING
    if (estimate + error).max() <= dtype.high:
        return
    narrow = magnitudes.max() < IN_INT64
    certain = (estimate - error).max() > dtype.high + 1
    if certain or (operations > MAX_PYTHON_OPERATIONS and not narrow):
        raise overflow(dtype.name, f"about {estimate.max():.6g}", wider=estimate.max() < 2**63)
    exact = np.asarray(evaluate(*(x.astype(np.int64 if narrow else object) for x in arrays)))
    for extreme in (int(exact.min()), int(exact.max())):
        if not dtype.low <= extreme <= dtype.high:
            raise overflow(dtype.name, str(extreme), wider=-(2**63) <= extreme < 2**63)


def magnitude(array: Array) -> int:
    """Return the greatest magnitude in an integer array; 0 if it is empty."""
    return max(-int(array.min()), int(array.max())) if array.size else 0


def overflow(name: str, value: str, *, wider: bool = False) -> IntegerOverflowError:
    """Return the error for a `value` that dtype `name` cannot hold.

    The hint names a wider integer dtype too if `wider`.
    """
    return IntegerOverflowError(
        f"the exact result would hold {value}, which {name} cannot",
        hint='send the operands with "dtype": "float64"'
        + (", or with a wider integer dtype" if wider else ""),
    )
