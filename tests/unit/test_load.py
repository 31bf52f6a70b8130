"""The load test, run for a short while. Locust gets a process of its own: it patches sockets."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensor_service_client import Client, UnexpectedAnswerError
from tests.load.mix import Kind, WrongAnswerError, mix
from tests.rigs.paths import ROOT
from tests.rigs.servers import unmeasured

needs_locust = pytest.mark.skipif(
    find_spec("locust") is None, reason="Locust is not installed; the extra `dev` brings it"
)


def load(report: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`make load` with a few users."""
    command = [sys.executable, "-m", "tests.load", "--users", "4", "--report", str(report)]
    return subprocess.run(
        [*command, *options],
        cwd=ROOT,
        env=unmeasured(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )


@needs_locust
def test_the_service_bears_load(tmp_path: Path) -> None:
    """Ten seconds of every kind of call: no failure, and all of it is in the report."""
    report = tmp_path / "new" / "report.html"
    run = load(report, "--seconds", "10")
    assert run.returncode == 0, run.stdout
    page = report.read_text(encoding="utf-8")
    for name in ("tiny matmul, bytes", "decode", "outside", "medium matmul, JSON"):
        assert f'"{name}"' in page
    total = re.search(r"Aggregated +(\d+) +0\(0.00%\)", run.stdout)
    assert total is not None
    assert int(total[1]) > 0


class Impostor(BaseHTTPRequestHandler):
    """Answers everything with a product that is wrong."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read the request, and answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        body = np.zeros((2, 2), np.float32).tobytes()
        envelope = '{"strategy":"torch","timing":{}}'
        self.send_response(200)
        for name, value in (
            ("Content-Type", "application/octet-stream"),
            ("Content-Length", str(len(body))),
            ("X-Tensor-Shape", "2,2"),
            ("X-Tensor-Dtype", "float32"),
            ("X-Envelope", envelope),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def impostor() -> Iterator[str]:
    """The address of a server that is always wrong."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Impostor) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@needs_locust
def test_wrong_answers_fail_the_load_test(impostor: str, tmp_path: Path) -> None:
    """By the exit code; the report names what was found."""
    run = load(tmp_path / "report.html", "--seconds", "2", "--host", impostor)
    assert run.returncode == 1, run.stdout
    assert "WrongAnswerError" in run.stdout


@pytest.mark.parametrize("kind", mix(), ids=lambda kind: kind.name)
def test_no_kind_takes_a_wrong_answer(impostor: str, kind: Kind) -> None:
    """Each looks at what it gets."""
    with Client(impostor) as client, pytest.raises((WrongAnswerError, UnexpectedAnswerError)):
        kind.act(client)


def test_shares_are_percent() -> None:
    """Of all calls."""
    assert sum(kind.weight for kind in mix()) == 100
