"""Tests and timings of a GPU as a report; a summary is printed. `tests.gpu` is the command."""

import argparse
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic
from typing import Any, Final

import torch

from tests.bench.measurements import machine
from tests.gpu import outcomes
from tests.gpu.groups import GROUPS
from tests.gpu.outcomes import BEGUN, FAILED, PASSED, SKIPPED

REPORT: Final = Path("build/gpu/report.json")
SECONDS: Final = 480
# What is left of the time when the tests have had theirs.
TEST_SHARE: Final = 0.65
# A step that is interrupted has so long to end the servers that it has started.
GRACE_S: Final = 20.0
# Exit status of pytest.
TESTS_FAILED: Final = 1
# What nvidia-smi is asked about each GPU, and torch does not tell.
QUERIED: Final = ("name", "driver_version", "mig.mode.current", "compute_mode")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counts of a group of tests, each reason to skip some, and the text of each failure.

    With an `error` the group ended early; tests that had begun then are `unfinished`.
    """

    group: str
    passed: int
    skipped: Mapping[str, int]
    failed: Mapping[str, str]
    seconds: float
    error: str | None = None
    unfinished: Sequence[str] = ()


def cards() -> list[dict[str, object]]:
    """Return name, memory and compute capability of each GPU; a MIG slice is one, too."""
    if not torch.cuda.is_available():
        return []
    found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [
        {"name": each.name, "bytes": each.total_memory, "capability": f"{each.major}.{each.minor}"}
        for each in found
    ]


def driver() -> list[dict[str, str]]:
    """Return what nvidia-smi tells of each GPU of the host; nothing where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={','.join(QUERIED)}", "--format=csv,noheader"]
    done = run(command, GRACE_S)
    if done.returncode:
        return []
    rows = csv.reader(done.stdout.splitlines(), skipinitialspace=True)
    return [dict(zip(QUERIED, row, strict=True)) for row in rows]


def unusable(rows: Sequence[Mapping[str, str]]) -> str:
    """Return why torch does not use the GPUs that nvidia-smi lists."""
    names = ", ".join(row["name"] for row in rows)
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # torch leaves it so
    except (AssertionError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
    else:
        reason = "CUDA_VISIBLE_DEVICES may hide it"
    return f"torch {torch.__version__} does not use {names}: {reason}. --rehearsal goes on without."


def run_tests(group: str, seconds: float, *, is_rehearsal: bool) -> Outcome:
    """Run a group of tests, and return what became of it, also of one that ends early."""
    lines = REPORT.parent / "outcomes.jsonl"
    lines.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *GROUPS[group]]
    command += ["-p", outcomes.__name__, outcomes.OPTION, str(lines)]
    if find_spec("xdist") and group == "rows of the table":
        command += ["-n", str(min(4, os.cpu_count() or 1))]
    variables = {"TESTS_GPU": "rehearsal"} if is_rehearsal else {}
    started, error = monotonic(), None
    try:
        done = run(command, seconds, **variables)
        if done.returncode not in (0, TESTS_FAILED):  # no test was found, or pytest has failed
            words = (done.stdout + done.stderr).strip()[-2000:]
            error = f"pytest has ended with {done.returncode}: {words}"
    except subprocess.TimeoutExpired:
        error = f"not done after {seconds:.0f} s"
    text = lines.read_text(encoding="utf-8") if lines.exists() else ""
    return outcome(group, text, monotonic() - started, error)


