"""The lab page: plan, run and race, errors with their hints, and a link that is the state."""

import json
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from playwright.async_api import Page, expect

from service.compare.race import MOST_COMPILE_NS
from service.operations import REGISTRY
from tests.browser.conftest import Visit
from tests.cases import SLOW, here

LESSON = "#op=matmul&x=random:5x784:0&x=integers:784x10:1"

NO_CLUSTER = "needs a Dask cluster, which SERVICE_DASK_SCHEDULER would name"


async def result(page: Page) -> list[Any]:
    """The numbers of the result, as its copy button gives them."""
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Copy the numbers").click()
    await page.get_by_role("button", name="Copied").wait_for()
    numbers: list[Any] = json.loads(await page.evaluate("navigator.clipboard.readText()"))
    return numbers


async def test_a_plan_is_there_before_anything_runs(visit: Visit) -> None:
    """It follows what is typed."""
    page = await visit.open()
    assert await visit.text(".facts") == (
        "Result i2 × j2 float32 Work 8 multiply-adds Memory 48 bytes In torch torch.matmul(a, b)"
    )
    await page.get_by_label("numbers of a").fill("1 2\n3 4\n5 6")
    await expect(page.locator(".facts")).to_contain_text("12 multiply-adds")
    assert await page.locator("#result").inner_text() == ""


async def test_a_run_shows_numbers_and_phases(visit: Visit) -> None:
    """The product, the strategy that ran, and where the time went; then it goes stale."""
    page = await visit.open()
    await page.get_by_role("button", name="Run it once").click()
    await page.locator(".phases").wait_for()
    assert await result(page) == [[19, 22], [43, 50]]
    assert "by torch on cpu, came as JSON" in await visit.text("#result h2")
    assert "compute" in await visit.text(".legend")
    await page.get_by_label("numbers of a").fill("9")
    await expect(page.locator("#result")).to_have_class("result stale")


async def test_a_hint_mends_the_call(visit: Visit) -> None:
    """The error stands at its operand; its button applies what it says, and Back undoes it."""
    page = await visit.open("#op=matmul&x=1+2+3%0A4+5+6&x=1+2+3%0A4+5+6")
    problem = page.locator("[data-operand='1'] .problem")
    await expect(problem).to_contain_text("matmul needs a's last axis (3) to equal b's axis 0 (2)")
    await problem.get_by_role("button", name="b transposed has shape (3, 2) and fits").click()
    await expect(page.locator(".facts")).to_contain_text("i2 × j2")
    assert await page.get_by_label("numbers of b").input_value() == "1 4\n2 5\n3 6"
    await expect(page.locator(".problem")).to_have_count(0)
    await page.go_back()
    await problem.wait_for()


HINTS = {
    "equation": ("op=einsum&p.equation=ik,kj>ji&x=1+2%3B&x=3%0A4", "`->`", "p.equation=ik,kj->ji"),
    "added axis": ("op=broadcast&x=1+2+3&x=1+2", "with an axis added last", "view=...,None"),
    "einsum": (
        "op=einsum&x=count:2x3:0&x=1+2+3%0A4+5+6",
        "operand 1 transposed",
        "x=1+4\n2+5\n3+6",
    ),
    "overflow": ("op=matmul&x=100+100&x=100+2&dtype=int8&show=run", "float64", "dtype=float64"),
    "kind": ("op=norm&p.kind=vektor", "did you mean 'vector'?", "p.kind=vector"),
    "strategy": ("op=matmul&strategy=tortch", "did you mean 'torch'?", "strategy=torch"),
    "dtype": ("op=matmul&dtype=float23", "did you mean 'float", "dtype=float"),
    "admitted": (
        "op=matmul&x=count:1000x1000:0&x=count:1000x1000:0&strategy=loops&show=run",
        "Use torch (",
        "strategy=torch",
    ),
}


