"""Limits of decoding."""

from dataclasses import replace

import pytest

from tests.unit.codecs.json.decoding import (
    CONTEXT,
)


def test_a_limit_on_nesting_beyond_the_recursion_limit_is_refused() -> None:
    """Python's recursion limit is 1000."""
    with pytest.raises(ValueError, match="at most 500"):
        replace(CONTEXT, max_nesting=501)
