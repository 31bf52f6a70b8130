"""The commands that plan, race and sweep: what they print and write, and how they refuse."""

import json
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from service.__main__ import main
from service.cli import compare as command
from service.cli import output
from service.cli.request import RandomOperand, random_tensor
from service.codecs import DecodeContext
from service.core.dtypes import DTYPES, describe
from service.errors import LimitExceededError

SMALL = "--shapes 2x3 3x4 --budget-ms 1"
Output = pytest.CaptureFixture[str]


class Loads(HTMLParser):
    """What a page would load or lead to, and its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep addresses."""
        self.scripts += tag == "script"
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]


def run(capsys: Output, line: str) -> str:
    """Standard output of a command that succeeds."""
    assert main(shlex.split(line)) == 0
    return capsys.readouterr().out


def refusal(capsys: Output, line: str) -> str:
    """Standard error of a command that is refused; it prints nothing else."""
    assert main(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def test_compare_prints_a_table(capsys: Output) -> None:
    """A row for each strategy; the fastest and the baseline are marked by words."""
    text = run(capsys, f"compare matmul {SMALL}")
    assert text.startswith("matmul of 2×3 and 3×4, float32\n")
    rows = [line.split()[0] for line in text.splitlines() if re.search(r" cpu +[1-9]", line)]
    assert rows[0] == "loops"
    assert rows[-2:] == ["torch", "numpy"]
    assert text.count("fastest") == text.count("baseline") == 1


def test_compare_prints_the_answer_of_http(capsys: Output) -> None:
    """`--json` prints the report and nothing else."""
    answer: dict[str, Any] = json.loads(run(capsys, f"compare matmul {SMALL} --json"))
    assert answer["op"] == "matmul"
    assert answer["shapes"] == [[2, 3], [3, 4]]
    assert answer["baseline"] == "loops"
    assert all(row["agrees"] for row in answer["rows"])


def test_compare_takes_every_field(capsys: Output) -> None:
    """Fields of the operation and of the race are options, read as a request is."""
    line = (
        "compare broadcast --shapes 3 '()' --op add --to 2x3 --views '[\":\", null]' --dtype FP64 "
        "--strategies torch numpy --devices cpu --baseline numpy --repeat 2 --rtol 0.1 "
        "--atol 1e-3 --budget-ms 5 --deadline-ms 1000 --seed 7"
    )
    text = run(capsys, line)
    assert text.startswith("broadcast op=add views=(':', '...') to=(2, 3) of 3 and (), float64\n")
    answer = json.loads(run(capsys, f"{line} --json"))
    assert [row["strategy"] for row in answer["rows"]] == ["torch", "numpy"]
    assert (answer["baseline"], answer["dtype"]) == ("numpy", "float64")


@pytest.mark.parametrize("equation", ["'ij->j'", "--equation 'ij->j'"])
def test_an_equation_may_stand_alone(capsys: Output, equation: str) -> None:
    """What an operation needs stands behind its name, or is an option."""
    text = run(capsys, f"compare einsum {equation} --shapes 2x3 --budget-ms 1")
    assert text.startswith("einsum ij->j of 2×3, float32\n")


def test_a_flag_needs_no_value(capsys: Output) -> None:
    """A field that is true or false may stand without a value."""
    plan = json.loads(run(capsys, "plan norm --shapes 2x3 --dim 1 --keepdim --json"))
    assert plan["result"]["shape"] == [2, 1]


def test_skipped_rungs_have_their_reason(capsys: Output) -> None:
    """What is not raced stands in the table, and below it why."""
    text = run(capsys, "compare norm --ord inf --shapes 5 --budget-ms 1")
    assert "skipped scaled: " in text
    assert "ord" in text.partition("skipped scaled: ")[2].splitlines()[0]


def test_pictures(capsys: Output, tmp_path: Path) -> None:
    """A page that loads nothing from anywhere, and an image."""
    page, image = tmp_path / "race.html", tmp_path / "race.png"
    run(capsys, f"compare matmul {SMALL} --html {page} --png {image}")
    text = page.read_text(encoding="utf-8")
    loads = Loads(text)
    assert (loads.addresses, loads.scripts) == ([], 2)
    assert not re.search(r"(?i)@import|url\(\s*['\"]?https?:", text.partition("<script>")[0])
    assert "matmul of 2×3 and 3×4, float32" in text
    data = image.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = (int.from_bytes(data[at : at + 4]) for at in (16, 20))
    assert 1000 < width < 4000
    assert 400 < height < 2000


def test_a_page_alone(capsys: Output, tmp_path: Path) -> None:
    """Each file is written only where it was asked for, beside JSON too."""
    json.loads(run(capsys, f"compare matmul {SMALL} --json --html {tmp_path / 'race.html'}"))
    assert [path.name for path in tmp_path.iterdir()] == ["race.html"]


def test_sweep(capsys: Output, tmp_path: Path) -> None:
    """Sizes by powers of two, in a table, on a page, in an image, as JSON."""
    line = "compare matmul --sweep 2:8 --strategies loops torch"
    image = tmp_path / "sweep.png"
    text = run(capsys, f"{line} --budget-ms 1 --png {image}")
    assert text.startswith("matmul of n×n and n×n, float32\n")
    assert [line.split()[0] for line in text.splitlines() if line.startswith((" 2", " 4", " 8"))]
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
def test_what_is_swept_over(capsys: Output, arguments: str, title: str) -> None:
    """Every operation has sizes of its own; `--shapes` says others."""
    rest = "--sweep 1:2 --strategies torch --budget-ms 1 --limit-ms 100"
    assert run(capsys, f"compare {arguments} {rest}").startswith(f"{title}\n")


def test_plan(capsys: Output) -> None:
    """Result, work, estimates, path and the line that does the same."""
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


def test_plan_of_what_needs_no_intermediate(capsys: Output) -> None:
    """Memory is that of operands and result alone."""
    text = run(capsys, "plan matmul --shapes 2x3 3x4 --strategy torch")
    assert re.search(r"memory +104 bytes; no intermediate", text)


def test_plan_of_a_broadcast(capsys: Output) -> None:
    """The axes as they align, and what is stored."""
    text = run(capsys, "plan broadcast --op mul --shapes 4x2x3 1x3")
    assert re.search(r"-3 +4 +4 kept +added", text)
    assert re.search(r"-2 +2 +2 kept +1 stretched", text)
    assert re.search(r"1 +1×3 +\(3, 1\) +\(0, 0, 1\) +12 bytes +96 bytes", text)


def test_plan_of_what_is_refused(capsys: Output) -> None:
    """A plan says why not; of what no strategy takes there is no estimate."""
    text = run(capsys, "plan matmul --shapes 10000x10000 10000x10000 --strategy loops")
    assert "NO: elements of the result" in text
    text = run(capsys, "plan norm --shapes 2x2 --ord nuc --strategy loops")
    assert re.search(r"loops +cpu +- +NO: does not take ord nuc", text)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("compare", "hint: such as: python -m service compare matmul --help"),
        ("plan matmull", "there was 'matmull'\nhint: did you mean 'matmul'?"),
        ("plan matmul", "plan matmul needs --shapes\nhint: --shapes 5x784"),
        ("compare matmul", "compare matmul needs --shapes or --sweep\nhint: "),
        ("compare matmul --shpes=2x2", "takes no '--shpes'\nhint: did you mean '--shapes'?"),
        ("compare matmul --zzz", "takes no '--zzz'\nhint: python -m service compare matmul --help"),
        ("compare matmul --shapes", "expected at least one argument\nhint: python -m"),
        ("compare norm --shapes 5 --ord -inf", "hint: a value that begins with a dash"),
        ("compare matmul --shapes 2x3", "takes 2 operands, a and b; --shapes has 1"),
        ("compare matmul --shapes 2x3 2*3", "there was '2*3'\nhint: such as 5x784"),
        ("compare matmul --shapes 2xn nx2", "hint: n stands for the size in a --sweep"),
        ("compare matmul --shapes 2x3 2x3", "hint: b transposed has shape (3, 2) and fits"),
        ("compare matmul --shapes 2 2 --dtype flot32", "hint: did you mean 'float32'?"),
        ("compare matmul --shapes 2 2 --strategies lops", "hint: did you mean 'loops'?"),
        ("compare matmul --shapes 2 2 --devices cuda:7", "this host has "),
        ("compare matmul --shapes 2 2 --repeat many", "repeat is an integer from 1 to 1000"),
        ("compare matmul --shapes 2 2 --seed -1", "seed is an integer from 0 to"),
        ("compare matmul --shapes 2 2 --png /no/such/x.png", "hint: there is no folder '/no/such'"),
        ("compare matmul --shapes 2 2 --html /", "hint: it is a folder"),
        ("compare matmul --sweep 8:2", "in rising order; there was '8:2'\nhint: --sweep 2:1024"),
        ("compare matmul --sweep 0:2", "two sizes from 1"),
        ("compare matmul --sweep 2:4 --limit-ms x", "limit_ms is an integer from 1"),
        ("compare einsum ik,kj>ij --sweep 2:4", "hint: did you mean `->`?"),
        ("compare einsum --sweep 2:4", "einsum needs equation"),
        ("compare matmul --shapes 99999x99999 2", "the limit is 16777216 (SERVICE_MAX_ELEMENTS)"),
    ],
)
def test_refusals(capsys: Output, arguments: str, told: str) -> None:
    """What cannot be done is told on standard error, with a hint where there is one."""
    assert told in refusal(capsys, arguments)


