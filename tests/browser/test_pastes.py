"""Pasted texts: the tensor that each means, and bytes that mean what the JSON does."""

import csv
import io
import json
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from playwright.async_api import Page, expect

from service.core.dtypes import DTYPES, describe
from tests.browser.conftest import Visit
from tests.browser.pastes import PASTES, Paste
from tests.browser.test_files import choose, paste

READ = """async (texts) => {
    const { parse, TextError } = await import("/lab/any/text.js");
    return texts.map((text) => {
        try {
            const { shape, literals, complex, dtype, said, starts, ends } = parse(text);
            const places = starts.map((start, index) => [start, ends[index]]);
            return { shape, literals, complex, dtype, said: said.join("; "), places };
        } catch (error) {
            if (!(error instanceof TextError)) throw error;
            const { message, start, end } = error;
            return { error: message, start, end };
        }
    });
}"""
WORDS = {'"NaN"': "nan", '"Infinity"': "inf", '"-Infinity"': "-inf", "true": "1", "false": "0"}


async def read(page: Page, texts: list[str]) -> list[dict[str, Any]]:
    """Return the reading or the error of each text by the page."""
    found: list[dict[str, Any]] = await page.evaluate(READ, texts)
    return found


def numbers(literals: list[str]) -> list[float]:
    """The numbers of JSON literals."""
    return [float(WORDS.get(each, each)) for each in literals]


def is_as_wanted(wanted: Paste, found: dict[str, Any]) -> bool:
    """Return whether a reading, or its error with a place in the text, is that of the table."""
    if wanted.error or "error" in found:
        inside = 0 <= found.get("start", -1) <= found.get("end", -1) <= len(wanted.text)
        return wanted.error != "" and wanted.error in found.get("error", "") and inside
    numbers_found = np.array(numbers(found["literals"]))
    if found["complex"]:
        numbers_found = numbers_found.view(np.complex128)
    truths = {literal in {"true", "false"} for literal in found["literals"]}
    return (
        found["shape"] == [*wanted.shape, *[2] * found["complex"]]
        # As text: -0.0 is not 0.0, and NaN is NaN.
        and repr([*map(complex, numbers_found)]) == repr([*map(complex, wanted.numbers)])
        and truths == {isinstance(each, bool) for each in wanted.numbers}
        and found["dtype"] == wanted.dtype
        and wanted.said in found["said"]
    )


async def test_a_paste_is_the_tensor_that_it_means(visit: Visit) -> None:
    """Of spreadsheets, pandas, numpy, torch, MATLAB, R and Julia."""
    page = await visit.open()
    found = await read(page, [each.text for each in PASTES])
    assert len(PASTES) >= 60
    pairs = zip(PASTES, found, strict=True)
    assert [pair for pair in pairs if not is_as_wanted(*pair)] == []


async def test_each_number_has_its_place_in_the_text(visit: Visit) -> None:
    """So that a number that the service refuses is marked."""
    page = await visit.open()
    texts = [
        "1,5;\u22122",
        "\ufeff 7\t\r\n8\t9",
        "tensor([[1.5,\n 2]])",
        '"1,5";2',
        "A =\n\n  3  4\n",
    ]
    words = [["1,5", "\u22122"], ["7", "\t", "8", "9"], ["1.5", "2"], ['"1,5"', "2"], ["3", "4"]]
    for text, wanted, found in zip(texts, words, await read(page, texts), strict=True):
        if "error" in found:
            pytest.fail(f"{text!r}: {found}")
        pieces = [text[start:end] for start, end in found["places"]]
        assert [piece.strip() for piece in pieces] == [word.strip() for word in wanted]


def random_csv(draw: Random) -> tuple[str, str]:
    """A CSV file of random numbers in random spellings, and its delimiter."""
    delimiter = draw.choice([",", ";", "\t", " "])
    rows, columns = draw.randint(1, 6), draw.randint(2, 5)

    def number() -> str:
        value = draw.choice(
            [draw.uniform(-1e3, 1e3), draw.gauss(0, 1e-30), draw.randint(-99, 10**12), 0.0, -0.0]
        )
        return draw.choice([repr, "{:.3e}".format, "{:+.5f}".format, "{:.17g}".format])(value)

    def cell() -> str:
        special = ["nan", "-inf", "Infinity", *([""] if delimiter != " " else [])]
        return draw.choice(special) if draw.random() < 0.1 else number()

    file = io.StringIO()
    end = draw.choice(["\n", "\r\n", "\r"])
    quoted = delimiter != " " and draw.random() < 0.5
    writer = csv.writer(
        file,
        delimiter=delimiter,
        quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL,
        lineterminator=end,
    )
    table = [[cell() for _ in range(columns)] for _ in range(rows)]
    writer.writerows(table)
    return file.getvalue(), delimiter


