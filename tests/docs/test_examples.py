"""Every example of the documents runs, and gives the answer that the page shows."""

import json
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

from tests.docs.blocks import Block, all_blocks
from tests.docs.test_contributing import STEPS
from tests.rigs.paths import PYTHONPATH, ROOT
from tests.rigs.servers import unmeasured

# What differs from one call, or one host, to the next.
PASSING: Final = re.compile(
    r"timing|request_id|instance|device|host|runs|speedup|max_(abs|rel)_error|worst|\w+_ms"
)
# Pages that show whole answers; on the others fields and rows may be left out.
WHOLE: Final = {"README.md", "docs/index.md"}
# The address in the documents, where a test puts that of its own server.
ADDRESS: Final = re.compile(r"http://(?:127\.0\.0\.1|localhost):8000")
# Options with the name of a file that a command reads or writes.
FILES: Final = {"--against", "--png"}
# Programs that a reader runs on a host of theirs, or that other tests run.
# Modules that are not run, and what comes before their options.
HELP: Final = {"pip": ["install"], "tests.gpu": []}
ELSEWHERE: Final = {"docker", "kubectl", "mkdir", "nginx", "npx", "openapi-python-client", "serve"}


def parameters(*languages: str) -> list[object]:
    """The blocks in these languages that are no part of a file."""
    found = [block for block in all_blocks(*languages) if block.title is None]
    return [
        pytest.param(block, id=f"{block.name}-{number}-{block.language}")
        for number, block in enumerate(found)
    ]


def environment(**variables: str) -> dict[str, str]:
    """Programs of this Python's environment, this service and this client, come first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return unmeasured() | {"PATH": path, "PYTHONPATH": PYTHONPATH, **variables}


def run(block: Block, folder: Path, url: str) -> str:
    """Run a block in `folder` against the service at `url`, and return its output."""
    code = ADDRESS.sub(url, block.code)
    if block.language == "go":
        (folder / "main.go").write_text(code, encoding="utf-8")
    command = {
        "bash": ["bash", "-euo", "pipefail", "-c", code],
        "python": [sys.executable, "-c", code],
        "javascript": ["node", "--input-type=module", "-e", code],
        "go": ["go", "run", "main.go"],
    }[block.language]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(SERVICE_URL=url, GOTOOLCHAIN="local"),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("block", parameters("bash", "python", "javascript", "go"))
def test_an_example_runs(block: Block, tmp_path: Path, base_url: str) -> None:
    """Without error, and with the answer that the page shows, if it shows one."""
    printed = run(block, tmp_path, base_url)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert printed or written
    if block.shown is not None and block.shown.language == "json":
        shown, answer = json.loads(block.shown.code), json.loads(printed)
        assert holds(shown, answer), answer
        assert block.name not in WHOLE or shown.keys() == answer.keys()
        return
    assert "/problems/" not in printed
    assert b"/problems/" not in written
    if block.shown is not None and block.language == "python":
        assert without_numbers(printed) == without_numbers(block.shown.code)


def holds(shown: Any, answer: Any) -> bool:
    """Return whether a response has everything that a page shows of it."""
    if isinstance(shown, dict):
        return isinstance(answer, dict) and all(
            name in answer and (PASSING.fullmatch(name) or holds(each, answer[name]))
            for name, each in shown.items()
        )
    if isinstance(shown, list):
        left = iter(answer)
        return all(any(holds(each, found) for found in left) for each in shown)
    if isinstance(shown, str) and isinstance(answer, str):
        return without_numbers(shown) == without_numbers(answer) or shown == answer
    return bool(shown == answer)


def without_numbers(text: str) -> str:
    """The words: times, errors and how many columns they take are those of the host."""
    words = re.sub(r"\b\d[\d.,e+-]*( (us|ms|s|min|h|days|years)\b)?", "#", text)
    return re.sub(r"\s+", " ", words).strip()


@pytest.mark.parametrize(
    ("shown", "answer", "held"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"b": 1}, False),
        ({"a": 1}, [1], False),
        ({"a_ms": 1}, {"a_ms": 2}, True),
        ([1, 3], [1, 2, 3], True),
        ([3, 1], [1, 2, 3], False),
        ([[1.0]], [[1.5]], False),
        ("took 3 ms", "took 4 s", True),
        ("took 3 ms", "had 3 ms", False),
        (None, 0, False),
    ],
)
def test_what_an_answer_must_hold(shown: Any, answer: Any, held: bool) -> None:
    """Fields and rows may be left out on a page, but none may be changed."""
    assert holds(shown, answer) is held


def console_lines() -> list[Any]:
    """Every command of the documents that is shown at a prompt, or in a block of `make` lines."""
    return [
        pytest.param(line.removeprefix("$ ").partition("  #")[0].strip(), id=f"{block.name}-{line}")
        for block in all_blocks("console")
        for line in block.code.splitlines()
        if line.startswith(("make ",) if block.page == STEPS else ("$ ", "make "))
    ]


def printed_by(folder: Path, module: str, *arguments: str) -> str:
    """Run a module of this copy in `folder`, assert that it succeeds, and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def printed_once(module: str, *arguments: str) -> str:
    """Return the output of a module that needs no files, from one run for all tests."""
    with TemporaryDirectory() as folder:
        return printed_by(Path(folder), module, *arguments)


def module_of(line: str) -> str:
    """Return the module that Python is to run; an empty string for another command."""
    found = re.search(r"(?:^|/)python -m (\S+)", line)
    return found[1] if found else ""


LINES: Final = tuple(dict.fromkeys(console_lines()))


def knows(words: list[str], told: str) -> None:
    """Every option among the words is in what a program's `--help` told."""
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert options <= set(re.findall(r"--[a-z-]+", told))


@pytest.mark.parametrize("line", [each for each in LINES if module_of(each.values[0]) in HELP])
def test_a_module_has_the_options(line: str) -> None:
    """It is not run; a test of its own reads what pip installs."""
    module = module_of(line)
    knows(shlex.split(line), printed_once(module, *HELP[module], "--help"))


@pytest.mark.parametrize("line", [each for each in LINES if module_of(each.values[0]) not in HELP])
def test_a_command_exists(line: str, tmp_path: Path) -> None:
    """The service's own commands run; a task of make has its recipe; options are known."""
    words = shlex.split(line)
    set_to = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    program, *rest = [word for word in words if not re.match(r"[A-Z_]+=", word)]
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for task in rest:
            recipe = re.search(rf"^{task}:.*## .*\n\t(.*)", makefile, re.MULTILINE)
            assert recipe is not None
            if "ARGS" in set_to:
                (asked,) = re.findall(r"-m (.*) \$\(ARGS\)", recipe[1])
                knows(set_to["ARGS"].split(), printed_once(*asked.split(), "--help"))
    elif rest[:2] == ["-m", "service"]:
        asked = rest[1 : rest.index(">") if ">" in rest else None]
        if "--against" in asked:  # the file of an earlier command
            at = asked.index("--against")
            kept = printed_once(*asked[:at], "--json")
            (tmp_path / asked[at + 1]).write_text(kept, encoding="utf-8")
        if {"serve", "docs", "openapi"} & set(asked):
            knows(asked, printed_once(*asked[:2], "--help"))
        elif FILES & set(asked):
            assert printed_by(tmp_path, *asked)
        else:
            assert printed_once(*asked)
    elif program == "pip":
        assert (ROOT / rest[-1] / "pyproject.toml").exists()
    elif program == "pytest":
        assert (ROOT / rest[0]).exists()
    else:
        assert program in ELSEWHERE, f"no test knows {program}"
