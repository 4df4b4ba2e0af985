"""The front end at ``/app``, as somebody uses it in a browser."""

import signal
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, Request, expect

from app.config import AuthMode
from app.models.provider_account import ProviderType
from tests.support.fake_git import TOKEN, FakeGitProvider, repository
from tests.support.node import check_types, generate_types
from tests.support.playground import WAIT_MILLISECONDS, in_chromium
from tests.support.processes import ForkedServer
from tests.support.scripted_llm import Body, Call, Gate, Reply, ScriptedLLM, echo, hold, tools
from tests.support.server import RunningServer, running_server

pytestmark = in_chromium
expect.set_options(timeout=WAIT_MILLISECONDS)


@pytest.fixture(scope="module")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server as `make serve` starts it: its one caller needs no token."""
    data_dir: Path = tmp_path_factory.mktemp("data")
    found = [repository(number) for number in range(1, 4)]
    with running_server(
        data_dir,
        auth=AuthMode.NONE,
        jwt_secret=None,
        max_concurrent_conversations=20,
        git_providers={kind: FakeGitProvider(kind, found) for kind in ProviderType},
    ) as started:
        yield started


class Window:
    """One window, with everything that went wrong in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", self._see)

    async def save_settings(self, llm: ScriptedLLM, *, must_confirm: bool = False) -> None:
        """By the dialog."""
        await self.page.get_by_role("button", name="Settings", exact=True).click()
        dialog = self.page.get_by_role("dialog", name="Settings")
        await dialog.get_by_label("Model").fill("openai/scripted")
        await dialog.get_by_label("Base URL").fill(llm.url)
        await dialog.get_by_label("API key").fill("sk-test-key-0123456789")
        await dialog.get_by_label("Ask me before").set_checked(must_confirm)
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog).to_have_count(0)

    async def create(self, text: str) -> None:
        """A conversation, by the dialog; it is open then."""
        await self.page.get_by_role("button", name="New", exact=True).click()
        dialog = self.page.get_by_role("dialog", name="New conversation")
        await dialog.get_by_label("First message").fill(text)
        await dialog.get_by_role("button", name="Create").click()
        await expect(dialog).to_have_count(0)

    async def say(self, text: str) -> None:
        """A message, ended by Enter."""
        await self.page.get_by_label("Message").fill(text)
        await self.page.keyboard.press("Enter")

    async def rename(self, title: str) -> None:
        """By a click on the title."""
        await self.page.get_by_role("heading", level=2).get_by_role("button").click()
        await self.page.get_by_label("Title", exact=True).fill(title)
        await self.page.keyboard.press("Enter")

    def message(self, text: str) -> Locator:
        """A message of somebody's."""
        return self.page.locator(".message:not(.is-live)").filter(has_text=text)

    async def said(self) -> list[str]:
        """The messages that are shown."""
        return await self.page.locator(".message:not(.is-live)").all_inner_texts()

    def item(self, title: str) -> Locator:
        """A conversation's place in the list."""
        return self.page.get_by_role("navigation").get_by_role("button", name=title)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(message.text)

    def _see(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.faults.append(f"foreign request: {request.url}")


def script(llm: ScriptedLLM, *replies: Reply) -> None:
    """What the agent is answered, in this order; titles, which are asked for beside it, are echoed."""
    remaining, echoed = list(replies), echo()

    def answer(body: Body) -> Reply:
        return remaining.pop(0) if body.get("tools") and remaining else echoed(body)

    llm.default = answer


async def opened(browser: BrowserContext, url: str) -> Window:
    window = Window(await browser.new_page(), url)
    await window.page.goto(f"{url}/app")
    await window.page.get_by_role("heading", name="Parley").wait_for()
    return window


async def test_a_user_goes_all_the_way(browser: BrowserContext, local_server: RunningServer, llm: ScriptedLLM) -> None:
    window = await opened(browser, local_server.url)
    page = window.page
    await window.save_settings(llm)
    gate = Gate()
    script(llm, hold(gate, "It is ", after=["**done**."]))
    await window.create("Please begin")
    await expect(page.locator(".message.is-live")).to_contain_text("It is")
    await expect(page.locator(".conversation .chip")).to_have_text("working")
    gate.release()
    await expect(page.locator(".conversation .chip")).to_have_text("ready")
    assert await window.said() == ["Please begin", "It is **done**."]

    await window.say("And now?")
    await expect(window.message("answer to And now?")).to_be_visible()
    await window.rename("A journey of mine")
    await expect(window.item("A journey of mine")).to_be_visible()
    await window.rename("")
    await expect(window.item("A journey of mine")).to_have_count(0)
    await window.rename("A journey of mine")

    search = page.get_by_label("Search titles")
    await search.fill("nothing has these words")
    await expect(page.get_by_text("No title has these words.")).to_be_visible()
    await search.fill("JOURNEY")
    await expect(window.item("A journey of mine")).to_be_visible()

    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator(".conversation .chip")).to_have_text("stopped")
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(page.locator(".conversation .chip")).to_have_text("ready")

    await page.get_by_role("button", name="Delete").click()
    await expect(window.item("A journey of mine")).to_have_count(0)
    await page.get_by_role("button", name="Undo").click()
    await window.item("A journey of mine").click()
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("status")).to_have_count(0)
    await page.reload()
    await expect(page.get_by_role("heading", name="Parley")).to_be_visible()
    await expect(window.item("A journey of mine")).to_have_count(0)
    assert window.faults == []


