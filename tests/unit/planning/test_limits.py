"""Limits of a call."""

from dataclasses import FrozenInstanceError

import pytest

from service.planning.limits import Limits


def test_frozen() -> None:
    """Limits are immutable."""
    limits = Limits(max_elements=1, max_bytes=2, max_rank=3, deadline_ms=4)
    with pytest.raises(FrozenInstanceError):
        limits.max_rank = 5  # type: ignore[misc]  # what is tested
