"""The front end while connections break, answers are lost and windows are left."""

import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Route, expect

from tests.support import steps
from tests.support.client import Client
from tests.support.playground import in_chromium
from tests.support.processes import ForkedServer
from tests.support.scripted_llm import Gate, ScriptedLLM, hold
from tests.support.window import Window, opened, script

pytestmark = in_chromium


async def test_a_reload_in_the_middle_of_an_answer_loses_and_doubles_nothing(window: Window, llm: ScriptedLLM) -> None:
    gate = Gate()
    script(llm, hold(gate, "One, ", after=["two."]))
    await window.begin("Count")
    await expect(window.live_answer).to_contain_text("One,")
    await window.page.reload()
    await expect(window.page.locator(".message.user .plain")).to_have_text("Count")
    gate.release()
    await expect(window.status).to_have_text("ready")
    await expect(window.live_answer).to_have_count(0)
    assert await window.said() == ["Count", "One, two."]
    assert window.faults == []


async def test_two_windows_stay_in_step(browser: BrowserContext, window: Window) -> None:
    first, second = window, await opened(browser, window.url)
    await first.create("Together")
    await first.rename("Seen by both")
    await second.item("Seen by both").click()
    await second.say("From the second")
    await expect(first.message("answer to From the second")).to_be_visible()
    assert await first.said() == await second.said()
    await first.page.get_by_role("button", name="Delete").click()
    await expect(second.item("Seen by both")).to_have_count(0)
    await expect(second.page.get_by_text("This conversation does not exist.")).to_be_visible()
    assert first.faults + second.faults == []


async def test_a_deletion_is_sent_when_the_page_is_left(browser: BrowserContext, window: Window) -> None:
    other = await opened(browser, window.url)
    await window.create("To be left")
    await window.rename("Left behind")
    await expect(other.item("Left behind")).to_be_visible()
    await window.page.get_by_role("button", name="Delete").click()
    await expect(window.page.get_by_role("button", name="Undo")).to_be_visible()
    await window.page.goto("about:blank")
    await expect(other.item("Left behind")).to_have_count(0)
    assert window.faults + other.faults == []


@asynccontextmanager
async def process(data_dir: Path) -> AsyncGenerator[ForkedServer]:
    server = ForkedServer(data_dir, llm_private_base_urls="true")
    try:
        await server.start()
        yield server
    finally:
        await server.close()


@pytest.mark.timeout(180)
async def test_a_server_that_goes_and_comes_back_is_followed_without_gap_or_double(
    browser: BrowserContext, tmp_path: Path, llm: ScriptedLLM
) -> None:
    async with process(tmp_path / "data") as server:
        window = await opened(browser, server.url)
        await window.save_settings(llm)
        await window.create("Before")
        await expect(window.message("answer to Before")).to_be_visible()
        port = server.url.rpartition(":")[2]
        await server.end(signal.SIGTERM)
        await expect(window.page.get_by_text("The server can’t be reached.")).to_be_visible()
        await window.say("Meanwhile")
        await expect(window.page.get_by_label("Not sent yet")).to_contain_text("The server can’t be reached.")
        await server.start(port)
        await expect(window.page.get_by_text("The server can’t be reached.")).to_have_count(0)
        await expect(window.message("answer to Meanwhile")).to_be_visible()
        await expect(window.page.get_by_label("Not sent yet")).to_have_count(0)
        assert await window.said() == ["Before", "answer to Before", "Meanwhile", "answer to Meanwhile"]
        # A browser reports each connection that could not be made.
        assert [fault for fault in window.faults if "net::ERR_" not in fault and "WebSocket" not in fault] == []


async def test_a_message_whose_answer_is_lost_is_said_once(window: Window) -> None:
    await window.create("First")
    await expect(window.message("answer to First")).to_be_visible()
    await lose_answers(window, "sendMessage")
    await window.say("Second")
    waiting = window.page.get_by_label("Not sent yet")
    await expect(waiting).to_contain_text("The server can’t be reached.")
    await expect(window.message("answer to Second")).to_be_visible()
    await window.page.unroute_all()
    await waiting.get_by_role("button", name="Retry").click()
    await expect(waiting).to_have_count(0)
    await window.say("Third")
    await expect(window.message("answer to Third")).to_be_visible()
    assert [text for text in await window.said() if not text.startswith("answer")] == ["First", "Second", "Third"]


async def test_a_conversation_whose_answer_is_lost_is_created_once(window: Window, caller: Client) -> None:
    page = window.page
    await lose_answers(window, "createConversation")
    await page.get_by_role("button", name="New", exact=True).click()
    dialog = page.get_by_role("dialog", name="New conversation")
    await dialog.get_by_label("First message").fill("Only once")
    await dialog.get_by_role("button", name="Create").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("The server can’t be reached.")
    await page.unroute_all()
    # The text and its key outlive a reload.
    await page.reload()
    await page.get_by_role("button", name="New", exact=True).click()
    await dialog.get_by_role("button", name="Create").click()
    await expect(window.message("answer to Only once")).to_be_visible()
    conversations = (await caller.execute("{ conversations { totalCount } }"))["conversations"]
    assert conversations["totalCount"] == 1


async def test_who_has_no_token_is_told_so_and_let_in_with_one(
    browser: BrowserContext, newcomer: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(newcomer, llm)
    page = (await opened(browser, newcomer.server.url)).page
    await expect(page.get_by_role("alert")).to_have_text("A bearer token is needed.")
    await page.get_by_label("Bearer token").fill("not-a-token")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_role("alert")).not_to_have_text("A bearer token is needed.")
    await page.get_by_label("Bearer token").fill(newcomer.token)
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_text("There is no conversation yet.")).to_be_visible()
    await Window(page, newcomer.server.url).create("Let in")
    await expect(page.get_by_text("answer to Let in")).to_be_visible()


async def test_it_works_on_plain_http(window: Window) -> None:
    # Browsers offer it on https and on localhost alone.
    await window.page.add_init_script("delete Crypto.prototype.randomUUID")
    await window.page.reload()
    await window.create("First")
    await expect(window.message("answer to First")).to_be_visible()
    await window.say("Second")
    await expect(window.message("answer to Second")).to_be_visible()
    assert window.faults == []


async def lose_answers(window: Window, field: str) -> None:
    """Let requests for this field reach the server, and lose what it answers."""

    async def lose(route: Route) -> None:
        if field in (route.request.post_data or ""):
            await route.fetch()
            await route.abort()
        else:
            await route.continue_()

    await window.page.route("**/graphql", lose)
