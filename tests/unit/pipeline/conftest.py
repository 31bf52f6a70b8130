"""A service without processes, ready for calls."""

from collections.abc import Iterator

import pytest

from service.executors import SharedPool
from service.operations import REGISTRY
from service.pipeline.service import READY, Service, build_service
from service.planning.cost_model import CostModel
from service.settings import Settings


@pytest.fixture
def service(cost_model: CostModel) -> Iterator[Service]:
    """A service whose calls run in this process, with a pool of 16 MiB for bodies."""
    found = build_service(Settings(max_inflight_bytes=2**24), REGISTRY, cost_model)
    found.engine.warm_up()
    found.state = READY
    found.body_memory = pool = SharedPool(2**24)
    yield found
    pool.close()
    for threads in (found.threads, found.race_threads, found.cluster_threads):
        threads.close()
