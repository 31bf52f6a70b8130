"""Tests of `python -m service compare --sweep`."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.commands import Output, refused, run


def test_sweep(capsys: Output, tmp_path: Path) -> None:
    """A sweep over powers of two is printed as a table or JSON, and drawn as an image."""
    line = "compare matmul --sweep 2:8 --strategies loops torch"
    image = tmp_path / "sweep.png"
    text = run(capsys, f"{line} --budget-ms 1 --png {image}")
    assert text.startswith("matmul of n×n and n×n, float32\n")
    assert [line.split()[0] for line in text.splitlines() if line.startswith(("2 ", "4 ", "8 "))]
    assert image.read_bytes().startswith(b"\x89PNG")
    answer = json.loads(run(capsys, f"{line} --json"))
    assert [point["size"] for point in answer["points"]] == [2, 4, 8]
    assert answer["points"][0]["report"]["shapes"] == [[2, 2], [2, 2]]


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        ("einsum 'i...,ij->j'", "einsum i...,ij->j of n and n×n, float32"),
        ("einsum ',i->i'", "einsum ,i->i of () and n, float32"),
        ("norm", "norm of n, float32"),
        ("broadcast --op add", "broadcast op=add of n×n and n, float32"),
        ("matmul --shapes nx3 3x1", "matmul of n×3 and 3×1, float32"),
    ],
)
def test_shapes_of_a_sweep(capsys: Output, arguments: str, title: str) -> None:
    """Each operation has shapes for a sweep; `--shapes` sets others."""
    rest = "--sweep 1:2 --strategies torch --budget-ms 1 --limit-ms 100"
    assert run(capsys, f"compare {arguments} {rest}").startswith(f"{title}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compare matmul --sweep 8:2", "in rising order; there was '8:2'\nhint: --sweep 2:1024"),
        ("compare matmul --sweep 0:2", "two sizes from 1"),
        ("compare matmul --sweep 2:4 --limit-ms x", "limit_ms is an integer from 1"),
        ("compare einsum ik,kj>ij --sweep 2:4", "hint: did you mean `->`?"),
        ("compare einsum --sweep 2:4", "einsum needs equation"),
    ],
)
def test_invalid_sweeps(capsys: Output, arguments: str, message: str) -> None:
    """An invalid range, limit or equation is an error with a hint."""
    assert message in refused(capsys, arguments)
