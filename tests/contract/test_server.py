"""A real server, in a process of its own, over TCP."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import serving

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """The address of a server that is ready."""
    with serving() as url:
        yield url


def test_a_server_computes(base_url: str) -> None:
    """The contract's example, over a connection."""
    body = {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}
    response = httpx.post(f"{base_url}/matmul", json=body)
    assert response.json()["result"]["data"] == [[19.0, 22.0], [43.0, 50.0]]
    assert "total;dur=" in response.headers["Server-Timing"]
    assert "Server" not in response.headers


def test_a_server_keeps_a_connection_after_a_refusal(base_url: str) -> None:
    """A problem does not cost the connection."""
    with httpx.Client(base_url=base_url) as client:
        for _ in range(3):
            assert client.post("/matmul", json={}).status_code == 422
            assert client.get("/health/live").status_code == 200


def test_a_server_answers_what_is_no_http(base_url: str) -> None:
    """Rubbish is a 400, and the next client is served."""
    host, port = base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as rubbish:
        rubbish.sendall(b"\x16\x03\x01rubbish\r\n\r\n")
        assert rubbish.recv(100).startswith(b"HTTP/1.1 400")
    assert httpx.get(f"{base_url}/health/live").status_code == 200


def test_a_client_that_leaves_does_no_harm(base_url: str) -> None:
    """A body that never comes whole is forgotten."""
    host, port = base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        head = b"POST /matmul HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n"
        client.sendall(head + b'{"a":')
    assert httpx.get(f"{base_url}/health/ready").status_code == 200


def test_a_signal_ends_the_server() -> None:
    """SIGTERM ends it in order."""
    with serving() as url:
        assert httpx.get(f"{url}/health/ready").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health/live")


def test_a_wrong_setting_stops_the_start() -> None:
    """The message names the variable that was meant; the status is 2."""
    run = subprocess.run(
        [sys.executable, "-m", "service", "serve"],
        cwd=ROOT,
        env=os.environ | {"SERVICE_PROT": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert "SERVICE_PORT" in run.stderr
    assert "Traceback" not in run.stderr
