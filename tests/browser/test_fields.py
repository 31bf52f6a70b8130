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


async def test_a_race_in_several_precisions(visit: Visit) -> None:
    """Boxes choose them where there is a choice; rows, link and snippet have them."""

    async def add_precisions(route: Route) -> None:
        answer = await (await route.fetch()).json()
        answer["devices"][0]["precisions"] = ["ieee", "tf32"]
        await route.fulfill(json=answer)

    page = await visit.open(PRODUCT)
    boxes = page.get_by_role("group", name="precisions of a race")
    await expect(boxes).to_have_count(0)
    await page.route("**/devices", add_precisions)
    await page.reload()
    ieee, tf32 = (boxes.get_by_label(name) for name in ("ieee", "tf32"))
    await expect(ieee).to_be_checked()
    await page.get_by_label("precision", exact=True).select_option("tf32")
    await expect(tf32).to_be_checked()
    await expect(ieee).not_to_be_checked()
    await ieee.check()
    assert "precision=tf32&race.precisions=ieee,tf32" in page.url
    await page.get_by_label("precision", exact=True).select_option("ieee")
    await page.get_by_role("button", name="curl of a race").click()
    snippet = page.locator(".snippet")
    await expect(snippet).to_contain_text("/matmul/compare'")
    await expect(snippet).to_contain_text('"precisions":["ieee","tf32"]')
    await page.get_by_role("button", name="Race them").click()
    await expect(page.locator("#verdict")).to_contain_text("is the fastest")
    rows = page.locator(".strategy-row", has=page.get_by_role("button", name="torch"))
    assert await rows.locator(".disclose").all_inner_texts() == ["torch ieee", "torch tf32"]
    await expect(rows.last).to_contain_text("has no tf32 on cpu")
    await page.reload()
    await expect(ieee).to_be_checked()
    await expect(tf32).to_be_checked()
    await tf32.uncheck()
    assert "race.precisions" not in page.url, "it is the precision of the call again"
    await ieee.click()  # a race is in one precision at least
    await expect(ieee).to_be_checked()


async def test_a_gpu_that_starts(visit: Visit) -> None:
    """What it and its strategies can do appears when the service knows, without another visit."""
    gpu = {"name": "cuda:0", "kind": "cuda", "ready": False, "precisions": ["ieee"]}
    is_known = False

    async def add_gpu(route: Route) -> None:
        answer = await (await route.fetch()).json()
        known = gpu | {"ready": True, "precisions": ["ieee", "tf32"]} if is_known else gpu
        await route.fulfill(json=answer | {"devices": [known, *answer["devices"]]})

    async def limit_strategies(route: Route) -> None:
        answer = await (await route.fetch()).json()
        for strategy in (each for op in answer for each in op["strategies"]):
            strategy["available"] = is_known or strategy["name"] == "loops"
        await route.fulfill(json=answer)

    page = visit.page
    await page.route("**/devices", add_gpu)
    await page.route("**/strategies", limit_strategies)
    await page.clock.install()
    await visit.open(PRODUCT)
    numbers = page.get_by_label("numbers of a")
    await numbers.fill("1 2\n3 5")
    await page.get_by_label("dtype", exact=True).select_option("float32")
    await expect(page.get_by_label("precision", exact=True)).to_have_count(0)
    async with page.expect_response("**/devices"):
        await page.clock.run_for(2000)
    await page.get_by_label("dtype", exact=True).focus()
    is_known = True
    async with page.expect_request("**/matmul/plan"):  # a device more has rows of its own
        await page.clock.run_for(2000)
        await expect(page.get_by_label("precision", exact=True)).to_have_value("ieee")
    await expect(page.get_by_label("dtype", exact=True)).to_be_focused()
    await expect(page.get_by_label("dtype", exact=True)).to_have_value("float32")
    await expect(numbers).to_have_value("1 2\n3 5")
    await expect(page.locator("#race")).not_to_contain_text("Not on this server: python")
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    await page.clock.run_for(10_000)
    await page.evaluate("fetch('limits').then((answer) => answer.text())")
    assert asked == {f"{visit.base_url}/limits"}, "all devices are ready"