@pytest.mark.parametrize("case", HINTS)
async def test_a_hint_is_a_button(visit: Visit, case: str) -> None:
    """It puts its change into the state, and then nothing is said against the call."""
    state, hint, after = HINTS[case]
    page = await visit.open(f"#{state}")
    await page.locator(".place .hint", has_text=hint).first.click()
    await expect(page.locator(".problem")).to_have_count(0)
    await page.locator(".facts").wait_for()
    assert after in unquote(page.url)


async def test_a_mistake_is_marked_where_it_was_typed(visit: Visit) -> None:
    """The row, the word, and a button that selects it in the text."""
    page = await visit.open()
    numbers = page.get_by_label("numbers of a")
    await numbers.fill("1 2\n3 x4")
    problem = page.locator("[data-operand='0'] .problem")
    await expect(problem).to_contain_text("'x4' is not a number")
    assert await problem.locator("mark").inner_text() == "x4"
    await problem.get_by_role("button", name="Go there").click()
    await page.keyboard.type("4")
    assert await numbers.input_value() == "1 2\n3 4"
    await page.locator(".facts").wait_for()


async def test_a_number_that_the_service_refuses_is_marked(visit: Visit) -> None:
    """1e39 is no float32: the pointer of the problem leads to the literal."""
    page = await visit.open("#op=matmul&x=1+1e39%0A3+4&x=1+2%0A3+4&show=run")
    problem = page.locator("[data-operand='0'] .problem")
    await expect(problem).to_contain_text("would become infinite in float32")
    assert await problem.locator("mark").inner_text() == "1e39"
    await problem.locator(".hint").click()
    await expect(page.locator(".facts")).to_contain_text("float64")


async def test_a_race_streams_in(visit: Visit) -> None:
    """Rows come while it runs; at the end the fastest is first, with speed-up and error beside."""
    page = await visit.open(f"{LESSON}&race.budget_ms=2000&race.repeat=500")
    await page.evaluate(
        """() => {
            window.seen = new Set();
            const ran = () => document.querySelectorAll(".strategy-row.ran").length;
            const look = () => window.seen.add(ran());
            const table = document.getElementById("race");
            new MutationObserver(look).observe(table, { childList: true });
        }"""
    )
    await page.get_by_role("button", name="Race them").click()
    await expect(page.locator("#verdict")).to_contain_text("as fast as loops")
    assert len(await page.evaluate("[...window.seen]")) > 3
    rows = page.locator(".strategy-row.ran")
    names = [(await row.inner_text()).split()[0] for row in await rows.all()]
    assert {*names} == {*here(REGISTRY["matmul"])} - {"compile"}, "which has to be named"
    assert names[-1] == "loops"
    assert await page.locator(".strategy-row.ran .strategy-speed").last.inner_text() == "1.00 ×"
    assert "e−" in await page.locator(".strategy-row.ran .strategy-error").first.inner_text()
    assert "Measured on" in await visit.text("#host")


async def test_what_is_wrong_does_not_win(visit: Visit) -> None:
    """The verdict names the fastest of those that agree, and how many do not."""
    page = await visit.open("#op=norm&x=1e20+1e20&race.strategies=elementwise,scaled,torch")
    await page.get_by_role("button", name="Race them").click()
    verdict = page.locator("#verdict")
    await expect(verdict).to_contain_text("scaled is the fastest that agrees")
    await expect(verdict).to_contain_text("2 of 3 disagree with the reference")
    await expect(page.locator(".strategy-row.disagrees")).to_have_count(2)


