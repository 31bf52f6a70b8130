"""The lab page is whole, comes from here alone, and carries a policy without an exception."""

import re
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from starlette.applications import Starlette

from service.api.pages import LAB_FOLDER, lab_routes
from tests.unit.api.test_swagger_page import Tags

pytestmark = pytest.mark.anyio

BASE = "http://service.test"
FILES = sorted(path.name for path in LAB_FOLDER.iterdir())


def client(folder: Path = LAB_FOLDER) -> httpx.AsyncClient:
    """A client of an application that is nothing but the lab page."""
    transport = httpx.ASGITransport(Starlette(routes=lab_routes(folder)))
    return httpx.AsyncClient(transport=transport, base_url=BASE)


async def front(http: httpx.AsyncClient) -> Tags:
    """The page, read."""
    return Tags((await http.get("/")).text)


async def test_the_page_forbids_what_it_does_not_need() -> None:
    """Files and requests of this host only, and no text that becomes markup."""
    async with client() as http:
        response = await http.get("/")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    assert response.headers["Referrer-Policy"] == "no-referrer"


async def test_the_page_holds_no_foreign_address_and_no_inline_code() -> None:
    """Its addresses are relative, so that a prefix works; script and style come from files."""
    async with client() as http:
        page = await front(http)
    assert [url for url in page.addresses() if re.match(r"[a-z]+:|/", url)] == []
    assert page.inline == ""
    attributes = {name for _, attrs in page.tags for name in attrs}
    assert not {name for name in attributes if name == "style" or name.startswith("on")}


async def test_the_page_loads_every_file_and_may_keep_it() -> None:
    """Each is there under the address in the page, which names the content of them all."""
    async with client() as http:
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
    """A module imports its neighbours by relative names: they are as new as it is."""
    (tmp_path / "index.html").write_text('<script src="lab/a.js"></script>', "utf-8")
    (tmp_path / "a.js").write_text('import "./b.js";', "utf-8")
    addresses = []
    for content in ("1;", "2;"):
        (tmp_path / "b.js").write_text(content, "utf-8")
        async with client(tmp_path) as http:
            addresses.append(next((await front(http)).addresses()))
    assert addresses[0] != addresses[1]


@pytest.mark.parametrize("path", ["/", "/lab/old/main.js"])
async def test_a_known_file_is_not_sent_again(path: str) -> None:
    """Without the name of the day a file is asked for anew, and a 304 answers."""
    async with client() as http:
        first = await http.get(path)
        assert first.headers["Cache-Control"] == "no-cache"
        second = await http.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (second.status_code, second.content) == (304, b"")


@pytest.mark.parametrize("name", ["index.html", "lab.py", "..%2Fdocs.js", "%2e%2e", "x.js"])
async def test_a_file_off_the_list_is_not_found(name: str) -> None:
    """Names are looked up in a list, never on the disk."""
    async with client() as http:
        assert (await http.get(f"/lab/any/{name}")).status_code == 404


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_short_and_names_no_other_host(name: str) -> None:
    """At most 300 lines; the one address with a scheme is that of SVG's namespace."""
    text = (LAB_FOLDER / name).read_text("utf-8")
    assert text.count("\n") <= 300
    assert set(re.findall(r"\w+://[^\"'\s>]*", text)) <= {"http://www.w3.org/2000/svg"}
