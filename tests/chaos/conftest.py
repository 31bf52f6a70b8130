"""A server with small limits, which hostile requests soon reach."""

from collections.abc import Iterator

import pytest

from tests.chaos.settings import HEAD_S, MAX_BODY_BYTES, MAX_HEAD_BYTES, REQUEST_S
from tests.rigs.servers import Server, server


@pytest.fixture(scope="session")
def victim() -> Iterator[Server]:
    """One server for all requests that must not harm it."""
    with server(
        SERVICE_MAX_BODY_BYTES=str(MAX_BODY_BYTES),
        SERVICE_MAX_HEAD_BYTES=str(MAX_HEAD_BYTES),
        SERVICE_HEAD_S=str(HEAD_S),
        SERVICE_REQUEST_S=str(REQUEST_S),
        SERVICE_WRITE_S="1",
        SERVICE_IDLE_S="2",
    ) as running:
        yield running
