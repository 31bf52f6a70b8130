"""Fixtures of tests that read and write JSON."""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.unit.codecs.json.decoding import without_compiled_code


@pytest.fixture(scope="module", params=["compiled", "not compiled"])
def reader(request: pytest.FixtureRequest) -> Iterator[None]:
    """Read and write arrays of numbers by compiled code, and then all text by orjson."""
    is_compiled = request.param == "compiled"
    with nullcontext() if is_compiled else without_compiled_code():
        yield
