"""The tour of the lesson: nine clicks, each with every way that its step offers."""

import re
from typing import NamedTuple

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Visit


class Way(NamedTuple):
    """One set-up of a step: where its outcome stands, and words that must be there.

    `number` is a pattern in what the words of the step say, or the selector of cells of which they
    repeat one. The elements of `seen` are what the step is about.
    """

    button: str | None
    place: str
    words: str
    number: str
    seen: str


RESULT, PROBLEM, VERDICT, DRAWING = "#result", ".problem", "#verdict", "#drawings"
CHAIN = "#chain .steps"
RACE = "#verdict, .strategy-row.ran"
ERROR = ".strategy-row.ran .strategy-error"
FASTEST = ".strategy-row.ran:first-child .strategy-time"
NUMBER, HEAT, AXES, PATH = "#result .lone", "#result canvas", ".alignment", ".path"
STEPS = {
    1: [Way(None, VERDICT, "All agree with the reference", FASTEST, RACE)],
    2: [
        Way("float32 agrees", VERDICT, "All agree with the reference", ERROR, RACE),
        Way("bfloat16 does not", VERDICT, "disagree with the reference", ERROR, RACE),
        Way("the minus signs lost", VERDICT, "All agree with the reference", ERROR, RACE),
    ],
    3: [
        Way("the digits", RESULT, "16.88194", "16.881943", NUMBER),
        Way("1e20 overflows", RESULT, "∞", "elementwise gives ∞", NUMBER),
        Way("scaled first, it does not", RESULT, "1.4142136e20", "1.4142136e20", NUMBER),
        Way("a norm for each row", RESULT, "i3", r"3.741657\d, 8.77496\d+, 13.9283\d+\.", HEAT),
    ],
    4: [
        Way(
            "matrix + row", DRAWING, "x1 (3,) new → 3 3 (1,) → (0, 1)", "12 bytes .* 36 bytes", AXES
        ),
        Way("matrix + column", DRAWING, "1 → 3 (1, 1) → (1, 0)", "12 bytes .* 36 bytes", AXES),
        Way(
            "an image × three colours",
            DRAWING,
            "12 bytes look like 768 KiB",
            "12 bytes .* 768 KiB",
            AXES,
        ),
    ],
    5: [
        Way("a row expanded", DRAWING, "(1,) → (0, 1)", r"\(0, 1\).* 12 bytes .* 36 bytes", AXES),
        Way("a column expanded", DRAWING, "1 → 3 (1, 0)", r"\(1, 0\).* 12 bytes .* 36 bytes", AXES),
        Way("(2, 5) has strides (5, 1)", DRAWING, "(5, 1)", r"\(5, 1\).* 40 bytes", AXES),
        Way("three numbers as an image", DRAWING, "(1,) → (0, 0, 1)", "12 bytes .* 768 KiB", AXES),
    ],
    6: [
        Way("c * c[:, None]", DRAWING, "x1[:,None] (3, 1)", "9 elements from 6 .* 900", HEAT),
        Way("c == c[None]", RESULT, "bool", "3 of 3 elements", HEAT),
        Way("row > column", RESULT, "i3 × j3 bool", "3 of 9 elements", HEAT),
    ],
    7: [
        Way(
            "product ik,kj->ij", DRAWING, "k is summed", r"8 multiply-adds.*c\[1, 1\], is 50", HEAT
        ),
        Way("transpose ij->ji", RESULT, "j3 × i1", r"c\[2, 0\], is 3\.", HEAT),
        Way("diagonal ii->i", RESULT, "i3", r"c\[2\], is 9\.", HEAT),
        Way("trace ii", RESULT, "15", "is 15", NUMBER),
        Way("batch bij,bjk->bik", RESULT, "b3 × i4 × k2", r"120 .*c\[2, 3, 1\], is −?\d+\.", HEAT),
        Way("inner i,i", RESULT, "140", "is 140", NUMBER),
        Way(
            "a chain of three",
            DRAWING,
            "The path: 2 steps, 150,000 multiply-adds in all",
            "150,000 multiply-adds, 333 times less",
            PATH,
        ),
    ],
    8: [
        Way(
            "inner sizes differ",
            PROBLEM,
            "b transposed has shape (3, 2) and fits",
            "b: axis 0 has size 2, expected 3",
            PROBLEM,
        ),
        Way("256 against 128", DRAWING, "128, not 256", "x1: axis -3 has .* 128, not 256", AXES),
        Way("a wrong arrow", PROBLEM, "did you mean `->`?", "position 5", PROBLEM),
        Way(
            "three loops over a million",
            PROBLEM,
            "Use torch",
            r"loops would take [\d.]+ (min|h|days), \w+ about [\d.]+ m?s",
            PROBLEM,
        ),
        Way("bytes overflow", PROBLEM, "float64", "10300", PROBLEM),
    ],
    9: [
        Way(None, CHAIN, "s matmul (5, 10) float32 torch", r"3 steps in [\d.]+ [um]s", CHAIN),
        Way(
            "all steps by Python lists",
            CHAIN,
            "s broadcast relu (5, 50) float32 python",
            r"python computes the 3 steps in [\d.]+ [um]s",
            CHAIN,
        ),
    ],
}
# What is not inside the window, in short.
OUTSIDE = """(selector) => {
    const inside = (each) => {
        const { top, left, bottom, right, width, height } = each.getBoundingClientRect();
        return top >= 0 && left >= 0 && bottom <= innerHeight && right <= innerWidth
            && width > 0 && height > 0;
    };
    const found = [...document.querySelectorAll(selector)];
    if (found.length === 0) return [`no ${selector}`];
    return found.filter((each) => !inside(each)).map((each) => each.textContent);
}"""


