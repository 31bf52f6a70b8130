"""A service without processes, ready for calls."""

from collections.abc import Iterator

import pytest

from service.operations import REGISTRY
from service.pipeline.service import READY, Service, build_service
from service.planning.cost_model import CostModel
from service.settings import Settings


@pytest.fixture
def service(cost_model: CostModel) -> Iterator[Service]:
    """A service whose calls run in this process, with 16 MiB for bodies in flight."""
    found = build_service(Settings(max_inflight_bytes=2**24), REGISTRY, cost_model)
    found.engine.warm_up()
    found.state = READY
    yield found
    for threads in (found.threads, found.race_threads, found.cluster_threads):
        threads.close()
