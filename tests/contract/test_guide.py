"""The guide at /guide, and other pages in its frame: complete, linked, strict, and kept."""

from html import escape
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urljoin, urlsplit

import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response

from service.api.guide import HTML
from service.guide.resources import PAGES
from service.guide.site import RESOURCES, Site
from tests.rigs.apps import BASE
from tests.rigs.paths import ROOT

BROWSER: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
BROWSERS: Final = (BROWSER, "text/html", "application/json;q=0.1, text/*", "image/png, text/html")
PROGRAMS: Final = (
    "",
    "*/*",
    "*",
    "application/json",
    "application/json, text/html",
    "text/html;q=0.5, */*",
)
NAMES: Final = Site().names
PATHS: Final = [
    *(f"/{Site().address(name)}" for name in NAMES),
    *(f"/{path}" for path in RESOURCES),
    "/problems/shape-mismatch",
]
POLICY: Final = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


class Elements(HTMLParser):
    """The addresses and anchors of a page, and its text inside script and style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.anchors: list[str] = []
        self.inline = ""
        self.attributes: set[str] = set()
        self._tag = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what it names."""
        self._tag = tag
        values = {name: value or "" for name, value in attrs}
        self.attributes |= values.keys()
        found = {values[name] for name in ("href", "src", "data-index") if name in values}
        (self.links if tag == "a" else self.loads).update(found)
        if "id" in values:
            self.anchors.append(values["id"])

    def handle_data(self, data: str) -> None:
        """Keep the text inside script and style."""
        if self._tag in {"script", "style"}:
            self.inline += data.strip()


async def visit(client: AsyncClient, path: str, **headers: str) -> Response:
    """Ask for a page as a browser does."""
    return await client.get(path, headers={"Accept": BROWSER} | headers)


async def test_every_link_leads_somewhere(client: AsyncClient) -> None:
    """Each page is there; so is what it loads and links to, with its anchor."""
    pages = {path: await visit(client, path) for path in PATHS}
    assert {path for path, page in pages.items() if page.status_code != 200} == set()
    elements = {path: Elements(page.text) for path, page in pages.items()}
    targets: set[str] = set()
    for path, found in elements.items():
        assert found.inline == "", path
        assert "style" not in found.attributes, path
        assert not any(name.startswith("on") for name in found.attributes), path
        assert len(found.anchors) == len(set(found.anchors)), path
        for url in found.links | found.loads:
            assert not url.startswith("/"), (path, url)
            if urlsplit(url).scheme:
                assert url not in found.loads
            else:
                targets.add(urljoin(f"{BASE}{path}", url))
    asked: dict[str, Response] = {}
    for target in targets:
        address, _, anchor = target.removeprefix(BASE).partition("#")
        address = address or "/"
        if address not in pages and address not in asked:
            asked[address] = await visit(client, address)
            assert asked[address].status_code == 200, target
        if anchor and address not in elements:
            elements[address] = Elements(asked[address].text)
        assert not anchor or anchor in elements[address].anchors, target
    assert {"/", "/docs"} < asked.keys()


async def test_the_guide_is_the_folder(client: AsyncClient) -> None:
    """Its pages are all files of docs/, and pictures come as they are."""
    docs = ROOT / "docs"
    files = {path.relative_to(docs).with_suffix("").as_posix() for path in docs.rglob("*.md")}
    assert {*NAMES} == files | {"contributing"}
    picture = await client.get("/guide/images/ladder.png")
    assert picture.content == (docs / "images" / "ladder.png").read_bytes()
    assert picture.headers["Content-Type"] == "image/png"


@pytest.mark.parametrize("path", ["/guide", "/guide/adr/0008-keys", "/limits", "/strategies"])
async def test_a_page_is_strict_and_kept(client: AsyncClient, path: str) -> None:
    """Its policy allows files of this host alone; what a browser has is not sent again."""
    first = await visit(client, path)
    assert first.headers["Content-Type"] == "text/html; charset=utf-8"
    assert first.headers["Content-Security-Policy"] == POLICY
    assert first.headers["Cache-Control"] == "no-cache"
    second = await visit(client, path, **{"If-None-Match": first.headers["ETag"]})
    assert (second.status_code, second.content) == (304, b"")
    assert second.headers["ETag"] == first.headers["ETag"]
    assert second.headers.get("Vary") == (None if path.startswith("/guide") else "Accept")
    head = await client.head(path, headers={"Accept": BROWSER})
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(first.content)


