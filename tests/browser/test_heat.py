"""Drawings of tensors: they follow the colours of the page, and go with their tensors."""

from playwright.async_api import expect

from tests.browser.conftest import Visit

PREVIEW = "document.querySelector('[data-operand=\"0\"] .heat canvas')"
# Red of an element that is 0.
RED = f"""() => {{
    const pen = new OffscreenCanvas(1, 1).getContext("2d");
    pen.drawImage({PREVIEW}, -3, -3);
    return pen.getImageData(0, 0, 1, 1).data[0];
}}"""


async def test_a_drawing_follows_the_colours_of_the_page(visit: Visit) -> None:
    """Zero is light on a light page, and dark on a dark one."""
    page = visit.page
    await page.emulate_media(color_scheme="light")
    await visit.open("#op=norm&x=0 0")
    light = await page.evaluate(RED)
    await page.emulate_media(color_scheme="dark")
    await page.wait_for_function(f"(light) => ({RED})() < light / 2", arg=light)


async def test_a_drawing_goes_with_its_tensor(visit: Visit) -> None:
    """Nothing of the page keeps the preview of a former operand."""
    page = await visit.open("#op=norm&x=random:300x300:0")
    await page.evaluate(f"() => {{ window.former = new WeakRef({PREVIEW}); }}")
    session = await page.context.new_cdp_session(page)
    for seed in ("1", "2"):
        await page.get_by_label("seed of x").fill(seed)
        await expect(page.locator(".facts")).to_be_visible()
    await session.send("HeapProfiler.collectGarbage")
    assert await page.evaluate("window.former.deref() === undefined")
