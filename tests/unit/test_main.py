"""The command line."""

import os
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import uvicorn

from service.__main__ import main
from service.api.keys import key_hash
from service.api.serve import serve
from service.settings import Settings
from service.strategies import REGISTRY

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a README alone, to write into."""
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_strategies(capsys: Capture) -> None:
    """The strategies of each operation are listed, slowest first."""
    assert main(["strategies"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0].rstrip(":") for line in lines] == [
        name for op in REGISTRY.values() for name in (op.name, *op.strategies)
    ]


def test_as_a_module() -> None:
    """`python -m service strategies` prints the list."""
    run = subprocess.run(
        [sys.executable, "-m", "service", "strategies"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith("matmul: ")
    assert run.stderr == ""


@pytest.mark.parametrize(
    ("command", "files"),
    [
        ("openapi", ["openapi/openapi.json"]),
        ("docs", ["docs/operations.md", "docs/settings.md", "docs/errors.md"]),
    ],
)
def test_generated(command: str, files: list[str], empty: Path, capsys: Capture) -> None:
    """A command writes its files; with --check it says whether they are stale, and changes none."""
    assert main([command, "--check"]) == 1
    assert f"{files[0]} is stale: run `make openapi docs`" in capsys.readouterr().err
    assert not (empty / files[0]).exists()
    assert main([command]) == 0
    assert f"wrote {files[0]}" in capsys.readouterr().out
    assert main([command, "--check"]) == 0
    assert capsys.readouterr().err == ""
    for name in files:
        (empty / name).write_text("another", encoding="utf-8")
        assert main([command, "--check"]) == 1
        assert (empty / name).read_text(encoding="utf-8") == "another"
        main([command])


def test_key(capsys: Capture) -> None:
    """A key and its hash, which the setting takes; another each time."""
    assert main(["key"]) == 0
    first = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert key_hash(first["key"].encode()) == first["hash"]
    assert Settings(api_keys=first["hash"]).api_keys == first["hash"]
    assert main(["key"]) == 0
    assert first["key"] not in capsys.readouterr().out


def test_serve_refuses_to_be_open_to_all(capsys: Capture) -> None:
    """Beyond loopback it wants keys, or to be told; the message says both."""
    assert main(["serve", "--host", "0.0.0.0", "--port", "0"]) == 2
    told = capsys.readouterr().err
    assert "0.0.0.0 can be reached from other hosts" in told
    for way in ("python -m service key", "SERVICE_API_KEYS", "SERVICE_ALLOW_ANYONE=true"):
        assert way in told


@pytest.mark.parametrize("workers", [1, 2])
def test_server_processes_share_a_folder(
    workers: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For as long as they run; one process alone needs none, and one that is set is taken."""
    shared: list[str] = []

    def run(app: str, **options: object) -> None:
        shared.append(os.environ["SERVICE_METRICS_DIR"])
        assert (shared[-1] != "") == Path(shared[-1] or "/nothing").is_dir()

    monkeypatch.setattr(uvicorn, "run", run)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    serve(Settings(workers=workers))
    assert (shared[-1] == "") == (workers == 1)
    assert not shared[-1] or not Path(shared[-1]).exists()
    serve(Settings(workers=workers, metrics_dir=str(tmp_path)))
    assert shared[-1] == str(tmp_path)
    assert tmp_path.is_dir()


def test_serve(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """The server gets the settings, and the address to open is printed."""
    served: dict[str, object] = {}
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: served.update(options))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert main(["serve", "--host", "::1", "--port", "0", "--workers", "2"]) == 0
    assert (served["host"], served["port"], served["workers"]) == ("::1", 0, 2)
    assert os.environ["SERVICE_WORKERS"] == "2"
    assert "open http://::1:0" in capsys.readouterr().out


def test_serve_with_wrong_settings(capsys: Capture) -> None:
    """A setting that cannot be used stops the start with a sentence."""
    assert main(["serve", "--port", "70000"]) == 2
    assert capsys.readouterr().err.startswith("cannot start: SERVICE_PORT: ")


def test_plan(capsys: Capture) -> None:
    """A call is planned without a server."""
    assert main(["plan", "matmul", "--shapes", "2x3", "3x4"]) == 0
    assert "torch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "detail", "hint"),
    [
        pytest.param(
            ["plan"], "plan needs an operation first", "hint: such as:", id="no operation"
        ),
        pytest.param(
            ["plan", "matmul", "--shapes", "2x3", "2x3"],
            "matmul needs a's last axis (3) to equal b's axis 0 (2)",
            "hint: b transposed has shape (3, 2) and fits",
            id="shapes",
        ),
        pytest.param(
            ["plan", "matmul", "--shapes", "2x3", "4x5"],
            "matmul needs a's last axis (3) to equal b's axis 0 (4)",
            None,
            id="no hint",
        ),
    ],
)
def test_refused(arguments: list[str], detail: str, hint: str | None, capsys: Capture) -> None:
    """What is refused is told with its hint, and gives status 2."""
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith(detail)
    assert "hint: " not in told if hint is None else hint in told


def test_refused_by_the_settings(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """A variable that cannot be used is told, and gives status 2."""
    monkeypatch.setenv("SERVICE_PORT", "x")
    assert main(["plan", "matmul", "--shapes", "2x3", "3x4"]) == 2
    assert capsys.readouterr().err.startswith("SERVICE_PORT: ")


class Interrupted(StringIO):
    """A terminal at which somebody presses Ctrl-C."""

    def write(self, text: str, /) -> int:
        """Nothing is written."""
        raise KeyboardInterrupt


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a command with the status of that signal, and no traceback."""
    monkeypatch.setattr(sys, "stdout", Interrupted())
    assert main(["plan", "matmul", "--shapes", "2x3", "3x4"]) == 130


def test_arguments_of_the_process(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Without arguments of its own, main takes those of the process."""
    monkeypatch.setattr(sys, "argv", ["service", "strategies"])
    assert main() == 0
    monkeypatch.setattr(sys, "argv", ["service"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "required: command" in capsys.readouterr().err