async def test_a_race_can_be_stopped(visit: Visit) -> None:
    """The rows that arrived stay."""
    page = await visit.open(f"{LESSON}&race.budget_ms=10000&race.repeat=1000")
    await page.get_by_role("button", name="Race them").click()
    await page.get_by_role("button", name="Stop the race").click()
    await expect(page.locator("#verdict")).to_contain_text("Stopped")
    await page.get_by_role("button", name="Race them").wait_for()


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("close()", "The race has no outcome: the stream ended without a report."),
        ("error(new TypeError('network error'))", "The service does not answer: no connection"),
    ],
)
async def test_a_race_that_breaks_off_says_so(visit: Visit, end: str, said: str) -> None:
    """Its rows are taken back; the next one takes back what is said."""
    page = await visit.open("#op=norm&x=3 4&race.strategies=torch&race.budget_ms=50")
    row = {"strategy": "torch", "device": "cpu", "skipped": "for a test"}
    event = f"event: row\ndata: {json.dumps(row)}\n\n"
    await page.evaluate(
        f"""(event) => {{
            const body = new ReadableStream({{ async pull(stream) {{
                if (!event) return stream.{end};
                stream.enqueue(new TextEncoder().encode(event));
                event = "";
            }} }});
            const usual = window.fetch;
            window.fetch = async (url, options) => {{
                if (!url.endsWith("/compare")) return usual(url, options);
                window.fetch = usual;
                return new Response(body);
            }};
        }}""",
        event,
    )
    await page.get_by_role("button", name="Race them").click()
    await expect(page.locator("[data-place=run] .problem")).to_contain_text(said)
    await expect(page.locator("#verdict")).to_be_empty()
    await expect(page.locator(".strategy-row.skipped")).to_have_count(0)
    await page.get_by_role("button", name="Race them").click()
    await expect(page.locator("#verdict")).to_contain_text("torch is the fastest")
    await expect(page.locator(".problem")).to_have_count(0)


async def test_what_a_race_skips_says_why(visit: Visit) -> None:
    """A strategy that would take hours has a row with its estimate and the reason."""
    page = await visit.open("#op=matmul&x=random:300x300:0&x=random:300x300:1")
    skipped = page.locator(".strategy-row.skipped", has_text="loops")
    await expect(skipped).to_contain_text("would take about")
    await expect(skipped).to_contain_text("≈")
    slow = page.locator("input[aria-label^='compile']")
    if await slow.count():
        await expect(slow).not_to_be_checked()
    # Each takes a second alone, and ten times that beside others.
    unchecked = ("python", "elementwise", "dot")
    for name in unchecked:
        await page.locator(f"input[aria-label^='{name}']").uncheck()
    await page.get_by_role("button", name="Race them").click()
    await expect(page.locator("#verdict")).to_contain_text("All agree")
    ran = len(here(REGISTRY["matmul"])) - 1 - len(unchecked)  # loops are skipped
    await expect(page.locator(".strategy-row.ran")).to_have_count(ran)
    names = "loops,broadcast,numba,cuda,triton,einsum,torch,numpy"
    assert f"race.strategies={names}" in page.url
    for name in unchecked:
        await page.locator(f"input[aria-label^='{name}']").check()
    assert "race.strategies" not in page.url, "it is the usual race again"


async def test_the_usual_race_is_that_of_the_service(visit: Visit) -> None:
    """The page leaves out of it what the service leaves out."""
    page = await visit.open()
    most_ms = await page.evaluate("import('/lab/any/race.js').then((race) => race.MOST_COMPILE_MS)")
    assert most_ms == MOST_COMPILE_NS / 1e6


async def test_what_the_server_lacks_is_named_below(visit: Visit) -> None:
    """By what it needs, before and after a race, with its source; no row says it again."""
    page = await visit.open("#op=matmul&race.strategies=loops,dask,torch&race.budget_ms=50")
    rows = page.locator(".strategy-row")
    named = page.locator(".strategy-unavailable", has_text="SERVICE_DASK_SCHEDULER")
    for button in ("Race them", "Run it once"):
        await expect(named).to_have_text(f"Not on this server: dask ({NO_CLUSTER})")
        names = [(await row.inner_text()).split()[0] for row in await rows.all()]
        slow = {name for name in SLOW if not REGISTRY["matmul"].strategies[name].missing}
        assert sorted(names) == sorted({*here(REGISTRY["matmul"]), *slow})
        await page.get_by_role("button", name=button).click()
        await expect(page.locator("#verdict")).to_contain_text("is the fastest")
    await named.get_by_role("button", name="dask").click()
    await expect(named.locator(".strategy-source")).to_contain_text("def ")
    await expect(named.get_by_role("button", name="dask")).to_be_focused()


