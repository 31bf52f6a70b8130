"""Files in and out, and the call as commands that do the same."""

import io
import re
import sys
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Visit


async def choose(page: Page, index: int, name: str, content: bytes) -> None:
    """Give operand `index` a file."""
    field = page.locator(f"[data-operand='{index}'] input[type=file]")
    await field.set_input_files({"name": name, "mimeType": "", "buffer": content})


def npy(array: np.ndarray[Any, Any]) -> bytes:
    """The array as a file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


async def test_files_are_operands_and_results_are_files(visit: Visit, tmp_path: Path) -> None:
    """npy in Fortran order and CSV go in; an npy file that numpy reads comes out."""
    a = np.arange(6.0).reshape(2, 3)
    b = np.array([[1, 2], [3, 4], [5, 6.5]])
    page = await visit.open()
    await choose(page, 0, "a.npy", npy(np.asfortranarray(a)))
    await choose(page, 1, "b.csv", b"1,2\r\n3,4\r\n5,6.5\r\n")
    await expect(page.locator(".facts")).to_contain_text("float64")
    await page.get_by_role("button", name="Run it once").click()
    async with page.expect_download() as coming:
        await page.get_by_role("button", name="Save as npy").click()
    path = tmp_path / "result.npy"
    await (await coming.value).save_as(path)
    saved = np.load(path)
    assert saved.dtype == np.float64
    np.testing.assert_array_equal(saved, a @ b)
    await page.get_by_role("button", name="Use as a").click()
    await expect(page.locator("[data-operand='0'] .card-shape")).to_contain_text("i2 × k2")


async def test_a_file_that_cannot_be_read_says_why(visit: Visit) -> None:
    """Text that is no array, and an array of text."""
    page = await visit.open()
    note = page.locator("[data-operand='0'] > .note")
    await choose(page, 0, "a.npy", b"hello")
    await expect(note).to_contain_text("a.npy: this is no npy file")
    await choose(page, 0, "a.npy", npy(np.array(["x"])))
    await expect(note).to_contain_text("dtype '<U1' is not read")


async def paste(page: Page, label: str, text: str) -> None:
    """Paste a text into the editor of that label."""
    await page.get_by_label(label).evaluate(
        """(area, text) => {
            const data = new DataTransfer();
            data.setData("text", text);
            const paste = { clipboardData: data, cancelable: true };
            area.dispatchEvent(new ClipboardEvent("paste", paste));
        }""",
        text,
    )


async def test_a_long_paste_becomes_bytes(visit: Visit) -> None:
    """A text area with 100 000 numbers would stand still."""
    page = await visit.open("#op=norm")
    rows = "\n".join(" ".join("1" for _ in range(100)) for _ in range(1000))
    await paste(page, "numbers of x", rows)
    await expect(page.locator(".card-shape")).to_contain_text("i1000 × j100")
    await page.get_by_role("button", name="Run it once").click()
    await expect(page.locator(".lone")).to_contain_text("316.2277")


def lesson() -> np.ndarray[Any, Any]:
    """The lesson's product, of numpy's own numbers."""
    images = np.random.default_rng(0).random((5, 784), np.float32)
    return images @ np.random.default_rng(1).integers(-9, 10, (784, 10))


CALLS = {
    "typed": ("op=matmul&x=0.1+0.2%3B&x=0.1%0A0.2&dtype=float64", [0.05]),
    "generated": ("op=matmul&x=random:5x784:0&x=integers:784x10:1", lesson().flatten()),
    "transposed": (
        "op=norm&x=integers:2x3:5:T&p.dim=1&p.keepdim=true",
        np.linalg.norm(np.random.default_rng(5).integers(-9, 10, (2, 3)), axis=0),
    ),
    "wide": (f"op=norm&x={'+'.join(['1'] * 441)}&dtype=bfloat16", [21.0]),
    "views": ("op=broadcast&p.op=mul&x=1+20+30&x=1+20+30&view=&view=:,None", [1, 20, 30, 20, 400]),
}


@pytest.mark.parametrize(
    ("kind", "case"),
    [
        ("curl", "typed"),
        ("curl", "generated"),
        ("curl", "views"),
        ("httpx", "generated"),
        ("httpx", "transposed"),
        ("httpx", "wide"),
        ("fetch", "generated"),
        ("fetch", "views"),
        ("torch", "generated"),
    ],
)
async def test_a_snippet_does_the_same(visit: Visit, tmp_path: Path, kind: str, case: str) -> None:
    """Copied with the file that it names, it runs and gives the numbers of the page."""
    state, expected = CALLS[case]
    page = await visit.open(f"#{state}")
    await page.locator("#snippets").get_by_role("button", name=kind, exact=True).click()
    await expect(page.locator(".snippet")).to_have_attribute("aria-label", f"the call in {kind}")
    code = await page.locator(".snippet").inner_text()
    save = page.get_by_role("button", name=re.compile(r"Save \w+\.safetensors"))
    saved = None
    if await save.count():
        async with page.expect_download() as coming:
            await save.click()
        download = await coming.value
        saved = tmp_path / download.suggested_filename
        await download.save_as(saved)
    printed = (
        await in_page(page, code, saved) if kind == "fetch" else await run(kind, code, tmp_path)
    )
    numbers = re.findall(r"-?\d+\.?\d*(?:e[-+]?\d+)?", printed.partition('"data"')[2] or printed)
    np.testing.assert_allclose(
        [float(number) for number in numbers[: len(expected)]], expected, rtol=1e-3, atol=1e-2
    )


async def in_page(page: Page, code: str, file: Path | None) -> str:
    """The data that JavaScript gets; a browser reads no file, so it is given the bytes."""
    content = [*(await anyio.Path(file).read_bytes())] if file else []
    code = re.sub(r"^import .*$", "", code, flags=re.MULTILINE)
    code = re.sub(r"console\.log\(.*\);", "return JSON.stringify(result.data);", code)
    program = f"async (file) => {{ const readFile = async () => new Uint8Array(file); {code} }}"
    return str(await page.evaluate(program, content))


async def run(kind: str, code: str, folder: Path) -> str:
    """Return the output of a command or a program, run in the folder of its file."""
    command = ["bash", "-euo", "pipefail", "-c"] if kind == "curl" else [sys.executable, "-c"]
    done = await anyio.run_process([*command, code], cwd=folder, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()
