"""What the playground keeps of a bearer token."""

import asyncio
from collections.abc import Iterator

import pytest
from playwright.async_api import BrowserContext

from tests.support.client import Client
from tests.support.playground import WAIT_MILLISECONDS, in_chromium, opened
from tests.support.server import RunningServer, running_server

pytestmark = in_chromium

NOTED_TAB = "JSON.parse(localStorage['graphiql:tabState'] ?? '{}').activeTabIndex"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The page is the same on every database, so one will do."""
    with running_server(tmp_path_factory.mktemp("data")) as started:
        yield started


async def test_a_token_outlives_a_reload_and_nothing_more(browser: BrowserContext, server: RunningServer) -> None:
    async with Client(server) as client:
        playground = await opened(browser, server)
        page = playground.page
        await playground.choose("Search")
        await page.get_by_role("button", name="Headers").click()
        await page.locator('[data-uri$="request-headers.json"]').click()
        await page.keyboard.insert_text(f'{{"Authorization": "Bearer {client.token}"}}')
        # Whoever chooses a tab before GraphiQL noted the headers, half a second later, loses them.
        await playground.execute()
        await playground.shows("totalCount")
        # GraphiQL notes a little later where one is, and opens a tab twice for who reloads before.
        async with asyncio.timeout(WAIT_MILLISECONDS / 1000):
            while not await page.evaluate(NOTED_TAB):  # noqa: ASYNC110  The page's policy keeps Playwright from waiting.
                await asyncio.sleep(0.05)
        await page.reload()
        await page.locator(".graphiql-execute-button").wait_for()
        await playground.run("Search")
        await playground.shows("totalCount")
        kept = await page.evaluate("[JSON.stringify(localStorage), JSON.stringify(sessionStorage)]")
        assert [client.token in storage for storage in kept] == [False, True]

        other = await opened(browser, server)
        await other.run("Search")
        await other.shows("A bearer token is needed.")