async def test_a_tool_call_is_refused_with_a_reason_and_approved(
    browser: BrowserContext, local_server: RunningServer, llm: ScriptedLLM
) -> None:
    window = await opened(browser, local_server.url)
    page = window.page
    await window.save_settings(llm, must_confirm=True)
    script(
        llm,
        tools(Call("run_command", '{"command": "echo first"}')),
        tools(Call("run_command", '{"command": "echo second"}', id="call_2")),
    )
    await window.create("Work")
    approval = page.get_by_role("form", name="Approval")
    await approval.get_by_label("Reason for refusing").fill("Not this one.")
    await approval.get_by_role("button", name="Refuse").click()
    await expect(page.locator(".result").first).to_contain_text("Not this one.")
    await expect(page.locator(".call").nth(1)).to_contain_text("echo second")
    await approval.get_by_role("button", name="Approve").click()
    await expect(page.locator(".result")).to_have_count(2)
    await expect(page.locator(".conversation .chip")).to_have_text("ready")
    assert window.faults == []


async def test_a_conversation_is_about_a_repository_and_a_branch(
    browser: BrowserContext, local_server: RunningServer, llm: ScriptedLLM
) -> None:
    window = await opened(browser, local_server.url)
    page = window.page
    await window.save_settings(llm)
    await page.get_by_role("button", name="New", exact=True).click()
    await page.get_by_role("button", name="settings", exact=True).click()
    settings = page.get_by_role("dialog", name="Settings")
    await settings.get_by_label("Publishing by the agent").select_option("ALLOW_COMMITS")
    await settings.get_by_label("Token", exact=True).fill("not-a-token")
    await settings.get_by_role("button", name="Save").click()
    await expect(settings.get_by_role("alert")).to_be_visible()
    await settings.get_by_label("Token", exact=True).fill(TOKEN)
    await settings.get_by_role("button", name="Save").click()
    await expect(settings).to_have_count(0)

    await page.get_by_role("button", name="New", exact=True).click()
    dialog = page.get_by_role("dialog", name="New conversation")
    await dialog.get_by_label("Repository from").select_option("GITHUB")
    await dialog.get_by_label("Search repositories").fill("engine-2")
    await dialog.get_by_label("ada/engine-2").check()
    branch = dialog.get_by_label("Branch")
    await expect(branch.get_by_role("option")).to_have_text(["main (default)", "next"])
    await branch.select_option("next")
    await dialog.get_by_role("button", name="Create").click()
    facts = page.locator(".conversation .facts")
    await expect(facts.get_by_role("link")).to_have_text("ada/engine-2 · next")
    # The host does not exist, and the page says so.
    await expect(page.locator(".reason")).to_be_visible()
    await expect(page.locator(".conversation .chip")).to_have_text("failed")

    # What was typed can be read nowhere.
    await page.get_by_role("button", name="Settings", exact=True).click()
    await expect(settings.get_by_label("Publishing by the agent")).to_have_value("ALLOW_COMMITS")
    await expect(settings.get_by_label("API key")).to_have_value("")
    await expect(settings.get_by_label("API key")).to_have_attribute("placeholder", "one is stored")
    await expect(settings.get_by_label("Token", exact=True)).to_have_attribute("placeholder", "stored, of ada")
    kept = await page.evaluate("JSON.stringify([localStorage, sessionStorage]) + document.documentElement.outerHTML")
    assert (TOKEN in kept, "sk-test-key" in kept) == (False, False)
    assert window.faults == []


