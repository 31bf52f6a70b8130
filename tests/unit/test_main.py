"""The command line."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from uvicorn.config import STARTUP_FAILURE

from service.__main__ import SUMMARIES, main
from service.api.auth import key_hash
from service.operations import REGISTRY
from service.server.run import serve
from service.server.shutdown import Server
from service.server.supervisor import Supervisor
from service.settings import Settings

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages are written from, to write into."""
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
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
        (
            "docs",
            ["docs/operations.md", "docs/settings.md", "docs/errors.md", "docs/images/house.svg"],
        ),
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
    """Connections are held to what is left, which is told with a way out."""
    monkeypatch.setattr("service.server.run.raise_file_limit", lambda _: 700)
    monkeypatch.setattr(Server, "run", lambda _: None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    serve(Settings(port=0))
    assert os.environ["SERVICE_MAX_CONNECTIONS"] == "700"
    (told,) = [each.message for each in caplog.records if each.name == "service"]
    assert "700 connections may be open, not 10240" in told
    assert "ulimit -Hn" in told


def test_serve(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """The server gets the settings, port 0 made a free one, and is announced in five lines."""
    served: list[tuple[int, str, int]] = []

    def run(supervisor: Supervisor) -> int:
        served.append((supervisor._count, *supervisor._listener.getsockname()))
        return 0

    monkeypatch.setattr(Supervisor, "run", run)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert main(["serve", "--host", "127.0.0.1", "--port", "0", "--workers", "2"]) == 0
    ((count, host, port),) = served
    assert (count, host) == (2, "127.0.0.1")
    assert port > 0
    assert (os.environ["SERVICE_WORKERS"], os.environ["SERVICE_PORT"]) == ("2", str(port))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[0].endswith(f"open http://127.0.0.1:{port}; requests to try: /docs")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param("70000", "less than or equal to 65535; it was '70000'", id="too large"),
        pytest.param("x", "a valid integer, unable to parse string", id="no number"),
    ],
)
def test_serve_with_wrong_settings(given: str, told: str, capsys: Capture) -> None:
    """A setting that cannot be used stops the start with a sentence."""
    assert main(["serve", "--port", given]) == 2
    error = capsys.readouterr().err
    assert error.startswith("cannot start: SERVICE_PORT: ")
    assert told in error


@pytest.mark.parametrize(
    ("arguments", "detail", "hint"),
    [
        pytest.param(
            [], "a command comes first", "python -m service --help says what each does", id="none"
        ),
        pytest.param(["serv"], "there is no command 'serv'", "did you mean 'serve'?", id="slip"),
        pytest.param(
            ["quantum"],
            "there is no command 'quantum'",
            "python -m service --help says what each does",
            id="unknown",
        ),
        pytest.param(
            ["serve", "--prot", "1"], "takes no '--prot'", "did you mean '--port'?", id="option"
        ),
        pytest.param(
            ["strategies", "matmul"],
            "python -m service strategies takes no 'matmul'",
            "python -m service strategies --help lists the options",
            id="an argument too many",
        ),
        pytest.param(
            ["plan", "matmul", "--strategy", "lops", "--shapes", "2x3", "3x2"],
            "matmul has no strategy 'lops'; choose auto or one of loops, python",
            "did you mean 'loops'?",
            id="strategy",
        ),
        pytest.param(
            ["compare", "matmul", "--strategies", "lops", "--shapes", "2x3", "3x2"],
            "matmul has no strategy 'lops'",
            "did you mean 'loops'?",
            id="strategies of a race",
        ),
    ],
)
def test_a_slip(arguments: list[str], detail: str, hint: str, capsys: Capture) -> None:
    """Is told with what was meant, in two lines, and nothing is done."""
    assert main(arguments) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert detail in told[0]
    assert told[1] == f"hint: {hint}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *([name, "--help"] for name in ("serve", "plan", "compare", "openapi", "docs")),
        *([command, op, "-h"] for command in ("plan", "compare") for op in REGISTRY),
    ],
    ids=" ".join,
)
def test_help_ends_with_examples_that_are_read(arguments: list[str], capsys: Capture) -> None:
    """Each line of them is a command line that its own parser takes; no line is too wide."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    text = capsys.readouterr().out
    lines = text.partition("examples:\n")[2].splitlines()
    assert lines
    assert max(map(len, text.splitlines())) <= 110
    for line in lines:
        command, *rest = shlex.split(line.partition("python -m service ")[2])
        if command == "plan" and rest[-1] != "--help":
            assert main([command, *rest]) == 0
        else:
            with pytest.raises(SystemExit) as caught:
                main([command, *rest, "--help"])
            assert caught.value.code == 0


def test_the_help_lists_every_command(capsys: Capture) -> None:
    """Those that a slip is told of."""
    main(["quantum"])
    listed = capsys.readouterr().err.splitlines()[0].partition("the commands are ")[2].split(", ")
    assert listed == list(SUMMARIES)


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, in the root of the repository."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_loads_no_torch() -> None:
    """It is there at once."""
    done = run("-X", "importtime", "-m", "service", "--help")
    assert done.returncode == 0
    assert "service.cli.parser" in done.stderr
    assert "torch" not in done.stderr


def test_an_old_python_is_told_what_to_do() -> None:
    """Before anything is imported that it could not read."""
    done = run(
        "-c",
        "import runpy, sys; sys.version_info = (3, 9, 2, 'final', 0); "
        "sys.argv = ['service', 'serve']; runpy.run_module('service', run_name='__main__')",
    )
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "make run PYTHON=python3.12" in done.stderr


def test_what_is_not_installed_is_told() -> None:
    """A Python without the dependencies, such as the system's own, says which and what to do."""
    done = run("-S", "-m", "service", "serve")
    assert done.returncode == 2
    assert re.match(r"\w+ is not installed for .*`make run` installs", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Is named, with the Python that lacks it; the status is that of a refusal."""

    def strategies(_: object) -> int:
        raise ModuleNotFoundError(name="uvicorn")

    monkeypatch.setattr("service.__main__.strategies", strategies)
    assert main(["strategies"]) == 2
    assert f"uvicorn is not installed for {sys.executable}" in capsys.readouterr().err


def test_a_fault_of_our_own_is_not_taken_for_a_missing_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A module of the service that is not there is a bug, with its traceback."""
    monkeypatch.setitem(sys.modules, "service.cli.plan", None)
    with pytest.raises(ModuleNotFoundError):
        main(["plan", "matmul"])


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
    assert capsys.readouterr().out.startswith("matmul: ")
