"""The lab page in a frame of another page, and the control that makes the code for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, Page, expect

from tests.browser.conftest import FRAMING, Visit

STATE = "op=matmul&x=1+2%0A3+4&x=5+6%0A7+8&p=&show=run"
STRANGER = FRAMING.replace("127.0.0.1", "localhost")


class Framing(NamedTuple):
    """A page that frames another one, and what the browser said of it."""

    page: Page
    complaints: list[str]


class Frame(HTMLParser):
    """The attributes of the one frame of a text."""

    attributes: dict[str, str | None]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the attributes."""
        assert tag == "iframe"
        self.attributes = dict(attrs)


@asynccontextmanager
async def framing(context: BrowserContext, frame: str, origin: str) -> AsyncIterator[Framing]:
    """Serve a page with the frame, and open it by that origin."""
    body = f"<title>course</title>{frame}".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"
        writer.write(head + body)
        writer.close()

    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    async with await asyncio.start_server(answer, "127.0.0.1", urlsplit(origin).port):
        await page.goto(f"{origin}/")
        yield Framing(page, complaints)
        await page.close()


async def test_a_page_of_a_named_origin_frames_it(visit: Visit) -> None:
    """The copied code shows the call and its result, without header, tour and footer.

    Its link leads to the whole page with the same state.
    """
    page = await visit.open(f"#{STATE}")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Copy the embed code").click()
    await page.get_by_role("button", name="Copied").wait_for()
    code = await page.evaluate("navigator.clipboard.readText()")
    parser = Frame()
    parser.feed(code)
    assert parser.attributes["src"] == f"{visit.base_url}/?embed=1#{page.url.partition('#')[2]}"
    async with framing(page.context, code, FRAMING) as (course, complaints):
        lab = course.frame_locator("iframe")
        await expect(lab.locator("#result h2")).to_contain_text("by torch")
        for part in ("#call", "#plan", "#race", "#result"):
            await expect(lab.locator(part)).to_be_visible()
        for part in (".masthead", ".tour", "footer", ".skip"):
            await expect(lab.locator(part)).to_be_hidden()
        await lab.get_by_label("numbers of a").fill("9 8\n7 6")
        async with page.context.expect_page() as opening:
            await lab.get_by_role("link", name="Open in the lab").click()
        whole = await opening.value
        await whole.get_by_label("numbers of a").wait_for()
        assert await whole.get_by_label("numbers of a").input_value() == "9 8\n7 6"
        assert whole.url.startswith(f"{visit.base_url}/#op=matmul&x=9+8%0A7+6&")
        await expect(whole.locator(".masthead")).to_be_visible()
        await whole.close()
        assert complaints == []
        assert course.url == f"{FRAMING}/"


async def test_no_other_page_frames_it(visit: Visit) -> None:
    """The embedded page refuses other origins, and the whole page refuses all."""
    await visit.open()
    for origin, path in ((STRANGER, "?embed=1"), (FRAMING, ""), (FRAMING, "docs")):
        frame = f'<iframe src="{visit.base_url}/{path}"></iframe>'
        async with framing(visit.page.context, frame, origin) as (page, complaints):
            for _ in range(50):
                if complaints:
                    break
                await page.wait_for_timeout(100)
            assert "frame-ancestors" in complaints[0], (origin, path)
            await expect(page.frame_locator("iframe").locator("#call")).to_have_count(0)


async def test_an_embedded_step_of_the_tour_shows_its_call(visit: Visit) -> None:
    """The words of the tour are away, its chain stays, and no link leads out of the frame."""
    page = await visit.open("?embed=1#op=matmul&x=random:5x784:0&x=integers:784x50:1&tour=9")
    await page.locator("#chain .steps").wait_for()
    await expect(page.locator("#tour-words")).to_be_hidden()
    assert await page.evaluate("document.body.className") == "embedded"
    await expect(page.get_by_role("button", name="Copy the link to this page")).to_be_visible()
    await expect(page.get_by_role("button", name="Copy the embed code")).to_have_count(0)
    assert await page.evaluate("document.querySelector('base').target") == "_blank"
    for width in (390, 1280):
        await page.set_viewport_size({"width": width, "height": 640})
        assert await visit.overflow() <= 0, width
