"""References that results are judged by: exact, or with more bits than any strategy has.

`calls.reference_of` makes them, of samples that `sampling` chooses, and `chains.chain_references`
makes those of chains. `products`, `norms` and `elementwise` are their arithmetic, by `exact` digits
or by long floats; `evaluation` has what they share.
"""

from service.compare.reference.calls import Basis, Reference, reference_of, select
from service.compare.reference.chains import chain_references

__all__ = ["Basis", "Reference", "chain_references", "reference_of", "select"]