async def said(page: Page) -> str:
    """What the words of the step say that it came to."""
    return " ".join((await page.locator("#tour-words .outcome").inner_text()).split())


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_sets_the_page_up(visit: Visit, step: int) -> None:
    """One click shows it; each of its ways comes to what the lesson says.

    That is in sight without scrolling, and its number is in the words of the step.
    """
    page = await visit.open()
    await page.set_viewport_size({"width": 1280, "height": 800})
    await page.locator(f"[data-stop='{step}']").click()
    assert await page.locator("#tour-words h2").inner_text() != ""
    for way in STEPS[step]:
        if way.button is not None:
            await page.get_by_role("button", name=way.button, exact=True).click()
        outcome = page.locator(way.place).first
        await expect(outcome).to_contain_text(way.words, use_inner_text=True)
        await expect(page.locator("#tour-words .outcome")).not_to_be_empty()
        if way.number.startswith("."):
            cells = await page.locator(way.number).all_inner_texts()
            assert [cell for cell in cells if cell in await said(page)], way
        else:
            assert re.search(way.number, await said(page)), await said(page)
        assert await page.evaluate(OUTSIDE, way.seen) == [], way
        assert await page.evaluate("scrollY") == 0


async def test_the_words_of_a_step_follow_the_call(visit: Visit) -> None:
    """A changed call takes them back; its own result gives others."""
    page = await visit.open()
    await page.locator("[data-stop='3']").click()
    outcome = page.locator("#tour-words .outcome")
    await expect(outcome).to_contain_text("16.88")
    await page.get_by_label("numbers of x").fill("3 4")
    await expect(outcome).to_be_empty()
    await page.get_by_role("button", name="Run it once").click()
    await expect(outcome).to_have_text("elementwise gives 5.")


async def test_a_step_begins_at_its_start(visit: Visit) -> None:
    """After scrolling down the next step is in sight; then the page has its usual order again."""
    page = await visit.open()
    order = "[...document.querySelectorAll('main > section')].map(({ id }) => id)"
    usual = await page.evaluate(order)
    await page.locator("[data-stop='6']").click()
    await page.evaluate("scrollTo(0, document.body.scrollHeight)")
    await page.get_by_role("button", name="Next step").click()
    await expect(page.locator("#stops")).to_be_in_viewport()
    await expect(page.locator("#result h2")).to_be_in_viewport()
    assert (await page.evaluate(order))[:3] == ["tour-words", "result", "plan"]
    await page.get_by_label("numbers of x0").focus()
    await page.get_by_role("radio", name="norm").check()
    assert await page.evaluate(order) == usual
    await expect(page.get_by_role("radio", name="norm")).to_be_focused()
    await expect(page.get_by_role("radio", name="norm")).to_be_in_viewport()


async def test_the_whole_tour_by_its_next_button(visit: Visit) -> None:
    """It leads through all steps in their order, and can be left."""
    page = await visit.open()
    await page.locator("[data-stop='1']").click()
    titles = []
    for _ in STEPS:
        titles.append(await page.locator("#tour-words h2").inner_text())
        onward = page.get_by_role("button", name="Next step")
        if await onward.count():
            await onward.click()
    assert [title.partition(".")[0] for title in titles] == [str(n) for n in STEPS]
    await page.get_by_role("button", name="Leave the tour").click()
    assert not await page.locator("#tour-words").is_visible()
    assert "tour" not in page.url
