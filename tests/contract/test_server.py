"""A real server, in a process of its own, over TCP."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from time import sleep

import httpx
import pytest

from service.http.auth import key_hash
from tests.rigs.raw_http import parse_responses, received
from tests.rigs.servers import measured, serving

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """The address of a server that is ready."""
    with serving(**measured()) as url:
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
    """It gets a 400, and the next client is served."""
    host, port = base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as rubbish:
        rubbish.sendall(b"\x16\x03\x01rubbish\r\n\r\n")
        assert rubbish.recv(100).startswith(b"HTTP/1.1 400")
    assert httpx.get(f"{base_url}/health/live").status_code == 200


STATED, CHUNKED = f"Content-Length: {2**40}", "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("path", "lines", "status"),
    [
        ("/matmul", ("Host: here", STATED), 413),
        ("/matmul", ("Host: here", CHUNKED), 413),
        ("/matmul/plan", ("Host: here", CHUNKED), 413),
        ("/nothing", ("Host: here", CHUNKED), 404),
        ("/matmul", (STATED,), 400),
        ("/matmul", ("Host: here", "Host: here", CHUNKED), 400),
        ("/matmul", ("Host:", CHUNKED), 400),
        ("/matmul", ("Host: here", "Transfer-Encoding: gzip, chunked"), 501),
    ],
)
def test_nothing_goes_on_after_a_refusal(
    base_url: str, path: str, lines: tuple[str, ...], status: int
) -> None:
    """The answer can be read, though its client goes on sending, and the connection ends soon."""
    host, port = base_url.removeprefix("http://").split(":")
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall("\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode())
        sent = 0
        with suppress(ConnectionError):
            while sent < 400 * 2**20:  # three times what a body may have
                sent += client.send(chunk[sent % len(chunk) :])
        (answer,) = parse_responses(received(client))
    assert sent < 200 * 2**20
    assert (answer.status, answer.headers["connection"]) == (status, "close")


def test_a_client_that_leaves_does_no_harm(base_url: str) -> None:
    """An incomplete body is dropped."""
    host, port = base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        head = b"POST /matmul HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n"
        client.sendall(head + b'{"a":')
    assert httpx.get(f"{base_url}/health/ready").status_code == 200


def test_a_signal_ends_the_server() -> None:
    """SIGTERM ends it in order."""
    with serving(**measured()) as url:
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


def test_keys_origins_and_the_log_of_a_server() -> None:
    """Settings give keys and origins, and each request has a line of JSON."""
    page = "https://lab.example.org"
    variables = {
        "SERVICE_API_KEYS": f"alice:{key_hash(b'right')}",
        "SERVICE_CORS_ORIGINS": page,
        "SERVICE_LOG_FORMAT": "json",
        "SERVICE_LOG_LEVEL": "info",
    }
    body = {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}
    with TemporaryFile() as log:
        with serving(log, **measured(), **variables) as url:
            assert httpx.post(f"{url}/matmul", json=body).status_code == 401
            headers = {"X-API-Key": "right", "X-Request-Id": "r-1"}
            answer = httpx.post(f"{url}/matmul", json=body, headers=headers)
            assert answer.status_code == 200
            headers |= {"Origin": page, "X-Request-Id": "r-2"}
            answer = httpx.post(f"{url}/matmul", json=body, headers=headers)
            assert answer.status_code == 200
            assert answer.headers["Access-Control-Allow-Origin"] == page
        log.seek(0)
        events = [json.loads(line) for line in log.read().splitlines()]
    told = {each["request_id"]: each for each in events if "request_id" in each}
    for request_id in ("r-1", "r-2"):
        assert told[request_id]["message"] == "POST /matmul 200"
        assert told[request_id]["compute_ms"] > 0
    assert any("Uvicorn running" in each["message"] for each in events)
    assert "right" not in json.dumps(events)


def test_server_processes_count_together() -> None:
    """GET /metrics of either process has the requests of both."""
    with serving(**measured(), SERVICE_WORKERS="2") as url:
        for _ in range(40):
            httpx.post(f"{url}/norm", json={"x": [3, 4]})  # 503 where one is not yet warm
        for _ in range(100):
            if all(norms(httpx.get(f"{url}/metrics").text) == 40 for _ in range(10)):
                break
            sleep(0.1)
        else:
            pytest.fail("never all 40 ten times in a row")


def norms(text: str) -> float:
    """Return the number of POSTs of /norm in the metrics."""
    lines = [line for line in text.splitlines() if 'method="POST",route="/norm"' in line]
    return sum(float(line.split()[-1]) for line in lines)
