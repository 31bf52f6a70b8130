"""Tests of quantities: the client spells them as the service does."""

from typing import Final

import pytest

from service.core import units as theirs
from tensor_service_client import units

NUMBERS: Final = (0.0, 1e-9, 1e-4, 0.0099, 0.01, 0.5, 0.9999, 1.005, 9.995, 12.35, 999.9, 86_400.0)
LARGE: Final = (1_234_567.0, 3e9, 7.9e13, 2e17)


@pytest.mark.parametrize("value", [*NUMBERS, *LARGE])
def test_quantities_are_spelled_as_by_the_service(value: float) -> None:
    """Times, ratios, shares, errors, and, of whole numbers, counts and bytes."""
    assert units.time_text(value) == theirs.time_text(value * 1e6)
    assert units.error_text(value) == theirs.error_text(value)
    assert units.ulp_text(value) == theirs.ulp_text(value)
    assert units.count_text(int(value)) == theirs.count_text(int(value))
    assert units.bytes_text(int(value)) == theirs.bytes_text(int(value))
    assert units.share_text(value) == theirs.share_text(value)
    if value:
        assert units.ratio_text(value) == theirs.ratio_text(value)


def test_values_without_digits() -> None:
    """Infinite errors, and shapes."""
    assert units.error_text(float("inf")) == units.ulp_text(float("inf")) == "infinite"
    assert units.shape_text([5, 784]) == theirs.shape_text((5, 784)) == "5×784"
    assert units.shape_text(()) == theirs.shape_text(()) == "()"
