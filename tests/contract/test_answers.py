"""Examples of answers in the OpenAPI document: what the service answers, but for times and host."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import AsyncClient
from jsonschema import Draft202012Validator

from service.api.openapi.answers import UNNAMED, load_answers
from tests.contract.test_openapi import document
from tools.answers import Request, is_same, requests, send, services

REQUESTS = [*requests(document())]


@pytest.fixture(scope="module")
async def clients(client: AsyncClient) -> AsyncIterator[dict[str, AsyncClient]]:
    """Clients of the services that the answers come from."""
    async with services(client) as clients:
        yield clients


@pytest.mark.parametrize(
    "request_", [pytest.param(r, id=f"{r.route}-{r.status}-{r.name}") for r in REQUESTS]
)
async def test_an_example_is_what_the_service_answers(
    clients: dict[str, AsyncClient], request_: Request
) -> None:
    """The status, and all of the body that does not depend on the time or on the host."""
    captured = load_answers()[request_.route][request_.status][request_.name]
    found = await send(clients, request_)
    assert is_same(found, captured), f"run `python -m tools.answers`: {found}"


def test_the_file_has_no_other_answers() -> None:
    """Each belongs to a request."""
    captured = {
        (route, status, name)
        for route, statuses in load_answers().items()
        for status, named in statuses.items()
        for name in named
    }
    assert captured == {(each.route, each.status, each.name) for each in REQUESTS}


def shown(path: str, method: str, status: str) -> tuple[str, dict[str, Any]]:
    """Return the first media type of a response, and what the document says of it."""
    response = document()["paths"][path][method]["responses"][status]
    if "$ref" in response:
        name = response["$ref"].removeprefix("#/components/responses/")
        response = document()["components"]["responses"][name]
    media_type, described = next(iter(response["content"].items()))
    return media_type, described


@pytest.mark.parametrize(
    "request_", [pytest.param(r, id=f"{r.route}-{r.status}-{r.name}") for r in REQUESTS]
)
def test_an_example_is_in_the_document_and_fits_its_schema(request_: Request) -> None:
    """Under the name of the example of the request, if that has one."""
    method, _, path = request_.route.partition(" ")
    media_type, described = shown(path, method.lower(), request_.status)
    if request_.name == UNNAMED:
        value = described["example"]
    else:
        example = described["examples"][request_.name]
        assert example["summary"]
        value = example["value"]
    assert value == load_answers()[request_.route][request_.status][request_.name]
    if media_type.endswith("json"):
        schema = {**described["schema"], "components": document()["components"]}
        Draft202012Validator(schema).validate(value)


def test_each_response_has_an_example() -> None:
    """Of all routes and statuses, with their requests' names."""
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            for status in operation["responses"]:
                _, described = shown(path, method, status)
                assert "example" in described or described["examples"], (path, status)
            content = operation.get("requestBody", {}).get("content", {})
            for name in content.get("application/json", {}).get("examples", {}):
                answered = [
                    name in shown(path, method, status)[1].get("examples", {})
                    for status in ("200", "422")
                ]
                assert sum(answered) == 1, (path, name)
