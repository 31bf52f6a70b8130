"""Tests of tables as text and as HTML."""

import re
from collections.abc import Iterator

import pytest

from tensor_service_client.tables import WIDTH, Block, Table, Tabular, grouped


class Shown(Tabular):
    """A value that is shown by these blocks."""

    def __init__(self, *blocks: Block):
        self._given = blocks

    def _blocks(self) -> Iterator[Block]:
        yield from self._given


def test_a_table_as_text() -> None:
    """Numbers are on the right, and lines end with the last character."""
    table = Table(("name", "time"), [("loops", "1.05 s"), ("torch", "9 us")], frozenset({"time"}))
    assert repr(Shown("a race", table)).splitlines() == [
        "a race",
        "name     time",
        "-----  ------",
        "loops  1.05 s",
        "torch    9 us",
    ]


def test_a_wide_table_is_wrapped() -> None:
    """No line is wider than a terminal, and no word is lost."""
    words = [f"word{number}" for number in range(60)]
    table = Table(("name", "reason", "other"), [("x" * 150, " ".join(words), "end")])
    text = repr(Shown("t" * 120, table, " ".join(words)))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert all(text.count(word) >= 2 for word in words)
    assert "x" * 150 in "".join(line.split()[0] for line in text.splitlines())


@pytest.mark.parametrize(("size", "gap"), [(30, "  "), (31, " "), (32, " ")])
def test_a_table_that_nearly_fits(size: int, gap: str) -> None:
    """Its columns are nearer, and no cell is wrapped."""
    cells = ["x" * 33, "y y" * 11, "z" * size]
    assert repr(Shown("a", Table(("a", "b", "c"), [cells]))).splitlines()[3:] == [gap.join(cells)]


def test_a_terminal_is_not_controlled() -> None:
    """Escapes and newlines in a cell are spaces."""
    text = repr(Shown("\x1b[2J", Table(("a",), [("b\nc\x07",)])))
    assert text.splitlines() == ["[2J", "a", "---", "b c"]


def test_html_is_escaped() -> None:
    """In lines, headings and cells; one row is bold, and no colour is set that a page has not."""
    table = Table(("<a>", "n"), [("<b>&", "1"), ("c", "2")], frozenset({"n"}), strong=1)
    text = Shown("<script>", table, "<i>")._repr_html_()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "&lt;a&gt;" in text
    assert "&lt;b&gt;&amp;" in text
    assert "<i>" not in text
    bold = text.index("font-weight:bold")
    assert text.index("&lt;b&gt;") < bold < text.index(">c<")
    assert "color:inherit;background:none" in text


def test_html_in_a_narrow_page() -> None:
    """A table scrolls; names and numbers stay in one line, other text is wrapped."""
    table = Table(("name", "text", "n"), [("torch", "some words", "1 s")], frozenset({"n"}))
    text = Shown("a race", table)._repr_html_()
    assert text.startswith('<div class="tensor-service" style="overflow-wrap:break-word">')
    assert '<div style="overflow-x:auto"><table' in text
    cells = re.findall('<t[dh] style="([^"]*)">(.*?)</t[dh]>', text)
    wrapped = [word for style, word in cells if "white-space:normal" in style]
    assert wrapped == ["text", "some words"]
    assert len(cells) == 6
    assert [word for style, word in cells if "text-align:right" in style] == ["n", "1 s"]


def test_names_are_grouped_by_reason() -> None:
    """In the order of the first name."""
    assert grouped([("a", "x"), ("b", "y"), ("c", "x")]) == {"x": ["a", "c"], "y": ["b"]}


def test_blocks_are_those_of_a_type() -> None:
    """The base has none."""
    with pytest.raises(NotImplementedError):
        Tabular().blocks()
