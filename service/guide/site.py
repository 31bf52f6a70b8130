"""The pages of the guide: their order, their addresses, and the links between them.

The service shows them at /guide, and `python -m tools.site` writes them as files. Every page is
rendered when it is first asked for, and kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from posixpath import dirname, normpath
from typing import Final

import orjson

from service.guide.frame import Link, PageContent, frame, relative
from service.guide.markdown import Document, render, title_of

PACKAGE: Final = Path(__file__).parent
# An installed package has a copy of the pages; without an installation they are in the repository.
COPIED: Final = PACKAGE / "pages"
SOURCES: Final = COPIED if COPIED.is_dir() else PACKAGE.parents[1]
WEB: Final = PACKAGE.parent / "web"
ASSETS: Final = {
    path.name: path
    for path in (
        WEB / "lab" / "base.css",
        WEB / "lab" / "icon.svg",
        *sorted((WEB / "guide").glob("*.[cj]s*")),
    )
}
FRONT: Final = "index"
# The section of what a running service answers.
RUNNING: Final = "This service"
# Pages of docs/ by section, in the order of reading. `contributing` is CONTRIBUTING.md.
NAVIGATION: Final = {
    "": (FRONT,),
    "Start": ("quickstart", "install", "tutorial"),
    "Calls": (
        "formats",
        "languages",
        "client",
        "chain",
        "plan",
        "compare",
        "compiled",
        "timing",
        "open-inference-protocol",
    ),
    "Reference": ("operations", "limits", "settings", "errors"),
    "Operation": ("manual", "gpu", "deploy", "cluster", "access", "monitoring", "load"),
    RUNNING: (),
    "Inside": ("architecture", "glossary", "performance", "contributing"),
}
# Sections that have every page of a folder.
FOLDERS: Final = {"Decisions": "adr", "Notes": "notes"}
CONTRIBUTING: Final = "contributing"


class BrokenLinkError(Exception):
    """Links and pages of the guide that lead nowhere."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The places of pages and files, as paths from the root of a host or of a folder."""

    front: str
    page: str
    assets: str
    images: str
    index: str
    # Whether a service shows them, beside its other pages.
    is_served: bool


SERVED: Final = Addresses(
    "guide", "guide/{}", "guide/files", "guide/images", "guide/search.json", is_served=True
)
STATIC: Final = Addresses(
    "index.html", "{}.html", "files", "images", "search.json", is_served=False
)
# Resources of the service that are pages in the frame of the guide, and its other pages.
RESOURCES: Final = {
    "strategies": "Strategies",
    "devices": "Devices",
    "limits": "Limits",
    "problems": "Problem codes",
}
OTHER_PAGES: Final = {"": "Lab", "docs": "Swagger UI"}


