"""Pages of `compare --html`, opened from the file system in a browser without a network."""

import csv
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import orjson
import pytest
from playwright.async_api import Browser, Page, expect

from service.cli.against import read_report, read_sweep
from service.cli.report_page import race_page, sweep_answer, sweep_page
from service.compare import CompareOptions
from service.compare.sweep import Point, Sweep
from service.core.arithmetic import Arithmetic
from service.http.schemas import CompareRow
from service.http.serializers import report_answer
from tests.browser.conftest import Visit
from tests.load.figures import summarize
from tests.load.report import write_report
from tests.unit.cli.reports import ABSENT, GPU, QUICK, SLOW, UNABLE, report, sweep
from tests.unit.test_load_report import ABOUT, SAMPLES

RACE = replace(
    report(SLOW, QUICK, GPU, UNABLE, *ABSENT),
    params={"equation": "ij,jk->ik", "dim": [0, 1], "kind": "auto"},
)

IEEE = replace(QUICK, arithmetic=Arithmetic("ieee"))
TF32 = replace(QUICK, arithmetic=Arithmetic("tf32"), times_ns=(400,))


@pytest.fixture
async def offline(browser: Browser) -> AsyncIterator[Visit]:
    """A page without a network; at its end it had asked for itself alone, without a complaint."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    visit = Visit(await context.new_page(), "")
    requests: list[str] = []
    visit.page.on("request", lambda request: requests.append(request.url))
    yield visit
    assert {url.partition(":")[0] for url in requests} <= {"file", "data", "blob"}
    assert len([url for url in requests if url.startswith("file:")]) == 1
    assert visit.complaints == []
    await context.close()


async def opened(visit: Visit, path: Path, text: str) -> Page:
    """Write a page, and open it at several widths, in light and dark."""
    path.write_text(text, encoding="utf-8")
    await visit.page.goto(path.as_uri())
    colours = set()
    for scheme in ("dark", "light"):
        await visit.page.emulate_media(color_scheme=scheme)
        colours.add(
            await visit.page.evaluate("getComputedStyle(document.documentElement).background")
        )
    assert len(colours) == 2
    for width in (390, 1280):
        await visit.page.set_viewport_size({"width": width, "height": 900})
        assert await visit.overflow() <= 0, width
    return visit.page


async def saved(page: Page, name: str) -> str:
    """Save a form of the first report, and return the file's text."""
    async with page.expect_download() as coming:
        await page.get_by_role("button", name=name, exact=True).first.click()
    return (await (await coming.value).path()).read_text(encoding="utf-8")


async def test_the_page_of_a_race(offline: Visit, tmp_path: Path) -> None:
    """It has drawing, figures, reasons, machine and files, and the source of a strategy."""
    page = await opened(
        offline, tmp_path / "race.html", race_page(RACE, "a race", "as text", CompareOptions())
    )
    await expect(page).to_have_title("a race")
    assert "as text" not in await offline.text("main")
    assert "torch on cpu is the fastest that agrees, at 1.20 us" in await offline.text(".prose")
    await expect(page.locator(".strategy-row .dot")).to_have_count(3)
    await expect(page.locator(".race input")).to_have_count(0)
    await expect(page.locator(".strategy-row", has_text="dot")).to_contain_text(
        "does not take int8"
    )
    await expect(page.locator(".race")).to_contain_text("Not on this server: cuda")
    await expect(page.locator(".strategy-row", has_text="cuda:0")).to_contain_text(
        "Disagrees: 2 elements are outside rtol 0.001 and atol 0.00001, the worst at [1, 0]"
    )
    quick = page.locator(".figures tr", has_text="torch on cpu")
    cells = [
        "yes",
        "1.00 us",
        "1.20 us",
        "200 ns",
        "1.00 us",
        "3",
        "7.50 ×",
        "118",
        "2.00",
        "87 %",
        "0",
    ]
    found = await quick.locator("td").all_inner_texts()
    assert [text for text in found if text][: len(cells)] == cells
    machine = await offline.text("section:last-of-type")
    assert "processor A processor threads 2 devices cuda:0, cpu" in machine
    assert "peak of cpu, by a product 135 GFLOP/s peak of cpu, by a copy 11.4 GB/s" in machine
    await page.get_by_role("button", name="loops", exact=False).first.click()
    await expect(page.locator(".source")).to_contain_text("for i in range")


