"""The OpenAPI document is valid and fresh, and agrees with the registry and the responses."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from httpx import AsyncClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.api.app import create_app
from service.api.openapi.document import render
from service.core.dtypes import DTYPES
from service.examples import Example, examples
from service.operations import REGISTRY
from service.settings import Settings
from tests.cases import Row

COMMITTED = Path(__file__).parents[2] / "openapi" / "openapi.json"


@cache
def document() -> dict[str, Any]:
    """The document as the code writes it."""
    return create_app(Settings()).openapi()


def schema(name: str) -> Draft202012Validator:
    """Return a validator of one of its schemas."""
    reference = f"#/components/schemas/{name}"
    return Draft202012Validator({"$ref": reference, "components": document()["components"]})


def references(value: Any) -> Iterator[str]:
    """The names of all schemas that a part of the document refers to."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key == "$ref":
                yield each.rpartition("/")[2]
            else:
                yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_the_document_is_valid() -> None:
    """It is valid OpenAPI 3.1."""
    assert document()["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document()).validate()


def test_the_committed_document_is_fresh() -> None:
    """`python -m service openapi` would write nothing else."""
    assert COMMITTED.read_text(encoding="utf-8") == render(document())


async def test_the_service_serves_the_document(client: AsyncClient) -> None:
    """At /openapi.json."""
    response = await client.get("/openapi.json")
    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == orjson.loads(render(document()))


def test_operations_are_called_by_their_names() -> None:
    """Generated clients have `matmul`, `einsum`, `norm` and `broadcast`; all ids differ."""
    paths = document()["paths"]
    for name in REGISTRY:
        assert paths[f"/{name}"]["post"]["operationId"] == name
    ids = [each["operationId"] for path in paths.values() for each in path.values()]
    assert len(set(ids)) == len(ids)


def test_no_schema_is_recursive() -> None:
    """Swagger UI and generators of clients choke on them."""
    schemas = document()["components"]["schemas"]
    seen: set[str] = set()

    def follow(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, above
        if name not in seen:
            for each in references(schemas[name]):
                follow(each, (*above, name))
            seen.add(name)

    for name in schemas:
        follow(name, ())


def test_every_reference_leads_somewhere() -> None:
    """Every schema is used as well."""
    schemas = document()["components"]["schemas"]
    assert set(references(document())) == set(schemas)


@pytest.mark.parametrize("name", REGISTRY)
def test_strategies_and_dtypes_are_those_of_the_registry(name: str) -> None:
    """They are enums in order; the description has a line for each strategy."""
    op = REGISTRY[name]
    schemas = document()["components"]["schemas"]
    found = schemas[f"{name.capitalize()}Request"]
    assert found["properties"]["strategy"]["enum"] == ["auto", *op.strategies]
    assert found["properties"]["dtype"]["$ref"] == "#/components/schemas/Dtype"
    assert schemas["Dtype"]["enum"][: len(DTYPES)] == list(DTYPES)
    description = document()["paths"][f"/{name}"]["post"]["description"]
    for strategy in op.strategies.values():
        assert f"`{strategy.name}`: {strategy.summary.rstrip('.')}" in description
    for param in op.params:
        assert found["properties"][param.name]["description"] == param.summary


@pytest.mark.parametrize("example", [pytest.param(e, id=f"{e.op}-{e.name}") for e in examples()])
def test_an_example_is_in_the_document_and_fits_its_schema(example: Example) -> None:
    """Under its name, whole."""
    content = document()["paths"][f"/{example.op}"]["post"]["requestBody"]["content"]
    shown = content["application/json"]["examples"][example.name]
    assert shown == {"summary": example.summary, "value": example.body}
    schema(f"{example.op.capitalize()}Request").validate(shown["value"])


@pytest.mark.parametrize("name", REGISTRY)
def test_samples_fit_the_schema_of_requests(name: str) -> None:
    """The schema admits whatever the operation is tested with, in every dtype."""
    validator = schema(f"{name.capitalize()}Request")
    for sample in REGISTRY[name].samples:
        for dtype in DTYPES:
            validator.validate(Row(REGISTRY[name], "auto", sample, dtype, "cpu").body())


@pytest.mark.parametrize("example", [pytest.param(e, id=f"{e.op}-{e.name}") for e in examples()])
async def test_an_answer_fits_its_schema(client: AsyncClient, example: Example) -> None:
    """In every form of the result; so does a problem document."""
    for output in ("nested", "flat", "base64", "summary", "none"):
        # By `auto`: the loops of the lesson would take most of a second each time.
        body = {**example.body, "output": output, "strategy": "auto"}
        response = await client.post(f"/{example.op}", json=body)
        name = "Answer" if response.status_code == 200 else "Problem"
        schema(name).validate(response.json())


@pytest.mark.parametrize(
    "path", ["/strategies", "/devices", "/limits", "/health/live", "/health/ready", "/problems"]
)
async def test_what_the_service_says_of_itself_fits_its_schema(
    client: AsyncClient, path: str
) -> None:
    """By the schema of that path in the document."""
    found = (await client.get(path)).json()
    answers = document()["paths"][path]["get"]["responses"]
    described = answers["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**described, "components": document()["components"]}).validate(found)