class Site:
    """The guide made of the files in `sources`."""

    def __init__(self, sources: Path = SOURCES, addresses: Addresses = SERVED):
        """Make pages with the addresses of a service, or with those of files."""
        self._sources = sources
        self._addresses = addresses
        docs = sources / "docs"
        self.sections: dict[str, tuple[str, ...]] = NAVIGATION | {
            title: tuple(f"{folder}/{path.stem}" for path in sorted((docs / folder).glob("*.md")))
            for title, folder in FOLDERS.items()
        }
        self.names = tuple(name for names in self.sections.values() for name in names)
        self.images = tuple(sorted(path.name for path in (docs / "images").glob("*.*")))
        self._by_source = {self.source(name): name for name in self.names}
        self._documents: dict[str, Document] = {}
        # Of each link to a page: where it stands, what it names, and the page, if there is one.
        self._links: list[tuple[str, str, str | None]] = []

    def source(self, name: str) -> str:
        """Return the path of a page's Markdown in the repository."""
        return "CONTRIBUTING.md" if name == CONTRIBUTING else f"docs/{name}.md"

    def address(self, name: str) -> str:
        """Return the address of a page."""
        return self._addresses.front if name == FRONT else self._addresses.page.format(name)

    @property
    def assets(self) -> str:
        """The address of the folder of assets."""
        return self._addresses.assets

    @cached_property
    def version(self) -> str:
        """A digest of all assets, which changes with any of them."""
        digests = (sha256(path.read_bytes()).digest() for path in ASSETS.values())
        return sha256(b"".join(digests)).hexdigest()[:16]

    @cached_property
    def contents(self) -> dict[str, Callable[[], bytes]]:
        """The functions that make the contents, by address."""
        own = self._addresses
        images = self._sources / "docs" / "images"
        return {
            **{self.address(name): partial(self.page, name) for name in self.names},
            **{f"{own.images}/{name}": (images / name).read_bytes for name in self.images},
            **{f"{own.assets}/{name}": path.read_bytes for name, path in ASSETS.items()},
            own.index: self.index,
        }

    @cached_property
    def titles(self) -> dict[str, str]:
        """The title of each page."""
        return {name: title_of(self._text(name)) for name in self.names}

    def document(self, name: str) -> Document:
        """Return the rendered text of a page."""
        found = self._documents.get(name)
        if found is None:
            found = render(self._text(name), lambda target: self._resolve(name, target))
            self._documents[name] = found
        return found

    def page(self, name: str) -> bytes:
        """Return a page as HTML."""
        document, at = self.document(name), self.names.index(name)
        content = PageContent(
            self.titles[name],
            document.html,
            tuple(section.heading for section in document.sections),
            previous=self._link(self.names[at - 1]) if at else None,
            following=self._link(self.names[at + 1]) if at + 1 < len(self.names) else None,
        )
        return self.frame(content, self.address(name)).encode()

    def frame(self, content: PageContent, address: str) -> str:
        """Return a page at `address`, with links to all the others."""
        own = self._addresses
        sections = {
            title: [self._link(name) for name in names] for title, names in self.sections.items()
        }
        sections[RUNNING] = [Link(path, text) for path, text in RESOURCES.items() if own.is_served]
        others = [Link(path, text) for path, text in OTHER_PAGES.items() if own.is_served]
        return frame(
            content,
            address,
            sections=sections,
            others=others,
            front=own.front,
            assets=own.assets,
            version=f"?v={self.version}" if own.is_served else "",
            index=own.index,
        )

    def index(self) -> bytes:
        """Return what the search looks in: each section's titles, address and text, as JSON."""
        own = self._addresses.index
        return orjson.dumps(
            [
                {
                    "page": self.titles[name],
                    "title": section.heading.text,
                    "address": f"{relative(self.address(name), own)}#{section.heading.anchor}",
                    "text": section.text,
                }
                for name in self.names
                for section in self.document(name).sections
            ]
        )

    def check(self) -> None:
        """Raise BrokenLinkError if a page is in no section, or a link leads nowhere."""
        docs = self._sources / "docs"
        files = {path.relative_to(self._sources).as_posix() for path in docs.rglob("*.md")}
        files.add(self.source(CONTRIBUTING))
        found = [f"{path} is not in NAVIGATION" for path in sorted(files - {*self._by_source})]
        found += [f"{path} does not exist" for path in sorted({*self._by_source} - files)]
        found = found or [*self._broken_links()]
        if found:
            raise BrokenLinkError("\n".join(found))

    def _broken_links(self) -> Iterator[str]:
        anchors = {
            name: {section.heading.anchor for section in self.document(name).sections}
            for name in self.names
        }
        for name, target, page in self._links:
            anchor = target.partition("#")[2]
            if page is None or (anchor and anchor not in anchors[page]):
                yield f"{self.source(name)}: {target} leads nowhere"

    def _text(self, name: str) -> str:
        return (self._sources / self.source(name)).read_text(encoding="utf-8")

    def _link(self, name: str) -> Link:
        return Link(self.address(name), self.titles[name])

    def _resolve(self, name: str, target: str) -> str | None:
        """Return the address of what a page links to, or None for a file outside the guide."""
        path, mark, anchor = target.partition("#")
        source = normpath(f"{dirname(self.source(name))}/{path}".lstrip("/"))
        page = self._by_source.get(source) if path else name
        own = self.address(name)
        folder, _, file = source.rpartition("/")
        if folder == "docs/images" and file in self.images:
            return relative(f"{self._addresses.images}/{file}", own)
        if page is None and not source.startswith("docs/"):
            return None
        self._links.append((name, target, page))
        if page is None or not path:
            return target
        return relative(self.address(page), own) + mark + anchor
