"""Requests as common clients send them, and paths with a slash at their end."""

import json
import subprocess
from pathlib import Path
from typing import Final

import httpx
import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from tests.rigs.requirements import needs

MATMUL: Final = {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}
PRODUCT: Final = [[19.0, 22.0], [43.0, 50.0]]
BROWSER: Final = "text/html,application/xhtml+xml,application/xml;q=0.9"
# What each client sends unless it is told otherwise. None: the header is not there.
CLIENTS: Final[dict[str, tuple[str | None, str | None]]] = {
    "curl": ("*/*", None),
    "wget": ("*/*", "identity"),
    "requests": ("*/*", "gzip, deflate, br, zstd"),
    "httpx": ("*/*", "gzip, deflate, br, zstd"),
    "aiohttp": ("*/*", "gzip, deflate"),
    "urllib": (None, "identity"),
    "Java URLConnection": ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", None),
    "Java URLConnection, 20": ("text/html, image/gif, image/jpeg, */*; q=0.2", None),
    "Java HttpClient": (None, None),
    "Go": (None, "gzip"),
    "node fetch": ("*/*", "gzip, deflate"),
    "node http": (None, None),
    "Chrome": (
        f"{BROWSER},image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3",
        "gzip, deflate, br, zstd",
    ),
    "Firefox": (f"{BROWSER},image/avif,image/webp,*/*;q=0.8", "gzip, deflate, br, zstd"),
    "Safari": (f"{BROWSER},*/*;q=0.8", "gzip, deflate"),
    ".NET HttpClient": (None, None),
    "PHP curl": ("*/*", None),
    "PHP streams": (None, None),
    "Ruby Net::HTTP": ("*/*", "gzip;q=1.0,deflate;q=0.6,identity;q=0.3"),
}
# Lists that are no good, and yet admit JSON.
LENIENT: Final = [
    "", " ", ",", ";", ",;=", "*", "*;q=.2", "*/*;q=", "*/*;q", "*/*;q=high", "*/*;q=nan",
    "*/*;q=2", "application/json;q=0.12345", "application/json; Q = 1", "*/* ; q=1.",
    'text/html;title="a,b;q=0", */*', 'text/html;title="a, */*', "text/html;;=;q;;, */*;;q=.1;",
    "*/*;q=0.5;q=x", "application/*;q=+1", "\tapplication/json\t;\tq=0.5",
]  # fmt: skip


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_is_answered(app: FastAPI, name: str) -> None:
    """With a product in JSON, and with each page, whatever its defaults are."""
    accept, coding = CLIENTS[name]
    given = {"Accept": accept, "Accept-Encoding": coding}
    transport = httpx.ASGITransport(app=app)
    async with AsyncClient(transport=transport, base_url="http://service.test") as client:
        client.headers = httpx.Headers({k: v for k, v in given.items() if v is not None})
        for path in ("/matmul", "/matmul/plan", "/matmul/compare"):
            response = await client.post(path, json=MATMUL)
            assert response.status_code == 200, response.text
            assert response.headers["Content-Type"] == "application/json"
        for path in ("/strategies", "/docs", "/metrics", "/problems", "/openapi.json", "/"):
            response = await client.get(path)
            assert response.status_code == 200, path


@pytest.mark.parametrize("accept", LENIENT)
async def test_what_cannot_be_read_admits_json(client: AsyncClient, accept: str) -> None:
    """A quality that cannot be read is 1, one out of range is clamped, and no list admits all."""
    response = await client.post("/matmul", json=MATMUL, headers={"Accept": accept})
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json;q=.2, application/octet-stream;q=.3", "application/octet-stream"),
        ("application/octet-stream;q=9, application/json;q=1", "application/json"),
        ("application/json;q=-1, application/octet-stream;q=0.1", "application/octet-stream"),
        ("application/json;q=0.9, application/octet-stream;q=?", "application/octet-stream"),
        ("*;q=0.9, application/json;q=0.1", "application/x-safetensors"),
        ("*/*;q=0.1, *;q=0.9, application/json;q=0.5", "application/json"),
    ],
)
async def test_qualities_are_compared(client: AsyncClient, accept: str, kind: str) -> None:
    """As far as they can be read."""
    response = await client.post("/matmul", json=MATMUL, headers={"Accept": accept})
    assert response.headers["Content-Type"] == kind


REPEATED: Final = [
    ("Accept", ("application/json", "text/plain"), 200),
    ("Accept", ("text/plain", "image/png"), 406),
    ("Content-Encoding", ("gzip", "gzip"), 415),
    ("Content-Encoding", ("gzip", "identity"), 415),
    ("Content-Type", ("application/x-npy", "application/json"), 415),
    ("Content-Type", ("application/json; charset=utf-8", "application/json"), 415),
]


@pytest.mark.parametrize("path", ["/matmul", "/matmul/plan"])
@pytest.mark.parametrize(("name", "values", "status"), REPEATED)
async def test_lines_of_one_header_are_one_list(
    client: AsyncClient, path: str, name: str, values: tuple[str, str], status: int
) -> None:
    """As RFC 9110 has it (section 5.3): several lines are answered as one line of the same values.

    A Content-Type is no list (section 8.3): of two, none can be trusted to be the body's.
    """
    sent = {}
    for headers in ([(name, value) for value in values], [(name, ", ".join(values))]):
        response = await client.post(path, json=MATMUL, headers=headers)
        sent[len(headers)] = response.status_code, response.json().get("detail")
    assert sent[2] == sent[1]
    assert sent[2][0] == status
    if name == "Content-Type":
        assert sent[2][1].endswith("names several media types; a body has one")