async def test_files_of_a_race(offline: Visit, tmp_path: Path) -> None:
    """They are those of the command line; a kept report is laid over the race from the start."""
    kept = tmp_path / "kept.json"
    answer = report_answer(RACE)
    older = answer.model_dump_json(exclude_unset=True, exclude={"params"})
    kept.write_text(older, encoding="utf-8")
    text = race_page(RACE, "a race", "", CompareOptions(), read_report(str(kept)))
    page = await opened(offline, tmp_path / "race.html", text)
    await expect(page.locator(".then")).to_have_count(3)
    await expect(page.locator(".reports")).to_contain_text("◆ kept.json: A processor, 2 threads")
    found = json.loads(await saved(page, "Save JSON"))
    assert found == answer.model_dump(mode="json", exclude_unset=True)
    table = list(csv.DictReader(StringIO(await saved(page, "Save CSV"))))
    assert list(table[0])[3:] == list(CompareRow.model_fields)
    assert len(table) == len(RACE.rows)
    table_text = await saved(page, "Save Markdown")
    title = "matmul ij,jk->ik dim=[0,1] kind=auto of 2x2 and 2x2, float32"
    assert table_text.startswith(f"## {title}\n")
    assert "| torch | cpu | 1.20 us |" in table_text
    assert "now over then" in await saved(page, "Save SVG")
    await page.get_by_role("button", name="Take it away").click()
    await expect(page.locator(".then")).to_have_count(0)


async def test_rows_of_several_precisions(offline: Visit, tmp_path: Path) -> None:
    """Each is a row of its own, also in files, and a kept one is laid over no other."""
    kept, race = tmp_path / "kept.json", report(SLOW, IEEE, TF32)
    slower = replace(TF32, times_ns=(1200,))
    kept.write_text(report_answer(report(slower)).model_dump_json(exclude_unset=True), "utf-8")
    text = race_page(race, "a race", "", CompareOptions(), read_report(str(kept)))
    page = await opened(offline, tmp_path / "race.html", text)
    assert "torch in tf32 is the fastest, at 400 ns" in await offline.text(".prose")
    assert await page.locator(".strategy-row .disclose").all_inner_texts() == [
        "torch tf32",
        "torch ieee",
        "loops ieee",
    ]
    laid = page.locator(".strategy-row", has=page.locator(".then"))
    await expect(laid).to_contain_text("1.20 us in the kept report: now 3.00 × as fast")
    await expect(laid).to_contain_text("torch tf32")
    figures = await page.locator(".figures th[scope=row]").all_inner_texts()
    assert figures == ["loops in ieee", "torch in ieee", "torch in tf32"]
    table = await saved(page, "Save Markdown")
    assert "| strategy | device | precision | median |" in table
    assert "| loops | cpu |  | 9.00 us |" in table
    assert "| torch | cpu | tf32 | 400 ns |" in table
    picture = await saved(page, "Save SVG")
    assert {">torch in ieee<", ">torch in tf32<", ">3.00 ×<"} <= set(
        re.findall(r">[^<>]+<", picture)
    )


async def test_a_sweep_in_several_precisions(offline: Visit, tmp_path: Path) -> None:
    """Each precision of a strategy has a line of its own."""
    found = Sweep((Point(2, report(SLOW, IEEE, TF32)),), None)
    text = sweep_page(found, "a sweep", "", CompareOptions(), limit_ns=10**9)
    page = await opened(offline, tmp_path / "sweep.html", text)
    await expect(page.locator(".sweep-line")).to_have_count(3)
    heads = await page.locator(".figures").first.locator("th").all_inner_texts()
    assert heads[:4] == ["n", "loops in ieee", "torch in ieee", "torch in tf32"]