async def test_a_link_is_the_whole_state(visit: Visit) -> None:
    """Another page, given the address, shows the same call and the same result."""
    page = await visit.open()
    await page.get_by_role("radio", name="broadcast").check()
    await page.get_by_label("numbers of x1").fill("0.5\n2\nNaN")
    await page.get_by_label("op", exact=True).select_option("mul")
    await page.get_by_label("dtype", exact=True).select_option("float64")
    await page.get_by_role("button", name="Run it once").click()
    first = await result(page)
    assert first == [[5, 5, 5], [40, 40, 40], ["NaN", "NaN", "NaN"]]
    other = Visit(await page.context.new_page(), visit.base_url)
    again = await other.open(f"#{page.url.partition('#')[2]}")
    await again.bring_to_front()
    assert await result(again) == first
    assert await other.text("#call") == await visit.text("#call")
    assert other.complaints == []
    await again.close()


async def test_the_same_state_again_is_no_entry_of_the_history(visit: Visit) -> None:
    """Not of an equation either, whose `>` the browser escapes."""
    page = await visit.open("#op=norm&tour=7")
    entries = []
    for _ in range(2):
        await page.get_by_role("button", name="transpose ij->ji").click()
        await page.locator("#result .phases").wait_for()
        entries.append(await page.evaluate("history.length"))
    assert entries[0] == entries[1]


async def test_a_large_result_is_drawn_not_written(visit: Visit) -> None:
    """1024 x 1024 goes and comes as bytes, onto one canvas; numbers come when asked for."""
    page = await visit.open("#op=matmul&x=random:1024x1024:0&x=integers:1024x1024:1&show=run")
    await page.locator(".phases").wait_for()
    assert "came as bytes" in await visit.text("#result h2")
    assert await page.locator("*").count() < 2000
    await page.locator("#result canvas").click(position={"x": 100, "y": 30})
    await expect(page.locator(".readout").first).to_contain_text("c[")
    place = (await visit.text(".readout")).partition(" = ")
    i, j = json.loads(place[0][1:])
    a = np.random.default_rng(0).random((1024, 1024), np.float32)
    b = np.random.default_rng(1).integers(-9, 10, (1024, 1024)).astype(np.float32)
    assert float(place[2].replace("−", "-")) == pytest.approx((a @ b)[i, j], rel=1e-3, abs=1e-2)
    await expect(page.locator("#result canvas")).to_have_count(2)
    colours = await page.locator("#result canvas").first.evaluate(
        """(canvas) => {
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )
    assert colours > 100


async def test_generated_numbers_are_numpys(visit: Visit) -> None:
    """Bit for bit, so that a snippet of the page computes with the same."""
    page = await visit.open()
    drawn = await page.evaluate(
        """async () => {
            const { Generator } = await import("/lab/any/random.js");
            const seeds = [0, 1, 42, "12345678901234567890123"];
            return seeds.map((seed) => [
                [...new Generator(seed).floats(9)],
                [...new Generator(seed).doubles(9)],
                [...new Generator(seed).integers(-9, 10, 99)],
            ]);
        }"""
    )
    for seed, (floats, doubles, integers) in zip(
        [0, 1, 42, 12345678901234567890123], drawn, strict=True
    ):
        assert floats == np.random.default_rng(seed).random(9, np.float32).tolist()
        assert doubles == np.random.default_rng(seed).random(9).tolist()
        assert integers == np.random.default_rng(seed).integers(-9, 10, 99).tolist()
