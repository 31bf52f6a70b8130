"""Authentication, rate limits and CORS, through the ASGI interface."""

from typing import Any

import pytest
from httpx import AsyncClient, Response

from service.http.auth import key_hash, new_key
from service.operations import REGISTRY
from service.settings import Settings
from tests.rigs.apps import Serve

PRODUCT: dict[str, Any] = {"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}
KEY = new_key()
KEYS = f"alice:{key_hash(KEY.encode())},{key_hash(b'another')}"
PAGE = "https://lab.example.org"
GUARDED = [
    *(("POST", f"/{op}{verb}") for op in REGISTRY for verb in ("", "/plan", "/compare")),
    *(("POST", f"/{op}/gradients") for op in ("matmul", "einsum")),
    *(("GET", path) for path in ("/strategies", "/devices", "/limits", "/metrics", "/nothing")),
]
OPEN = ["/health/live", "/health/ready", "/problems", "/problems/unauthorized", "/docs",
        "/docs/assets/docs.js", "/guide", "/openapi.json", "/", "/lab/any/main.js"]  # fmt: skip


def problem(response: Response, status: int, code: str) -> dict[str, Any]:
    """Return the problem document, and assert the headers of every response."""
    found: dict[str, Any] = response.json()
    assert (response.status_code, found["code"]) == (status, code)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-Id"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    return found


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_without_a_key_nothing_is_served(serve: Serve, method: str, path: str) -> None:
    """A path that does not exist gets a 401 like one that does."""
    async with serve(api_keys=KEYS) as client:
        response = await client.request(method, path, json=PRODUCT)
        found = problem(response, 401, "unauthorized")
        assert "Bearer" in found["hint"]
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="tensor service"'


async def test_a_browser_without_a_key_is_shown_where_one_goes(serve: Serve) -> None:
    """The 401 is a page, whose frame and links are open."""
    async with serve(api_keys=KEYS) as client:
        response = await client.get("/strategies", headers={"Accept": "text/html, */*;q=0.8"})
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="tensor service"'
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "the lab page at <code>/</code>" in " ".join(response.text.split())
        assert (await client.get("/guide/files/guide.css")).status_code == 200


async def test_a_key_opens(serve: Serve) -> None:
    """A key in either header is accepted; wrong keys, empty ones and hashes get a 401."""
    async with serve(api_keys=KEYS) as client:
        for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
            response = await client.post("/matmul", json=PRODUCT, headers=headers)
            assert response.status_code == 200
        for wrong in ("", KEY[:-1], KEY + "x", KEYS.split(",")[1], "x" * 10_000):
            response = await client.post("/matmul", json=PRODUCT, headers={"X-API-Key": wrong})
            problem(response, 401, "unauthorized")
            assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
            assert not wrong or wrong not in response.text


class Unread:
    """A body that must not be read."""

    def __aiter__(self) -> "Unread":
        return self

    async def __anext__(self) -> bytes:
        raise AssertionError("it was read")


async def test_a_body_is_not_read_without_a_key(serve: Serve) -> None:
    """The 401 is sent without waiting for it."""
    async with serve(api_keys=KEYS) as client:
        response = await client.post("/matmul", content=Unread())
        problem(response, 401, "unauthorized")


@pytest.mark.parametrize("path", OPEN)
async def test_some_paths_are_open(serve: Serve, path: str) -> None:
    """Health, explanations of problems, and the page to type a key into; without rate limit."""
    async with serve(api_keys=KEYS, rate=0.001, rate_burst=1) as client:
        for _ in range(3):
            assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    "path", ["/healthy", "/docsx", "/openapi.jsonx", "/%2Fhealth", "/%2F", "/labs", "/guides"]
)
async def test_a_path_is_open_by_its_whole_first_part(serve: Serve, path: str) -> None:
    """A common prefix is not enough."""
    async with serve(api_keys=KEYS) as client:
        assert (await client.get(path)).status_code == 401


async def test_a_key_has_a_quota(serve: Serve) -> None:
    """Requests beyond it get a 429 until Retry-After; another key has a quota of its own."""
    async with serve(api_keys=KEYS, rate=0.01, rate_burst=2) as client:
        for _ in range(2):
            response = await client.post("/matmul", json=PRODUCT, headers={"X-API-Key": KEY})
            assert response.status_code == 200
        response = await client.get("/devices", headers={"X-API-Key": KEY})
        found = problem(response, 429, "rate-limited")
        assert "key alice" in found["detail"]
        assert 1 <= int(response.headers["Retry-After"]) <= 100
        response = await client.get("/devices", headers={"X-API-Key": "another"})
        assert response.status_code == 200


