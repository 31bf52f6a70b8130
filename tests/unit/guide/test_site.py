"""The guide: its pages, addresses and neighbours, and the check of its links."""

import re
from collections.abc import Mapping
from pathlib import Path
from posixpath import dirname, normpath
from typing import Final

import orjson
import pytest

from service.guide.frame import relative
from service.guide.site import (
    CONTRIBUTING,
    NAVIGATION,
    SERVED,
    STATIC,
    Addresses,
    BrokenLinkError,
    Site,
)
from tests.rigs.paths import ROOT
from tools import site as tool

GOOD: Final = {"docs/notes/n.md": "# N\n\n## B\n", "CONTRIBUTING.md": "# C\n"} | {
    f"docs/{name}.md": f"# {name}\n"
    for names in NAVIGATION.values()
    for name in names
    if name != CONTRIBUTING
}
PICTURE: Final = {"docs/images/p.svg": "<svg/>"}


def sources(folder: Path, files: Mapping[str, str]) -> Path:
    """Write the sources of a guide to a folder, and return it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"docs/x.md": "# X\n"}, ["docs/x.md is not in NAVIGATION"]),
        ({"docs/plan.md": None}, ["docs/plan.md does not exist"]),
        ({"docs/plan.md": "# P\n\n[x](absent.md)"}, ["docs/plan.md: absent.md leads nowhere"]),
        ({"docs/plan.md": "# P\n\n[x](#absent)"}, ["docs/plan.md: #absent leads nowhere"]),
        (
            {"docs/plan.md": "# P\n\n[x](notes/n.md#c) [y](notes/n.md#b) [z](#p)"},
            ["docs/plan.md: notes/n.md#c leads nowhere"],
        ),
        (
            {"docs/notes/n.md": "# N\n\n![x](../images/q.svg) ![y](../images/p.svg)"},
            ["docs/notes/n.md: ../images/q.svg leads nowhere"],
        ),
        ({"CONTRIBUTING.md": "# C\n\n[x](docs/no.md)"}, ["CONTRIBUTING.md: docs/no.md leads"]),
    ],
)
def test_what_leads_nowhere_is_named(
    tmp_path: Path,
    files: dict[str, str | None],
    told: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A page outside the navigation, one that is absent, links, anchors and pictures."""
    changed = {name: text for name, text in (GOOD | PICTURE | files).items() if text is not None}
    folder = sources(tmp_path / "sources", changed)
    with pytest.raises(BrokenLinkError) as caught:
        Site(folder).check()
    lines = str(caught.value).splitlines()
    assert len(lines) == len(told)
    assert all(map(str.startswith, lines, told))
    assert tool.main(tmp_path / "site", folder) == 1
    assert told[0] in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_a_link_to_a_file_outside_is_its_text(tmp_path: Path) -> None:
    """A file of the repository is no page."""
    text = "# P\n\n[the proxy](../deploy/nginx.conf) and [how](../CONTRIBUTING.md#c)\n"
    site = Site(sources(tmp_path, GOOD | {"docs/plan.md": text}))
    site.check()
    assert '<p>the proxy and <a href="contributing#c">how</a></p>' in site.document("plan").html


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as files, as `make site` writes it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "stale.html").touch()
    assert tool.main(folder) == 0
    return folder


def test_the_files_are_complete(folder: Path) -> None:
    """A page for each of docs/ and for CONTRIBUTING.md, and nothing of an earlier build."""
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).with_suffix(".html") for path in docs.rglob("*.md")}
    pages.add(Path("contributing.html"))
    assert {path.relative_to(folder) for path in folder.rglob("*.html")} == pages


def test_each_link_of_the_files_leads_to_one(folder: Path) -> None:
    """From the file system, too; to the assets and pictures as well."""
    for page in folder.rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"#?]+)', page.read_text(encoding="utf-8")):
            if "//" not in target:
                assert (page.parent / target).is_file(), (page, target)


def test_the_command_writes_below_build() -> None:
    """The folder that it replaces is no other one."""
    assert tool.main.__defaults__ == (ROOT / "build" / "site", ROOT)


@pytest.mark.parametrize("addresses", [SERVED, STATIC], ids=["served", "static"])
def test_the_index_has_every_section(addresses: Addresses) -> None:
    """Its addresses are relative to itself."""
    site = Site(ROOT, addresses)
    index = orjson.loads(site.index())
    assert len(index) == sum(len(site.document(name).sections) for name in site.names)
    start = dirname(site._addresses.index)
    for each in index:
        address, _, anchor = each["address"].partition("#")
        assert normpath(f"{start}/{address}".lstrip("/")) in site.contents
        assert anchor
    (limits,) = (each for each in index if each["page"] == each["title"] == "Limits")
    assert limits["address"].startswith("limits")


def test_neighbours_and_the_current_page() -> None:
    """The first page has no previous one, the last no next one; each is marked in the list."""
    site = Site()
    first, second, last = (site.page(site.names[n]).decode() for n in (0, 1, -1))
    assert "<span>Previous</span>" not in first
    assert "<span>Next</span>" in first
    assert "<span>Previous</span>" in second
    assert "<span>Next</span>" not in last
    assert '<a href="quickstart" aria-current="page">' in second


def test_a_short_page_has_no_contents() -> None:
    """With one heading there is nothing to choose."""
    site = Site()
    assert 'id="contents"' not in site.page("load").decode()
    assert 'id="contents"' in site.page("errors").decode()


@pytest.mark.parametrize(
    ("path", "address", "link"),
    [
        ("guide", "guide", "guide"),
        ("guide", "guide/x", "../guide"),
        ("guide", "guide/adr/x", "../../guide"),
        ("guide/y", "guide/x", "y"),
        ("guide/adr/y", "guide", "guide/adr/y"),
        ("", "guide", "./"),
        ("", "problems/x", "../"),
        ("index.html", "adr/x.html", "../index.html"),
    ],
)
def test_links_are_relative(path: str, address: str, link: str) -> None:
    """Without a slash at the end, which would be another address of the same page."""
    assert relative(path, address) == link
