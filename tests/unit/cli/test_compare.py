"""Tests of `python -m service compare` at one size."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from service.__main__ import main
from service.cli import compare as command
from tests.unit.cli.commands import SMALL, Output, refused, run


def test_compare_prints_a_table(capsys: Output) -> None:
    """The table has a row for each strategy; words mark the fastest and the baseline."""
    text = run(capsys, f"compare matmul {SMALL}")
    assert text.startswith("matmul of 2×3 and 3×4, float32\n")
    rows = [
        line.split()[0]
        for line in map(str.rstrip, text.splitlines())
        if line.endswith(("yes", "fastest"))
    ]
    assert rows[0] == "loops"
    assert rows[-2:] == ["torch", "numpy"]
    assert text.count("fastest") == text.count("baseline") == 1
    assert re.search(r"loops .* 1 in [0-9,]+ ", text)
    peak = r"\npeak of cpu: \S+ GFLOP/s by a product in float32, \S+ GB/s by a copy of this size\n"
    assert re.search(peak, text)


def test_compare_prints_json(capsys: Output) -> None:
    """`--json` prints the report as HTTP answers it, and nothing else."""
    answer: dict[str, Any] = json.loads(run(capsys, f"compare matmul {SMALL} --json"))
    assert answer["op"] == "matmul"
    assert answer["shapes"] == [[2, 3], [3, 4]]
    assert answer["baseline"] == "loops"
    assert all(row["agrees"] for row in answer["rows"] if "skipped" not in row)
    assert answer["rows"][-1]["agrees"]


def test_compare_takes_every_field(capsys: Output) -> None:
    """Fields of the operation and of the race are options, checked as those of a request."""
    line = (
        "compare broadcast --shapes 3 '()' --op add --to 2x3 --views '[\":\", null]' --dtype FP64 "
        "--strategies torch numpy --devices cpu --baseline numpy --repeat 2 --rtol 0.1 "
        "--atol 1e-3 --budget-ms 5 --deadline-ms 1000 --seed 7 --precision ieee --deterministic"
    )
    text = run(capsys, line)
    asked = "op=add views=(':', '...') to=(2, 3) precision=ieee deterministic=True"
    assert text.startswith(f"broadcast {asked} of 3 and (), float64\n")
    assert "\nnumpy in ieee " in text
    answer = json.loads(run(capsys, f"{line} --json"))
    assert [row["strategy"] for row in answer["rows"]] == ["torch", "numpy"]
    assert (answer["baseline"], answer["dtype"]) == ("numpy", "float64")
    assert all((row["precision"], row["deterministic"]) == ("ieee", True) for row in answer["rows"])


def test_compare_in_several_precisions(capsys: Output) -> None:
    """Each precision of the list has rows of its own."""
    line = "compare matmul --shapes 2x2 2x2 --strategies torch --devices cpu --budget-ms 1"
    text = run(capsys, f"{line} --precisions ieee tf32")
    assert re.search(r"\ntorch in ieee .* fastest\n", text)
    assert "skipped torch in tf32: has no tf32 on cpu, which computes in ieee\n" in text
    rows = json.loads(run(capsys, f"{line} --precisions ieee,tf32 --json"))["rows"]
    assert [row["precision"] for row in rows] == ["ieee", "tf32"]


def test_what_this_host_lacks_is_no_row(capsys: Output, tmp_path: Path) -> None:
    """It is named below the table, which may be empty; then a picture still is drawn."""
    line, chart = f"compare matmul {SMALL} --strategies", tmp_path / "race.png"
    lacking = (
        "not on this server: dask (needs a Dask cluster, which SERVICE_DASK_SCHEDULER would name)"
    )
    for text in (run(capsys, f"{line} loops dask"), run(capsys, f"{line} dask --png {chart}")):
        assert [each for each in text.splitlines() if "dask" in each] == [lacking]


def test_skipped_strategies_have_their_reason(capsys: Output) -> None:
    """The reason why a strategy was skipped is printed below the table."""
    text = run(capsys, "compare norm --ord inf --shapes 5 --budget-ms 1")
    assert "skipped scaled: " in text
    assert "ord" in text.partition("skipped scaled: ")[2].splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compare matmul", "compare matmul needs --shapes or --sweep\nhint: "),
        ("compare matmul --shapes 2 2 --strategies lops", "hint: did you mean 'loops'?"),
        ("compare matmul --shapes 2 2 --devices cuda:7", "this host has "),
        ("compare matmul --shapes 2 2 --repeat many", "repeat is an integer from 1 to 1000"),
    ],
)
def test_invalid_races(capsys: Output, arguments: str, message: str) -> None:
    """An invalid race is an error with a hint."""
    assert message in refused(capsys, arguments)


def test_a_wrong_setting(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid variable of the environment is an error that names it."""
    monkeypatch.setenv("SERVICE_THREADS", "none")
    assert "SERVICE_THREADS: " in refused(capsys, f"compare matmul {SMALL}")


