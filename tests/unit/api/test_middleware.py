"""The outermost layer: clients that leave, faults, and compression of other routes."""

import logging
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from service.api.app import create_app
from service.planning.cost_model import CostModel
from service.settings import Settings


@pytest.mark.parametrize("path", ["/matmul", "/v2/models/matmul/infer"])
async def test_a_client_that_leaves_gets_no_response(
    path: str, cost_model: CostModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Its body did not come: nothing is sent, and no failure is counted."""
    app = create_app(Settings(), cost_model=cost_model)
    app.state.service.state = "ready"
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(b"content-length", b"10")],
    }
    with caplog.at_level(logging.INFO, "service"):
        await app(scope, receive, send)
    assert not sent
    assert "client left request" in caplog.text
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://lab") as client:
        (auto, *_) = (await client.get("/v2/models/matmul/stats")).json()["model_stats"]
    assert auto["inference_stats"]["fail"]["count"] == 0


async def test_a_fault_on_a_route_of_the_framework_is_a_problem(
    cost_model: CostModel, caplog: pytest.LogCaptureFixture
) -> None:
    """The response has the request id alone, and the log has the reason."""
    app = create_app(Settings(), cost_model=cost_model)

    async def broken(_: Request) -> Response:
        raise ZeroDivisionError("a fault")

    app.router.add_route("/broken", broken)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://lab") as client:
        answer = await client.get("/broken", headers={"X-Request-Id": "s-1"})
    assert answer.status_code == 500
    assert answer.json()["detail"] == "request s-1 failed"
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "headers",
    [{"Content-Type": "image/png"}, {"Content-Type": "text/css", "Content-Encoding": "br"}],
    ids=["a picture", "compressed already"],
)
async def test_what_would_not_get_smaller_is_not_compressed(
    cost_model: CostModel, headers: dict[str, str]
) -> None:
    """It is sent unchanged, whatever the client accepts."""
    app = create_app(Settings(), cost_model=cost_model)

    async def large(_: Request) -> Response:
        return Response(b"x" * 5000, headers=headers)

    app.router.add_route("/large", large)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://lab") as client:
        wanted = {"Accept-Encoding": "gzip, zstd"}
        async with client.stream("GET", "/large", headers=wanted) as answer:
            raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert raw == b"x" * 5000
    assert answer.headers.get("Content-Encoding") == headers.get("Content-Encoding")
    assert "Vary" not in answer.headers
