"""The frame of a page: its head, the list of all pages, its contents, and its neighbours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from posixpath import basename, dirname, relpath
from string import Template
from typing import Final

from service.guide.markdown import Heading

TEMPLATE: Final = Path(__file__).parents[1] / "web" / "guide" / "page.html"
SITE_TITLE: Final = "Tensor service"
# Headings of these levels are in the contents of a page.
LISTED: Final = range(2, 4)


@dataclass(frozen=True, slots=True)
class Link:
    """A page by its path from the root, and the text of a link to it."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class PageContent:
    """The content of a page, and its neighbours in the order of reading."""

    title: str
    html: str
    headings: tuple[Heading, ...] = ()
    previous: Link | None = None
    following: Link | None = None


def relative(path: str, address: str) -> str:
    """Return a path from the root as a link on the page at `address`."""
    folder = relpath(dirname(path) or ".", dirname(address) or ".")
    return f"{folder}/{basename(path)}".removeprefix("./") or "./"


def frame(
    content: PageContent,
    address: str,
    *,
    sections: Mapping[str, Sequence[Link]],
    others: Sequence[Link],
    front: str,
    assets: str,
    version: str,
    index: str,
) -> str:
    """Return the page at `address`; paths become relative, so that it works under a prefix.

    `version` stands behind the address of each of the `assets`, so that a browser may keep them.
    """
    title = content.title if address == front else f"{content.title} · {SITE_TITLE}"
    return _template().substitute(
        title=escape(title),
        site=SITE_TITLE,
        front=relative(front, address),
        assets=relative(assets, address),
        version=version,
        index=relative(index, address),
        others="".join(_anchor(link, address) for link in others),
        pages="".join(_section(name, links, address) for name, links in sections.items()),
        contents=_contents(content.headings),
        content=content.html,
        neighbours=_neighbours(content, address),
    )


@cache
def _template() -> Template:
    return Template(TEMPLATE.read_text(encoding="utf-8"))


def _anchor(link: Link, address: str) -> str:
    current = ' aria-current="page"' if link.path == address else ""
    return f'<a href="{relative(link.path, address)}"{current}>{escape(link.text)}</a>'


def _items(anchors: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{anchor}</li>' for anchor in anchors)}</ul>"


def _section(name: str, links: Sequence[Link], address: str) -> str:
    """Return one section of the list of pages, with a title unless it is the first."""
    if not links:
        return ""
    head = f"<h2>{escape(name)}</h2>" if name else ""
    return head + _items(_anchor(link, address) for link in links)


def _contents(headings: Sequence[Heading]) -> str:
    """Return the contents of a page, or nothing if it has fewer than two headings to list."""
    listed = [heading for heading in headings if heading.level in LISTED]
    if len(listed) < 2:
        return ""
    items = _items(
        f'<a href="#{each.anchor}" class="level-{each.level}">{escape(each.text)}</a>'
        for each in listed
    )
    return (
        '<nav id="contents" popover aria-labelledby="contents-title">'
        f'<h2 id="contents-title">On this page</h2>{items}</nav>'
    )


def _neighbours(content: PageContent, address: str) -> str:
    """Return the links to the previous and the next page."""
    found = [
        f"<span>{label}</span>{_anchor(link, address)}"
        for label, link in (("Previous", content.previous), ("Next", content.following))
        if link is not None
    ]
    if not found:
        return ""
    return f'<nav class="neighbours" aria-label="Neighbours">{_items(found)}</nav>'
