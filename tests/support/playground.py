"""Drives the playground in a real browser."""

import asyncio
import contextlib
import shutil

import pytest
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request, expect

from tests.support.patience import WAIT_SECONDS
from tests.support.server import RunningServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Flags that keep Chromium from calling Google's servers, and turn off its sandbox, which containers lack.
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
]
WAIT_MILLISECONDS = 1000 * WAIT_SECONDS

in_chromium = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)"),
]


class Playground:
    """One page. ``faults`` has its exceptions, messages of its console, and requests to other servers."""

    def __init__(self, page: Page, server: RunningServer) -> None:
        self.page = page
        self.faults: list[str] = []
        self._server = server
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", self._see)

    async def open(self) -> None:
        await self.page.goto(self._server.url)
        await self.page.locator(".graphiql-execute-button").wait_for()

    async def choose(self, tab: str) -> None:
        """Select a tab, and wait until its query is shown."""
        # The page appears before its editors are loaded, and a click in between is lost.
        shown = expect(self.page.locator(".graphiql-query-editor"))
        async with asyncio.timeout(WAIT_MILLISECONDS / 1000):
            while True:
                # After an early reload, GraphiQL may have opened the tab twice.
                await self.page.get_by_role("tab", name=tab).last.click()
                with contextlib.suppress(AssertionError):
                    await shown.to_contain_text(f"\u00a0{tab}(", timeout=1000)
                    break

    async def run(self, tab: str) -> None:
        """Select a tab, and execute its query."""
        await self.choose(tab)
        await self.execute()

    async def execute(self) -> None:
        """Press the button that executes the current query."""
        await self.page.get_by_role("button", name="Execute query").click()

    async def shows(self, text: str) -> None:
        """Wait until the result contains this text."""
        await expect(self.page.locator(".graphiql-response")).to_contain_text(text, timeout=WAIT_MILLISECONDS)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(message.text)

    def _see(self, request: Request) -> None:
        own = (self._server.url, "data:", "blob:")
        if not request.url.startswith(own):
            self.faults.append(f"foreign request: {request.url}")


async def opened(browser: BrowserContext, server: RunningServer) -> Playground:
    playground = Playground(await browser.new_page(), server)
    await playground.open()
    return playground
