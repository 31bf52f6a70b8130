"""The connection to a cluster that several calls use, and that any of them may close."""

from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest

from service.core.dask_cluster import Cluster
from service.errors import ClusterUnavailableError
from tests.rigs.requirements import needs

pytestmark = needs("dask")


class Connection:
    """A client of Dask, and a future of it, whose scheduler answers 7.0 at once."""

    status = "running"

    def compute(self, collection: object) -> "Connection":
        """Return the future, which is this."""
        if self.status == "closed":
            raise Exception("Tried sending message after closing")  # noqa: TRY002  # as Dask does
        return self

    def result(self, timeout: float) -> object:
        """Return the result."""
        return np.float64(7.0)

    def cancel(self) -> None:
        """Cancel nothing."""

    def close(self, timeout: float) -> None:
        """Close it."""
        self.status = "closed"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """The connections that are made, of a scheduler without workers."""
    found: list[Connection] = []

    def connect(*_: object, **__: object) -> Connection:
        found.append(Connection())
        return found[-1]

    async def identity(self: Cluster) -> dict[str, Any]:
        return {"workers": {}, "total_threads": 0}

    monkeypatch.setattr("distributed.Client", connect)
    monkeypatch.setattr(Cluster, "_request_identity", identity)
    return found


def test_a_connection_that_another_call_has_closed(made: list[Connection]) -> None:
    """Between the blocks of a call and its computation: the call makes a new one."""
    cluster = Cluster("tcp://127.0.0.1:1")
    cluster.to_blocks([])
    cluster.close()
    cluster.close()
    assert cluster.fetch(object(), 1.0) == 7.0
    assert [each.status for each in made] == ["closed", "running"]


def test_a_connection_that_is_closed_meanwhile(
    made: list[Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler was lost, which is no fault of the service; any other error is one."""
    cluster = Cluster("tcp://127.0.0.1:1")
    cluster.to_blocks([])
    made[0].status = "closed"
    with pytest.raises(ClusterUnavailableError, match="lost while it computed"):
        cluster.fetch(object(), 1.0)
    monkeypatch.delattr(Connection, "compute")
    made[0].status = "running"
    with pytest.raises(AttributeError):
        cluster.fetch(object(), 1.0)


def test_a_lost_call_closes_its_own_connection(made: list[Connection]) -> None:
    """It leaves the one that another call has made since."""
    cluster = Cluster("tcp://127.0.0.1:1")
    cluster.to_blocks([])
    old, new = made[0], Connection()

    def lose(timeout: float) -> object:
        cluster._client = new
        raise CancelledError

    old.result = lose  # type: ignore[method-assign]  # of this one alone
    with pytest.raises(ClusterUnavailableError, match="lost while it computed"):
        cluster.fetch(object(), 1.0)
    assert (cluster._client, new.status) == (new, "running")
