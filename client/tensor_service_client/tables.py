"""Tables as text for a terminal, at most 100 columns wide, and as HTML for a notebook."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from textwrap import wrap
from typing import Final, TypeAlias

WIDTH: Final = 100
GAP: Final = "  "
NARROW_GAP: Final = " "  # of a table that is too wide for the other one
NO_VALUE: Final = "-"
# Colours and fonts are those of the page around: notebooks are light or dark. Where a page is
# narrow, lines are broken and tables scroll.
BLOCK_STYLE: Final = "overflow-wrap:break-word"
SCROLL_STYLE: Final = "overflow-x:auto"
TABLE_STYLE: Final = "border-collapse:collapse;margin:.3em 0;color:inherit;background:none"
CELL_STYLE: Final = "padding:.1em .7em;border-bottom:1px solid rgba(128,128,128,.35)"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings; columns in `numbers` are aligned on the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[str] = frozenset()
    strong: int | None = None  # the row that HTML shows in bold


Block: TypeAlias = str | Table


class Tabular:
    """A value that is shown as lines of text and tables."""

    __slots__ = ()

    def _blocks(self) -> Iterable[Block]:
        """Yield a title, then more lines and tables."""
        raise NotImplementedError

    def blocks(self) -> list[Block]:
        """Return the lines and tables, the title first."""
        return list(self._blocks())

    def __repr__(self) -> str:
        """Return lines of at most 100 characters."""
        return "\n".join(line for block in self.blocks() for line in _lines(block))

    def _repr_html_(self) -> str:
        """Return HTML for notebooks."""
        title, *others = self.blocks()
        parts = [f"<div><strong>{_html(title)}</strong></div>", *map(_html, others)]
        return f'<div class="tensor-service" style="{BLOCK_STYLE}">{"".join(parts)}</div>'


def grouped(reasons: Iterable[tuple[str, str]]) -> Mapping[str, list[str]]:
    """Return the names by their reasons, in the order in which they come first."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons:
        names.setdefault(reason, []).append(name)
    return names


def _lines(block: Block) -> Iterator[str]:
    if isinstance(block, str):
        yield from wrap(_printable(block), WIDTH, subsequent_indent=GAP)
        return
    rows = [[_printable(cell) for cell in row] for row in (block.columns, *block.rows)]
    gap, widths = _layout(rows)
    for number, row in enumerate(rows):
        cells = [wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
        for line in zip_longest(*cells, fillvalue=""):
            yield gap.join(
                part.rjust(width) if name in block.numbers else part.ljust(width)
                for name, part, width in zip(block.columns, line, widths, strict=True)
            ).rstrip()
        if number == 0:
            yield gap.join("-" * width for width in widths)


def _layout(rows: Sequence[Sequence[str]]) -> tuple[str, list[int]]:
    """Return the gap and the widths of columns; the widest are narrowed until the table fits."""
    widths = [max(1, *map(len, column)) for column in zip(*rows, strict=True)]
    gaps, room = len(widths) - 1, WIDTH - sum(widths)
    gap = GAP if gaps * len(GAP) <= room else NARROW_GAP
    for _ in range(gaps * len(gap) - room):
        widths[widths.index(max(widths))] -= 1
    return gap, widths


def _printable(text: str) -> str:
    """Return the text in one line, without characters that would control a terminal."""
    return "".join(each if each.isprintable() else " " for each in text).strip()


def _html(block: Block) -> str:
    if isinstance(block, str):
        return f"<div>{escape(block)}</div>"
    styles = [_cell_style(name, block) for name in block.columns]
    head = _cells("th", block.columns, styles)
    body = "".join(
        f'<tr style="font-weight:{"bold" if number == block.strong else "normal"}">'
        f"{_cells('td', row, styles)}</tr>"
        for number, row in enumerate(block.rows)
    )
    return (
        f'<div style="{SCROLL_STYLE}"><table style="{TABLE_STYLE}">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell_style(name: str, table: Table) -> str:
    """Return the style of the cells of a column; names and numbers stay in one line."""
    is_number = name in table.numbers
    wrapped = "nowrap" if is_number or name == table.columns[0] else "normal"
    side = "right" if is_number else "left"
    return f"text-align:{side};white-space:{wrapped};{CELL_STYLE}"


def _cells(tag: str, texts: Sequence[str], styles: Sequence[str]) -> str:
    return "".join(
        f'<{tag} style="{style}">{escape(text)}</{tag}>'
        for text, style in zip(texts, styles, strict=True)
    )
