"""The glossary: its terms are those of the code."""

import ast
import re
from typing import Final

from service.settings import Settings
from tests.rigs.paths import ROOT

GLOSSARY: Final = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS: Final = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", GLOSSARY, re.MULTILINE)[2:]


def source() -> str:
    """Return the text of all modules of the service."""
    return "\n".join(path.read_text("utf-8") for path in (ROOT / "service").rglob("*.py"))


def class_names() -> set[str]:
    """Return the names of all classes and functions of the service."""
    definitions = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.walk(ast.parse(source())) if isinstance(node, definitions)}


def test_there_are_25_terms() -> None:
    """Each has one row, and one line."""
    terms = [term for term, _ in ROWS]
    assert len(terms) == len(set(terms)) == 25


def test_terms_occur_in_the_code() -> None:
    """In identifiers, comments or docstrings, as the word itself or its plural."""
    text = source().lower().replace("_", " ")
    assert [term for term, _ in ROWS if not re.search(rf"\b{term}", text)] == []


def test_names_exist() -> None:
    """Each class or function that a row names is defined."""
    named = {name for _, text in ROWS for name in re.findall(r"`([A-Za-z_]+)`", text)}
    words = {"matmul", "einsum", "norm", "broadcast", "inline"}
    words |= {f"SERVICE_{name.upper()}" for name in Settings.model_fields}
    assert named - words - class_names() == set()


def test_the_architecture_links_to_it() -> None:
    """A reader of the architecture finds the terms."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert "(glossary.md)" in page
