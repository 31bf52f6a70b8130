"""Keyboard, narrow and wide windows, dark and light: what any reader may come with."""

from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Visit

# Contrast of a text with what is behind it, by WCAG 2: of every element that has text of its own.
POOR_CONTRAST = """() => {
    const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
        pen.clearRect(0, 0, 1, 1);
        pen.fillStyle = colour;
        pen.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const light = ([r, g, b]) => [r, g, b]
        .map((part) => part / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const colour = rgba(getComputedStyle(each).backgroundColor);
            if (colour[3] > 0.99) return colour;
        }
        return rgba("white");
    };
    const words = (element) => [...element.childNodes]
        .filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
    return [...document.querySelectorAll("body *")]
        .filter((element) => words(element) && element.checkVisibility())
        .filter((element) => !element.closest(".skipped, .skip, .visually-hidden, .ghost, option"))
        .map((element) => {
            const [ink, paper] = [rgba(getComputedStyle(element).color), behind(element)];
            const [high, low] = [light(ink), light(paper)].sort((a, b) => b - a);
            return [words(element).slice(0, 30), (high + 0.05) / (low + 0.05)];
        })
        .filter(([, contrast]) => contrast < 4.5);
}"""

STATES = {
    "start": "",
    "race": "#op=matmul&x=random:5x784:0&x=integers:784x10:1&show=race&tour=1",
    "broadcast": "#op=broadcast&x=10+20+30&x=10+20+30&view=&view=:,None&show=run&tour=6",
    "path": "#op=einsum&p.equation=ij,jk,kl->il&x=random:10x1000:0&x=random:1000x10:1"
    "&x=random:10x500:2&show=run",
    "error": "#op=matmul&x=1+2+3%0A4+5+6&x=1+2+3%0A4+5+6&tour=8",
    "batch": "#op=einsum&p.equation=bij,bjk->bik&x=integers:3x4x5:0&x=integers:3x5x2:1&show=run",
}


@pytest.mark.parametrize("state", STATES)
async def test_a_window_of_any_width_and_colour(visit: Visit, tmp_path: Path, state: str) -> None:
    """Nothing is wider than the window, and text can be read on what is behind it."""
    page = await visit.open(STATES[state])
    if "show=run" in STATES[state]:
        await page.locator(".phases").wait_for()
    if "show=race" in STATES[state]:
        await expect(page.locator("#verdict")).to_contain_text("All agree", timeout=20_000)
    for width in (390, 768, 1280, 3840):
        await page.set_viewport_size({"width": width, "height": 900})
        assert await visit.overflow() <= 0, width
    schemes: list[tuple[int, Literal["light", "dark"]]] = [(1280, "light"), (390, "dark")]
    for width, scheme in schemes:
        await page.set_viewport_size({"width": width, "height": 900})
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert await page.evaluate(POOR_CONTRAST) == [], scheme
        picture = tmp_path / f"{state}-{width}-{scheme}.png"
        assert await page.screenshot(path=picture, full_page=True, animations="disabled")


async def test_a_call_by_keyboard_alone(visit: Visit) -> None:
    """From the first Tab to the value of an element; what has the focus is always seen."""
    page = await visit.open()
    press = page.keyboard.press

    async def focus() -> str:
        """The name of what has the focus, which has a visible outline."""
        name: str = await page.evaluate(
            """() => {
                const own = document.activeElement;
                const seen = [own, own.parentElement].some((each) => {
                    const { outlineStyle, outlineWidth } = getComputedStyle(each);
                    return outlineStyle !== "none" && parseFloat(outlineWidth) >= 1;
                });
                if (!seen) throw new Error(`no outline: ${own.outerHTML.slice(0, 120)}`);
                return own.getAttribute("aria-label") || own.value || own.textContent;
            }"""
        )
        return name

    async def tab_to(name: str) -> None:
        """Press Tab until what has that name has the focus."""
        for _ in range(60):
            await press("Tab")
            if name in await focus():
                return
        pytest.fail(f"no Tab leads to {name}")

    await press("Tab")
    await press("Enter")  # past the tour, to the call
    await press("Tab")
    assert await focus() == "matmul"
    await press("ArrowRight")
    await press("ArrowRight")
    await expect(page.get_by_role("radio", name="norm")).to_be_checked()
    await tab_to("numbers of x")
    await press("Control+a")
    await page.keyboard.type("3 4\n0 0")
    await tab_to("Run it once")
    await press("Enter")
    await expect(page.locator(".lone")).to_have_text("5")
    await tab_to("loops")
    await tab_to("loops")
    await press("Enter")
    await expect(page.locator(".source")).to_contain_text("def loops")
    assert "loops" in await focus()
    await page.get_by_label("dim", exact=True).focus()
    await page.keyboard.type("1")
    await press("Control+Enter")
    await page.locator("#result canvas").wait_for()
    await tab_to("arrow keys read its elements")
    await press("ArrowRight")
    await expect(page.locator(".readout")).to_have_text("c[0] = 5")
    await press("ArrowRight")
    await expect(page.locator(".readout")).to_have_text("c[1] = 0")
