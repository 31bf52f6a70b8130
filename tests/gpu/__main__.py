"""`make gpu`: the tests of a GPU, then its timings, in one command and without a network.

It runs in any environment with a CUDA build of torch, the service, pytest and the packages that the
tests import. Where no GPU is, it says so and runs the same on device processes that compute on the
CPU: a rehearsal, which proves all but the kernels and the speed. The report is saved as JSON; the
exit status is 1 if a test failed or a step ran out of time.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic
from typing import Any, Final
from xml.etree import ElementTree as ET

import torch

from tests.bench.measurements import machine

REPORT: Final = Path("build/gpu/report.json")
SECONDS: Final = 480
# What is left of the time when the tests have had theirs.
TEST_SHARE: Final = 0.65
# A step that is interrupted has so long to end the servers that it has started.
GRACE_S: Final = 20.0
# Arguments of pytest for each group.
GROUPS: Final = {
    "rows of the table": ("tests/contract/test_operations.py", "-k", "cuda"),
    "device processes": ("tests/contract/test_device_process.py",),
    "races": ("tests/contract/test_compare.py", "-k", "gpu or device"),
    "devices": ("tests/unit/core/test_devices.py",),
    "kernels": ("tests/unit/operations/test_kernels.py",),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counts of a group of tests, and the names of those that failed."""

    group: str
    passed: int
    skipped: int
    failed: tuple[str, ...]
    seconds: float
    error: str | None = None


def cards() -> list[dict[str, object]]:
    """Return name, memory and compute capability of each GPU; a MIG slice is one, too."""
    if not torch.cuda.is_available():
        return []
    found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [
        {"name": each.name, "bytes": each.total_memory, "capability": [each.major, each.minor]}
        for each in found
    ]


def run_tests(group: str, seconds: float, *, is_rehearsal: bool) -> Outcome:
    """Run a group of tests, and return what became of it."""
    results = REPORT.parent / "results.xml"
    results.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *GROUPS[group]]
    command += [f"--junitxml={results}"]
    if find_spec("xdist") and group == "rows of the table":
        command += ["-n", str(min(4, os.cpu_count() or 1))]
    variables = {"TESTS_GPU": "rehearsal"} if is_rehearsal else {}
    started = monotonic()
    try:
        done = run(command, seconds, **variables)
    except subprocess.TimeoutExpired:
        error = f"not done after {seconds:.0f} s"
    else:
        if results.exists():
            found = outcome(group, results, monotonic() - started)
            if found.failed or not done.returncode:
                return found
        error = (done.stdout + done.stderr).strip()[
            -2000:
        ]  # no test was found, or pytest itself has failed
    return Outcome(group, 0, 0, (), monotonic() - started, error)


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


def outcome(group: str, results: Path, seconds: float) -> Outcome:
    """Return the counts in a file of results in JUnit's format, which pytest wrote."""
    # The file is our own: no other program has written it.
    root = ET.parse(results).getroot()
    tests = list(root.iter("testcase"))
    failed = tuple(
        f"{each.get('classname')}::{each.get('name')}"
        for each in tests
        if each.find("failure") is not None or each.find("error") is not None
    )
    skipped = sum(each.find("skipped") is not None for each in tests)
    return Outcome(group, len(tests) - skipped - len(failed), skipped, failed, seconds)


def measure(seconds: float, *, is_rehearsal: bool) -> dict[str, Any]:
    """Return the figures of the bench, or the error that it ended with."""
    figures = REPORT.parent / "figures.json"
    figures.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.bench.gpu", "--json", str(figures)]
    command += ["--rehearsal"] if is_rehearsal else []
    try:
        done = run(command, seconds)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {seconds:.0f} s"}
    print(done.stdout)
    if done.returncode:
        return {"error": (done.stdout + done.stderr).strip()[-2000:]}
    found: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
    return found


def show(found: Outcome) -> None:
    """Print a line for a group, and a line for each of its failures."""
    counts = f"{found.passed} passed, {len(found.failed)} failed, {found.skipped} skipped"
    print(f"  {found.group}: {found.error or counts} ({found.seconds:.0f} s)", flush=True)
    for name in found.failed[:20]:
        print(f"    failed: {name}")
    if len(found.failed) > 20:
        print(f"    and {len(found.failed) - 20} more; {REPORT} has all")


def main() -> int:
    """Run the tests and the bench, print a summary and save the report."""
    parser = argparse.ArgumentParser("python -m tests.gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"most time ({SECONDS})")
    parser.add_argument("--rehearsal", action="store_true", help="on the CPU, though a GPU is here")
    options = parser.parse_args()
    started = monotonic()
    found = cards()
    is_rehearsal = options.rehearsal or not found
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    print(machine())
    if is_rehearsal:
        print(
            "A rehearsal: device processes compute on the CPU. On a GPU this command runs the same "
            "tests and timings there, and the kernels of the strategies cuda and triton."
        )
    for each in found:
        print(f"{each['name']}, {each['bytes']} bytes, CUDA {torch.version.cuda}")
    outcomes = []
    for group in GROUPS:
        left = TEST_SHARE * options.seconds - (monotonic() - started)
        outcomes.append(run_tests(group, left, is_rehearsal=is_rehearsal))
        show(outcomes[-1])
    figures = measure(options.seconds - (monotonic() - started), is_rehearsal=is_rehearsal)
    if "error" in figures:
        print(f"  timings: {figures['error']}")
    report = {
        "rehearsal": is_rehearsal,
        "machine": machine(),
        "cuda": torch.version.cuda,
        "cards": found,
        "tests": [asdict(each) for each in outcomes],
        "figures": figures,
        "seconds": round(monotonic() - started, 1),
    }
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    passed, failed = sum(each.passed for each in outcomes), sum(len(e.failed) for e in outcomes)
    skipped = sum(each.skipped for each in outcomes)
    print(f"report: {REPORT}, after {report['seconds']} s")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return int(bool(failed or "error" in figures or any(each.error for each in outcomes)))


if __name__ == "__main__":
    # A command in the background may have it ignored, and the steps would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
