"""Code blocks of the documents, and the responses that the pages show for them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.rigs.paths import ROOT

# Its blocks are the sources of the strategies.
SOURCES: Final = ROOT / "docs" / "operations.md"
FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?P<options>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
# An answer follows at once, or after a line that ends in a colon.
BETWEEN: Final = re.compile(r"\s*([^\n]+:\s*)?")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page; `shown` is the block behind it, if that is its answer."""

    page: Path
    language: str
    title: str | None
    code: str
    shown: "Block | None"

    @property
    def name(self) -> str:
        """The page, for reports."""
        return str(self.page.relative_to(ROOT))


def pages() -> list[Path]:
    """The Markdown files of the project."""
    folders = (ROOT, ROOT / "client", ROOT / "openapi")
    beside = [path for folder in folders for path in folder.glob("*.md")]
    return sorted([*beside, *(ROOT / "docs").rglob("*.md")])


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found: Block | None = None
    start = len(text)
    for fence in reversed(list(FENCE.finditer(text))):
        is_next = found is not None and BETWEEN.fullmatch(text[fence.end() : start])
        title = re.search(r'title="([^"]+)"', fence["options"])
        found = Block(
            page,
            fence["language"],
            title[1] if title else None,
            re.sub(rf"^{fence['indent']}", "", fence["code"], flags=re.MULTILINE),
            found if is_next and found and found.language in ("json", "text") else None,
        )
        start = fence.start()
        yield found


def all_blocks(*languages: str) -> list[Block]:
    """Those of all pages in these languages, page by page."""
    return [
        block
        for page in pages()
        if page != SOURCES
        for block in reversed(list(blocks(page)))
        if block.language in languages
    ]
