"""The OpenAPI document is valid and fresh, and agrees with the registry and the responses."""

import gzip
from collections.abc import Iterator
from functools import cache
from typing import Any

import orjson
import pytest
from httpx import AsyncClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.api.app import create_app
from service.api.openapi.answers import share_errors
from service.api.openapi.document import render
from service.core.dtypes import DTYPES
from service.examples import Example, examples
from service.operations import REGISTRY
from service.settings import Settings
from tests.cases import Row
from tests.rigs.paths import ROOT

COMMITTED = ROOT / "openapi" / "openapi.json"


@cache
def document() -> dict[str, Any]:
    """The document as the code writes it."""
    return create_app(Settings()).openapi()


def schema(name: str) -> Draft202012Validator:
    """Return a validator of one of its schemas."""
    reference = f"#/components/schemas/{name}"
    return Draft202012Validator({"$ref": reference, "components": document()["components"]})


def references(value: Any, kind: str = "schemas") -> Iterator[str]:
    """The names of all components of a kind that a part of the document refers to."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key != "$ref":
                yield from references(each, kind)
            elif each.startswith(f"#/components/{kind}/"):
                yield each.rpartition("/")[2]
    elif isinstance(value, list):
        for each in value:
            yield from references(each, kind)


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


@pytest.mark.parametrize("kind", ["schemas", "responses"])
def test_every_reference_leads_somewhere(kind: str) -> None:
    """Every component is used as well."""
    assert set(references(document(), kind)) == set(document()["components"][kind])


def test_the_document_is_small() -> None:
    """Most of it are the tensors of the lesson; the captured answers are a seventh."""
    text = orjson.dumps(document())
    assert len(text) < 640_000
    assert len(gzip.compress(text, 5)) < 64_000


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every path of the document and the operations there."""
    for path, described in document()["paths"].items():
        for operation in described.values():
            yield path, operation


def test_groups_link_to_their_pages() -> None:
    """Each operation is in a group; those have a text, and a link to a page that exists."""
    tags = {tag["name"]: tag for tag in document()["tags"]}
    assert {tag for _, operation in operations() for tag in operation["tags"]} == set(tags)
    for tag in tags.values():
        assert tag["description"]
        folder, _, page = tag["externalDocs"]["url"].partition("/")
        assert folder == "guide"
        assert (ROOT / "docs" / f"{page}.md").exists()


def test_summaries_are_sentences_without_a_stop() -> None:
    """They say what one gets, and are not made of the names of functions; all differ."""
    summaries = [(tuple(operation["tags"]), operation["summary"]) for _, operation in operations()]
    assert len(set(summaries)) == len(summaries)
    for _, summary in summaries:
        assert summary[0].isupper()
        assert summary[-1] != "."
        assert len(summary.split()) >= 3
        assert not summary.istitle()


def test_routes_of_a_version_are_named_where_its_model_is() -> None:
    """Swagger UI shows the latter alone."""
    versions = [path for path, _ in operations() if "{version}" in path]
    assert len(versions) == 5
    for path in versions:
        model = document()["paths"][path.replace("/versions/{version}", "")]
        assert all(f"`{path}`" in operation["description"] for operation in model.values())


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


def test_two_errors_of_one_name() -> None:
    """The second one would take the place of the first, so the document is not written."""
    first, second = {"description": "first"}, {"description": "second"}
    texts = {"/a": first, "/b": first, "/c": second, "/d": second}
    paths = {path: {"post": {"responses": {"422": text}}} for path, text in texts.items()}
    named = "the component UnprocessableContent, the second one of POST /c, POST /d"
    with pytest.raises(ValueError, match=named):
        share_errors({"paths": paths, "components": {}})
