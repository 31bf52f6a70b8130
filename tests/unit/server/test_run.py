"""The start of the server: its metrics folder, and the limit of open files."""

import os
from pathlib import Path

import pytest
from uvicorn.config import STARTUP_FAILURE

from service.codecs import number_text
from service.server.run import serve
from service.server.server import Server
from service.server.supervisor import Supervisor
from service.settings import Settings


@pytest.fixture(autouse=True)
def with_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the extension module be there, whether or not it is compiled here."""
    monkeypatch.setattr(number_text, "reason", None)


@pytest.mark.parametrize("workers", [1, 2])
def test_server_processes_share_a_metrics_folder(
    workers: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Several processes share a temporary folder, one has none; a setting overrides both."""
    shared: list[str] = []

    def run(server: Server | Supervisor) -> int:
        shared.append(os.environ["SERVICE_METRICS_DIR"])
        assert (shared[-1] != "") == Path(shared[-1] or "/nothing").is_dir()
        return STARTUP_FAILURE

    monkeypatch.setattr(Server, "run", run)
    monkeypatch.setattr(Supervisor, "run", run)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert serve(Settings(workers=workers, port=0)) == STARTUP_FAILURE
    assert (shared[-1] == "") == (workers == 1)
    assert not shared[-1] or not Path(shared[-1]).exists()
    serve(Settings(workers=workers, port=0, metrics_dir=str(tmp_path)))
    assert shared[-1] == str(tmp_path)
    assert tmp_path.is_dir()


def test_too_few_open_files(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The number of connections is lowered to the free descriptors, with a warning and a remedy."""
    monkeypatch.setattr("service.server.run.raise_file_limit", lambda _: 700)
    monkeypatch.setattr(Server, "run", lambda _: None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    serve(Settings(port=0))
    assert os.environ["SERVICE_MAX_CONNECTIONS"] == "700"
    (warning,) = [each.message for each in caplog.records if each.name == "service"]
    assert "700 connections may be open, not 10240" in warning
    assert "ulimit -Hn" in warning


@pytest.mark.parametrize("reason", [None, "it was left out"])
def test_no_extension_module(
    reason: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning says that numbers are slower, and why; with the module there is none."""
    monkeypatch.setattr(number_text, "reason", reason)
    monkeypatch.setattr(Server, "run", lambda _: None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    serve(Settings(port=0, max_connections=1))
    found = [each.message for each in caplog.records if each.name == "service"]
    expected = f"Python reads and writes JSON numbers, slower than the extension module: {reason}"
    assert found == ([expected] if reason else [])
