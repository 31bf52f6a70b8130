"""`python -m tests.gpu`: its counts, its limit of time and its exit status."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from unittest.mock import Mock, create_autospec

import pytest
import torch

from tests.gpu import proof
from tests.gpu.groups import GROUPS
from tests.gpu.proof import QUERIED, Outcome, main, measure, outcome, run, run_tests, show
from tests.rigs.paths import ROOT

GROUP: Final = "small"
LINES: Final = """["test_a", "begun", ""]
["test_a", "passed", ""]
["test_b[cuda]", "begun", ""]
["test_b[cuda]", "failed", "E assert 1 == 2"]
["test_c", "begun", ""]
["test_c", "passed", ""]
["test_c", "failed", "its teardown"]
["test_d", "begun", ""]
["test_d", "skipped", "needs triton"]
["test_e", "begun", ""]
"""
GOOD: Final = """
import os
import pytest

def test_what_runs(): assert os.environ["TESTS_GPU"] == "rehearsal"

def test_what_does_not(): pytest.skip("needs a GPU")
"""
BAD: Final = "def test_what_fails(): assert 1 == 2"
SLOW: Final = "from time import sleep\ndef test_what_is_last(): sleep(60)"
DEADLY: Final = "import os\ndef test_what_is_last(): os.kill(os.getpid(), 9)"
FAULTS: Final = """
import pytest

@pytest.fixture
def broken(): assert 1 == 2

@pytest.fixture
def untidy():
    yield
    assert 1 == 2

def test_setup(broken): pass

def test_teardown(untidy): pass

def test_neither(): pass
"""
ABOUT: Final = "what the command does"
FIGURES: Final[dict[str, Any]] = {"products": [], "small": {}, "load": {}}


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file of the only group of tests; the report is saved beside it."""
    file = tmp_path / "test_small.py"
    monkeypatch.setattr(proof, "GROUPS", {GROUP: (str(file),)})
    monkeypatch.setattr(proof, "REPORT", tmp_path / "report.json")
    # They take seconds to import.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return file


def test_the_counts_of_a_group() -> None:
    """The last line of a test counts; one without another than the first is not done."""
    failed = {"test_b[cuda]": "E assert 1 == 2", "test_c": "its teardown"}
    found = outcome(GROUP, LINES, 1.5, "its process died")
    skipped = {"needs triton": 1}
    assert found == Outcome(GROUP, 1, skipped, failed, 1.5, "its process died", ["test_e"])


def test_what_pytest_tells(group: Path) -> None:
    """Failures of setup and teardown, and files that cannot be imported, have their text."""
    group.write_text(FAULTS, encoding="utf-8")
    found = run_tests(GROUP, 60, is_rehearsal=True)
    names = {name.rpartition("::")[2]: text for name, text in found.failed.items()}
    assert names.keys() == {"test_setup", "test_teardown"}
    assert all("assert 1 == 2" in text for text in names.values())
    assert (found.passed, found.error, found.unfinished) == (1, None, [])
    group.write_text("import nothing_of_that_name", encoding="utf-8")
    found = run_tests(GROUP, 60, is_rehearsal=True)
    (text,) = found.failed.values()
    assert "No module named 'nothing_of_that_name'" in text
    assert found.error is not None
    group.write_text("import pytest; pytest.skip('no GPU', allow_module_level=True)", "utf-8")
    assert run_tests(GROUP, 60, is_rehearsal=True).skipped == {"no GPU": 1}


def test_what_is_printed_of_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    """Its counts, its error, the first 20 names of failures, and each reason to skip tests."""
    failed = {f"test_{number}": "E" for number in range(22)}
    show(Outcome(GROUP, 2, {"needs triton": 1}, failed, 1.5))
    show(Outcome(GROUP, 3, {}, {}, 9.0, "not done after 9 s", ["test_slow"]))
    head, *names, more, reason, error, unfinished = capsys.readouterr().out.splitlines()
    assert head == "  small: 2 passed, 22 failed, 1 skipped (2 s)"
    assert names == [f"    failed: test_{number}" for number in range(20)]
    assert more.startswith("    and 2 more; ")
    assert reason == "    1 skipped: needs triton"
    assert error == "  small: 3 passed, 0 failed, 0 skipped; not done after 9 s (9 s)"
    assert unfinished == "    not done: test_slow"


