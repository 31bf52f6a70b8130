"""Work of the lab page for a call that has changed since: it ends, and shows nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.browser.conftest import Visit


class Held:
    """Requests of a page for one path, which wait until they are released."""

    def __init__(self, page: Page):
        """Hold nothing yet."""
        self.page = page
        self._routes: asyncio.Queue[Route] = asyncio.Queue()

    @classmethod
    @asynccontextmanager
    async def of(cls, page: Page, path: str) -> AsyncIterator[Self]:
        """Hold the requests for a path."""
        held = cls(page)
        await page.route(path, held._routes.put)
        yield held
        await page.unroute(path)

    async def next(self) -> Route:
        """Return the next request when it has been sent."""
        return await asyncio.wait_for(self._routes.get(), 20)

    @asynccontextmanager
    async def ends(self) -> AsyncIterator[None]:
        """Wait for the next request; within the block the page ends it."""
        request = (await self.next()).request
        async with self.page.expect_event("requestfailed", lambda failed: failed == request):
            yield

    @property
    def waiting(self) -> int:
        """The number of requests that nothing has waited for."""
        return self._routes.qsize()


async def type_in(page: Page, text: str) -> None:
    """Change the first operand."""
    await page.get_by_label("numbers of a").fill(text)


@pytest.mark.parametrize(
    ("path", "button"), [("**/matmul", "Run it once"), ("**/matmul/compare", "Race them")]
)
async def test_it_ends_when_the_call_changes(visit: Visit, path: str, button: str) -> None:
    """Its answer would stand beside an operand that it does not belong to."""
    page = await visit.open("#op=matmul&x=1+2&x=3%0A4&race.budget_ms=50")
    async with Held.of(page, path) as held:
        await page.get_by_role("button", name=button).click()
        async with held.ends():
            await type_in(page, "5 6")
    await expect(page.locator(".main-button.busy")).to_have_count(0)
    await expect(page.get_by_role("button", name=button)).to_be_visible()
    assert await visit.text("#verdict") == await visit.text("#result") == ""
    await page.get_by_role("button", name="Run it once").click()
    await page.locator("#result .phases").wait_for()
    await expect(page.locator("#result")).to_have_class("result")


async def test_a_state_that_is_left_is_not_raced(visit: Visit) -> None:
    """Back twice, over the state of a race: it adds nothing to the history either."""
    page = await visit.open("#op=matmul&x=1+2&x=3%0A4")
    await page.evaluate(
        "for (const state of ['#op=matmul&show=race', '#op=norm']) history.pushState(0, '', state)"
    )
    entries = await page.evaluate("history.length")
    async with Held.of(page, "**/compare") as races, Held.of(page, "**/plan") as plans:
        await page.evaluate("history.back()")
        async with plans.ends():
            await page.evaluate("history.back()")
        await (await plans.next()).continue_()
        await expect(page.locator(".facts")).to_contain_text("2 multiply-adds")
        assert races.waiting == 0
    assert page.url.endswith("#op=matmul&x=1+2&x=3%0A4")
    assert await page.evaluate("history.length") == entries


async def test_two_clicks_are_one_run(visit: Visit) -> None:
    """Neither sends anything before the plan is there."""
    page = await visit.open()
    async with Held.of(page, "**/plan") as plans, Held.of(page, "**/matmul") as runs:
        await type_in(page, "1 2\n3 5")
        plan = await plans.next()
        for _ in range(2):
            await page.get_by_role("button", name="Run it once").click()
        await plan.continue_()
        await (await runs.next()).continue_()
        await page.locator("#result .phases").wait_for()
        assert runs.waiting == 0


async def test_a_race_is_stopped_before_it_begins(visit: Visit) -> None:
    """While its plan is on the way."""
    page = await visit.open()
    async with Held.of(page, "**/plan") as plans, Held.of(page, "**/compare") as races:
        await type_in(page, "1 2\n3 4\n5 6")
        plan = await plans.next()
        await page.get_by_role("button", name="Race them").click()
        await page.get_by_role("button", name="Stop the race").click()
        await expect(page.locator("#verdict")).to_have_text("Stopped: 0 strategies have run.")
        await plan.continue_()
        await expect(page.locator(".facts")).to_contain_text("12 multiply-adds")
        assert races.waiting == 0


async def test_a_plan_of_the_text_before_is_not_drawn(browser: Browser, browser_url: str) -> None:
    """Its request ends at the first key, before the pause until the next one."""
    context = await browser.new_context()  # a clock is that of all pages of a context
    visit = Visit(await context.new_page(), browser_url)
    page = await visit.open()
    await page.clock.install(time=0)
    await page.clock.pause_at(10**9)
    async with Held.of(page, "**/plan") as plans:
        await type_in(page, "1 2\n3 5")
        await page.clock.run_for(200)
        async with plans.ends():
            await type_in(page, "1 2\n3 x")
        await page.clock.run_for(200)
        await expect(page.locator("[data-operand='0'] .problem")).to_contain_text("'x'")
    assert visit.complaints == []
    await context.close()


async def test_a_plan_is_asked_for_again_while_the_service_warms_up(visit: Visit) -> None:
    """Without an edit, as soon as the service has measured its strategies."""
    page = await visit.open("#op=matmul&x=1+2&x=3%0A4")
    problem = {
        "type": "/problems/warming-up",
        "title": "The service is warming up",
        "status": 503,
        "detail": "the service has just started",
        "code": "warming-up",
        "request_id": "example-1",
    }
    async with Held.of(page, "**/matmul/plan") as held:
        await type_in(page, "5 6")
        await (await held.next()).fulfill(
            status=503, json=problem, content_type="application/problem+json"
        )
        await expect(page.get_by_text("the service has just started")).to_be_visible()
        await (await held.next()).continue_()
        await expect(page.get_by_text("the service has just started")).to_have_count(0)
    assert held.waiting == 0
    assert visit.complaints.pop().startswith("Failed to load resource")