def run(
    command: Sequence[str], seconds: float, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a program for at most so many seconds, and return what it has printed.

    TimeoutExpired after that. It is interrupted first, so that it ends what it has started.
    """
    # No pipe: a process that outlives the program would hold it open.
    with TemporaryFile("w+b") as output, TemporaryFile("w+b") as errors:
        process = subprocess.Popen(
            command, env=os.environ | variables, stdout=output, stderr=errors
        )
        try:
            status = process.wait(max(1.0, seconds))
        except subprocess.TimeoutExpired:
            end(process)
            raise
        output.seek(0)
        errors.seek(0)
        texts = (each.read().decode(errors="replace") for each in (output, errors))
        return subprocess.CompletedProcess(command, status, *texts)


def end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a process, and kill it if it goes on."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def outcome(group: str, lines: str, seconds: float, error: str | None = None) -> Outcome:
    """Return the counts in the lines that pytest wrote until it ended, by an `error` or without."""
    found = {test: (what, text) for test, what, text in map(json.loads, lines.splitlines())}
    failed = {test: text for test, (what, text) in found.items() if what == FAILED}
    skipped = Counter(text for what, text in found.values() if what == SKIPPED)
    passed = sum(what == PASSED for what, _ in found.values())
    begun = [test for test, (what, _) in found.items() if what == BEGUN]
    return Outcome(group, passed, dict(skipped), failed, seconds, error, begun)


def measure(seconds: float, *, is_rehearsal: bool) -> dict[str, Any]:
    """Return the figures of the bench; those until an error and the error, if it ends with one."""
    figures = REPORT.parent / "figures.json"
    figures.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.bench.gpu", "--json", str(figures)]
    command += ["--seconds", f"{seconds:.0f}"]
    command += ["--rehearsal"] if is_rehearsal else []
    error = None
    try:
        done = run(command, seconds)
        print(done.stdout)
        if done.returncode:
            error = (done.stdout + done.stderr).strip()[-2000:]
    except subprocess.TimeoutExpired:
        error = f"not done after {seconds:.0f} s"
    found: dict[str, Any] = {}
    if figures.exists():
        found = json.loads(figures.read_text(encoding="utf-8"))
    return found if error is None else found | {"error": error}


def show(found: Outcome) -> None:
    """Print a line for a group, and one for each test that is not done, failure and reason."""
    counts = f"{found.passed} passed, {len(found.failed)} failed, {total(found.skipped)} skipped"
    told = counts if found.error is None else f"{counts}; {found.error}"
    print(f"  {found.group}: {told} ({found.seconds:.0f} s)", flush=True)
    for name in found.unfinished:
        print(f"    not done: {name}")
    for name in [*found.failed][:20]:
        print(f"    failed: {name}")
    if len(found.failed) > 20:
        print(f"    and {len(found.failed) - 20} more; {REPORT} has all")
    for reason, count in found.skipped.items():
        print(f"    {count} skipped: {reason}")


def total(counts: Mapping[str, int]) -> int:
    """Return the sum of counts."""
    return sum(counts.values())


def main(description: str) -> int:
    """Run the tests and the bench, print a summary and save the report."""
    parser = argparse.ArgumentParser("python -m tests.gpu", description=description)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"most time ({SECONDS})")
    parser.add_argument("--rehearsal", action="store_true", help="on the CPU, though a GPU is here")
    parser.add_argument("--group", choices=GROUPS, help="only these tests, and no timings")
    options = parser.parse_args()
    started = monotonic()
    found, rows = cards(), driver()
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    print(machine())
    if rows and not found and not options.rehearsal:
        print(unusable(rows))
        return 1
    is_rehearsal = options.rehearsal or not found
    if is_rehearsal:
        print(
            "A rehearsal: device processes compute on the CPU. On a GPU this command runs the same "
            "tests and timings there, and the kernels of the strategies cuda and triton."
        )
    for each in found:
        print(", ".join([f"{name} {value}" for name, value in each.items()]))
    for row in rows:
        print("nvidia-smi: " + ", ".join([f"{name} {value}" for name, value in row.items()]))
    report: dict[str, Any] = {
        "rehearsal": is_rehearsal,
        "machine": machine(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cards": found,
        "nvidia-smi": rows,
        "tests": [],
    }
    outcomes = []
    for group in GROUPS if options.group is None else [options.group]:
        left = TEST_SHARE * options.seconds - (monotonic() - started)
        outcomes.append(run_tests(group, left, is_rehearsal=is_rehearsal))
        show(outcomes[-1])
        report["tests"].append(asdict(outcomes[-1]))
        save(report, started)  # what is known, if the machine is taken away
    figures: dict[str, Any] = {}
    if options.group is None:
        left = options.seconds - (monotonic() - started)
        report["figures"] = figures = measure(left, is_rehearsal=is_rehearsal)
        save(report, started)
    if "error" in figures:
        print(f"  timings: {figures['error']}")
    passed, failed = sum(each.passed for each in outcomes), sum(len(e.failed) for e in outcomes)
    skipped = sum(total(each.skipped) for each in outcomes)
    print(f"report: {REPORT}, after {report['seconds']} s")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return int(bool(failed or "error" in figures or any(each.error for each in outcomes)))


def save(report: dict[str, Any], started: float) -> None:
    """Write the report, with the seconds that have passed."""
    report["seconds"] = round(monotonic() - started, 1)
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