async def test_lines_of_one_header_count_elsewhere(client: AsyncClient) -> None:
    """Other routes are negotiated by the same rule, and so is compression."""
    lines = [("Accept", "application/json"), ("Accept", "text/plain")]
    assert (await client.get("/strategies", headers=lines)).status_code == 200
    coded = [("Accept-Encoding", "gzip"), ("Accept-Encoding", "br;q=0.5")]
    response = await client.get("/strategies", headers=coded)
    assert response.headers["Content-Encoding"] == "gzip"


SLASHED: Final = (
    "/strategies", "/devices", "/limits", "/health/live", "/problems", "/problems/not-found",
    "/metrics", "/openapi.json", "/v2", "/v2/models/matmul", "/v2/models/matmul/versions/torch",
    "/v2/health/live",
)  # fmt: skip


async def test_a_slash_at_the_end_of_a_path(client: AsyncClient) -> None:
    """Each route is served there, too, and counted as the same route."""
    infer = {
        "inputs": [
            {"name": name, "shape": [1], "datatype": "FP32", "data": [2]} for name in ("a", "b")
        ]
    }
    posts: dict[str, object] = {
        "/matmul": MATMUL,
        "/matmul/plan": MATMUL,
        "/matmul/compare": MATMUL,
    }
    posts |= {"/v2/models/matmul/infer": infer, "/v2/models/matmul/versions/torch/infer": infer}
    for path, body in posts.items():
        response = await client.post(path + "/", json=body)
        assert response.status_code == 200, response.text
    for path in SLASHED:
        response = await client.get(path + "/")
        assert response.status_code == 200, path
        assert response.headers["Content-Type"] == (await client.get(path)).headers["Content-Type"]
    for path in ("/matmul//", "/nothing/"):
        response = await client.post(path, json=MATMUL)
        assert (response.status_code, response.json()["code"]) == (404, "not-found")
    text = (await client.get("/metrics")).text
    assert 'route="/matmul"' in text
    assert 'route="/matmul/plan"' in text
    assert '/"' not in text.replace('route="/"', "")


async def test_a_slash_does_not_open_a_path(client: AsyncClient) -> None:
    """Methods are those of the path, and refusals have the form of its protocol."""
    response = await client.get("/matmul/")
    assert (response.status_code, response.headers["Allow"]) == (405, "OPTIONS, POST")
    assert (await client.post("/v2/models/x/infer/", json={})).json().keys() == {"error"}


@pytest.mark.parametrize("root", ["", "/tensors"])
async def test_the_docs_page_moves_to_where_its_links_hold(app: FastAPI, root: str) -> None:
    """By a relative address, which keeps the prefix and the scheme of a proxy."""
    transport = httpx.ASGITransport(app=app, root_path=root)
    async with AsyncClient(transport=transport, base_url=f"https://lab.example{root}") as client:
        response = await client.get("/docs/")
        assert (response.status_code, response.headers["Location"]) == (308, "../docs")
        page = await client.get("/docs/", follow_redirects=True)
        assert (page.status_code, str(page.url)) == (200, f"https://lab.example{root}/docs")
        front = await client.get("/")
        assert front.status_code == 200
        style = await client.get(str(page.url.join("docs/assets/docs.css")))
        assert style.status_code == 200


def printed(*command: str) -> str:
    """Return what a command prints; it has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


JAVA: Final = """
import java.net.*;

public class Post {
    public static void main(String[] given) throws Exception {
        HttpURLConnection call = (HttpURLConnection) URI.create(given[0]).toURL().openConnection();
        call.setRequestProperty("Content-Type", "application/json");
        call.setDoOutput(true);
        call.getOutputStream().write(given[1].getBytes("UTF-8"));
        System.out.print(new String(call.getInputStream().readAllBytes(), "UTF-8"));
    }
}
"""
NODE: Final = """
const [url, body] = process.argv.slice(1);
const headers = { "Content-Type": "application/json" };
fetch(url, { method: "POST", headers, body }).then((r) => r.text()).then(console.log);
"""
JSON_TYPE: Final = "Content-Type: application/json"


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=needs(name)) for name in ("curl", "wget", "java", "node")],
)
def test_a_client_of_this_host(base_url: str, name: str, slash: str, tmp_path: Path) -> None:
    """It posts a product by its own defaults and reads the answer."""
    url, body = f"{base_url}/matmul{slash}", json.dumps(MATMUL)
    source = tmp_path / "Post.java"
    source.write_text(JAVA, encoding="utf-8")
    command = {
        "curl": ("curl", "-sSf", "-H", JSON_TYPE, "-d", body, url),
        "wget": ("wget", "-qO-", f"--header={JSON_TYPE}", f"--post-data={body}", url),
        "java": ("java", str(source), url, body),
        "node": ("node", "-e", NODE, url, body),
    }[name]
    assert json.loads(printed(*command))["result"]["data"] == PRODUCT
