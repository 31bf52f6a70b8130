"""Tests of the options of an operation."""

import json

import pytest

from service.__main__ import main
from tests.unit.cli.commands import Output, refused, run


@pytest.mark.parametrize("equation", ["'ij->j'", "--equation 'ij->j'"])
def test_an_equation_may_stand_alone(capsys: Output, equation: str) -> None:
    """A required field may follow the operation's name without its option."""
    text = run(capsys, f"compare einsum {equation} --shapes 2x3 --budget-ms 1")
    assert text.startswith("einsum ij->j of 2×3, float32\n")


def test_a_flag_needs_no_value(capsys: Output) -> None:
    """A Boolean field may be given without a value."""
    plan = json.loads(run(capsys, "plan norm --shapes 2x3 --dim 1 --keepdim --json"))
    assert plan["result"]["shape"] == [2, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compare", "hint: such as: python -m service compare matmul --help"),
        ("plan matmull", "there was 'matmull'\nhint: did you mean 'matmul'?"),
    ],
)
def test_unknown_operations(capsys: Output, arguments: str, message: str) -> None:
    """A missing or unknown operation is an error with a hint."""
    assert message in refused(capsys, arguments)


@pytest.mark.parametrize("given", ["loops torch", "loops,torch", '\'["loops", "torch"]\''])
def test_lists(capsys: Output, given: str) -> None:
    """The names of a list have spaces or commas between, or are JSON as in a request."""
    line = f"compare norm --shapes 3 --budget-ms 1 --json --strategies {given}"
    assert [row["strategy"] for row in json.loads(run(capsys, line))["rows"]] == ["loops", "torch"]


def test_help_is_grouped(capsys: Output) -> None:
    """Options are in groups: the fields of the operation, operands, the race, and the output."""
    with pytest.raises(SystemExit):
        main(["compare", "norm", "--help"])
    groups = dict(
        block.split(":\n", 1) for block in capsys.readouterr().out.split("\n\n") if ":\n" in block
    )
    for title, option in (
        ("fields of norm", "--ord"),
        ("operands", "--shapes"),
        ("operands", "--seed"),
        ("race", "--budget-ms"),
        ("sweep over sizes", "--limit-ms"),
        ("output", "--csv"),
    ):
        assert f"  {option} " in groups[title]


@pytest.mark.parametrize("arguments", [["compare", "--help"], ["plan", "einsum", "--help"]])
def test_help(capsys: Output, arguments: list[str]) -> None:
    """Help lists the operations, or the options of one of them."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert "broadcast" in text if arguments[0] == "compare" else "--optimize" in text
