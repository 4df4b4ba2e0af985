"""The playground in a real browser: what a newcomer clicks, and that nothing goes wrong unseen."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request, async_playwright, expect

from app.config import AuthMode
from tests.server import RunningServer, running_server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Without these it tries to reach its maker's servers, and a container has no sandbox to give it.
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
]
WAIT_MILLISECONDS = 20_000

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)"),
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="module")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server as `make serve` starts it: its one caller needs no token."""
    data_dir: Path = tmp_path_factory.mktemp("data")
    with running_server(data_dir, auth=AuthMode.NONE, jwt_secret=None) as started:
        yield started


@pytest.fixture
async def browser() -> AsyncGenerator[BrowserContext]:
    """A window that has never been here before."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = await chromium.new_context(viewport={"width": 1400, "height": 900})
        context.set_default_timeout(WAIT_MILLISECONDS)
        yield context
        await chromium.close()


class Playground:
    """One page, with everything that went wrong in it."""

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

    async def run(self, tab: str) -> None:
        """Choose a tab, and press the button."""
        # The page is shown before its editors are loaded, and a click that comes in between is lost.
        shown = expect(self.page.locator(".graphiql-query-editor"))
        async with asyncio.timeout(WAIT_MILLISECONDS / 1000):
            while True:
                await self.page.get_by_role("tab", name=tab).click()
                with contextlib.suppress(AssertionError):
                    await shown.to_contain_text(f"\u00a0{tab}(", timeout=1000)
                    break
        await self.page.get_by_role("button", name="Execute query").click()

    async def shows(self, text: str) -> None:
        """Wait until the result has this text."""
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


async def last_sequence(server: RunningServer) -> int:
    """The last event of the newest conversation, once its second message is answered."""
    query = "{ conversations(first: 1) { nodes { agentState events { nodes { sequence source __typename } } } } }"
    async with httpx.AsyncClient(timeout=20) as client, asyncio.timeout(20):
        while True:
            answer = await client.post(f"{server.url}/graphql", json={"query": query})
            [found] = answer.json()["data"]["conversations"]["nodes"]
            events = found["events"]["nodes"]
            said = [event for event in events if event["__typename"] == "MessageEvent"]
            if len(said) == 4 and found["agentState"] == "AWAITING_USER_INPUT":
                return int(events[-1]["sequence"])
            await asyncio.sleep(0.05)


async def test_a_newcomer_clicks_through_it_and_sees_events_arrive(
    browser: BrowserContext, local_server: RunningServer
) -> None:
    first = await opened(browser, local_server)
    await first.run("Settings")
    await first.shows("demo/assistant")
    await first.run("Create")
    await first.shows("STARTING")
    await first.run("Watch")
    await first.shows("AWAITING_USER_INPUT")

    second = await opened(browser, local_server)
    await second.run("Send")
    await second.shows("userErrors")
    await first.shows(f'"sequence":\u00a0{await last_sequence(local_server)}')
    await second.run("Search")
    await second.shows("totalCount")

    assert first.faults + second.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_follows_the_systems_theme(browser: BrowserContext, local_server: RunningServer, scheme: str) -> None:
    page = await browser.new_page()
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    playground = Playground(page, local_server)
    await playground.open()
    brightness = await page.evaluate(
        "getComputedStyle(document.querySelector('.graphiql-container')).backgroundColor.match(/[0-9.]+/g).slice(0, 3)"
        ".reduce((sum, part) => sum + Number(part), 0)"
    )
    assert (brightness < 384) is (scheme == "dark")
    assert playground.faults == []
