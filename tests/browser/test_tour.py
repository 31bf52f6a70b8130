"""The tour of the lesson: nine clicks, each with every way that its step offers."""

from typing import NamedTuple

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Visit


class Way(NamedTuple):
    """One set-up of a step: the place where its outcome stands, and words that must be there."""

    button: str | None
    place: str
    words: str


RESULT, PROBLEM, VERDICT, DRAWING = "#result", ".problem", "#verdict", "#drawings"
CHAIN = "#tour-words .steps"
STEPS = {
    1: [Way(None, VERDICT, "All agree with the reference")],
    2: [
        Way("float32 agrees", VERDICT, "All agree with the reference"),
        Way("bfloat16 does not", VERDICT, "disagree with the reference"),
        Way("the minus signs lost", VERDICT, "All agree with the reference"),
    ],
    3: [
        Way("the digits", RESULT, "16.88194"),
        Way("1e20 overflows", RESULT, "∞"),
        Way("scaled first, it does not", RESULT, "1.4142136e20"),
        Way("a norm for each row", RESULT, "i3"),
    ],
    4: [
        Way("matrix + row", DRAWING, "x1 (3,) new → 3 3 (1,) → (0, 1) 12 B look like 36 B"),
        Way("matrix + column", DRAWING, "1 → 3 (1, 1) → (1, 0) 12 B look like 36 B"),
        Way("an image × three colours", DRAWING, "12 B look like 786 kB"),
    ],
    5: [
        Way("a row expanded", DRAWING, "(1,) → (0, 1)"),
        Way("a column expanded", DRAWING, "1 → 3 (1, 0)"),
        Way("(2, 5) has strides (5, 1)", DRAWING, "(5, 1)"),
        Way("three numbers as an image", DRAWING, "(1,) → (0, 0, 1)"),
    ],
    6: [
        Way("c * c[:, None]", DRAWING, "x1[:,None] (3, 1)"),
        Way("c == c[None]", RESULT, "bool"),
        Way("row > column", RESULT, "i3 × j3 bool"),
    ],
    7: [
        Way("product ik,kj->ij", DRAWING, "k is summed"),
        Way("transpose ij->ji", RESULT, "j3 × i1"),
        Way("diagonal ii->i", RESULT, "i3"),
        Way("trace ii", RESULT, "15"),
        Way("batch bij,bjk->bik", RESULT, "b3 × i4 × k2"),
        Way("inner i,i", RESULT, "140"),
        Way("a chain of three", DRAWING, "The path: 2 steps, 150,000 multiply-adds in all"),
    ],
    8: [
        Way("inner sizes differ", PROBLEM, "b transposed has shape (3, 2) and fits"),
        Way("256 against 128", DRAWING, "128, not 256"),
        Way("a wrong arrow", PROBLEM, "did you mean `->`?"),
        Way("three loops over a million", PROBLEM, "Use torch"),
        Way("bytes overflow", PROBLEM, "float64"),
    ],
    9: [
        Way(None, CHAIN, "s matmul (5, 10) float32 torch"),
        Way("all steps by Python lists", CHAIN, "s broadcast relu (5, 50) float32 python"),
    ],
}


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_sets_the_page_up(visit: Visit, step: int) -> None:
    """One click shows it; each of its ways comes to what the lesson says."""
    page = await visit.open()
    await page.locator(f"[data-stop='{step}']").click()
    assert await page.locator("#tour-words h2").inner_text() != ""
    for way in STEPS[step]:
        if way.button is not None:
            await page.get_by_role("button", name=way.button, exact=True).click()
        outcome = page.locator(way.place).first
        await expect(outcome).to_contain_text(way.words, use_inner_text=True, timeout=15_000)


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
