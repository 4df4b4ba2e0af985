"""The workspace in the front end: changes, files, what is published, and what is attached to messages."""

import asyncio
import base64
import json
import re
from pathlib import Path
from uuid import uuid4

from playwright.async_api import Download, expect

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import TOKEN
from tests.support.playground import in_chromium
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import Call, Reply, ScriptedLLM, text, tools
from tests.support.window import Window, script

pytestmark = [*in_chromium, needs_sandbox]
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def edit(old: str, new: str, *, path: str = "README.md") -> Reply:
    return tools(Call("edit_file", json.dumps({"path": path, "old_text": old, "new_text": new})))


async def content(download: Download) -> bytes:
    """Return the bytes of a finished download."""
    return await asyncio.to_thread(Path(await download.path()).read_bytes)


async def open_clone(window: Window, caller: Client) -> None:
    """Open a conversation about a repository, once that is cloned."""
    await caller.execute(documents.SET_TOKEN, input={"provider": "GITLAB", "token": TOKEN})
    named = {"byName": {"provider": "GITLAB", "nameWithOwner": "ada/engine"}}
    created = await steps.create(caller, title="An engine", repository=named)
    await steps.until_waiting(caller, created["id"])
    await window.item("An engine").click()


async def test_changes_are_shown_as_they_come_and_published(window: Window, caller: Client, llm: ScriptedLLM) -> None:
    await open_clone(window, caller)
    page = window.page
    tab = page.get_by_role("tab", name="Changes")
    await tab.click()
    panel = page.get_by_role("tabpanel", name="Changes")
    await expect(panel.get_by_text("Nothing is different.")).to_be_visible()

    script(llm, edit("An engine.", "A better engine."), text("Done"))
    await window.say("Improve it")
    await expect(tab).to_have_text("Changes1")
    change = panel.locator(".change")
    await expect(change).to_have_count(1)
    await expect(change.locator("summary")).to_have_text("MREADME.md+1 −1")
    await expect(change.locator(".line.removed code")).to_have_text("An engine.")
    await expect(change.locator(".line.added code")).to_have_text("A better engine.")
    await expect(window.status).to_have_text("ready")
    async with page.expect_download() as patch:
        await panel.get_by_role("button", name="Download as a patch").click()
    assert b"+A better engine." in await content(await patch.value)

    await panel.get_by_label("Commit message").fill("Improve the engine")
    await panel.get_by_role("button", name="Commit").click()
    await expect(panel.get_by_text("Committed: “Improve the engine”.")).to_be_visible()
    await panel.get_by_label("Compared with").select_option("COMMITTED")
    await expect(panel.get_by_text("Nothing is different.")).to_be_visible()
    # A refusal is told where one asked.
    await panel.get_by_role("button", name="Commit").click()
    await expect(panel.get_by_role("alert")).to_be_visible()

    branch = f"fix/{uuid4().hex[:8]}"
    await panel.get_by_label("Branch to push to").fill(branch)
    await panel.get_by_role("button", name="Push").click()
    await expect(panel.get_by_role("status").get_by_role("link", name=branch)).to_be_visible()
    await panel.get_by_label("Title of the pull request").fill("A better engine")
    await panel.get_by_role("button", name="Open pull request").click()
    proposed = panel.get_by_role("link", name="A better engine")
    await expect(proposed).to_have_attribute("href", re.compile("^https://git.example.com/ada/engine/pull/[0-9]+$"))
    assert window.faults == []


async def test_files_are_listed_read_and_downloaded(window: Window, caller: Client, llm: ScriptedLLM) -> None:
    await open_clone(window, caller)
    page = window.page
    await page.get_by_role("tab", name="Files").click()
    panel = page.get_by_role("tabpanel", name="Files")
    await panel.get_by_role("button", name="src").click()
    await panel.get_by_role("button", name="main.py").click()
    file = panel.get_by_role("region", name="src/main.py")
    await expect(file.locator(".output")).to_have_text("print(1)")
    # What the agent changes is shown as it is now.
    script(llm, edit("print(1)", "print(2)", path="src/main.py"), text("Done"))
    await window.say("Count on")
    await expect(file.locator(".output")).to_have_text("print(2)")
    async with page.expect_download() as download:
        await file.get_by_role("button", name="Download").click()
    assert (await download.value).suggested_filename == "main.py"
    assert await content(await download.value) == b"print(2)\n"
    await panel.get_by_role("button", name="workspace", exact=True).click()
    await expect(panel.get_by_role("button", name="README.md")).to_be_visible()
    await page.get_by_role("tab", name="Conversation").click()
    await expect(panel).to_have_count(0)
    await expect(window.message("Count on")).to_be_visible()
    assert window.faults == []


async def test_files_are_attached_by_choosing_pasting_and_dropping(window: Window, caller: Client) -> None:
    created = await steps.create(caller, title="With files")
    await steps.until_waiting(caller, created["id"])
    page = window.page
    await window.item("With files").click()
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Attach files").click()
    await (await chooser.value).set_files(
        [{"name": "notes.txt", "mimeType": "text/plain", "buffer": b"Faster"}],
    )
    attached = page.get_by_role("list", name="Attached files").get_by_role("listitem")
    await expect(attached.and_(page.locator(".good"))).to_have_count(1)
    give = """(element, [type, name, encoded]) => {
        const data = new DataTransfer();
        const bytes = Uint8Array.from(atob(encoded), (each) => each.charCodeAt(0));
        data.items.add(new File([bytes], name, { type: "image/png" }));
        const given = { bubbles: true, cancelable: true };
        element.dispatchEvent(type === "paste" ? new ClipboardEvent(type, { ...given, clipboardData: data })
            : new DragEvent(type, { ...given, dataTransfer: data }));
    }"""
    message = page.get_by_label("Message")
    await message.evaluate(give, ["paste", "pasted.png", DOT])
    await message.evaluate(give, ["drop", "dropped.bin", base64.b64encode(b"\0\1").decode()])
    await expect(attached.and_(page.locator(".good"))).to_have_count(3)
    # They are kept with the draft, and one can be taken out again.
    await page.reload()
    await page.get_by_role("button", name="Remove dropped.bin").click()
    await expect(attached.and_(page.locator(".good"))).to_have_count(2)
    await window.say("Look at these")
    said = window.message("Look at these")
    await expect(said.get_by_role("button", name="notes.txt")).to_be_visible()
    image = said.get_by_role("img", name="pasted.png")
    await expect(image).to_be_visible()
    assert await image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    await expect(attached).to_have_count(0)
    async with page.expect_download() as download:
        await said.get_by_role("button", name="notes.txt").click()
    assert await content(await download.value) == b"Faster"
    assert window.faults == []
