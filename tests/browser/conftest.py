"""A headless Chromium of the system, and pages of it that must stay without a complaint."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    async_playwright,
    expect,
)

from tests.rigs.requirements import is_required
from tests.rigs.servers import free_port, serving

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
# The browser's own note of an answer that is a problem; the page shows the problem.
REFUSED = "Failed to load resource: the server responded with a status of 4"


# A page that others compute beside takes seconds to appear. A race takes ten times as long then,
# since it leaves the cores to others: it runs at nice 10.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
# The origin of pages that may frame the lab page.
FRAMING = f"http://127.0.0.1:{free_port()}"


class Visit:
    """One page, with all that it complained of and asked for."""

    def __init__(self, page: Page, base_url: str):
        """Listen to `page`, which visits the service at `base_url`."""
        self.page = page
        self.base_url = base_url
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(REFUSED):
            self.complaints.append(message.text)

    async def open(self, path: str = "") -> Page:
        """Go to a path of the service; of the lab page wait for its first plan."""
        await self.page.goto(f"{self.base_url}/{path}")
        if not path.startswith("docs"):
            await self.page.locator("#race .strategy-row").first.wait_for()
        return self.page

    async def text(self, selector: str) -> str:
        """The text of the first element that the selector finds, in plain spaces."""
        return " ".join((await self.page.locator(selector).first.inner_text()).split())

    async def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        width: int = await self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return width


def missing() -> str | None:
    """Return the requirement of these tests that is missing on this host, if any."""
    if CHROMIUM.exists():
        return None
    return f"there is no {CHROMIUM}: install Debian's package chromium, or set CHROMIUM"


@pytest.fixture(scope="session")
def browser_url() -> Iterator[str]:
    """The address of a server for the browser."""
    lack = missing()
    if lack is not None:
        if is_required("chromium"):
            pytest.fail(f"TESTS_REQUIRE names chromium, but {lack}", pytrace=False)
        pytest.skip(f"browser tests: {lack}")
    with serving(SERVICE_DEADLINE_MS=str(PATIENCE_MS), SERVICE_EMBED_ORIGINS=FRAMING) as url:
        yield url


@pytest.fixture(scope="session")
async def browser(browser_url: str) -> AsyncIterator[Browser]:
    """The browser, once for all tests."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """One profile for all: the pages keep nothing but their files, which need not come again."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    yield context
    await context.close()


@pytest.fixture
async def visit(context: BrowserContext, browser_url: str) -> AsyncIterator[Visit]:
    """A page; at its end nothing was in the console, and no other host was asked."""
    page = await context.new_page()
    visit = Visit(page, browser_url)
    yield visit
    await page.close()
    assert visit.complaints == []
    assert visit.hosts == {urlsplit(browser_url).netloc}
