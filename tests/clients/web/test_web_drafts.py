"""Drafts: text that is typed into the front end is never lost."""

from playwright.async_api import expect

from tests.support import steps
from tests.support.client import Client
from tests.support.playground import in_chromium
from tests.support.window import Window

pytestmark = in_chromium


async def test_each_conversation_keeps_its_draft_across_switching_and_reloading(window: Window, caller: Client) -> None:
    for title in ("One", "Two"):
        await steps.create(caller, title=title)
    page = window.page
    message = page.get_by_label("Message")
    await window.item("One").click()
    await message.fill("For the first")
    await window.item("Two").click()
    await expect(message).to_have_value("")
    await message.fill("For the second")
    await window.item("One").click()
    await expect(message).to_have_value("For the first")
    await page.reload()
    await expect(message).to_have_value("For the first")
    await page.keyboard.press("Escape")
    await window.item("Two").click()
    await expect(message).to_have_value("For the second")
    await window.say("Sent")
    await expect(window.message("answer to Sent")).to_be_visible()
    await page.reload()
    await expect(message).to_have_value("")
    assert window.faults == []


async def test_a_new_conversation_is_kept_through_selecting_settings_and_escape(window: Window) -> None:
    page = window.page
    await page.get_by_role("button", name="New", exact=True).click()
    dialog = page.get_by_role("dialog", name="New conversation")
    text = dialog.get_by_label("First message")
    await text.fill("To be selected")

    # A selection that is released beside the dialog is no click beside it.
    box = await text.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + 40, box["y"] + 16)
    await page.mouse.down()
    await page.mouse.move(5, box["y"] + 16)
    await page.mouse.up()
    await expect(dialog).to_be_visible()

    await dialog.get_by_role("button", name="settings", exact=True).click()
    settings = page.get_by_role("dialog", name="Settings")
    await settings.get_by_role("button", name="Cancel").click()
    await expect(settings).to_have_count(0)
    await expect(text).to_have_value("To be selected")

    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await page.reload()
    await page.get_by_role("button", name="New", exact=True).click()
    await expect(text).to_have_value("To be selected")
    await page.mouse.click(5, 5)
    await expect(dialog).to_have_count(0)
    assert window.faults == []


async def test_escape_asks_where_settings_would_be_lost_and_only_there(window: Window) -> None:
    page = window.page
    settings = page.get_by_role("dialog", name="Settings")
    await page.get_by_role("button", name="Settings", exact=True).click()
    await expect(settings.get_by_label("Model")).to_have_value("openai/scripted")
    await page.keyboard.press("Escape")
    await expect(settings).to_have_count(0)

    await page.get_by_role("button", name="Settings", exact=True).click()
    await expect(settings.get_by_label("Model")).to_have_value("openai/scripted")
    await settings.get_by_label("Model").fill("openai/another")
    await page.keyboard.press("Escape")
    await settings.get_by_role("button", name="Keep editing").click()
    await expect(settings.get_by_label("Model")).to_have_value("openai/another")
    await page.keyboard.press("Escape")
    await settings.get_by_role("button", name="Discard").click()
    await expect(settings).to_have_count(0)


async def test_a_title_is_saved_by_leaving_it_and_not_by_escape(window: Window, caller: Client) -> None:
    await steps.create(caller, title="Before")
    page = window.page
    await window.item("Before").click()
    title = page.get_by_role("heading", level=2).get_by_role("button")
    await title.click()
    await page.get_by_label("Title", exact=True).fill("Not wanted")
    await page.keyboard.press("Escape")
    await expect(title).to_have_text("Before")
    await title.click()
    await page.get_by_label("Title", exact=True).fill("Left behind")
    await page.get_by_label("Message").click()
    await expect(title).to_have_text("Left behind")
    await expect(window.item("Left behind")).to_be_visible()
    conversations = await caller.execute("{ conversations { nodes { title } } }")
    assert conversations["conversations"]["nodes"] == [{"title": "Left behind"}]