async def test_an_address_has_a_quota(serve: Serve) -> None:
    """Without keys, each address has a quota."""
    async with serve(rate=0.01, rate_burst=1) as client:
        assert (await client.post("/matmul", json=PRODUCT)).status_code == 200
        found = problem(await client.post("/matmul", json=PRODUCT), 429, "rate-limited")
        assert "address 127.0.0.1" in found["detail"]


def preflight(method: str = "POST", headers: str = "content-type,x-api-key") -> dict[str, str]:
    """Return the preflight request of a page of PAGE that sends JSON with a key."""
    return {
        "Origin": PAGE,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }


@pytest.mark.parametrize("path", ["/matmul", "/matmul/plan", "/strategies"])
async def test_pages_of_an_origin_on_the_list_may_call(serve: Serve, path: str) -> None:
    """The preflight needs no key, and the page may read results and problems."""
    async with serve(api_keys=KEYS, cors_origins=f"{PAGE},http://localhost:5173") as client:
        asked = await client.options(path, headers=preflight())
        assert asked.status_code == 200
        assert asked.headers["Access-Control-Allow-Origin"] == PAGE
        assert "POST" in asked.headers["Access-Control-Allow-Methods"]
        assert "X-API-Key" in asked.headers["Access-Control-Allow-Headers"]
        assert asked.headers["X-Content-Type-Options"] == "nosniff"
        for headers, status in (({"X-API-Key": KEY}, 200), ({}, 401)):
            response = await client.post(
                "/matmul", json=PRODUCT, headers={**headers, "Origin": PAGE}
            )
            assert response.status_code == status
            assert response.headers["Access-Control-Allow-Origin"] == PAGE
            assert "Server-Timing" in response.headers["Access-Control-Expose-Headers"]
            assert "Origin" in response.headers["Vary"]
            assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(("origins", "status"), [("", 204), ("https://other.example.org", 403)])
async def test_pages_of_other_origins_may_not(serve: Serve, origins: str, status: int) -> None:
    """By default no response has a header that would let a page read it."""
    async with serve(cors_origins=origins) as client:
        asked = await client.options("/matmul", headers=preflight())
        assert asked.status_code == status
        assert "Access-Control-Allow-Origin" not in asked.headers
        if status == 403:
            found = problem(asked, 403, "cross-origin-refused")
            assert found["detail"] == f"pages of {PAGE!r} may not call (SERVICE_CORS_ORIGINS)"
        response = await client.post("/matmul", json=PRODUCT, headers={"Origin": PAGE})
        assert response.status_code == 200
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(("method", "headers"), [("PUT", "accept"), ("POST", "x-nothing")])
async def test_what_a_page_may_send(serve: Serve, method: str, headers: str) -> None:
    """A preflight for another method or header is refused, with what may be sent."""
    async with serve(cors_origins=PAGE) as client:
        asked = await client.options("/matmul", headers=preflight(method, headers))
        detail = problem(asked, 403, "cross-origin-refused")["detail"]
        assert all(part in detail for part in (method, headers, "GET, HEAD, POST", "x-api-key"))


async def test_a_page_reads_that_a_path_is_unknown(serve: Serve) -> None:
    """Its preflight is admitted: a refused one would hide the problem document."""
    async with serve(cors_origins=PAGE) as client:
        assert (await client.options("/nope", headers=preflight())).status_code == 200
        response = await client.post("/nope", json=PRODUCT, headers={"Origin": PAGE})
        problem(response, 404, "not-found")
        assert response.headers["Access-Control-Allow-Origin"] == PAGE


async def test_any_origin_may_call_if_so_set(serve: Serve) -> None:
    """The origin * allows all."""
    async with serve(cors_origins="*") as client:
        response = await client.post("/matmul", json=PRODUCT, headers={"Origin": PAGE})
        assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_the_document_names_the_keys(client: AsyncClient) -> None:
    """It has both schemes; open paths need none; the others describe their 401."""
    found = (await client.get("/openapi.json")).json()
    schemes = found["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert (schemes["key"]["in"], schemes["key"]["name"]) == ("header", "X-API-Key")
    assert found["security"] == [{"bearer": []}, {"key": []}, {}]
    for path, operations in found["paths"].items():
        for operation in operations.values():
            free = path.startswith(("/health/", "/problems", "/v2/health/"))
            assert (operation.get("security") == []) == free
            assert ({"401", "429"} <= operation["responses"].keys()) != free


def test_limits_keep_the_keys_to_themselves() -> None:
    """Neither GET /limits nor a printed setting shows them."""
    assert key_hash(KEY.encode()) not in repr(Settings(api_keys=KEYS))