def as_numpy_reads(text: str, delimiter: str) -> np.ndarray[Any, Any]:
    """The numbers of a CSV file as numpy reads them; an empty cell is NaN."""
    lines = [line.replace('"', "") for line in text.splitlines()]
    own = None if delimiter == " " else delimiter
    read: np.ndarray[Any, Any] = np.genfromtxt(lines, float, delimiter=own, ndmin=2)
    return read


async def test_a_csv_file_has_the_numbers_that_numpy_reads(visit: Visit) -> None:
    """Bit for bit, with empty cells, quotes, and all line ends."""
    page = await visit.open()
    draw = Random(20)
    files = [random_csv(draw) for _ in range(300)]
    found = await read(page, [text for text, _ in files])
    for (text, delimiter), each in zip(files, found, strict=True):
        wanted = as_numpy_reads(text, delimiter)
        assert "error" not in each, (text, each)
        own = np.array(numbers(each["literals"]))
        assert own.size == wanted.size, (text, each)
        np.testing.assert_array_equal(own.reshape(wanted.shape), wanted, text)
        signs = np.signbit(own) == np.signbit(wanted.ravel())
        assert (signs | np.isnan(own)).all(), text
        assert each["shape"] in ([*wanted.shape], [*wanted.shape[1:]]), text


async def test_dtypes_are_promoted_as_in_torch(visit: Visit) -> None:
    """For all pairs."""
    page = await visit.open()
    pairs = [(a, b) for a in DTYPES for b in DTYPES]
    found = await page.evaluate(
        """async (pairs) => {
            const { promote } = await import("/lab/any/npy.js");
            return pairs.map(promote);
        }""",
        pairs,
    )
    for (a, b), own in zip(pairs, found, strict=True):
        assert own == describe(torch.promote_types(DTYPES[a].torch, DTYPES[b].torch)).name, (a, b)


# Texts and whether bytes of the dtype hold them.
HELD: list[tuple[str, str, bool]] = [
    ("0.1 2 -0 nan inf", "", True),
    ("0.1 2 -0 nan -inf", "float64", True),
    ("16777217 1", "float32", False),
    ("16777217.0 1", "float32", False),
    ("9007199254740993 1", "float64", False),
    ("1e39 1", "float32", False),
    ("1e400 1", "float64", False),
    ("true false", "float32", False),
    ("true false", "bool", True),
    ("1 0", "bool", False),
    ("1 2.5", "int32", False),
    ("1 2.0 -3e2", "int64", True),
    ("9223372036854775807 -9223372036854775808", "int64", True),
    ("9223372036854775808 1", "int64", False),
    ("255 0", "uint8", True),
    ("256 0", "uint8", False),
    ("1 -128", "int8", True),
    ("nan 1", "int32", False),
    ("0.1 0.2", "float16", False),
    ("[1+2j, 0.5j]", "", True),
    ("[[1, 2], [3, 4]]", "complex64", True),
    ("[1+2j, 1e39j]", "complex64", False),
    ("[1+2j, 16777217j]", "complex64", False),
    ('["5", 1]', "float32", False),
]
BOTH = """async (cases) => {
    const { asBytes, request } = await import("/lab/any/body.js");
    const { start } = await import("/lab/any/state.js");
    const { tensorOf, typed } = await import("/lab/any/operand.js");
    const told = async ([text, dtype]) => {
        const own = { operands: [typed(text)], dtype, params: { op: "", to: "" } };
        const state = { ...start("broadcast"), ...own };
        const tensors = [tensorOf(state.operands[0], dtype)];
        state.params.to = tensors[0].shape.join("x");
        const ways = [];
        for (const body of ["json", "bytes"]) {
            const { path, headers, body: content } = request({ ...state, body }, tensors);
            const response = await fetch(`/${path}`, { method: "POST", headers, body: content });
            const { result, warnings, code } = await response.json();
            ways.push({ result, warnings, code });
        }
        return { held: asBytes({ ...state, body: "bytes" }, tensors), ways };
    };
    const answers = [];
    for (const each of cases) answers.push(await told(each));
    return answers;
}"""


