"""Structure of the code and of the texts: imports, sizes, names, docstrings, vocabulary."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import orjson
import pytest

from service.api.app import create_app
from service.executors import ForkServer
from service.pipeline import service as pipeline
from service.planning.cost_model import CostModel
from service.settings import Settings
from tests.rigs.apps import client_of, running
from tests.rigs.device_processes import GPU, curves_of
from tests.rigs.loaded_modules import DEVICE_WORKER, FILE, WORKER
from tests.rigs.matmul_bodies import product, slow_text
from tests.rigs.paths import CLIENT, ROOT
from tests.rigs.servers import unmeasured
from tests.rigs.waiting import until

SERVICE: Final = ROOT / "service"
FRAMEWORKS: Final = {"fastapi", "starlette", "uvicorn"}
WEB: Final = FRAMEWORKS | {"pydantic", "httpx"}
# Packages that must stay out, and the modules that do without them.
LIGHT = {
    "torch, numpy and the web": (
        {"torch", "numpy", *WEB},
        ("service.errors", "service.planning.limits", "service.__main__"),
    ),
    "torch, numpy and the service": (
        {"torch", "numpy", "service", *WEB} - {"httpx"},
        ("tensor_service_client",),
    ),
    "torch and the web": ({"torch", *WEB}, ("service.examples",)),
    "the web": (
        WEB,
        (
            "service.core.dtypes",
            "service.registry",
            "service.operations",
            "service.codecs",
            "service.planning.planner",
            "service.engine",
        ),
    ),
    "the web framework": (
        FRAMEWORKS,
        (
            "service.http.problems",
            "service.observability.metrics",
            "service.observability.record",
            "service.pipeline.service",
            "service.pipeline.worker",  # what a process without HTTP has no use for takes 130 ms
            "service.pipeline.device_worker",
        ),
    ),
    "what makes pages": ({"markdown_it", "pygments"}, ("service.api.app",)),
}


def run(*command: str) -> str:
    """Run a command in the root of the project, assert that it succeeds, and return its output."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=unmeasured(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_imports_keep_to_the_layers() -> None:
    """The contracts of pyproject.toml are kept."""
    call = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    assert "0 broken" in run("-c", call, "--no-cache")


@pytest.mark.parametrize(("packages", "modules"), LIGHT.values(), ids=LIGHT)
def test_modules_do_without(packages: set[str], modules: tuple[str, ...]) -> None:
    """Importing them in a new process loads none of the packages."""
    loaded = run("-c", f"import sys, {', '.join(modules)}; print(*sys.modules)").split()
    assert packages.isdisjoint(name.partition(".")[0] for name in loaded)


