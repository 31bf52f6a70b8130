"""Accessibility of the pages: keyboard, width of the window, dark and light colours."""

from typing import Literal

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Visit
from tests.rigs.paths import NPM
from tests.rigs.requirements import needs

AXE = NPM.parent / "axe-core" / "axe.min.js"
# What axe-core finds wrong, in short.
VIOLATIONS = """async () => {
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.flatMap(({ id, nodes }) =>
        nodes.map(({ html }) => `${id}: ${html.slice(0, 120)}`));
}"""

STATES = {
    "start": "",
    "disagreement": "#op=norm&x=1e20+1e20&show=race&race.precisions=ieee,tf32",
    "race": "#op=matmul&x=random:5x784:0&x=integers:784x10:1&show=race&tour=1",
    "broadcast": "#op=broadcast&x=10+20+30&x=10+20+30&view=&view=:,None&show=run&tour=6",
    "path": "#op=einsum&p.equation=ij,jk,kl->il&x=random:10x1000:0&x=random:1000x10:1"
    "&x=random:10x500:2&show=run",
    "paste": "#op=norm&x=1,5%09%092%0A3%094%095&dtype=float64",
    "chain": "#op=matmul&x=random:5x784:0&x=integers:784x50:1&strategy=torch&tour=9",
    "error": "#op=matmul&x=1+2+3%0A4+5+6&x=1+2+3%0A4+5+6&tour=8",
    "batch": "#op=einsum&p.equation=bij,bjk->bik&x=integers:3x4x5:0&x=integers:3x5x2:1&show=run",
}


async def show(visit: Visit, state: str) -> Page:
    """The page in one of the states, with all that it comes to."""
    page = await visit.open(STATES[state])
    if "show=run" in STATES[state]:
        await page.locator(".phases").wait_for()
    if "tour=9" in STATES[state]:
        await page.locator(".steps").wait_for()
    if "show=race" in STATES[state]:
        await expect(page.locator("#verdict")).to_contain_text("agree")
    return page


@pytest.mark.parametrize("state", STATES)
async def test_a_window_of_any_width(visit: Visit, state: str) -> None:
    """Nothing is wider than the window."""
    page = await show(visit, state)
    for width in (390, 768, 1280, 3840):
        await page.set_viewport_size({"width": width, "height": 900})
        assert await visit.overflow() <= 0, width


@needs("axe-core")
@pytest.mark.parametrize("state", STATES)
async def test_axe_finds_nothing_wrong(visit: Visit, state: str) -> None:
    """Names, roles, labels, and the contrast of texts, in the light, in the dark and narrow."""
    page = await show(visit, state)
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    schemes: list[tuple[int, Literal["light", "dark"]]] = [(1280, "light"), (390, "dark")]
    for width, scheme in schemes:
        await page.set_viewport_size({"width": width, "height": 900})
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert await page.evaluate(VIOLATIONS) == [], scheme


@pytest.mark.parametrize("state", ["start", "race", "error"])
async def test_nothing_jumps_when_the_page_opens(visit: Visit, state: str) -> None:
    """It is hidden until its first plan is drawn."""
    await visit.page.set_viewport_size({"width": 390, "height": 900})
    await visit.page.add_init_script(
        """window.shifts = [];
        const note = (list) => shifts.push(...list.getEntries().map(({ value }) => value));
        new PerformanceObserver(note).observe({ type: "layout-shift", buffered: true });"""
    )
    page = await visit.open(STATES[state].replace("&show=race", ""))
    await page.evaluate("new Promise((wake) => requestAnimationFrame(() => setTimeout(wake, 100)))")
    assert await page.evaluate("shifts") == []


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


async def focused(page: Page) -> str:
    """Return the text of the focused element, or its class if it has none."""
    name: str = await page.evaluate(
        """() => {
            const own = document.activeElement;
            return own.matches("button") ? own.textContent : own.className;
        }"""
    )
    return name


async def test_the_focus_is_never_lost(visit: Visit) -> None:
    """A pressed button may be drawn again or removed; the focus stays near it."""
    page = await visit.open("#op=matmul&x=1+2+3%0A4+5+6&x=1+2+3%0A4+5+6")
    await page.get_by_role("button", name="Run it once").press("Enter")
    assert await focused(page) == "problem"  # in sight, and read aloud
    await page.locator(".hint").press("Enter")
    await expect(page.locator(".problem")).to_have_count(0)
    assert await focused(page) == "card"
    await page.locator("[data-operand='0']").get_by_role("button", name="Generate").press("Enter")
    await page.get_by_label("shape of a").wait_for()
    assert await focused(page) == "Generate"
    await page.get_by_role("button", name="httpx").press("Enter")
    assert await focused(page) == "httpx"
    await page.locator("[data-stop='1']").press("Enter")
    for step in range(2, 8):
        await page.get_by_role("button", name="Next step").press("Enter")
        await expect(page.locator("#tour-words h2")).to_contain_text(f"{step}.")
        assert await focused(page) == "Next step →"