async def test_a_reload_in_the_middle_of_an_answer_loses_and_doubles_nothing(
    browser: BrowserContext, local_server: RunningServer, llm: ScriptedLLM
) -> None:
    window = await opened(browser, local_server.url)
    await window.save_settings(llm)
    gate = Gate()
    script(llm, hold(gate, "One, ", after=["two."]))
    await window.create("Count")
    await expect(window.page.locator(".message.is-live")).to_contain_text("One,")
    await window.page.reload()
    await expect(window.page.locator(".message.user")).to_have_text("Count")
    gate.release()
    await expect(window.page.locator(".conversation .chip")).to_have_text("ready")
    await expect(window.page.locator(".message.is-live")).to_have_count(0)
    assert await window.said() == ["Count", "One, two."]
    assert window.faults == []


async def test_two_windows_stay_in_step(browser: BrowserContext, local_server: RunningServer, llm: ScriptedLLM) -> None:
    first, second = await opened(browser, local_server.url), await opened(browser, local_server.url)
    await first.save_settings(llm)
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


async def test_a_deletion_is_sent_when_the_page_is_left(
    browser: BrowserContext, local_server: RunningServer, llm: ScriptedLLM
) -> None:
    window, other = await opened(browser, local_server.url), await opened(browser, local_server.url)
    await window.save_settings(llm)
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
        await server.start(port)
        await expect(window.page.get_by_text("The server can’t be reached.")).to_have_count(0)
        await window.say("After")
        await expect(window.message("answer to After")).to_be_visible()
        assert await window.said() == ["Before", "answer to Before", "After", "answer to After"]
        # A browser reports each connection that could not be made.
        assert [fault for fault in window.faults if "net::ERR_" not in fault and "WebSocket" not in fault] == []


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_every_window_in_both_themes(
    browser: BrowserContext, local_server: RunningServer, llm: ScriptedLLM, width: int, scheme: str
) -> None:
    window = await opened(browser, local_server.url)
    page = window.page
    await page.set_viewport_size({"width": width, "height": 800})
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await window.save_settings(llm)
    await window.create("x" * 300)
    await expect(page.locator(".conversation .chip")).to_have_text("ready")
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    paper = await page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)[0]")
    assert (paper < 128) is (scheme == "dark")
    is_listed = await page.get_by_role("navigation").is_visible()
    assert is_listed is (width == 1400)
    if not is_listed:
        await page.get_by_role("button", name="Back to the list").click()
        await expect(page.get_by_role("navigation")).to_be_visible()
    assert window.faults == []


async def test_the_keyboard_is_enough(browser: BrowserContext, local_server: RunningServer, llm: ScriptedLLM) -> None:
    window = await opened(browser, local_server.url)
    page = window.page
    await window.save_settings(llm)
    await page.get_by_role("button", name="New", exact=True).focus()
    await page.keyboard.press("Enter")
    await page.keyboard.type("By keys alone")
    await page.keyboard.press("Tab")
    while not await page.evaluate("document.activeElement.textContent === 'Create'"):
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(window.message("answer to By keys alone")).to_be_visible()
    await page.get_by_label("Message").focus()
    await page.keyboard.type("one")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("two")
    await page.keyboard.press("Enter")
    await expect(page.locator(".message.user").last).to_have_text("one\ntwo")
    await page.get_by_role("button", name="Settings", exact=True).click()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert window.faults == []


async def test_its_documents_fit_the_schema_and_its_types_fit_them() -> None:
    assert await generate_types("web") == ""
    assert await check_types("web") == ""