def test_the_client_imports_what_it_depends_on() -> None:
    """Beside that, torch, IPython and altair if they are there; nothing of the service."""
    found = {
        name.partition(".")[0]
        for path in CLIENT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    needed, optional = {"httpx", "numpy"}, {"IPython", "altair", "torch"}
    assert found - sys.stdlib_module_names == {"tensor_service_client"} | needed | optional


def frameworks_in(file: Path) -> set[str]:
    """Return the web frameworks among the modules that a process has written to a file."""
    return FRAMEWORKS.intersection(file.read_text(encoding="utf-8").split())


async def test_a_worker_process_loads_no_web_framework(
    cost_model: CostModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for a call, a problem, a race or a call of the Open Inference Protocol either."""
    file = tmp_path / "modules"
    monkeypatch.setenv(FILE, str(file))  # the fork server starts with it
    monkeypatch.setattr(pipeline, "WORKER", WORKER)
    fork_server = ForkServer(("service.pipeline.worker",))
    inputs = [{"name": "x", "shape": [2], "datatype": "FP32", "data": [3, 4]}]
    requests: list[tuple[str, bytes, int]] = [
        ("/matmul", product(strategy="loops"), 200),
        ("/matmul", slow_text(b'{"a": [1, 2], "b": [1]}'), 422),
        ("/matmul/compare", product(2, strategies=["loops", "torch"], repeat=1), 200),
        ("/v2/models/norm/versions/loops/infer", slow_text(orjson.dumps({"inputs": inputs})), 200),
    ]
    app = create_app(Settings(processes=1), cost_model=cost_model, fork_server=fork_server)
    async with running(app), client_of(app) as client:
        for path, body, status in requests:
            file.unlink(missing_ok=True)
            response = await client.post(path, content=body)
            assert response.status_code == status, response.text
            assert frameworks_in(file) == set(), path
    fork_server.close()


async def test_a_device_process_loads_no_web_framework(
    cost_model: CostModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither at its handshake nor for a call."""
    file = tmp_path / "modules"
    monkeypatch.setenv(FILE, str(file))
    known = CostModel.from_rows([*cost_model.to_rows(), *curves_of(GPU)])
    fork_server = ForkServer(("service.pipeline.worker",))
    app = create_app(
        Settings(),
        cost_model=known,
        fork_server=fork_server,
        gpus=[GPU],
        device_worker=DEVICE_WORKER,
    )
    async with running(app), client_of(app) as client:
        readiness = app.state.service.engine.planner.devices.readiness
        await until(lambda: not readiness.absences, 60)
        assert frameworks_in(file) == set(), "handshake"
        response = await client.post("/matmul", content=product(2, device="cuda:0"))
        assert response.status_code == 200, response.text
        assert frameworks_in(file) == set(), "call"
    fork_server.close()


# What reads objects that name the code to run, and what does so unless it is told not to.
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
LOADERS = {"load", "loads", "save"}
LOADING = {"numpy", "np", "torch", "pickle", "marshal"}


def sources() -> list[Path]:
    """Return every Python file of the service and of its client."""
    return sorted([*SERVICE.rglob("*.py"), *CLIENT.rglob("*.py")])


def unsafe(source: str) -> set[str]:
    """Return the imports and calls of a file that would run code from received bytes."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {each.name for each in names if each.name.split(".")[0] in UNPICKLERS}
            case ast.ImportFrom(module=str(module), names=names):
                if module.split(".")[0] in UNPICKLERS:
                    found.add(module)
                if module.split(".")[0] in LOADING:
                    found |= {f"{module}.{each.name}" for each in names if each.name in LOADERS}
            case ast.Attribute(value=ast.Name(id=module), attr=name):
                if module in LOADING and name in LOADERS:
                    found.add(f"{module}.{name}")
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                found.add("allow_pickle=True")
            case ast.Call(func=ast.Name(id="eval" | "exec" | "__import__" as name)):
                found.add(name)
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_unpickles(path: Path) -> None:
    """Loading a pickle runs code of its sender."""
    assert unsafe(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", "pickle"),
        ("import os, cloudpickle.x", "cloudpickle.x"),
        ("from shelve import open", "shelve"),
        ("import torch\ntorch.load(f, weights_only=True)", "torch.load"),
        ("import numpy as np\nread = np.load", "np.load"),
        ("from numpy import load as l", "numpy.load"),
        ("x(f, allow_pickle=True)", "allow_pickle=True"),
        ("eval(x)", "eval"),
    ],
)
def test_unpickling_would_be_found(source: str, found: str) -> None:
    """By import, by attribute and under another name."""
    assert unsafe(source) == {found}


def test_a_request_loads_no_unpickler() -> None:
    """No module of the service imports one; libraries may import them for themselves."""
    check = """
import ast, pathlib, sys
import service.api.app
for name, module in [*sys.modules.items()]:
    if name.partition(".")[0] == "service":
        print(name, *(key for key, value in vars(module).items()
                      if getattr(value, "__name__", "") in {unpicklers}))
"""
    lines = run("-c", check.replace("{unpicklers}", repr(UNPICKLERS))).splitlines()
    assert len(lines) > 60
    assert [line for line in lines if len(line.split()) > 1] == []


MAX_LINES: Final = 420
MAX_FOLDERS: Final = 2
# Both name what the API names: a client of its own, whose public names mirror the service's, and
# the components of the OpenAPI document, which clients generate their classes from.
MIRRORS: Final = (CLIENT, SERVICE / "http" / "schemas.py")


def test_no_class_name_occurs_twice() -> None:
    """One name stands for one class in the whole service."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in sources():
        if not any(path.is_relative_to(mirror) for mirror in MIRRORS):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_file_is_long() -> None:
    """A longer one holds more than one concern."""
    texts = {path: path.read_text(encoding="utf-8") for path in files_of(SERVICE, CLIENT)}
    lines = {str(path.relative_to(ROOT)): text.count("\n") for path, text in texts.items()}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


def test_no_folder_is_deep() -> None:
    """At most service/a/b/file.py."""
    parts = {path: path.relative_to(SERVICE).parts[:-1] for path in files_of(SERVICE)}
    assert [str(path) for path, folders in parts.items() if len(folders) > MAX_FOLDERS] == []


TEXTS: Final = {".css", ".html", ".js", ".json", ".md", ".py", ".toml", ".txt", ".yaml", ".yml"}


def files_of(*places: Path) -> list[Path]:
    """Return the text files in folders, and files themselves."""
    return sorted(
        path
        for place in places
        for path in (place.rglob("*") if place.is_dir() else [place])
        if path.suffix in TEXTS
    )


# Private metaphors, for which docs/glossary.md has the standard terms.
FORBIDDEN: Final = frozenset(
    each + plural
    for each in ("lane", "house", "door", "reception", "turn", "shell")
    for plural in ("", "s")
)


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case; those in identifiers each for itself."""
    return [each.lower() for each in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", text)]


def forbidden(text: str) -> list[str]:
    """Return the forbidden words of a text with their lines."""
    return [
        f"line {number}: {word}"
        for number, line in enumerate(text.splitlines(), 1)
        for word in sorted(FORBIDDEN.intersection(words(line)))
    ]


def test_no_private_word_occurs() -> None:
    """Standard terms take their places, in identifiers, comments and texts."""
    paths = files_of(
        *(ROOT / name for name in ("service", "client", "tests", "tools", "docs")),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
    )
    found = {
        str(path.relative_to(ROOT)): forbidden(path.read_text(encoding="utf-8"))
        for path in paths
        if path != Path(__file__)
    }
    assert {path: places for path, places in found.items() if places} == {}


def test_microseconds_have_one_spelling() -> None:
    """It is `us`, as in `core.units`, and neither the sign for micro nor the Greek letter."""
    names = ("service", "client", "tests", "tools", "docs", "README.md")
    paths = files_of(*(ROOT / name for name in names))
    signs = ("\u00b5", "\u03bc")
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    assert [str(path) for path, text in texts.items() if any(sign in text for sign in signs)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("thread_lane", ["line 1: lane"]),
        ("a ThreadLane", ["line 1: lane"]),
        ("\nHTTPDoors in TURNS", ["line 2: doors", "line 2: turns"]),
        ("Shell2, app.shell.x", ["line 1: shell"]),
        ("return airplane, turned, shelling, indoor, warehouses", []),
    ],
)
def test_private_words_would_be_found(text: str, found: list[str]) -> None:
    """In identifiers of both kinds, whole words only."""
    assert forbidden(text) == found


QUESTIONS: Final = {"What", "Where", "Who", "How", "Why", "Whether"}
PERSONS: Final = {"whoever", "nobody", "somebody"}


# The comment at the head of a script, and those that describe its parts.
JSDOC: Final = re.compile(r"(?:\A//|/\*\*)[\s*]*(.+?)(?=\*/|\n\n)", re.DOTALL)


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a file with their lines."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".js":
        for match in JSDOC.finditer(source):
            yield source.count("\n", 0, match.start()) + 1, match[1]
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def is_question(docstring: str) -> bool:
    """Return whether a docstring begins with a question word."""
    return docstring.split(maxsplit=1)[0].rstrip(",.:;") in QUESTIONS


def names_persons(docstring: str) -> bool:
    """Return whether a docstring speaks of nobody, somebody or whoever."""
    return not PERSONS.isdisjoint(words(docstring))


@pytest.mark.parametrize("is_wrong", [is_question, names_persons])
def test_docstrings_are_plain(is_wrong: Callable[[str], bool]) -> None:
    """Each begins with a noun phrase or an imperative, and says what happens."""
    found = {
        f"{path.relative_to(ROOT)}:{line}": text
        for path in [*sources(), *SERVICE.rglob("*.js")]
        for line, text in docstrings(path)
        if is_wrong(text)
    }
    assert found == {}


MAX_WORDS: Final = 25_800
# Made by tools, or by others.
NOT_OURS: Final = {"build", "node_modules"}


def test_the_documents_are_short() -> None:
    """All Markdown files together, without notes, have as many words as one evening can take."""
    paths = [
        path
        for path in ROOT.rglob("*.md")
        if not any(
            part in NOT_OURS or part.startswith(".") for part in path.relative_to(ROOT).parts
        )
        and not path.is_relative_to(ROOT / "docs" / "notes")
    ]
    counts = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").split()) for path in paths
    }
    assert sum(counts.values()) <= MAX_WORDS, counts
