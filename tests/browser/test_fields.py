"""Fields that the page lists are those of the service."""

import json
from typing import Any

from playwright.async_api import Request, Route, expect

from service.core.dtypes import DTYPES
from service.operations import REGISTRY
from tests.browser.conftest import Visit

# Operands, views beside them, and the fields of every call, of which the page has some.
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

PRODUCT = "#op=matmul&x=1 2; 3 4&x=5 6; 7 8"


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


async def test_arithmetic_without_a_choice(visit: Visit) -> None:
    """A server with a CPU alone has no fields of it, but those that a link sets, and a way back."""
    page = await visit.open(PRODUCT)
    precision = page.get_by_label("precision", exact=True)
    await expect(precision).to_have_count(0)
    await expect(page.get_by_label("deterministic", exact=True)).to_have_count(0)
    await page.goto("about:blank")
    await visit.open(f"{PRODUCT}&precision=tf32&deterministic=true")
    await expect(page.get_by_label("deterministic", exact=True)).to_have_value("true")
    await expect(precision).to_have_value("tf32")
    await expect(page.locator(".refused")).to_contain_text("no device of this host does")
    await page.get_by_role("button", name="Run it once").click()
    await page.get_by_role("button", name='"precision": "ieee" works on cpu').click()
    await expect(precision).to_have_value("ieee")
    await precision.select_option("tf32")
    await page.get_by_role("button", name="Use ieee").click()
    await expect(page.locator(".refused")).to_have_count(0)
    await expect(precision).to_have_value("ieee")
    assert "precision" not in page.url
    await page.goto("about:blank")
    await visit.open(f"{PRODUCT}&precision=tf23&deterministic=maybe")
    await page.get_by_role("button", name="did you mean 'tf32'?").click()
    await expect(page.locator("#call")).to_contain_text("deterministic is true or false")
    await expect(precision).to_have_value("tf32")


async def test_arithmetic_of_a_gpu(visit: Visit) -> None:
    """Precisions that a device and an available strategy have are a choice, where it multiplies."""

    async def add_gpu(route: Route) -> None:
        answer = await (await route.fetch()).json()
        gpu = {"name": "cuda:0", "kind": "cuda", "precisions": ["ieee", "tf32", "bf16x3"]}
        await route.fulfill(json=answer | {"devices": [gpu, *answer["devices"]]})

    page = visit.page
    await page.route("**/devices", add_gpu)
    await visit.open("#op=norm&x=3 4")
    precision = page.get_by_label("precision", exact=True)
    await expect(page.get_by_label("deterministic", exact=True)).to_have_value("false")
    await expect(precision).to_have_count(0)
    await page.get_by_role("radio", name="matmul").check()
    assert await precision.locator("option").all_inner_texts() == [
        "ieee, all 24 bits",
        "tf32, 11 bits",
    ]
    await page.get_by_label("deterministic", exact=True).select_option("true")

    def is_asked(request: Request) -> bool:
        return request.url.endswith("/matmul/plan") and '"precision"' in (request.post_data or "")

    async with page.expect_request(is_asked) as asked:
        await precision.select_option("tf32")
    body = json.loads((await asked.value).post_data or "")
    assert (body["precision"], body["deterministic"]) == ("tf32", True)
    await expect(page.locator(".snippet")).to_contain_text('"precision":"tf32"')
    assert "precision=tf32&deterministic=true" in page.url