async def test_bytes_are_sent_where_they_hold_what_the_text_says(visit: Visit) -> None:
    """Both ways have one answer; JSON is sent where it has a warning, or is refused."""
    page = await visit.open()
    answers = await page.evaluate(BOTH, [[text, dtype] for text, dtype, _ in HELD])
    for (text, dtype, held), each in zip(HELD, answers, strict=True):
        as_json, as_bytes = each["ways"]
        assert each["held"] == held, (text, dtype)
        assert json.dumps(as_json) == json.dumps(as_bytes), (text, dtype)
        assert not held or (as_json["code"] is None and not as_json["warnings"]), (text, dtype)


async def test_a_long_paste_keeps_dtype_signs_and_places(visit: Visit) -> None:
    """It takes the chosen dtype, and an error in it names its cell."""
    page = await visit.open("#op=broadcast&dtype=int64&p.op=&p.to=100x50&x=1")
    row = "\t".join(["9007199254740993"] * 50)
    await paste(page, "numbers of x0", "\r\n".join([row] * 100))
    await expect(page.locator(".card-shape")).to_contain_text("i100 × j50 int64")
    assert await visit.text(".reading") == "Separated by tabs."
    await page.get_by_role("button", name="Run it once").click()
    await page.locator("#result canvas").click(position={"x": 3, "y": 3})
    await expect(page.locator("#result .readout").first).to_contain_text("9007199254740993")


async def test_a_mistake_in_a_long_text_is_shown(visit: Visit) -> None:
    """Its row and column are named; the next file of that name is another call."""
    page = await visit.open("#op=norm")
    rows = ["1,2,3,4,5,6,7,8"] * 2000
    await choose(page, 0, "a.csv", "\n".join([*rows, "1,2,3,4,5,six,7,8"]).encode())
    problem = page.locator("[data-operand='0'] .problem")
    await expect(problem).to_contain_text("row 2000, column 5: 'six' is not a number")
    assert await problem.locator("mark").inner_text() == "six"
    await choose(page, 0, "a.csv", "\n".join([*rows, "1,2,3,4,5,6,7,1e39"]).encode())
    await expect(page.locator(".facts")).to_contain_text("float32")
    await page.get_by_role("button", name="Run it once").click()
    await expect(problem).to_contain_text("would become infinite in float32")


async def test_what_was_read_is_said(visit: Visit) -> None:
    """Under the editor, and by the editor's description."""
    page = await visit.open()
    area = page.get_by_label("numbers of a")
    await area.fill("1,5;\n2;3")
    reading = page.locator("[data-operand='0'] .reading")
    await expect(reading).to_have_text(
        "Separated by semicolons; decimal comma; 1 missing number as NaN, at [0, 1]."
    )
    assert await area.get_attribute("aria-describedby") == await reading.get_attribute("id")
    await area.fill("five")
    await expect(reading).to_have_text("")


async def test_a_file_of_a_spreadsheet_may_be_utf_16(visit: Visit) -> None:
    """Its first two bytes say so."""
    page = await visit.open("#op=norm")
    content = "1\t2\r\n3\t\r\n".encode("utf-16")
    await choose(page, 0, "table.txt", content)
    await expect(page.locator(".card-shape")).to_contain_text("i2 × j2")
    assert await page.get_by_label("numbers of x").input_value() == "1\t2\n3\t"


async def test_a_transposed_text_means_the_same(visit: Visit) -> None:
    """Complex numbers stay whole, and a stated dtype stays."""
    page = await visit.open("#op=norm&x=[[1%2B2j,3],[4,-5j]]")
    await page.get_by_role("button", name="transpose x").click()
    assert await page.get_by_label("numbers of x").input_value() == "1+2j 4+0j\n3+0j 0-5j"
    await expect(page.locator(".card-shape")).to_contain_text("i2 × j2 complex64")
    await page.get_by_label("numbers of x").fill("tensor([[1, 2]], dtype=torch.float64)")
    await page.get_by_role("button", name="transpose x").click()
    assert (
        await page.get_by_label("numbers of x").input_value() == "array([[1],[2]], dtype=float64)"
    )
    await expect(page.locator(".card-shape")).to_contain_text("i2 × j1 float64")