async def test_the_page_of_a_sweep(offline: Visit, tmp_path: Path) -> None:
    """It has a line for each strategy, a ring where one stops, and the race of each size."""
    then = tmp_path / "sweep.json"
    then.write_bytes(orjson.dumps(sweep_answer(sweep())))
    text = sweep_page(
        Sweep(sweep().points, "at 8: too large"),
        "a sweep",
        "",
        CompareOptions(),
        limit_ns=10**9,
        kept={2: read_sweep(str(then))[2]},
    )
    page = await opened(offline, tmp_path / "sweep.html", text)
    await expect(page.locator(".sweep-line")).to_have_count(3)
    await expect(page.locator(".stop")).to_have_count(1)
    first = page.locator(".figures").first
    assert [" ".join(text.split()) for text in await first.locator("tr").all_inner_texts()] == [
        "n loops on cpu torch on cpu torch on cuda:0",
        "2 9.00 us > 1.20 us ! 105 ns",
        "4 > 1.20 us ! 105 ns",
    ]
    await expect(page.locator("main")).to_contain_text("The sweep ended at 8: too large.")
    assert [point["size"] for point in json.loads(await saved(page, "Save JSON"))["points"]] == [
        2,
        4,
    ]
    lines = (await saved(page, "Save CSV")).splitlines()
    assert [lines[0][:3], len(lines)] == ["op,", 1 + 8]
    assert (await saved(page, "Save Markdown")).startswith("## a sweep\n\n| n | loops on cpu |")
    await expect(page.locator(".race")).to_contain_text("too slow")
    await expect(page.locator(".then")).to_have_count(0)
    await page.get_by_label("size", exact=True).select_option("2")
    await expect(page.get_by_role("heading", name="At n = 2")).to_be_visible()
    await expect(page.locator(".race")).not_to_contain_text("too slow")
    await expect(page.locator(".race")).to_contain_text("in the kept report: now 1.00 × as fast")


async def test_the_page_of_a_load_test(offline: Visit, tmp_path: Path) -> None:
    """It has rates, latencies in fitting units, phases, failures with their codes, and machines."""
    figures = summarize(SAMPLES, ["tiny", "large", "plan"])
    host = report_answer(RACE).host.model_dump()
    path = tmp_path / "report.html"
    write_report({**figures, **ABOUT, "server": host}, path)
    page = await opened(offline, path, path.read_text(encoding="utf-8"))
    assert "26 calls, 8.96 a second. 3 failed, 12 %." in await offline.text(".prose")
    await expect(page.locator(".time rect.right")).to_have_count(3)
    rows = page.locator(".kind")
    tiny = (await rows.nth(0).inner_text()).split("\t")
    assert tiny[0:2] + tiny[4:] == [
        *("tiny", "21", "3.00 ms", "3.80 ms", "3.90 ms", "3.98 ms", "4.00 ms"),
        *("100 bytes", "32.6 KiB/s"),
    ]
    assert "500 us" in await rows.nth(2).inner_text()
    assert "MiB/s" in await rows.nth(1).inner_text()
    await expect(page.locator(".bars .phases")).to_have_count(2)
    words = "decode 250 us, compute 500 us, encode 250 us, outside 1.00 ms"
    await expect(page.locator(".bars .phases").first).to_have_attribute("aria-label", words)
    await expect(
        page.get_by_role("region", name="Failures").locator("tbody tr").first
    ).to_have_text("large503overloadedno slot <b>was</b> free2")
    await expect(page.locator("main")).to_contain_text("A processor")


async def test_the_page_of_a_load_test_without_calls(offline: Visit, tmp_path: Path) -> None:
    """It says that there was none."""
    path = tmp_path / "report.html"
    write_report({**summarize([], []), **ABOUT, "server": None}, path)
    page = await opened(offline, path, path.read_text(encoding="utf-8"))
    assert "0 calls, 0 a second. None failed." in await offline.text(".prose")
    await expect(page.locator("main")).to_contain_text("The service did not say.")
