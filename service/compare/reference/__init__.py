"""References that results are judged by: exact, or with more bits than any strategy has.

`calls.judge` makes them, of samples that `sampling` chooses. `products`, `norms` and `elementwise`
are their arithmetic, by `exact` digits or by long floats; `evaluation` has what they share.
"""

from service.compare.reference.calls import Basis, Reference, judge

__all__ = ["Basis", "Reference", "judge"]
