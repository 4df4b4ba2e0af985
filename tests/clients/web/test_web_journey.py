"""The front end from the first message to the deletion, with tools, repositories and settings."""

from playwright.async_api import expect

from tests.support.fake_git import TOKEN
from tests.support.playground import in_chromium
from tests.support.scripted_llm import Call, Gate, ScriptedLLM, hold, tools
from tests.support.window import Window, script

pytestmark = in_chromium


async def test_a_user_goes_all_the_way(window: Window, llm: ScriptedLLM) -> None:
    page = window.page
    await window.save_settings(llm)
    gate = Gate()
    script(llm, hold(gate, "It is ", after=["**done**."]))
    await window.begin("Please begin")
    await expect(window.live_answer).to_contain_text("It is")
    await expect(window.status).to_have_text("working")
    gate.release()
    await expect(window.status).to_have_text("ready")
    assert await window.said() == ["Please begin", "It is done."]

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
    await expect(window.status).to_have_text("stopped")
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(window.status).to_have_text("ready")

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


async def test_a_tool_call_is_refused_with_a_reason_and_approved(window: Window, llm: ScriptedLLM) -> None:
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
    await expect(window.status).to_have_text("ready")
    assert window.faults == []


async def test_a_conversation_is_about_a_repository_and_a_branch(window: Window) -> None:
    page = window.page
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

    # One is back where one came from.
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
    # The host does not exist, and the page says so, once.
    await expect(page.locator(".reason")).to_be_visible()
    await expect(window.status).to_have_text("failed")
    await expect(page.locator(".is-error")).to_have_count(1)

    # What was typed can be read nowhere.
    await page.get_by_role("button", name="Settings", exact=True).click()
    await expect(settings.get_by_label("Publishing by the agent")).to_have_value("ALLOW_COMMITS")
    await expect(settings.get_by_label("API key")).to_have_value("")
    await expect(settings.get_by_label("API key")).to_have_attribute("placeholder", "one is stored")
    await expect(settings.get_by_label("Token", exact=True)).to_have_attribute("placeholder", "stored, of ada")
    kept = await page.evaluate("JSON.stringify([localStorage, sessionStorage]) + document.documentElement.outerHTML")
    assert (TOKEN in kept, "sk-test-key" in kept) == (False, False)
    assert window.faults == []
