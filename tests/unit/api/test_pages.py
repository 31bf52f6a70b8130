"""The lab page and the docs page: complete, from this host alone, with strict policies."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from service.api.pages import (
    LAB_FOLDER,
    OUR_ASSETS,
    SWAGGER_ASSETS,
    WEB,
    docs_routes,
    lab_routes,
)
from tests.rigs.paths import ROOT

BASE = "http://service.test"
# Of upstream's own release, swagger-ui-dist 5.34.0 (docs/adr/0002-swagger-ui-files.md).
UPSTREAM = {
    "favicon-32x32.png": "3ed612f41e050ca5e7000cad6f1cbe7e7da39f65fca99c02e99e6591056e5837",
    "swagger-ui-bundle.js": "3f6abf70480db7e07914df4c98a77385f22ea585eaf457a3e6415ba0eae2d167",
    "swagger-ui.css": "c3cfe8248c4b0b89673600fb829924eafbac6de4bc4b2b06f5f5243483074d0a",
}
FILES = sorted(path.name for path in LAB_FOLDER.iterdir())
MEDIA_TYPES = {
    "docs.css": "text/css",
    "docs.js": "text/javascript",
    "favicon-32x32.png": "image/png",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}


class Tags(HTMLParser):
    """The tags of a page with their attributes, and the text inside script and style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep the text inside script and style."""
        if self.tags and self.tags[-1][0] in {"script", "style"}:
            self.inline += data.strip()

    def addresses(self) -> Iterator[str]:
        """Yield the addresses that the page loads or links to, but for links to other hosts."""
        for tag, attributes in self.tags:
            for key in ("href", "src"):
                if key in attributes and not (tag == "a" and attributes.get("rel") == "noreferrer"):
                    yield attributes[key] or ""

    def outward(self) -> set[str]:
        """Return the addresses of links to other hosts, which nothing loads."""
        links = (attributes for tag, attributes in self.tags if tag == "a")
        return {each["href"] or "" for each in links if each.get("rel") == "noreferrer"}


def client_of(routes: Sequence[Route]) -> httpx.AsyncClient:
    """Return a client of an application with these routes alone."""
    transport = httpx.ASGITransport(Starlette(routes=routes))
    return httpx.AsyncClient(transport=transport, base_url=BASE)


async def test_the_docs_page_forbids_what_it_does_not_need() -> None:
    """Its policy allows scripts, styles and requests of this host, no frames and no forms."""
    async with client_of(docs_routes()) as http:
        response = await http.get("/docs")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(
        part.strip().split(" ", 1)
        for part in response.headers["Content-Security-Policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "style-src": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


async def test_the_docs_page_holds_no_foreign_address_and_no_inline_code() -> None:
    """Its addresses are relative, so that a prefix works; script and style come from files."""
    async with client_of(docs_routes()) as http:
        page = Tags((await http.get("/docs")).text)
    assert list(page.addresses())
    assert [url for url in page.addresses() if re.match(r"[a-z]+:|/", url)] == []
    assert page.inline == ""
    attributes = {name for _, attrs in page.tags for name in attrs}
    assert not {name for name in attributes if name == "style" or name.startswith("on")}
    assert "style" not in {tag for tag, _ in page.tags}


@pytest.mark.parametrize("name", OUR_ASSETS)
def test_our_files_name_no_other_host(name: str) -> None:
    """The files of this project have no address with a host."""
    assert "//" not in re.sub(r"(?m)^\s*//.*$|\s// .*$", "", (WEB / name).read_text("utf-8"))


async def test_the_docs_page_loads_each_file_and_may_keep_it() -> None:
    """Each file is found by the address in the page, which names its content."""
    async with client_of(docs_routes()) as http:
        page = Tags((await http.get("/docs")).text)
        loaded = [url for url in page.addresses() if "assets/" in url]
        assert len(loaded) == len(OUR_ASSETS + SWAGGER_ASSETS)
        for url in loaded:
            response = await http.get(urljoin(f"{BASE}/docs", url))
            name = response.url.path.rsplit("/", 1)[-1]
            assert response.status_code == 200, url
            assert response.headers["Content-Type"].split(";")[0] == MEDIA_TYPES[name]
            assert "immutable" in response.headers["Cache-Control"]


@pytest.mark.parametrize("path", ["/docs", "/docs/assets/docs.js", "/docs/assets/docs.js?v=old"])
async def test_a_known_file_of_the_docs_page_is_not_sent_again(path: str) -> None:
    """A file without the current digest is revalidated, by a 304."""
    async with client_of(docs_routes()) as http:
        first = await http.get(path)
        assert first.headers["Cache-Control"] == "no-cache"
        tags = f'"another", {first.headers["ETag"]}'
        second = await http.get(path, headers={"If-None-Match": tags})
    assert (second.status_code, second.content) == (304, b"")
    assert second.headers["ETag"] == first.headers["ETag"]
    assert second.headers["Content-Security-Policy"] == first.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/docs", "/docs/assets/swagger-ui.css"])
async def test_head_answers_like_get_without_a_body(path: str) -> None:
    """HEAD has the headers of GET."""
    async with client_of(docs_routes()) as http:
        get, head = await http.get(path), await http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == get.headers


@pytest.mark.parametrize("name", ["docs.html", "main.py", "..%2Fapi%2Fdocs.py", "%2e%2e", "x.js"])
async def test_a_file_off_the_list_of_the_docs_page_is_not_found(name: str) -> None:
    """Names are looked up in a list, never on the disk."""
    async with client_of(docs_routes()) as http:
        assert (await http.get(f"/docs/assets/{name}")).status_code == 404


@pytest.mark.parametrize("name", SWAGGER_ASSETS)
async def test_swagger_ui_is_what_upstream_released(name: str) -> None:
    """The package has Swagger UI's files unchanged."""
    async with client_of(docs_routes()) as http:
        content = (await http.get(f"/docs/assets/{name}")).content
    assert sha256(content).hexdigest() == UPSTREAM[name]


