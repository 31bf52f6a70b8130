"""Requests drawn from the OpenAPI document: no 5xx, and nothing that the document does not say."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.app import create_app
from service.planning.cost_model import CostModel
from service.settings import Settings
from tests.cases import SLOW

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def operations() -> list[tuple[str, str, GenerationMode]]:
    """Every path and method of the document; requests can be bad where there is a body."""
    paths = create_app(Settings()).openapi()["paths"]
    return [
        (path, method, mode)
        for path, methods in paths.items()
        for method, described in methods.items()
        for mode in GenerationMode
        if "requestBody" in described or mode == GenerationMode.POSITIVE
    ]


@pytest.fixture(scope="module")
def ready(cost_model: CostModel) -> Iterator[ASGIApp]:
    """The service, ready to compute, and deaf to the startup and shutdown of each client."""
    app = create_app(Settings(), cost_model=cost_model)
    app.state.service.engine.warm_up()
    app.state.service.state = "ready"

    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)
            return
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})

    yield deaf
    app.state.service.threads.close()


@pytest.mark.parametrize(("path", "method", "mode"), operations())
def test_drawn_requests_are_answered_as_described(
    ready: ASGIApp, path: str, method: str, mode: GenerationMode
) -> None:
    """Good requests and bad ones: status, media type and body are those of the document."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", ready)
    strategy = schema[path][method].as_strategy(generation_mode=mode)

    @settings(
        max_examples=15 if path == "/chain/compare" else 40,  # races of chains take a second
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def holds(case: schemathesis.Case[Any]) -> None:
        if case.media_type == "application/json":
            case.query = {}  # a field that is drawn in both places would be refused
        if isinstance(case.body, dict) and case.body.get("deadline_ms") in range(1, 1000):
            case.body["deadline_ms"] = 1000  # a shorter one may pass, which is a 504 and right
        if any(f'"{name}"' in json.dumps(case.body, default=str) for name in SLOW):
            return  # its first call may take longer than a client waits
        case.call_and_validate(checks=CHECKS, timeout=60)  # a race takes seconds on a busy host

    holds()
