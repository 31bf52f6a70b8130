"""deploy/ray_serve.py on a Ray of this host: `make test-ray`, since Ray is large."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any, Final

import httpx
import pytest

from tests.rigs.paths import ROOT
from tests.rigs.requirements import needs
from tests.rigs.servers import free_port

pytestmark = needs("ray")

MATMUL: Final = {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}
# Two cores, whether this host has them or not: an instance of one core, and room for a second.
SCRIPT: Final = """
import ray
from ray import serve
from deploy.ray_serve import Options, build

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
serve.start(http_options={{"host": "127.0.0.1", "port": {port}}})
serve.run(build(Options(cpus=1, max_instances=2)), blocking=True)
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of the service on Ray."""
    port = free_port()
    found = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT.format(port=port)]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | quiet) as process:
        try:
            until = monotonic() + 120
            while not answers(f"{found}/health/ready"):
                assert process.poll() is None, "Ray has ended"
                assert monotonic() < until, "Ray was not ready in two minutes"
                sleep(0.5)
            yield found
        finally:
            process.terminate()
            process.wait(60)


def answers(url: str) -> bool:
    """Return whether the response is a 200."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def post(url: str, path: str, body: Any) -> httpx.Response:
    """An answer within a minute."""
    return httpx.post(url + path, json=body, timeout=60)


def test_calls(url: str) -> None:
    """A product, a plan, a refusal, and a body of 4 MB go through Ray's proxy as they are."""
    answer = post(url, "/matmul", MATMUL)
    assert answer.json()["result"]["data"] == [[19.0, 22.0], [43.0, 50.0]]
    assert post(url, "/matmul/plan", MATMUL).json()["accepted"]
    problem = post(url, "/matmul", {"a": [[1]]})
    assert (problem.status_code, problem.json()["code"]) == (422, "missing-field")
    assert problem.headers["content-type"] == "application/problem+json"
    x = [[1.5] * 1000] * 1000
    assert post(url, "/norm", {"x": x}).json()["result"]["data"] == 1500.0


def test_settings_of_an_instance(url: str) -> None:
    """It uses the cores it was given, not those of its host."""
    limits = {each["name"]: each["value"] for each in httpx.get(f"{url}/limits").json()}
    assert limits["slots"] == 1
    assert limits["threads"] == 1


def test_more_instances_when_there_is_work(url: str) -> None:
    """Under load a second instance starts: answers come from two processes, and none is lost."""
    slow = {"a": [[1.0] * 100] * 100, "b": [[1.0] * 10] * 100, "strategy": "elementwise"}
    until = monotonic() + 90
    hosts: set[int] = set()

    def ask(_: int) -> int:
        assert post(url, "/matmul", slow).status_code == 200
        return replicas()

    with ThreadPoolExecutor(16) as pool:
        while max(hosts, default=1) < 2:
            assert monotonic() < until, "no second instance came"
            hosts.update(pool.map(ask, range(64)))


def replicas() -> int:
    """Return the number of serving processes, by Ray's names of them."""
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return found.stdout.count("ServeReplica:default:tensor-service")