async def test_assets_are_kept_for_good(client: AsyncClient) -> None:
    """Under the address that the page has; another version is asked for again."""
    loads = Elements((await client.get("/guide")).text).loads
    files = [url for url in loads if "/files/" in url]
    assert len(files) == 6
    for url in files:
        assert "immutable" in (await client.get(f"/{url}")).headers["Cache-Control"]
    version = files[0].partition("?v=")[2]
    for path in ("/guide/files/guide.css?v=old", f"/guide/limits?v={version}"):
        assert (await client.get(path)).headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/guide/quickstar", "/guide/quickstart"),
        ("/guide/adr/8-keys", "/guide/adr/0008-keys"),
        ("/guide/index", None),
        ("/guide/files/page.html", None),
        ("/guide/images/..%2Findex.md", None),
        ("/guide/%2e%2e/settings.py", None),
        ("/guide/<script>", None),
        ("/guide/quickstar/", None),
        ("/problems/shape-mismach", None),
        ("/matmu", "/matmul"),
    ],
)
async def test_a_page_that_is_not_there(client: AsyncClient, path: str, hint: str | None) -> None:
    """A program gets a problem document; a browser its page, which links to the nearest path.

    Names are looked up in a list, never on the disk.
    """
    found = await client.get(path)
    assert (found.status_code, found.json()["code"]) == (404, "not-found")
    assert hint is None or found.json()["hint"] == f"did you mean '{hint}'?"
    page = await visit(client, path)
    assert page.status_code == 404
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"] == POLICY
    assert all("Accept" in each.headers["Vary"].split(", ") for each in (found, page))
    assert escape(found.json()["detail"]) in page.text
    assert "<script>" not in page.text
    elements = Elements(page.text)
    links = {urljoin(f"{BASE}{path}", url) for url in elements.links | elements.loads}
    assert f"{BASE}/guide/files/guide.css" in {url.partition("?")[0] for url in links}
    assert f"{BASE}/guide/errors#not-found" in links
    assert hint is None or f"{BASE}{hint}" in links
    head = await client.head(path, headers={"Accept": BROWSER})
    assert int(head.headers["Content-Length"]) == len(page.content)


async def test_errors_are_pages_for_browsers_alone(client: AsyncClient) -> None:
    """For a GET of a path that has no form of its own; other headers are those of the document."""
    page = await visit(client, "/matmul")
    assert (page.status_code, page.headers["Allow"]) == (405, "OPTIONS, POST")
    assert 'in a browser, <a href="docs">/docs</a> has every request' in page.text
    posted = await client.post("/limits", headers={"Accept": BROWSER})
    assert posted.headers["Content-Type"] == "application/problem+json"
    assert "Vary" not in posted.headers
    inference = await visit(client, "/v2/models/nothing")
    assert (inference.status_code, [*inference.json()]) == (404, ["error"])
    refused = await client.get("/limits", headers={"Accept": "image/png"})
    assert refused.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path", ["/guide", "/guide/adr/0008-keys", "/limits", "/problems/internal-error"]
)
async def test_a_slash_at_the_end_is_no_other_page(client: AsyncClient, path: str) -> None:
    """Its links are relative, and so is the redirect."""
    response = await visit(client, f"{path}/")
    assert response.status_code == 308
    assert urljoin(f"{BASE}{path}/", response.headers["Location"]) == f"{BASE}{path}"


async def test_pages_work_under_a_prefix(client: AsyncClient) -> None:
    """A proxy may serve them from another path: no address begins with a slash."""
    for path in ("/guide/adr/0008-keys", "/problems/internal-error"):
        found = Elements((await visit(client, path)).text)
        assert [url for url in found.links | found.loads if url.startswith("/")] == []


@pytest.mark.parametrize("path", [f"/{name}" for name in RESOURCES])
async def test_programs_get_json(client: AsyncClient, path: str) -> None:
    """By default, by `*/*`, and where its quality is not lower; the page is for the others."""
    for accepts, media_type in ((PROGRAMS, "application/json"), (BROWSERS, HTML)):
        for accept in accepts if path == "/limits" else accepts[:1]:
            response = await client.get(path, headers={"Accept": accept})
            assert response.headers["Content-Type"].partition(";")[0] == media_type, accept
            assert "Accept" in response.headers["Vary"].split(", ")
    refused = await client.get(path, headers={"Accept": "image/png"})
    assert (refused.status_code, refused.json()["code"]) == (406, "not-acceptable")


def test_every_resource_has_its_page(app: FastAPI) -> None:
    """The document names the pages that there are, and no others."""
    paths = app.openapi()["paths"]
    named = {
        path
        for path, methods in paths.items()
        if HTML in methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
    }
    assert named == {*PAGES}
    assert {f"/{path}" for path in RESOURCES} == named - {"/problems/{code}"}
