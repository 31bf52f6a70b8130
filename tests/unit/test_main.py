"""Tests of the command line: the commands, their options and their errors."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import TextIO

import pytest

from service.__main__ import OPENAPI, SUMMARIES, main
from service.http.auth import key_hash
from service.operations import REGISTRY
from service.server.supervisor import Supervisor
from service.settings import Settings

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]


def test_strategies(capsys: Capture) -> None:
    """The command lists the strategies of each operation, slowest first."""
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


def test_as_a_script(tmp_path: Path) -> None:
    """The script of pyproject.toml runs in any folder; its help and its errors have its name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ((name, target),) = project["scripts"].items()
    module, function = target.split(":")
    script = tmp_path / name
    # As installers write it.
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")

    def call(option: str) -> subprocess.CompletedProcess[str]:
        return run(str(script), option, cwd=tmp_path, PYTHONPATH=str(ROOT))

    helped = call("--help")
    assert helped.returncode == 0
    assert helped.stdout.startswith("usage: tensor-service COMMAND ...;")
    assert "\n  tensor-service compare matmul --help\n" in helped.stdout
    assert "python -m" not in helped.stdout
    refused = call("quantum")
    assert refused.returncode == 2
    assert refused.stderr.endswith("\nhint: tensor-service --help says what each does\n")


def test_openapi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """The command writes the document; with `--check` it only reports a stale one."""
    monkeypatch.chdir(tmp_path)
    stale = "openapi/openapi.json is stale: run `make openapi docs`\n"
    assert main(["openapi", "--check"]) == 1
    assert capsys.readouterr().err == stale
    assert not OPENAPI.exists()
    assert main(["openapi"]) == 0
    assert capsys.readouterr().out == "wrote openapi/openapi.json\n"
    assert main(["openapi", "--check"]) == 0
    assert capsys.readouterr().err == ""
    OPENAPI.write_text("another", encoding="utf-8")
    assert main(["openapi", "--check"]) == 1
    assert capsys.readouterr().err == stale
    assert OPENAPI.read_text(encoding="utf-8") == "another"


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(option: str, capsys: Capture) -> None:
    """The version is that of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert main([option]) == 0
    assert capsys.readouterr().out == f"tensor-service {project['version']}\n"


def test_key(capsys: Capture) -> None:
    """The command prints a new key each time, and its hash, which the setting accepts."""
    assert main(["key"]) == 0
    first = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert key_hash(first["key"].encode()) == first["hash"]
    assert Settings(api_keys=first["hash"]).api_keys == first["hash"]
    assert main(["key"]) == 0
    assert first["key"] not in capsys.readouterr().out


def test_serve_beyond_loopback_needs_keys_or_consent(capsys: Capture) -> None:
    """On other addresses than loopback the server needs keys or consent; the error names both."""
    assert main(["serve", "--host", "0.0.0.0", "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert "0.0.0.0 can be reached from other hosts" in error
    for way in ("python -m service key", "SERVICE_API_KEYS", "SERVICE_ALLOW_ANYONE=true"):
        assert way in error


def test_serve(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Options become settings, port 0 becomes a free port, and five lines are printed."""
    served: list[tuple[int, str, int]] = []

    def run(supervisor: Supervisor) -> int:
        served.append((supervisor._count, *supervisor._listener.getsockname()))
        return 0

    monkeypatch.setattr(Supervisor, "run", run)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.pop("GOMP_SPINCOUNT", None)
    assert main(["serve", "--host", "127.0.0.1", "--port", "0", "--workers", "2"]) == 0
    ((count, host, port),) = served
    assert (count, host) == (2, "127.0.0.1")
    assert port > 0
    assert (os.environ["SERVICE_WORKERS"], os.environ["SERVICE_PORT"]) == ("2", str(port))
    assert "GOMP_SPINCOUNT" in os.environ
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[0].endswith(f"open http://127.0.0.1:{port}; requests to try: /docs; guide: /guide")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param("70000", "less than or equal to 65535; it was '70000'", id="too large"),
        pytest.param("x", "it has to be a valid integer; it was 'x'", id="no number"),
    ],
)
def test_serve_with_wrong_settings(given: str, reason: str, capsys: Capture) -> None:
    """An invalid setting stops the start with an error that names its variable."""
    assert main(["serve", "--port", given]) == 2
    error = capsys.readouterr().err
    assert error.startswith("cannot start: SERVICE_PORT: ")
    assert reason in error


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
            ["einsum", "ij->j", "--shapes", "2x3"],
            "there is no command 'einsum'",
            "plan or compare comes first: python -m service plan einsum 'ij->j' --shapes 2x3",
            id="operation without a command",
        ),
        pytest.param(
            ["serve", "--prot", "1"], "takes no '--prot'", "did you mean '--port'?", id="option"
        ),
        pytest.param(
            ["strategies", "matmul"],
            "python -m service strategies takes no 'matmul'",
            "a value follows its option; python -m service strategies --help lists the options",
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
def test_misspelt(arguments: list[str], detail: str, hint: str, capsys: Capture) -> None:
    """A misspelt name is an error of two lines: the choices, and the nearest name as a hint."""
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert detail in lines[0]
    assert lines[1] == f"hint: {hint}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["help"],
        *([name, "--help"] for name in SUMMARIES),
        *([command, op, "-h"] for command in ("plan", "compare") for op in REGISTRY),
    ],
    ids=" ".join,
)
def test_help_ends_with_valid_examples(arguments: list[str], capsys: Capture) -> None:
    """The parser accepts each example of its help, and no line of help is too wide."""
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


