"""Connections to a running app."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from tests.rigs.laboratory import Lab, laboratory


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """Connections to an app whose product may wait or fail."""
    async with laboratory() as found:
        yield found


@pytest.fixture(scope="module")
def whole(app: FastAPI) -> Lab:
    """Connections to the whole service."""
    return Lab(app)
