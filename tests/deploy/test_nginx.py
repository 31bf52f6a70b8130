"""deploy/nginx.conf before two real instances: limits, keep-alive, replacing them under load."""

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import httpx
import numpy as np
import pytest
from safetensors.numpy import load, save

from tests.rigs.paths import ROOT
from tests.rigs.proxies import configured, nginx
from tests.rigs.requirements import needs
from tests.rigs.servers import free_port, unmeasured

pytestmark = needs("nginx")

MATMUL: Final = {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}
PRODUCT: Final = [[19.0, 22.0], [43.0, 50.0]]
LIMIT: Final = 8 * 2**20
CLIENTS: Final = 8


@dataclass(slots=True)
class Instance:
    """A server of the service on a port of its own, which can be replaced."""

    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it is not ready yet."""
        command = [sys.executable, "-m", "service", "serve", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=unmeasured(), stdout=subprocess.DEVNULL
        )

    def wait(self) -> None:
        """Wait until it is ready."""
        until_ready(f"http://127.0.0.1:{self.port}/health/ready", self.process)

    def stop(self) -> None:
        """Tell it to end, and wait until it has."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(60) in (0, -signal.SIGTERM)


def until_ready(url: str, process: subprocess.Popen[bytes] | None) -> None:
    """Wait for a 200."""
    until = monotonic() + 60
    while monotonic() < until:
        with suppress(httpx.TransportError):
            if httpx.get(url).status_code == 200:
                return
        assert process is not None
        assert process.poll() is None, "it has ended"
        sleep(0.05)
    pytest.fail(f"{url} was not ready in a minute")


@dataclass(frozen=True, slots=True)
class Deployment:
    """A proxy and the instances behind it."""

    port: int
    instances: tuple[Instance, Instance]

    @property
    def url(self) -> str:
        """The proxy's address."""
        return f"http://127.0.0.1:{self.port}"


# Limits and timeouts that a test can wait for.
CHANGES: Final = {
    "client_max_body_size 128m;": f"client_max_body_size {LIMIT};",
    "client_header_timeout 10s;": "client_header_timeout 1s;",
    "client_body_timeout 30s;": "client_body_timeout 1s;",
}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two instances behind the proxy."""
    found = Deployment(free_port(), (Instance(), Instance()))
    configuration = tmp_path_factory.mktemp("nginx") / "nginx.conf"
    ports = [instance.port for instance in found.instances]
    configuration.write_text(configured(found.port, ports, CHANGES), encoding="utf-8")
    try:
        for instance in found.instances:
            instance.start()
        for instance in found.instances:
            instance.wait()
        with nginx(configuration) as process:
            until_ready(f"{found.url}/health/live", process)
            yield found
    finally:
        for instance in found.instances:
            instance.stop()


def test_the_file_as_it_is(tmp_path: Path) -> None:
    """nginx finds nothing wrong with it."""
    copy = tmp_path / "nginx.conf"
    shutil.copy(ROOT / "deploy" / "nginx.conf", copy)
    with nginx(copy, "-t") as process:
        assert process.wait(20) == 0


def test_round_trip(deployment: Deployment) -> None:
    """JSON and bytes go through as they are, request ids, refusals and events too."""
    with httpx.Client(base_url=deployment.url, timeout=20) as client:
        answer = client.post("/matmul", json=MATMUL, headers={"X-Request-Id": "through-nginx"})
        assert answer.json()["result"]["data"] == PRODUCT
        assert answer.json()["request_id"] == "through-nginx"
        a, b = np.random.default_rng(0).random((2, 512, 512), np.float32)
        bytes_ = {
            "Content-Type": "application/x-safetensors",
            "Accept": "application/x-safetensors",
        }
        answer = client.post("/matmul", content=save({"a": a, "b": b}), headers=bytes_)
        np.testing.assert_allclose(load(answer.content)["result"], a @ b, rtol=1e-4)
        assert client.post("/matmul", json={"a": [1]}).json()["code"] == "missing-field"
        events = client.post(
            "/matmul/compare", json=MATMUL, headers={"Accept": "text/event-stream"}
        )
        assert events.text.count("event: ") > 1


def test_a_body_that_is_too_large(deployment: Deployment) -> None:
    """The proxy refuses it, stated or chunked, and its refusal is a problem document."""
    body = b" " * (LIMIT + 1)
    for content in (body, iter([body])):
        answer = httpx.post(f"{deployment.url}/matmul", content=content, timeout=20)
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "body-too-large"


@pytest.mark.parametrize(
    "start",
    [
        b"POST /matmul HTTP/1.1\r\nHost: x\r\n",
        b"POST /matmul HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
    ],
    ids=["header", "body"],
)
def test_a_request_that_comes_too_slowly(deployment: Deployment, start: bytes) -> None:
    """Its connection is closed after the timeout, which is a second here."""
    with socket.create_connection(("127.0.0.1", deployment.port), timeout=20) as connection:
        connection.sendall(start)
        started = monotonic()
        while connection.recv(65_536):
            pass
        assert monotonic() - started < 8  # the timeouts that it replaces are 10 s and more


def test_a_prefix_that_the_proxy_takes_off(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Paths with a slash at the end keep it, as all relative addresses do, without a redirect."""
    port = free_port()
    prefixed = {"location / {\n            proxy_pass http://service;": "location /tensors/ {\n"
                "            proxy_pass http://service/;"}  # fmt: skip
    ports = [instance.port for instance in deployment.instances]
    configuration = tmp_path_factory.mktemp("prefix") / "nginx.conf"
    configuration.write_text(configured(port, ports, prefixed), encoding="utf-8")
    url = f"http://127.0.0.1:{port}/tensors"
    with nginx(configuration) as process, httpx.Client(timeout=20) as client:
        until_ready(f"{url}/health/live", process)
        answer = client.post(f"{url}/matmul/", json=MATMUL)
        assert answer.json()["result"]["data"] == PRODUCT
        assert client.get(f"{url}/health/live/").status_code == 200
        page = client.get(f"{url}/docs/", follow_redirects=True)
        assert (page.status_code, str(page.url)) == (200, f"{url}/docs")
        assert client.get(str(page.url.join("docs/assets/docs.css"))).status_code == 200


