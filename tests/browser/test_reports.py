"""Reports of races on the lab page: rates, files to save, and kept reports laid over a race."""

import csv
import json
import re
from base64 import b64encode
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from playwright.async_api import Page, expect

from service.cli.against import read_report
from service.http.schemas import CompareRow
from tests.browser.conftest import Visit

RACE = (
    "#op=matmul&x=random:5x64:0&x=random:64x10:1&race.strategies=loops,torch,dask&race.budget_ms=50"
)


# The size of a PNG, the share of its pixels that are not white, and the shares that differ from an
# SVG: of all pixels, and of those of each box.
DIFFERENCE = """async ([svg, png, boxes]) => {
    const open = async (type, data) => {
        const image = new Image();
        image.src = `data:image/${type};base64,${data}`;
        await image.decode();
        return image;
    };
    const [drawing, picture] = [await open("svg+xml", svg), await open("png", png)];
    const { naturalWidth: width, naturalHeight: height } = picture;
    const pixels = (image) => {
        const pen = new OffscreenCanvas(width, height).getContext("2d");
        pen.drawImage(image, 0, 0, width, height);
        return pen.getImageData(0, 0, width, height).data;
    };
    const [expected, found] = [pixels(drawing), pixels(picture)];
    const share = (test) => found.filter((_, at) => test(at)).length / found.length;
    const differs = (at) => Math.abs(found[at] - expected[at]) > 100;
    const within = ([left, top, size]) => {
        const rows = Array.from({ length: size }, (_, row) => 4 * ((top + row) * width + left));
        const places = rows.flatMap((row) => Array.from({ length: 4 * size }, (_, at) => row + at));
        return places.filter(differs).length / places.length;
    };
    return [[width, height], share((at) => found[at] < 128), share(differs), boxes.map(within)];
}"""

SVG = "{http://www.w3.org/2000/svg}"
SCALE = 2  # pixels of the PNG for each unit of the SVG
MARK = 28  # pixels around a mark
OTHER = {
    "op": "norm",
    "shapes": [[3]],
    "dtype": "float32",
    "multiply_adds": 3,
    "host": {"cpu": "x", "threads": 1, "versions": {}},
    "rows": [1],
}


async def raced(visit: Visit, state: str = RACE) -> Page:
    """Open the page, and wait until a race is finished."""
    page = await visit.open(state)
    await page.get_by_role("button", name="Race them").click()
    await expect(page.locator("#verdict")).to_contain_text("is the fastest")
    return page


async def saved(page: Page, kind: str, folder: Path) -> Path:
    """Save the report in a form, and return the file."""
    async with page.expect_download() as coming:
        await page.get_by_role("button", name=f"Save {kind}", exact=True).click()
    download = await coming.value
    path = folder / download.suggested_filename
    await download.save_as(path)
    return path


async def lay(page: Page, name: str, content: bytes) -> None:
    """Choose a report to lay over the race."""
    field = page.get_by_label("a kept report to lay over the race")
    await field.set_input_files({"name": name, "mimeType": "", "buffer": content})


