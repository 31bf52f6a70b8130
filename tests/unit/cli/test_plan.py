"""Tests of `python -m service plan`."""

import json
import re

import pytest

from tests.unit.cli.commands import Output, refused, run


def test_plan(capsys: Output) -> None:
    """A plan has result, work, estimates, path and the equivalent line of torch."""
    line = "plan einsum 'ij,jk,kl->il' --shapes 10x1000 1000x10 10x500"
    text = run(capsys, line)
    assert "10×500 float32, 5,000 elements, 19.5 KiB" in text
    assert "150,000 multiply-adds" in text
    assert 'torch.einsum("ij,jk,kl->il", x0, x1, x2)' in text
    assert "operands are counted from 0" in text
    assert re.search(r"2 +0 and 1 +kl,ik->il +10×500 +50,000", text)
    answer = json.loads(run(capsys, f"{line} --json"))
    assert answer["work"]["multiply_adds"] == 150_000
    assert answer["accepted"] is True


def test_plan_without_intermediates(capsys: Output) -> None:
    """The memory of a call without intermediates is that of operands and result."""
    text = run(capsys, "plan matmul --shapes 2x3 3x4 --strategy torch")
    assert re.search(r"memory +104 bytes; no intermediate", text)


def test_plan_of_a_broadcast(capsys: Output) -> None:
    """A plan of a broadcast shows the aligned axes and the stored bytes."""
    text = run(capsys, "plan broadcast --op mul --shapes 4x2x3 1x3")
    assert re.search(r"-3 +4 +4 kept +added", text)
    assert re.search(r"-2 +2 +2 kept +1 stretched", text)
    assert re.search(r"1 +1×3 +\(3, 1\) +\(0, 0, 1\) +12 bytes +96 bytes", text)


def test_plan_of_a_call_that_would_not_run(capsys: Output) -> None:
    """A plan says why a call would not run; an unsupported one has no estimate."""
    text = run(capsys, "plan matmul --shapes 10000x10000 10000x10000 --strategy loops")
    assert "NO: elements of the result" in text
    text = run(capsys, "plan norm --shapes 2x2 --ord nuc --strategy loops")
    assert re.search(r"\nloops +cpu +- +NO *\n", text)
    assert re.search(r"\n\nloops.* NO: does not take ord nuc of matrices", text)


def test_plan_with_a_hint(capsys: Output) -> None:
    """A refusal is followed by what would be admitted, if that is known."""
    text = run(capsys, "plan matmul --shapes 2x3 3x4 --device cpu --precision tf32")
    assert re.search(r'host does *\nhint +"precision": "ieee" works on cpu *\nin torch', text)
    assert "hint" not in run(capsys, "plan matmul --shapes 2x3 3x4 --device cpu")


def test_plan_of_what_has_to_be_compiled(capsys: Output) -> None:
    """A strategy that has to be compiled has the time of it, which the estimate leaves out."""
    text = run(capsys, "plan matmul --shapes 2x3 3x4")
    assert re.search(r"strategy +device +estimated +to compile +accepted", text)
    assert re.search(r"\ncompile +cpu +\S+ \S+ \(prior\) +15.0 s +yes *\n", text)
    assert re.search(r"\ntorch +cpu +\S+ \S+ +- +yes *\n", text)
    assert "to compile: what the first call of each process takes in addition\n" in text
    assert "to compile" not in run(capsys, "plan norm --shapes 2x3 --ord nuc")


LONG_PATH = (
    "plan einsum ab,bc,cd,de,ef,fg,gh,hi,ij,jk,kl,lm,mn,no,op,pq,qr,rs->as "
    f"--shapes {' '.join(['12x12'] * 18)}"
)


@pytest.mark.parametrize(
    "line",
    [
        "plan matmul --shapes 1000000x1000000 1000000x1000000",
        "plan norm --shapes 2x2 --ord nuc --strategy loops",
        "plan broadcast --op add --shapes 2x3x4x5x6x7x8 2x3x4x5x6x7x8",
        LONG_PATH,
    ],
)
def test_a_plan_fits_into_100_columns(line: str, capsys: Output) -> None:
    """No line is longer, and none is cut short."""
    text = run(capsys, line)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text


@pytest.mark.parametrize(("columns", "most"), [(72, 72), (200, 100)])
def test_a_plan_fits_into_a_terminal(
    columns: int, most: int, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a terminal too, no line is longer than 100 columns, or than the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", run(capsys, LONG_PATH)).splitlines()
    assert most - 10 < max(map(len, lines)) <= most


def test_plan_without_shapes(capsys: Output) -> None:
    """A plan needs the shapes of the operands."""
    assert "plan matmul needs --shapes\nhint: --shapes 5x784" in refused(capsys, "plan matmul")