def test_keep_alive(deployment: Deployment) -> None:
    """A hundred requests take one connection to the proxy, and few more to the instances."""

    def count() -> int:
        return sum(connections_to(instance.port) for instance in deployment.instances)

    before = count()  # the number of those until an instance was ready depends on its start
    with httpx.Client(base_url=deployment.url) as client:
        ports = set()
        for _ in range(100):
            answer = client.post("/matmul", json=MATMUL)
            stream = answer.extensions["network_stream"]
            ports.add(stream.get_extra_info("client_addr")[1])
        assert len(ports) == 1
    assert 0 < count() < before + 20


def connections_to(port: int) -> int:
    """Return the number of connections to a port, those of the last minute included."""
    rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    remotes = [row.split()[2] for row in rows]
    return sum(remote.endswith(f":{port:04X}") for remote in remotes)


async def test_nothing_is_lost_while_instances_are_replaced(
    deployment: Deployment, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Each instance is ended and started again under load; every request gets its answer."""
    over = asyncio.Event()
    lost: list[str] = []
    answered = 0

    async def ask(client: httpx.AsyncClient) -> None:
        nonlocal answered
        while not over.is_set():
            try:
                answer = await client.post("/matmul", json=MATMUL)
            except httpx.TransportError as error:
                lost.append(repr(error))
                continue
            if answer.status_code == 200 and answer.json()["result"]["data"] == PRODUCT:
                answered += 1
            else:
                lost.append(answer.text)

    async with httpx.AsyncClient(base_url=deployment.url, timeout=30) as client:
        asking = [asyncio.create_task(ask(client)) for _ in range(CLIENTS)]
        for instance in deployment.instances:
            await asyncio.to_thread(instance.stop)
            instance.start()
            await asyncio.to_thread(instance.wait)
        over.set()
        await asyncio.gather(*asking)
    record_testsuite_property("answered", answered)
    record_testsuite_property("lost", len(lost))
    assert answered > 100
    assert lost == []