def test_the_groups_are_there() -> None:
    """Each names a file of tests, and none the file of another."""
    files = [ROOT / arguments[0] for arguments in GROUPS.values()]
    assert all(file.is_file() for file in files)
    assert len({*files}) == len(files)


@pytest.mark.parametrize(
    ("text", "figures", "printed", "status"),
    [
        (GOOD, FIGURES, "1 passed, 0 failed, 1 skipped", 0),
        (BAD, FIGURES, "0 passed, 1 failed, 0 skipped", 1),
        ("", FIGURES, "no tests ran", 1),
        (GOOD, {"error": "not done after 7 s"}, "timings: not done after 7 s", 1),
    ],
)
def test_the_report_and_the_status(
    group: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    text: str,
    figures: dict[str, Any],
    printed: str,
    status: int,
) -> None:
    """1 if a test failed, none was found, or there are no timings; the report says which."""
    group.write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["tests.gpu", "--rehearsal"])
    monkeypatch.setattr(proof, "measure", lambda seconds, is_rehearsal: figures)
    assert main(ABOUT) == status
    assert printed in capsys.readouterr().out
    report = json.loads((group.parent / "report.json").read_text(encoding="utf-8"))
    assert (report["rehearsal"], report["figures"]) == (True, figures)
    (found,) = report["tests"]
    assert found["group"] == GROUP
    assert bool(found["error"]) == (not text)
    assert found["skipped"] == ({"needs a GPU": 1} if text == GOOD else {})
    assert [name.rpartition("::")[2] for name in found["failed"]] == ["test_what_fails"] * (
        text == BAD
    )
    assert all("assert 1 == 2" in failure for failure in found["failed"].values())


@pytest.mark.parametrize(
    ("last", "error"),
    [(SLOW, "not done after 5 s"), (DEADLY, "pytest has ended with -9: ")],
    ids=["time", "death"],
)
def test_a_group_that_ends_early(group: Path, last: str, error: str) -> None:
    """What had become of the tests until then counts; the one that had begun is named."""
    group.write_text(f"{GOOD}\n{BAD}\n{last}", encoding="utf-8")
    found = run_tests(GROUP, 5, is_rehearsal=True)
    assert (found.passed, len(found.failed), found.skipped) == (1, 1, {"needs a GPU": 1})
    assert found.error is not None
    assert found.error.startswith(error)
    (name,) = found.unfinished
    assert name.endswith("::test_what_is_last")