def test_an_unknown_command_lists_all_commands(capsys: Capture) -> None:
    """The error for an unknown command lists the same commands as the help."""
    main(["quantum"])
    listed = capsys.readouterr().err.splitlines()[0].partition("the commands are ")[2].split(", ")
    assert listed == list(SUMMARIES)


def run(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a separate process, in the root of the repository."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_loads_no_torch() -> None:
    """The help of the program imports no torch."""
    done = run("-X", "importtime", "-m", "service", "--help")
    assert done.returncode == 0
    assert "service.cli.parser" in done.stderr
    assert "torch" not in done.stderr


def test_an_old_python() -> None:
    """An unsupported Python exits with a remedy before a module it cannot parse is imported."""
    done = run(
        "-c",
        "import runpy, sys; sys.version_info = (3, 9, 2, 'final', 0); "
        "sys.argv = ['service', 'serve']; runpy.run_module('service', run_name='__main__')",
    )
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "make run PYTHON=python3.12" in done.stderr


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_another_system(system: str) -> None:
    """On another system than Linux every command exits with what runs there."""
    done = run(
        "-c",
        f"import runpy, sys; sys.platform = {system!r}; "
        "sys.argv = ['service', 'serve']; runpy.run_module('service', run_name='__main__')",
    )
    assert done.returncode == 1
    assert done.stderr.startswith("the service runs on Linux")
    assert system in done.stderr
    assert "docker compose up api" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_dependencies() -> None:
    """Without the dependencies, the error names the missing package and the remedy."""
    done = run("-S", "-m", "service", "serve")
    assert done.returncode == 2
    assert re.match(r"\w+ is not installed for .*`make run` installs", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """The error names the package and the Python that lacks it; the status is 2."""

    def strategies(_: object) -> int:
        raise ModuleNotFoundError(name="uvicorn")

    monkeypatch.setattr("service.__main__.strategies", strategies)
    assert main(["strategies"]) == 2
    assert f"uvicorn is not installed for {sys.executable}" in capsys.readouterr().err


def test_a_missing_module_of_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A missing module of the service itself is a bug, which keeps its traceback."""
    monkeypatch.setitem(sys.modules, "service.cli.plan", None)
    with pytest.raises(ModuleNotFoundError):
        main(["plan", "matmul"])


def test_plan(capsys: Capture) -> None:
    """The command plans a call without a server."""
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
    """An invalid call is an error with its hint, and the status is 2."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(detail)
    assert "hint: " not in error if hint is None else hint in error


def test_refused_by_the_settings(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """An invalid variable of the environment is an error with its name, and the status is 2."""
    monkeypatch.setenv("SERVICE_PORT", "x")
    assert main(["plan", "matmul", "--shapes", "2x3", "3x4"]) == 2
    assert capsys.readouterr().err.startswith("SERVICE_PORT: ")


class Interrupted(StringIO):
    """A stream that raises KeyboardInterrupt when it is written to."""

    def write(self, text: str, /) -> int:
        """Raise KeyboardInterrupt."""
        raise KeyboardInterrupt


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a command with the status of SIGINT, and no traceback."""
    monkeypatch.setattr(sys, "stdout", Interrupted())
    assert main(["plan", "matmul", "--shapes", "2x3", "3x4"]) == 130


@pytest.fixture
def pipe_without_reader() -> Iterator[TextIO]:
    """Return a stream whose reader has ended."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield stream


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "compare norm --help",
        "key",
        "openapi",
        "strategies",
        "plan norm --shapes 2x3",
        "plan norm --shapes 2x3 --json",
        "compare norm --shapes 2x3 --budget-ms 1 --strategies torch",
        "serve --port 0",
    ],
)
def test_output_without_a_reader(
    line: str,
    pipe_without_reader: TextIO,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    """A command whose output nothing reads ends with the status of SIGPIPE, and no message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(sys, "stdout", pipe_without_reader)
    assert main(line.split()) == 141
    pipe_without_reader.flush()  # nothing is left that would fail when the interpreter ends
    if line != "key":  # its note comes after the key, and may be written before the key is flushed
        assert capsys.readouterr().err == ""


def test_errors_without_a_reader(
    pipe_without_reader: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nothing reads ends the command as other output does."""
    monkeypatch.setattr(sys, "stderr", pipe_without_reader)
    assert main(["quantum"]) == 141
    pipe_without_reader.flush()


def test_the_interpreter_ends_silently_without_a_reader(pipe_without_reader: TextIO) -> None:
    """The process has the status of SIGPIPE too, and prints nothing when it ends."""
    command = [sys.executable, "-m", "service", "--help"]
    done = subprocess.run(
        command, cwd=ROOT, stdout=pipe_without_reader, stderr=subprocess.PIPE, check=False
    )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("line", ["--help", "strategies", "plan norm --shapes 2x3"])
def test_a_full_disk(line: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Output that cannot be written is an error of one line."""
    with Path("/dev/full").open("w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(line.split()) == 2
    assert capsys.readouterr().err == "[Errno 28] No space left on device\n"


def test_a_closed_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output may be closed from the start, as by `>&-`: Python has None then."""
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["plan", "norm", "--shapes", "2x3"]) == 0


def test_arguments_of_the_process(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """`main` without arguments uses those of the process."""
    monkeypatch.setattr(sys, "argv", ["service", "strategies"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("matmul: ")
