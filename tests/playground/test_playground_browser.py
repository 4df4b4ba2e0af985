"""The playground in a real browser: what a newcomer clicks, and that nothing goes wrong unseen."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import BrowserContext, expect

from app.config import AuthMode
from tests.support.playground import Playground, in_chromium, opened
from tests.support.server import RunningServer, running_server

pytestmark = in_chromium


@pytest.fixture(scope="module")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server as `make serve` starts it: its one caller needs no token."""
    data_dir: Path = tmp_path_factory.mktemp("data")
    with running_server(data_dir, auth=AuthMode.NONE, jwt_secret=None) as started:
        yield started


async def last_sequence(server: RunningServer) -> int:
    """The last event of the newest conversation, once its second message is answered."""
    query = "{ conversations(first: 1) { nodes { agentState events { nodes { sequence source __typename } } } } }"
    newest: dict[str, Any] = {}
    async with httpx.AsyncClient(timeout=20) as client:
        for _ in range(800):
            answer = await client.post(f"{server.url}/graphql", json={"query": query})
            [newest] = answer.json()["data"]["conversations"]["nodes"]
            events = newest["events"]["nodes"]
            said = [event for event in events if event["__typename"] == "MessageEvent"]
            if len(said) == 4 and newest["agentState"] == "AWAITING_USER_INPUT":
                return int(events[-1]["sequence"])
            await asyncio.sleep(0.05)
    raise AssertionError(newest)


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
    await second.shows('"userErrors":\u00a0[]')
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


async def test_the_explorer_writes_the_query(browser: BrowserContext, local_server: RunningServer) -> None:
    playground = await opened(browser, local_server)
    page = playground.page
    await playground.choose("Search")
    await page.get_by_role("button", name="Show GraphiQL Explorer").click()
    explorer = page.locator(".graphiql-explorer-root")
    await explorer.get_by_text("settings", exact=True).click()
    await explorer.get_by_text("llmModel", exact=True).last.click()
    # The editor shows spaces as no-break ones, and may break where they are.
    await expect(page.locator(".graphiql-query-editor")).to_contain_text(re.compile(r"settings\s\{\s*llmModel\s*\}"))
    assert playground.faults == []


async def test_right_variables_are_not_marked_and_wrong_ones_are(
    browser: BrowserContext, local_server: RunningServer
) -> None:
    playground = await opened(browser, local_server)
    page = playground.page
    await playground.choose("Create")
    variables = page.locator('[data-uri$="variables.json"]')
    marks = variables.locator(".squiggly-error, .squiggly-warning")
    await expect(variables).to_contain_text("initialMessage")
    for message, is_right in (("{}", False), ('{"text": "Hello"}', True), ("[]", False)):
        await variables.click()
        await page.keyboard.press("ControlOrMeta+A")
        # `imageUrls` has to be there too, but has a default.
        await page.keyboard.insert_text(f'{{"input": {{"initialMessage": {message}}}}}')
        # What the editor has closed by itself.
        await page.keyboard.press("ControlOrMeta+Shift+End")
        await page.keyboard.press("Delete")
        if is_right:
            await expect(marks).to_have_count(0)
        else:
            await expect(marks).not_to_have_count(0)
    assert playground.faults == []


async def test_in_a_narrow_window_the_result_is_below(browser: BrowserContext, local_server: RunningServer) -> None:
    page = await browser.new_page()
    await page.set_viewport_size({"width": 400, "height": 800})
    playground = Playground(page, local_server)
    await playground.open()
    await playground.run("Settings")
    await playground.shows("llmModel")
    query, result = [await page.locator(name).bounding_box() for name in (".graphiql-editors", ".graphiql-response")]
    assert query is not None
    assert result is not None
    assert result["y"] >= query["y"] + query["height"] - 1
    assert min(query["width"], result["width"]) > 250
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert playground.faults == []
