"""The front end in windows of every width, in both themes, and by the keyboard alone."""

import re

import pytest
from playwright.async_api import expect

from tests.support import steps
from tests.support.client import Client
from tests.support.playground import in_chromium
from tests.support.scripted_llm import Gate, ScriptedLLM, hold
from tests.support.window import Window, script

pytestmark = in_chromium


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_every_window_in_both_themes(window: Window, width: int, scheme: str) -> None:
    page = window.page
    await page.set_viewport_size({"width": width, "height": 800})
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await window.create("x" * 300)
    await expect(window.status).to_have_text("ready")
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    paper = await page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)[0]")
    assert (paper < 128) is (scheme == "dark")
    is_listed = await page.get_by_role("navigation").is_visible()
    assert is_listed is (width == 1400)
    if not is_listed:
        await page.get_by_role("button", name="Back to the list").click()
        await expect(page.get_by_role("navigation")).to_be_visible()
    assert window.faults == []


async def test_the_keyboard_is_enough(window: Window) -> None:
    page = window.page
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
    await expect(page.locator(".message.user .plain").last).to_have_text("one\ntwo")
    await page.get_by_role("button", name="Settings", exact=True).click()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert window.faults == []


async def test_keys_search_close_and_are_shown(window: Window, caller: Client) -> None:
    for title in ("One", "Two"):
        await steps.create(caller, title=title)
    page = window.page
    await expect(window.item("One")).to_be_visible()
    await page.keyboard.press("/")
    await page.keyboard.type("o/?")
    search = page.get_by_label("Search titles")
    await expect(search).to_have_value("o/?")
    await page.keyboard.press("Escape")
    await expect(search).to_have_value("")
    await window.item("Two").focus()
    await page.keyboard.press("ArrowDown")
    await expect(window.item("One")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="One")).to_be_visible()
    await page.get_by_role("tab", name="Files").click()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("tab", name="Conversation")).to_have_attribute("aria-selected", "true")
    await page.keyboard.press("Escape")
    await expect(page.get_by_text("Choose a conversation, or begin a new one.")).to_be_visible()
    await page.get_by_role("button", name="Settings", exact=True).focus()
    await page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    await expect(keys).to_contain_text("search the titles")
    await page.keyboard.press("Escape")
    await expect(keys).to_have_count(0)
    assert window.faults == []


async def test_the_browsers_tab_tells_what_the_agent_does(window: Window, llm: ScriptedLLM) -> None:
    page = window.page
    await expect(page).to_have_title("Parley")
    gate = Gate()
    script(llm, hold(gate, "Half of ", after=["it."]), hold(Gate(), "More of ", after=["it."]))
    await window.begin("Begin")
    await expect(page).to_have_title(re.compile("^working · .+ · Parley$"))
    gate.release()
    await expect(page).to_have_title(re.compile("^done · .+ · Parley$"))
    # Escape ends what the agent does, and closes the conversation when it does nothing.
    await window.say("Go on")
    await expect(window.live_answer).to_contain_text("More of")
    await page.keyboard.press("Escape")
    await expect(window.message("More of")).to_contain_text("Cut off here.")
    await expect(window.status).to_have_text("stopped")
    await page.keyboard.press("Escape")
    await expect(page).to_have_title("Parley")
    assert window.faults == []
