"""Swagger UI: every example of the document by "Try it out", and a page that is short."""

import json
import re

import pytest
from playwright.async_api import expect

from service.api.openapi.answers import load_answers
from service.examples import compare_examples, examples, plan_examples
from tests.browser.conftest import Visit

MATMUL = "#operations-operations-matmul"
GROUP = '[id="operations-tag-open_inference_protocol"]'
KINDS = {"": examples(), "/plan": plan_examples(), "/compare": compare_examples()}


async def test_every_example_runs(visit: Visit) -> None:
    """Picked from the list and executed, it is answered as the lesson says."""
    page = await visit.open("docs")
    await expect(page.locator(f"{MATMUL} .opblock-body")).to_be_visible()
    for kind, found in KINDS.items():
        for op in dict.fromkeys(example.op for example in found):
            block = page.locator(".opblock", has=page.locator(f"[data-path='/{op}{kind}']"))
            if not await block.locator(".opblock-body").count():  # one is open from the start
                await block.locator(".opblock-summary-control").click()
            choices = block.locator(".opblock-section-request-body .examples-select-element")
            answer = block.locator(".live-responses-table .response")
            for example in (each for each in found if each.op == op):
                await choices.select_option(example.name)
                # An event in place of a click: that would wait until this long page stands still.
                async with page.expect_response(f"**/{op}{kind}") as coming:
                    await block.locator(".btn.execute").dispatch_event("click")
                response = await coming.value
                assert response.status == (422 if "code" in example.expected else 200), example
                # The page shows this very answer, with its headers.
                await expect(answer).to_contain_text(response.headers["x-request-id"])
                await expect(answer).to_contain_text(example.expected.get("code", f'"op": "{op}"'))
            await block.locator(".opblock-summary-control").click()


async def test_a_large_answer_does_not_stop_the_page(visit: Visit) -> None:
    """512 x 512 numbers are shown by their two ends, and offered as a file."""
    page = await visit.open("docs")
    block = page.locator("#operations-operations-broadcast")
    await block.locator(".opblock-summary-control").click()
    await block.locator("textarea").fill('{"operands": [[0.5]], "to": [512, 512]}')
    await block.locator(".btn.execute").dispatch_event("click")
    await expect(block.locator(".whole").first).to_contain_text("shown here by its two ends")
    await expect(block.locator(".live-responses-table")).to_contain_text('"shape": [512, 512]')


async def test_the_page_opens_short(visit: Visit) -> None:
    """At 1280 x 800 the operation that is open fits two screens; the protocol is folded."""
    page = await visit.open("docs")
    await page.set_viewport_size({"width": 1280, "height": 800})
    await expect(page.locator(f"{MATMUL} .response")).to_have_count(11)
    await expect(page.locator(".opblock.is-open")).to_have_count(1)
    assert await page.locator(MATMUL).evaluate("block => block.offsetHeight") <= 2 * 800
    await expect(page.locator(".opblock-tag")).to_have_count(3)
    await expect(page.locator(".opblock", has_text="/v2")).to_have_count(0)
    # An event in place of a click: that would wait until this long page stands still.
    await page.locator(GROUP).dispatch_event("click")
    routes = page.locator(".opblock [data-path^='/v2']")
    await expect(routes).to_have_count(10)
    paths = await routes.evaluate_all("all => all.map((each) => each.dataset.path)")
    assert not any("{version}" in path for path in paths)


@pytest.mark.parametrize("width", [390, 1280])
async def test_the_page_is_no_wider_than_its_window(visit: Visit, width: int) -> None:
    """With an operation open."""
    page = await visit.open("docs")
    await page.set_viewport_size({"width": width, "height": 800})
    await expect(page.locator(f"{MATMUL} .response")).to_have_count(11)
    assert await visit.overflow() == 0
    await page.set_viewport_size({"width": 1280, "height": 900})


async def test_an_address_opens_what_it_names(visit: Visit) -> None:
    """A link to a folded operation opens that, and nothing else."""
    page = await visit.open("docs#/open%20inference%20protocol/infer")
    await expect(page.locator(".opblock.is-open [data-path]")).to_have_attribute(
        "data-path", "/v2/models/{model}/infer"
    )


async def test_answers_follow_the_example_of_the_request(visit: Visit) -> None:
    """The captured answer of the example that is selected, or its problem, is shown."""
    page = await visit.open("docs")
    block = page.locator(MATMUL)
    choices = block.locator(".opblock-section-request-body .examples-select-element")
    await choices.select_option("near-not-equal")
    answer = block.locator(".response[data-code='200']")
    captured = load_answers()["POST /matmul"]
    element = captured["200"]["near-not-equal"]["result"]["data"][0][0]
    await expect(answer).to_contain_text(json.dumps(element))
    await choices.select_option("does-not-fit")
    problem = block.locator(".response[data-code='422']")
    await expect(problem).to_have_count(1)
    await problem.get_by_role("button", name="422").click()
    await expect(problem.last).to_contain_text(captured["422"]["does-not-fit"]["detail"])
    await problem.get_by_role("button", name="422").click()
    await expect(problem).to_have_count(1)


async def test_query_fields_belong_to_bodies_that_are_not_json(visit: Visit) -> None:
    """They are listed once such a body is chosen; headers of answers are folded."""
    page = await visit.open("docs")
    block = page.locator(MATMUL)
    fields = block.locator("tr[data-param-in='query']")
    await expect(block.locator(".response")).to_have_count(11)
    await expect(fields).to_have_count(0)
    await block.locator(".body-param-content-type select").select_option("application/x-npz")
    await expect(fields).to_have_count(7)
    await expect(block.locator(".headers-wrapper")).to_be_hidden()
    await block.get_by_text(re.compile("^Headers: Server-Timing")).click()
    await expect(block.locator(".headers-wrapper")).to_be_visible()
