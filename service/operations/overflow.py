"""Proof that an integer result is exact, before it is computed.

Integer arithmetic in torch and numpy wraps around without a word. Sums, differences and products
wrap modulo a power of two, so when the true result fits the dtype, the computed one is exact
whatever wrapped on the way: it is enough to prove that the true result fits.
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
# A float64 sum of n products is off by n * 2**-53 of the sum of magnitudes at most; n < 2**30.
ROUNDING: Final = 1e-6
IN_INT64: Final = 2.0**62


@np.errstate(over="ignore", invalid="ignore")  # what a float64 cannot hold is decided exactly
def prove_fits(
    dtype: Dtype,
    arrays: Sequence[Array],
    *,
    bound: int,
    magnitude: Evaluate,
    evaluate: Evaluate,
    operations: int,
) -> None:
    """Raise IntegerOverflowError unless all of `evaluate(*arrays)` fits `dtype`.

    `bound` holds for every element; `magnitude` bounds each element by the operands' magnitudes;
    `operations` counts what `evaluate` does. Each proof is dearer than the one before: the bound,
    the magnitudes, an estimate in float64, the exact result.
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
    """The greatest magnitude in an integer array; 0 if it is empty."""
    return max(-int(array.min()), int(array.max())) if array.size else 0


def overflow(name: str, value: str, *, wider: bool = False) -> IntegerOverflowError:
    """The error that says which value dtype `name` cannot hold; a `wider` integer dtype may."""
    return IntegerOverflowError(
        f"the exact result would hold {value}, which {name} cannot",
        hint='send the operands with "dtype": "float64"'
        + (", or with a wider integer dtype" if wider else ""),
    )
