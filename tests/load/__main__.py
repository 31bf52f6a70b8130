"""`make load`: Locust against a server of its own, or against one that is named by `--host`.

Locust makes the calls; the report is our own, a page and JSON beside it.

The status is 1 when an answer was wrong or a call failed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from service.compare.report import cpu_name
from tests.bench.servers import running
from tests.load.report import write_report

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def main() -> int:
    """Run the load test."""
    parser = argparse.ArgumentParser("python -m tests.load", description=__doc__)
    parser.add_argument("--host", help="a running service, such as http://127.0.0.1:8000")
    parser.add_argument("--users", type=int, default=8, help="how many call at a time (8)")
    parser.add_argument("--seconds", type=int, default=60, help="for how long (60)")
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "load" / "report.html")
    parser.add_argument("--ui", action="store_true", help="Locust's page, instead of a report")
    parser.add_argument("--port", type=int, default=8089, help="of that page (8089)")
    options = parser.parse_args()
    # So that a killed test leaves no server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with ExitStack() as stack:
        host = options.host
        if host is None:
            server = stack.enter_context(running(["service"], None))["service"]
            host = f"http://127.0.0.1:{server.port}"
        command = [sys.executable, "-m", "locust", "-f", str(HERE / "locustfile.py")]
        command += ["--host", host, "--users", str(options.users)]
        command += ["--spawn-rate", str(options.users)]
        if options.ui:
            print(f"Locust's page: http://127.0.0.1:{options.port}, against {host}")
            address = ["--web-host", "127.0.0.1", "--web-port", str(options.port)]
            return run([*command, *address])
        return measure(command, options.report, host, options.users, options.seconds)


def measure(command: list[str], page: Path, target: str, users: int, seconds: int) -> int:
    """Run without a page: Locust prints its figures; then write the report."""
    page.parent.mkdir(parents=True, exist_ok=True)
    began = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    with TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        command += ["--headless", "--only-summary", "--loglevel", "WARNING"]
        # What is under way at the end is waited for, not broken off and counted as a failure.
        command += ["--run-time", f"{seconds}s", "--stop-timeout", "60", "--figures", str(figures)]
        status = run(command)
        if figures.exists():
            found = json.loads(figures.read_text(encoding="utf-8"))
            machines = {"server": server_host(target), "client": client_host()}
            about = {"target": target, "users": users, "began": began}
            write_report({**found, **about, **machines}, page)
            print(f"report: {page}")
    return status


def server_host(target: str) -> dict[str, Any] | None:
    """Return how the service describes its host in a race; None if it does not."""
    race = {"x": [3, 4], "strategies": ["torch"], "repeat": 1}
    try:
        answer = httpx.post(f"{target}/norm/compare", json=race, timeout=30)
        host = answer.raise_for_status().json()["host"]
    except (httpx.HTTPError, ValueError, KeyError):
        return None
    return host if isinstance(host, dict) else None


def client_host() -> dict[str, str]:
    """Return the host of the users."""
    return {
        "processor": cpu_name(),
        "cores": str(os.cpu_count()),
        **{name: version(name) for name in ("locust", "httpx", "numpy")},
    }


def run(command: list[str]) -> int:
    """Run Locust to its end: on Ctrl-C it ends by itself, and still reports."""
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            while True:
                with suppress(KeyboardInterrupt):
                    return process.wait()
        finally:
            process.terminate()


if __name__ == "__main__":
    sys.exit(main())
