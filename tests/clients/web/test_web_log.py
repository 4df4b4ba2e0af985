"""The front end's log: long ones, answers that are cut off, foreign scripts and terminals."""

import json

from playwright.async_api import Locator, expect

from tests.support.client import Client
from tests.support.playground import in_chromium
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import Call, Gate, ScriptedLLM, hold, text, tools
from tests.support.seeded import seed_log
from tests.support.window import Window, script

pytestmark = in_chromium
AT_END = "box => box.scrollHeight - box.scrollTop - box.clientHeight < 2"


async def test_a_long_log_opens_at_its_end_and_follows_until_one_reads_above(
    window: Window, caller: Client, llm: ScriptedLLM
) -> None:
    paragraphs = "\n\n".join(f"Paragraph {number}. " + "word " * 60 for number in range(4))
    await seed_log(caller, "Long", [f"Message {number}\n\n{paragraphs}" for number in range(1, 401)])
    page = window.page
    log, jump = page.get_by_role("log"), page.get_by_role("button", name="Jump to latest")
    await window.item("Long").click()
    await expect(window.message("Message 400")).to_be_in_viewport()
    await until(log, AT_END)
    await expect(jump).to_have_count(0)
    assert await page.locator(".message").count() <= 100

    gate = Gate()
    script(llm, hold(gate, "Begun. ", after=[paragraphs, "The end of it."]))
    await window.say("Go on")
    await expect(window.live_answer).to_contain_text("Begun.")
    await until(log, AT_END)
    # Who reads above stays there while the answer grows.
    await log.hover()
    await page.mouse.wheel(0, -3000)
    await expect(jump).to_be_visible()
    before = await log.evaluate("box => box.scrollTop")
    gate.release()
    await expect(window.message("The end of it.")).to_be_attached()
    assert await log.evaluate("box => box.scrollTop") == before
    await jump.click()
    await expect(window.message("The end of it.").get_by_text("The end of it.")).to_be_in_viewport()
    await until(log, AT_END)
    await expect(jump).to_have_count(0)

    # Earlier events come as one scrolls up, down to the first.
    while await page.get_by_role("button", name="Earlier events").count():
        await log.evaluate("box => box.scrollTo(0, 0)")
    await expect(page.locator(".message").first).to_contain_text("Message 1")
    await expect(page.locator(".message")).to_have_count(402)
    assert window.faults == []


async def test_stop_in_mid_answer_keeps_what_was_written_and_marks_it(window: Window, llm: ScriptedLLM) -> None:
    gate = Gate()
    script(llm, hold(gate, "Half of", after=[" the answer."]))
    await window.begin("Tell me")
    await expect(window.live_answer).to_contain_text("Half of")
    await window.page.get_by_role("button", name="Stop").click()
    await expect(window.status).to_have_text("stopped")
    await expect(window.message("Half of")).to_contain_text("Cut off here.")
    gate.release()
    await window.page.reload()
    await expect(window.message("Half of")).to_contain_text("Cut off here.")
    assert window.faults == []


@needs_sandbox
async def test_scripts_and_terminals_are_shown_as_they_are_meant(window: Window, llm: ScriptedLLM) -> None:
    command = json.dumps({"command": r"printf '\033[31mred\033[0m plain'"})
    script(llm, tools(Call("run_command", command)), text("שלום עולם"))
    await window.create("مرحبا بالعالم")
    page = window.page
    await expect(window.message("שלום")).to_be_visible()
    assert await window.message("שלום").evaluate("it => getComputedStyle(it).direction") == "rtl"
    assert await window.message("مرحبا").evaluate("it => getComputedStyle(it).direction") == "rtl"
    await expect(page.locator(".result .ansi-red")).to_have_text("red")
    await expect(page.locator(".result")).to_contain_text("red plain")
    assert window.faults == []


async def until(element: Locator, condition: str) -> None:
    """Wait until a condition holds of an element."""
    handle = await element.element_handle()
    await element.page.wait_for_function(condition, arg=handle)