def test_a_wrong_setting(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the environment that cannot be used is named."""
    monkeypatch.setenv("SERVICE_THREADS", "none")
    assert "SERVICE_THREADS: " in refusal(capsys, f"compare matmul {SMALL}")


def test_a_file_that_cannot_be_written(capsys: Output, tmp_path: Path) -> None:
    """The table is there by then; the reason is told."""
    target = tmp_path / "race.html"
    target.symlink_to(tmp_path / "none" / "race.html")
    assert main(shlex.split(f"compare matmul {SMALL} --html {target}")) == 2
    assert "No such file" in capsys.readouterr().err


def test_without_the_extra(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture without what draws it is refused before the race, and says what to install."""
    monkeypatch.setattr(output, "find_spec", lambda name: None)
    told = refusal(capsys, f"compare matmul {SMALL} --png x.png")
    assert "altair and vl_convert" in told
    assert "'.[charts]'" in told
    run(capsys, f"compare matmul {SMALL}")


def test_interrupted(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a race without a traceback."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "enter", interrupt)
    assert main(shlex.split(f"compare matmul {SMALL}")) == 130


@pytest.mark.parametrize("arguments", [["compare", "--help"], ["plan", "einsum", "--help"]])
def test_help(capsys: Output, arguments: list[str]) -> None:
    """Help lists the operations, or the options of one."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert "broadcast" in text if arguments[0] == "compare" else "--optimize" in text


def test_a_terminal_shows_progress(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the bar names the rungs, and a table is as wide; elsewhere there is no bar."""
    main(shlex.split(f"compare matmul {SMALL}"))
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(shlex.split("compare norm --ord 0 --shapes 5 --budget-ms 1")) == 0
    out, err = capsys.readouterr()
    assert "torch on cpu: " in err
    assert "scaled on cpu: skipped" in err
    assert "torch on cpu: " not in out


@pytest.mark.parametrize("name", DTYPES)
def test_random_operands(name: str) -> None:
    """Every dtype has random numbers; the same seed gives the same."""
    dtype = DTYPES[name].torch
    first, second = (
        random_tensor((4, 5), dtype, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert (first.shape, first.dtype) == ((4, 5), dtype)
    assert torch.equal(first, second)
    assert len(set(first.flatten().tolist())) > 1


def test_random_operands_keep_within_limits() -> None:
    """Nothing is allocated for an operand that is over a limit."""
    reading = DecodeContext(max_elements=10, dtype=DTYPES["float32"], max_deadline_ms=1)
    operand = RandomOperand("/a", (10**9, 10**9), reading, torch.Generator())
    with pytest.raises(LimitExceededError, match="a has 10"):
        operand.read(describe(torch.float32))


def test_the_service_needs_nothing_that_draws() -> None:
    """The server loads neither rich nor altair."""
    code = (
        "import sys; import service.api.app; "
        "sys.exit(bool({'rich', 'altair', 'vl_convert'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
