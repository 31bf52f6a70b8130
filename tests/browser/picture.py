"""Picture of the race of the lesson on the lab page, `python -m tests.browser.picture FILE`."""

import asyncio
import sys
from pathlib import Path

from playwright.async_api import async_playwright, expect

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.rigs.servers import serving


async def draw(url: str, path: Path) -> None:
    """Write the first step of the tour, in light and without scrolling."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page(
            viewport={"width": 1280, "height": 800}, color_scheme="light", device_scale_factor=2
        )
        await page.goto(url)
        await page.locator("[data-stop='1']").click()
        await expect(page.locator("#verdict")).to_contain_text("agree", timeout=60_000)
        await page.mouse.move(0, 0)
        await page.screenshot(path=path)
        await browser.close()


if __name__ == "__main__":
    with serving() as address:
        asyncio.run(draw(address, Path(sys.argv[1])))