def test_interrupted(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a race without a traceback."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_with_progress", interrupt)
    assert main(shlex.split(f"compare matmul {SMALL}")) == 130


def chain_file(folder: Path, **changes: Any) -> Path:
    """Write a chain of a product, half of it, and the sums of its rows, on a random operand."""
    steps = [
        {"name": "h", "operation": "matmul", "a": {"operand": 0}, "b": {"operand": 1}},
        {"name": "z", "operation": "broadcast", "op": "mul", "operands": [{"step": "h"}, 0.5]},
        {"name": "s", "operation": "einsum", "equation": "ij->i", "operands": [{"step": "z"}]},
    ]
    operands = [{"shape": [2, 3]}, {"shape": [3, 2], "dtype": "float64", "data": [1] * 6}]
    chain = {"operands": operands, "steps": steps, "results": ["z", "s"], "strategies": ["loops"]}
    path = folder / "chain.json"
    path.write_text(json.dumps(chain | changes), encoding="utf-8")
    return path


def test_compare_a_chain(capsys: Output, tmp_path: Path) -> None:
    """A file has its body; options replace fields of it, and files are those of any race."""
    page, table, rows, kept = (tmp_path / name for name in ("r.html", "r.md", "r.csv", "r.json"))
    line = f"compare chain {chain_file(tmp_path)} --strategies loops torch --budget-ms 1"
    text = run(capsys, f"{line} --html {page} --md {table} --csv {rows}")
    title = "chain matmul, broadcast, einsum results=('z', 's') of 2×3 and 3×2 and (), float64"
    assert text.startswith(f"{title}\n")
    assert re.search(r"\nloops .* baseline .* yes *\n", text)
    assert re.search(r"\ntorch .* fastest *\n", text)
    assert "\n6 of 6 elements checked" in text
    assert f"<title>{title.replace(chr(39), '&#x27;')}</title>" in page.read_text(encoding="utf-8")
    assert table.read_text(encoding="utf-8").startswith(f"## {title}\n")
    assert "\r\nchain,2x3 3x2 (),float64,torch,cpu," in rows.read_bytes().decode()
    kept.write_text(run(capsys, f"{line} --json"), encoding="utf-8")
    assert [row["strategy"] for row in json.loads(kept.read_bytes())["rows"]] == ["loops", "torch"]
    assert run(capsys, f"{line} --against {kept}").count("as fast") == 2
    other = chain_file(tmp_path, results=["s"])
    assert " results " in refused(capsys, f"compare chain {other} --against {kept}")


def test_a_sweep_of_a_chain(capsys: Output, tmp_path: Path) -> None:
    """Shapes of the command line replace the operands of the file."""
    line = f"compare chain {chain_file(tmp_path)} --sweep 2:4"
    hint = "needs --shapes\nhint: n stands for the size: --shapes nx64 64xn\n"
    assert hint in refused(capsys, line)
    answer = json.loads(run(capsys, f"{line} --shapes nx3 3xn --budget-ms 1 --json"))
    shapes = [point["report"]["shapes"] for point in answer["points"]]
    assert shapes == [[[2, 3], [3, 2], []], [[4, 3], [3, 4], []]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operands": [{"shape": [2, 3]}]}, "operand 1 is referred to; the request has 1"),
        ({"operands": [{"shape": [2, 9]}, [[1]]]}, "step 'h': matmul needs a's last axis (9)"),
        ({"operands": []}, "operands is a list of one tensor or more"),
        ({"steps": []}, "steps is a list of one step or more"),
        ({"device": "cuda:9"}, "device 'cuda:9' was asked for"),
        ({"step": []}, "chain has no field 'step'"),
        ({"strategies": ["loop"]}, "hint: did you mean 'loops'?"),
    ],
)
def test_chains_that_are_refused(
    capsys: Output, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """A mistake in the file is the error of a request."""
    assert message in refused(capsys, f"compare chain {chain_file(tmp_path, **changes)}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory\nhint: the file has the body of a POST"),
        (b"", "the body is empty (0 bytes)"),
        (b"\xff{", "UTF-8"),
        (b"[]", "the body is a JSON object"),
        (b"[" * 100_000, "nest"),
    ],
)
def test_files_that_hold_no_chain(
    capsys: Output, tmp_path: Path, content: bytes | None, message: str
) -> None:
    """Something else, or no file, is an error with what was found."""
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    assert message in refused(capsys, f"compare chain {path}")


def test_help_for_a_chain(capsys: Output) -> None:
    """The fields of a chain are in its file; its examples name one."""
    with pytest.raises(SystemExit):
        main(["compare", "chain", "--help"])
    text = capsys.readouterr().out
    assert "usage: python -m service compare chain FILE [options]" in text
    assert "--steps" not in text
    assert "compare chain chain.json --strategies loops torch --md race.md\n" in text
