"""Swagger UI: every example of the document by "Try it out"."""

from playwright.async_api import expect

from service.examples import compare_examples, examples, plan_examples
from tests.browser.conftest import Visit

KINDS = {"": examples(), "/plan": plan_examples(), "/compare": compare_examples()}


async def test_every_example_runs(visit: Visit) -> None:
    """Picked from the list and executed, it is answered as the lesson says."""
    page = await visit.open("docs")
    for kind, found in KINDS.items():
        for op in dict.fromkeys(example.op for example in found):
            block = page.locator(".opblock", has=page.locator(f"[data-path='/{op}{kind}']"))
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
    block = page.locator(".opblock", has=page.locator("[data-path='/broadcast']"))
    await block.locator(".opblock-summary-control").click()
    await block.locator("textarea").fill('{"operands": [[0.5]], "to": [512, 512]}')
    await block.locator(".btn.execute").dispatch_event("click")
    await expect(block.locator(".whole").first).to_contain_text("shown here by its two ends")
    await expect(block.locator(".live-responses-table")).to_contain_text('"shape": [512, 512]')