def marks(svg: ET.Element) -> list[tuple[int, int, int]]:
    """Return the left, top and size of a box around each circle and diamond, in pixels of a PNG."""
    places = [(each.attrib["cx"], each.attrib["cy"]) for each in svg.iter(f"{SVG}circle")]
    turned = (each.attrib.get("transform", "") for each in svg.iter(f"{SVG}rect"))
    diamonds = [re.findall(r"[\d.]+", each)[1:] for each in turned if each]
    return [
        (round(SCALE * float(x)) - MARK // 2, round(SCALE * float(y)) - MARK // 2, MARK)
        for x, y in [*places, *diamonds]
    ]


async def is_the_same(page: Page, svg: bytes, png: bytes, *, count: int) -> None:
    """Assert that a PNG is the SVG as the browser itself draws it, and has `count` marks."""
    blank = await page.context.new_page()
    root = ET.fromstring(svg)
    boxes = marks(root)
    assert len(boxes) == count
    shape, drawn, differing, by_mark = await blank.evaluate(
        DIFFERENCE, [*(b64encode(each).decode() for each in (svg, png)), boxes]
    )
    assert shape == [SCALE * int(root.attrib[name]) for name in ("width", "height")]
    assert drawn > 0.01, "a part of it is no ground"
    assert differing < 0.002, "only edges of letters may differ"
    assert max(by_mark) < 0.02, "a mark has its place, size and colour"
    await blank.close()


def times_of(report: dict[str, Any]) -> dict[str, float]:
    """Return the median of each strategy that ran."""
    return {row["strategy"]: row["median_ms"] for row in report["rows"] if "median_ms" in row}


async def test_a_race_is_saved(visit: Visit, tmp_path: Path) -> None:
    """As JSON, CSV, Markdown, and a picture that loads nothing; all have the same times.

    Each row has its share of the peak, and the verdict says how far the machine is used.
    """
    page = await visit.open(RACE)
    await expect(page.get_by_role("button", name="Save JSON")).to_be_hidden()
    page = await raced(visit)
    share = page.locator(".strategy-row", has_text="loops").locator(".strategy-share")
    await expect(share).to_contain_text("1 in ")
    assert re.fullmatch(r"\S+ GFLOP/s, \S+ GB/s", await share.get_attribute("title") or "")
    await expect(page.locator("#verdict")).to_contain_text("Of what this machine could do, it uses")
    path = await saved(page, "JSON", tmp_path)
    report = json.loads(path.read_text(encoding="utf-8"))
    assert len(read_report(str(path)).rows) == 2, "the command line reads it too"
    assert set(times_of(report)) == {"loops", "torch"}
    with (await saved(page, "CSV", tmp_path)).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["op", "shapes", "dtype", *CompareRow.model_fields]
    assert (rows[0]["shapes"], rows[0]["dtype"]) == ("5x64 64x10", "float32")
    ran = [row for row in rows if row["median_ms"]]
    assert {row["strategy"]: float(row["median_ms"]) for row in ran} == times_of(report)
    assert [float(row["gflops"]) for row in ran] == [
        r["gflops"] for r in report["rows"] if "gflops" in r
    ]
    table = (await saved(page, "Markdown", tmp_path)).read_text(encoding="utf-8")
    assert table.startswith("## matmul of 5x64 and 64x10, float32\n\n| strategy | device |")
    assert "| loops | cpu |" in table
    assert report["host"]["cpu"] in table
    assert "| dask |" not in table
    assert "\n\nnot on this server: dask (needs a Dask cluster" in table
    picture = (await saved(page, "SVG", tmp_path)).read_bytes()
    root = ET.fromstring(picture)
    texts = {each.text for each in root.iter(f"{SVG}text")}
    assert {"matmul of 5x64 and 64x10, float32", "loops", "torch", "median", "of peak"} <= texts
    assert b"href" not in picture
    assert b"url(" not in picture
    await is_the_same(page, picture, (await saved(page, "PNG", tmp_path)).read_bytes(), count=2)


async def test_a_kept_report_is_laid_over_a_race(visit: Visit, tmp_path: Path) -> None:
    """It has a mark and a ratio in each row, and its host below; it can be taken away again."""
    page = await raced(visit)
    report = json.loads((await saved(page, "JSON", tmp_path)).read_text(encoding="utf-8"))
    for row in report["rows"]:
        for name in ("gflops", "gb_per_s", "peak_share"):
            row.pop(name, None)  # older reports have none
        if "median_ms" in row:
            row["median_ms"] *= 3
    report["host"] |= {"cpu": "An <i>older</i> processor"}
    await lay(page, "kept.json", json.dumps(report).encode())
    row = page.locator(".strategy-row", has_text="torch")
    await expect(row.locator(".then")).to_have_count(1)
    await expect(row).to_contain_text("in the kept report: now 3.00 × as fast")
    await expect(page.locator("#reports")).to_contain_text("kept.json: An <i>older</i> processor")
    for width in (390, 1280):
        await page.set_viewport_size({"width": width, "height": 900})
        assert await visit.overflow() <= 0, width
    picture = (await saved(page, "SVG", tmp_path)).read_text(encoding="utf-8")
    assert "now over then" in picture
    assert "An &lt;i&gt;older&lt;/i&gt; processor" in picture
    png = (await saved(page, "PNG", tmp_path)).read_bytes()
    await is_the_same(page, picture.encode(), png, count=4)
    await page.get_by_role("button", name="Take it away").click()
    await expect(page.locator(".then")).to_have_count(0)


async def test_a_kept_report_of_several_precisions(visit: Visit) -> None:
    """Its rows in another precision than those of the race are laid over none of them."""
    page = await raced(visit)
    row = {"strategy": "torch", "device": "cpu", "median_ms": 99_000}
    kept = OTHER | {"op": "matmul", "shapes": [[5, 64], [64, 10]], "multiply_adds": 3200}
    rows = [row | {"precision": "ieee"}, row | {"precision": "tf32", "median_ms": 77_000}]
    await lay(page, "kept.json", json.dumps(kept | {"rows": rows}).encode())
    await expect(page.locator(".then")).to_have_count(1)
    laid = page.locator(".strategy-row", has=page.locator(".then"))
    await expect(laid).to_contain_text("1.65 min in the kept report")
    await lay(page, "kept.json", json.dumps(kept | {"rows": rows[1:]}).encode())
    said = "kept.json is not shown: it is in tf32, this race in ieee"
    await expect(page.locator("#reports [role=status]")).to_contain_text(said)
    await expect(page.locator(".then")).to_have_count(0)


async def test_a_kept_report_that_is_deterministic(visit: Visit) -> None:
    """Its rows are laid over those of a race that has to give the same bits, and over no others."""
    page = await raced(visit)
    row = {"strategy": "torch", "device": "cpu", "median_ms": 99_000, "deterministic": True}
    kept = OTHER | {"op": "matmul", "shapes": [[5, 64], [64, 10]], "multiply_adds": 3200}
    await lay(page, "kept.json", json.dumps(kept | {"rows": [row]}).encode())
    said = "kept.json is not shown: it is in ieee, deterministic, this race in ieee;"
    await expect(page.locator("#reports [role=status]")).to_contain_text(said)
    await expect(page.locator(".then")).to_have_count(0)
    free = row | {"deterministic": False, "strategy": "loops"}
    await lay(page, "kept.json", json.dumps(kept | {"rows": [row, free]}).encode())
    await expect(page.locator(".strategy-row", has=page.locator(".then"))).to_contain_text("loops")
    await page.goto("about:blank")
    page = await raced(visit, f"{RACE}&deterministic=true")
    await lay(page, "kept.json", json.dumps(kept | {"rows": [row, free]}).encode())
    laid = page.locator(".strategy-row", has=page.locator(".then"))
    await expect(laid).to_have_count(1)
    await expect(laid).to_contain_text("torch")


async def test_other_files_say_what_they_are(visit: Visit) -> None:
    """A report of another call, or something else, is not shown."""
    page = await raced(visit)
    for content, said in (
        (b"\xff{", "x.json: it is not JSON"),
        (b"null", "x.json: it is no report of a race"),
        (b'{"points": []}', "x.json: it is a sweep"),
        (json.dumps(OTHER).encode(), "x.json is not shown: it is of norm of 3, float32"),
        (b'{"op": "norm"}', "x.json: it is no report of a race"),
    ):
        await lay(page, "x.json", content)
        await expect(page.locator("#reports [role=status]")).to_contain_text(said)
        await expect(page.locator(".then")).to_have_count(0)
