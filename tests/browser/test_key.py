"""The lab page with a service that needs a key."""

from playwright.async_api import BrowserContext, expect

from service.http.auth import key_hash, new_key
from tests.browser.conftest import Visit
from tests.rigs.servers import serving


async def test_the_page_takes_a_key(context: BrowserContext) -> None:
    """A wrong one is refused, the right one opens the page; it is not in the address."""
    key = new_key()
    with serving(SERVICE_API_KEYS=f"alice:{key_hash(key.encode())}") as url:
        visit = Visit(await context.new_page(), url)
        page = visit.page
        await page.goto(url)
        for given in ("wrong", key):
            await expect(page.get_by_label("key", exact=True)).to_have_value("")
            await page.get_by_label("key", exact=True).fill(given)
            await page.get_by_role("button", name="Enter").click()
        await expect(page.locator(".facts")).to_contain_text("8 multiply-adds")
        await page.get_by_role("button", name="Run it once").click()
        await page.locator(".phases").wait_for()
        assert key not in page.url
        assert visit.complaints == []
        await page.close()