def test_a_missing_package_is_named() -> None:
    """The application does not start with half a page."""
    with pytest.raises(ModuleNotFoundError, match="no_such_package: install it"):
        docs_routes("no_such_package")


def test_the_package_is_found_without_running_it() -> None:
    """Its files are used, and none of its code is imported."""
    code = (
        "import sys; from service.api.pages import docs_routes; docs_routes(); "
        "sys.exit('fastapi_swagger' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def front(http: httpx.AsyncClient) -> Tags:
    """Return the tags of the lab page."""
    return Tags((await http.get("/")).text)


async def test_the_lab_page_forbids_what_it_does_not_need() -> None:
    """Its policy allows files and requests of this host, and no text that becomes markup."""
    async with client_of(lab_routes()) as http:
        response = await http.get("/")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


@pytest.mark.parametrize("origins", [(), ("https://a.example.org", "http://b.example.org:8000")])
async def test_the_embedded_page_may_be_framed_by_named_origins(origins: tuple[str, ...]) -> None:
    """It alone names them; the whole page offers the code for it only if there are some."""
    async with client_of(lab_routes(framed_by=origins)) as http:
        whole, embedded, other = [
            await http.get(f"/{query}") for query in ("", "?embed=1", "?embed=0")
        ]
    security = whole.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none';" in security
    assert other.headers["Content-Security-Policy"] == security
    allowed = " ".join(origins) or "'none'"
    assert embedded.headers["Content-Security-Policy"] == security.replace(
        "frame-ancestors 'none'", f"frame-ancestors {allowed}"
    )
    assert ("data-embeddable" in whole.text) == bool(origins)
    assert "data-embeddable" not in embedded.text
    assert 'class="drawing embedded"' in embedded.text
    assert '<base target="_blank">' in embedded.text
    assert other.text == whole.text


async def test_the_lab_page_holds_no_foreign_address_and_no_inline_code() -> None:
    """Its addresses are relative, so that a prefix works; script and style come from files."""
    async with client_of(lab_routes()) as http:
        page = await front(http)
    assert [url for url in page.addresses() if re.match(r"[a-z]+:|/", url)] == []
    assert page.inline == ""
    attributes = {name for _, attrs in page.tags for name in attrs}
    assert not {name for name in attributes if name == "style" or name.startswith("on")}


async def test_the_lab_page_loads_every_file_and_may_keep_it() -> None:
    """Each file is found by the address in the page, which names the content of all."""
    async with client_of(lab_routes()) as http:
        page = await front(http)
        loaded = {url for url in page.addresses() if url.startswith("lab/")}
        assert {url.rsplit("/", 1)[-1] for url in loaded} == set(FILES) - {"index.html"}
        for url in loaded:
            response = await http.get(urljoin(f"{BASE}/", url))
            assert response.status_code == 200, url
            assert "immutable" in response.headers["Cache-Control"]
            assert response.headers["Content-Type"] in {
                "text/css; charset=utf-8",
                "text/javascript; charset=utf-8",
                "image/svg+xml",
            }


async def test_a_change_of_one_file_renames_all(tmp_path: Path) -> None:
    """A module imports others by relative names, which have to change with them."""
    (tmp_path / "index.html").write_text('<script src="lab/a.js"></script>', "utf-8")
    (tmp_path / "a.js").write_text('import "./b.js";', "utf-8")
    addresses = []
    for content in ("1;", "2;"):
        (tmp_path / "b.js").write_text(content, "utf-8")
        async with client_of(lab_routes(tmp_path)) as http:
            addresses.append(next((await front(http)).addresses()))
    assert addresses[0] != addresses[1]


@pytest.mark.parametrize("path", ["/", "/lab/old/main.js"])
async def test_a_known_file_of_the_lab_page_is_not_sent_again(path: str) -> None:
    """A file with another version in its path is revalidated, by a 304."""
    async with client_of(lab_routes()) as http:
        first = await http.get(path)
        assert first.headers["Cache-Control"] == "no-cache"
        second = await http.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (second.status_code, second.content) == (304, b"")


@pytest.mark.parametrize("name", ["index.html", "lab.py", "..%2Fdocs.js", "%2e%2e", "x.js"])
async def test_a_file_off_the_list_of_the_lab_page_is_not_found(name: str) -> None:
    """Names are looked up in a list, never on the disk."""
    async with client_of(lab_routes()) as http:
        assert (await http.get(f"/lab/any/{name}")).status_code == 404


async def test_the_lab_page_links_to_the_sources_of_the_lesson() -> None:
    """These are its notebooks and references, and the tutorial has the same links."""
    async with client_of(lab_routes()) as http:
        links = (await front(http)).outward()
    tutorial = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
    assert links == set(re.findall(r"\]\((https://[^)]+)\)", tutorial))
    assert len(links) == 7


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_short_and_names_no_other_host(name: str) -> None:
    """At most 300 lines; beside links, the one address with a scheme is SVG's namespace."""
    text = (LAB_FOLDER / name).read_text("utf-8")
    assert text.count("\n") <= 300
    links = Tags(text).outward() if name.endswith(".html") else set()
    found = set(re.findall(r"\w+://[^\"'\s>]*", text))
    assert found <= {"http://www.w3.org/2000/svg"} | links
