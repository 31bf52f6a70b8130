"""Fields that the page lists are those of the service."""

from typing import Any

from service.core.dtypes import DTYPES
from service.operations import REGISTRY
from tests.browser.conftest import Visit

# Fields that the page has in another form: operands, views beside them, and those of every call.
ELSEWHERE = {
    "a",
    "b",
    "x",
    "operands",
    "views",
    "strategy",
    "device",
    "dtype",
    "precision",
    "deterministic",
    "output",
    "deadline_ms",
}
LISTS = """async () => {
    const { DTYPES, FIELDS } = await import("/lab/any/operations.js");
    const plain = ({ name, choices }) => [name, (choices ?? []).map((each) => [each].flat()[0])];
    return [DTYPES, Object.fromEntries(
        Object.entries(FIELDS).map(([op, fields]) => [op, Object.fromEntries(fields.map(plain))]),
    )];
}"""


def choices(schema: dict[str, Any]) -> list[str]:
    """The words that a field may be, if it is one of some."""
    found: list[str] = schema.get("enum", [])
    for part in schema.get("anyOf", []):
        found = found or part.get("enum", [])
    return found


async def test_the_fields_are_those_of_the_document(visit: Visit) -> None:
    """Every field of every operation, and the choices of each."""
    page = await visit.open()
    dtypes, fields = await page.evaluate(LISTS)
    assert dtypes == list(DTYPES)
    assert set(fields) == set(REGISTRY)
    document = await (await page.request.get(f"{visit.base_url}/openapi.json")).json()
    for op, own in fields.items():
        body = document["paths"][f"/{op}"]["post"]["requestBody"]["content"]["application/json"]
        schema = body["schema"]
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
        properties = schema["properties"]
        assert set(own) == set(properties) - ELSEWHERE, op
        for name, listed in own.items():
            words = choices(properties[name])
            if listed and words:
                assert [word for word in listed if word not in {"", "false", "true"}] == words, name