def test_a_group_in_processes(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of pytest-xdist tell what became of their tests; each counts once."""
    group.write_text(f"{GOOD}\n{BAD}", encoding="utf-8")
    monkeypatch.setattr(proof, "GROUPS", {GROUP: (str(group), "-p", "xdist", "-n", "1")})
    found = run_tests(GROUP, 60, is_rehearsal=True)
    assert (found.passed, len(found.failed), found.skipped) == (1, 1, {"needs a GPU": 1})
    assert (found.error, found.unfinished) == (None, [])


def test_timings_that_run_out_of_time(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They end with an error, beside the figures until then."""

    def bench(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
        assert command[command.index("--seconds") + 1] == "7"
        if figures:
            Path(command[command.index("--json") + 1]).write_text(json.dumps(figures), "utf-8")
        raise subprocess.TimeoutExpired(command, seconds)

    monkeypatch.setattr(proof, "run", bench)
    figures: dict[str, Any] = {}
    assert measure(7, is_rehearsal=True) == {"error": "not done after 7 s"}
    figures = {"small": {"cuda_ms": 1}}
    assert measure(7, is_rehearsal=True) == {**figures, "error": "not done after 7 s"}


def test_timings_that_fail(
    group: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their last words are the error, beside the figures that the file holds."""
    status = 1

    def bench(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
        Path(command[command.index("--json") + 1]).write_text(json.dumps(FIGURES), "utf-8")
        assert "--rehearsal" in command
        return subprocess.CompletedProcess(command, status, "a table\n", "CUDA error\n")

    monkeypatch.setattr(proof, "run", bench)
    assert measure(7, is_rehearsal=True) == {**FIGURES, "error": "a table\nCUDA error"}
    status = 0
    assert measure(7, is_rehearsal=True) == FIGURES
    assert capsys.readouterr().out.split() == ["a", "table"] * 2


def test_a_program_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is interrupted, so that it ends what it has started; one that goes on is killed."""
    file = tmp_path / "ended"
    wait = f"""
import pathlib, time
try: time.sleep(60)
finally: pathlib.Path({str(file)!r}).touch()
"""
    with pytest.raises(subprocess.TimeoutExpired):
        run([sys.executable, "-S", "-c", wait], 3)  # by then it has started, on a busy host too
    assert file.exists()
    monkeypatch.setattr(proof, "GRACE_S", 0.1)
    stubborn = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ignored", flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", stubborn]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ignored\n"
        proof.end(process)
    assert process.returncode == -signal.SIGKILL


NVIDIA_SMI: Final = """#!/bin/sh
[ "$*" = "--query-gpu={queried} --format=csv,noheader" ] || exit 2
echo "NVIDIA H200, 580.65.06, Disabled, Default"
echo "NVIDIA H200, 580.65.06, Enabled, Default"
"""


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name, the only one of its folder, which tells of two GPUs."""
    program = tmp_path / "nvidia-smi"
    program.write_text(NVIDIA_SMI.format(queried=",".join(QUERIED)), encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return program


def test_what_the_driver_tells(nvidia_smi: Path) -> None:
    """A row for each GPU of the host; none if the program fails or is missing."""
    first, second = proof.driver()
    assert first["driver_version"] == "580.65.06"
    assert [each["mig.mode.current"] for each in (first, second)] == ["Disabled", "Enabled"]
    nvidia_smi.write_text("#!/bin/sh\nexit 9", encoding="ascii")
    assert proof.driver() == []
    nvidia_smi.unlink()
    assert proof.driver() == []


def test_a_gpu_that_torch_does_not_use(
    group: Path,
    nvidia_smi: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is an error, with the reason, and no rehearsal, unless one is asked for."""
    monkeypatch.setattr(proof, "cards", list)
    monkeypatch.setattr(sys, "argv", ["tests.gpu"])
    init = create_autospec(torch.cuda.init)
    monkeypatch.setattr(torch.cuda, "init", init)
    for error, reason in (
        (AssertionError("Torch not compiled with CUDA enabled"), "Torch not compiled with CUDA"),
        (None, "CUDA_VISIBLE_DEVICES may hide it"),
    ):
        init.side_effect = error
        assert main(ABOUT) == 1
        printed = capsys.readouterr().out
        assert f"does not use NVIDIA H200, NVIDIA H200: {reason}" in printed
        assert "passed" not in printed
    group.write_text(GOOD, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["tests.gpu", "--rehearsal", "--group", GROUP])
    assert main(ABOUT) == 0
    printed = capsys.readouterr().out
    assert "driver_version 580.65.06" in printed
    assert "1 passed, 0 failed, 1 skipped" in printed
    report = json.loads((group.parent / "report.json").read_text(encoding="utf-8"))
    assert report["nvidia-smi"] == proof.driver()
    assert "figures" not in report


def test_what_torch_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, memory and compute capability of each GPU."""
    properties = Mock(total_memory=141 * 10**9, major=9, minor=0)
    properties.name = "NVIDIA H200"
    for name, result in (
        ("is_available", True),
        ("device_count", 2),
        ("get_device_properties", properties),
    ):
        function = getattr(torch.cuda, name)
        monkeypatch.setattr(torch.cuda, name, create_autospec(function, return_value=result))
    card = {"name": "NVIDIA H200", "bytes": 141 * 10**9, "capability": "9.0"}
    assert proof.cards() == [card, card]
