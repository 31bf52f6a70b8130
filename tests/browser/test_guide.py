"""The guide in a browser: search, tabs, copying, lists, and pages of resources."""

from typing import Literal

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.test_accessibility import AXE, VIOLATIONS
from tests.rigs.requirements import needs

PAGES = ["guide", "guide/languages", "guide/compare", "strategies", "devices"]


async def open_page(visit: Visit, path: str) -> Page:
    """Go to a page of the guide."""
    await visit.page.goto(f"{visit.base_url}/{path}")
    return visit.page


@needs("axe-core")
@pytest.mark.parametrize("path", [*PAGES, "problems/shape-mismatch"])
async def test_a_page_fits_and_axe_finds_nothing_wrong(visit: Visit, path: str) -> None:
    """In the light and wide, in the dark and narrow; wide tables scroll in themselves."""
    schemes: list[tuple[int, Literal["light", "dark"]]] = [(1280, "light"), (390, "dark")]
    for width, scheme in schemes:
        await visit.page.set_viewport_size({"width": width, "height": 900})
        await visit.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page = await open_page(visit, path)
        assert await visit.overflow() <= 0, width
        await page.evaluate(AXE.read_text(encoding="utf-8"))
        assert await page.evaluate(VIOLATIONS) == [], scheme


async def test_search_by_keyboard(visit: Visit) -> None:
    """A slash leads to it; arrows choose, Enter opens, and the words are marked on the page."""
    page = await open_page(visit, "guide/adr/0008-keys")
    await page.keyboard.press("/")
    await page.keyboard.type("Deadline")
    options = page.get_by_role("option")
    await expect(options.first).to_be_visible()
    await expect(page.locator("#count")).to_contain_text("results")
    assert "deadline" in (await page.locator("#found mark").first.inner_text()).lower()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("ArrowDown")
    await expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    await expect(page.locator("#search")).to_have_attribute("aria-activedescendant", "found-1")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**found=Deadline#*")
    assert await page.evaluate("CSS.highlights.get('found').size") > 0
    await expect(page.locator(f"[id='{page.url.partition('#')[2]}']")).to_be_in_viewport()


async def test_search_without_a_result(visit: Visit) -> None:
    """It says so; every word has to be there, and Escape closes the list."""
    page = await open_page(visit, "guide")
    search = page.locator("#search")
    await search.fill("deadline xyzzy")
    await expect(page.locator("#count")).to_have_text("0 results")
    await expect(page.locator("#found")).to_be_hidden()
    await search.fill("deadline queue")
    await expect(page.get_by_role("option").first).to_be_visible()
    await search.press("Escape")
    await expect(page.locator("#found")).to_be_hidden()
    await search.fill("")
    await expect(page.locator("#count")).to_have_text("")


async def test_a_tab_is_chosen_on_all_pages(visit: Visit) -> None:
    """In all groups, and when the page opens again."""
    page = await open_page(visit, "guide/languages")
    await expect(page.get_by_text("curl -s").first).to_be_visible()
    await page.get_by_role("radio", name="curl").nth(1).focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_text("import httpx")).to_be_visible()
    await expect(page.get_by_text("curl -s").first).to_be_hidden()
    await page.reload()
    await expect(page.get_by_text("import httpx")).to_be_visible()
    await page.evaluate("localStorage.clear()")


async def test_code_is_copied(visit: Visit) -> None:
    """The commands of a console without their prompts and output; other code as it is."""
    await visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = await open_page(visit, "guide/manual")
    block = page.locator(".code", has_text="service serve").first
    await block.get_by_role("button").click()
    await expect(block.get_by_role("button")).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == (
        'make run ARGS="--port 9000 --workers 2"\n'
        ".venv/bin/python -m service serve --host 127.0.0.1 --port 9000"
    )


async def test_lists_open_on_a_narrow_window(visit: Visit) -> None:
    """By their buttons; Escape and a chosen entry close them."""
    await visit.page.set_viewport_size({"width": 390, "height": 900})
    page = await open_page(visit, "guide/errors")
    pages, contents = page.locator("#pages"), page.locator("#contents")
    await expect(pages).to_be_hidden()
    await page.get_by_role("button", name="Pages").press("Enter")
    await expect(pages.get_by_role("link", name="Errors", exact=True)).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(pages).to_be_hidden()
    await page.get_by_role("button", name="On this page").click()
    await contents.get_by_role("link", name="draining").click()
    await expect(contents).to_be_hidden()
    await expect(page.locator("#draining")).to_be_in_viewport()
    await page.set_viewport_size({"width": 1280, "height": 900})
    await expect(pages).to_be_visible()
    await expect(contents).to_be_visible()


async def test_from_page_to_page(visit: Visit) -> None:
    """By neighbours, by links in the text, and to what this service answers."""
    page = await open_page(visit, "guide")
    await page.get_by_role("navigation", name="Neighbours").get_by_role("link").click()
    await expect(page.locator("h1")).to_have_text("Quickstart")
    await page.locator("#pages").get_by_role("link", name="Problem codes").click()
    await page.get_by_role("link", name="shape-mismatch", exact=True).click()
    await expect(page.locator("h1")).to_have_text("Operand shapes do not fit")
    await page.get_by_role("main").get_by_role("link", name="Errors").click()
    await expect(page.locator("#shape-mismatch")).to_be_in_viewport()
    await page.get_by_role("link", name="Swagger UI", exact=True).click()
    await page.get_by_role("link", name="Guide").click()
    await expect(page.locator("h1")).to_have_text("Tensor service")
