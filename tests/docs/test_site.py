"""The site of docs/: every page and link is there, and nothing comes from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest

from tests.rigs.paths import ROOT

# Elements that load what they name; a link that a reader follows does not.
LOADS: Final = frozenset(
    ("audio", "embed", "iframe", "img", "input", "link", "object", "script", "source", "video")
)
# Of <link>, what is not loaded: where a page is at home, and its neighbours.
NAMES: Final = {"canonical", "next", "prev"}


class Loads(HTMLParser):
    """Collects the addresses that a page loads."""

    def __init__(self) -> None:
        """Nothing yet."""
        super().__init__()
        self.found: list[str] = []
        self.classes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        values = {name: value or "" for name, value in attrs}
        self.classes |= set(values.get("class", "").split())
        if tag in LOADS and values.get("rel") not in NAMES:
            self.found += [values[name] for name in ("src", "href", "data") if name in values]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    """Those of docs/ and CONTRIBUTING.md, and every page leads to them."""
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).with_suffix(".html") for path in docs.rglob("*.md")}
    pages.add(Path("contributing.html"))
    assert pages == {path.relative_to(site) for path in site.rglob("*.html")} - {Path("404.html")}
    home = (site / "index.html").read_text(encoding="utf-8")
    assert all(f'href="{page}"' in home or page.name == "index.html" for page in pages)


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    """No script, style, font or picture; nor a diagram, whose script the theme would fetch."""
    for page in site.rglob("*.html"):
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert loads.found
        assert [url for url in loads.found if re.match(r"([a-z]+:)?//", url)] == []
        assert "mermaid" not in loads.classes
    for style in [*site.rglob("*.css"), *site.rglob("*.svg")]:
        text = style.read_text(encoding="utf-8")
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']*", text) == []


def test_links_out_of_the_pages_stand_as_text(site: Path) -> None:
    """A file of the repository is no page of the site."""
    text = (site / "languages.html").read_text(encoding="utf-8")
    assert "openapi/README.md" in text
    assert 'href="../openapi' not in text


def test_contributing_is_a_page(site: Path) -> None:
    """Its links lead to pages of the site; those to other files stand as text."""
    text = (site / "contributing.html").read_text(encoding="utf-8")
    assert 'href="performance.html"' in text
    assert "CHANGELOG.md" in text
    assert 'href="CHANGELOG' not in text
