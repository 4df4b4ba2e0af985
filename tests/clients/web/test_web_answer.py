"""Answers and tool calls as the front end shows them: Markdown, safely, and cards."""

import json

import pytest
from playwright.async_api import expect

from tests.support.playground import in_chromium
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import Call, ScriptedLLM, text, tools
from tests.support.window import Window, script

pytestmark = in_chromium

ANSWER = """# A heading

Some **bold** words and a [link](https://example.com/page).

| Name | Count |
| --- | ---: |
| one | 1 |

- [x] done
- [ ] to do

```python
print("hello")
```
"""

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
UNSAFE = f"""<script>document.title = 'taken'</script><img src=x onerror="document.title = 'taken'">

[a script](javascript:document.title='taken') [data](data:text/html,taken) [another place](#/c/elsewhere)

![a pixel](https://tracker.example/pixel.png) ![relative](/healthz)

![a dot](data:image/png;base64,{DOT})
"""


async def test_an_answers_markdown_is_set(window: Window, llm: ScriptedLLM) -> None:
    script(llm, text(ANSWER))
    await window.create("Show me")
    page = window.page
    answer = page.locator(".message.agent")
    await expect(answer.get_by_role("heading", name="A heading")).to_be_visible()
    await expect(answer.locator("strong")).to_have_text("bold")
    await expect(answer.get_by_role("link", name="link")).to_have_attribute("href", "https://example.com/page")
    await expect(answer.get_by_role("link", name="link")).to_have_attribute("rel", "noreferrer noopener")
    await expect(answer.get_by_role("cell")).to_have_text(["one", "1"])
    await expect(answer.get_by_role("checkbox")).to_have_count(2)
    await expect(answer.get_by_role("checkbox").first).to_be_checked()
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    code = answer.locator(".code-block")
    await code.get_by_role("button", name="Copy").click()
    await expect(code.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == 'print("hello")'
    assert window.faults == []


async def test_an_answer_can_run_nothing_and_ask_nobody(window: Window, llm: ScriptedLLM) -> None:
    script(llm, text(UNSAFE))
    await window.create("Show me")
    answer = window.page.locator(".message.agent")
    await expect(answer).to_contain_text("a script")
    await expect(answer.locator("img")).to_have_attribute("alt", "a dot")
    await expect(answer).to_contain_text("[Image: a pixel]")
    await expect(answer.locator("a, script, iframe")).to_have_count(0)
    await expect(answer).to_contain_text("<script>document.title = 'taken'</script>")
    assert await window.page.title() != "taken"
    assert window.faults == []


@needs_sandbox
async def test_a_command_is_a_card_that_folds_long_output(window: Window, llm: ScriptedLLM) -> None:
    script(llm, tools(Call("run_command", json.dumps({"command": "seq 1 50; exit 3"}))))
    await window.create("Count")
    card = window.page.get_by_role("region", name="Command")
    await expect(card.locator(".command")).to_have_text("seq 1 50; exit 3")
    await expect(card.locator(".chip")).to_have_text("exit code 3")
    await expect(card.locator(".output")).to_have_text(" ".join(str(number) for number in range(31, 51)))
    await card.get_by_role("button", name="Show all 50 lines").click()
    await expect(card.locator(".output")).to_have_text(" ".join(str(number) for number in range(1, 51)))
    await card.get_by_role("button", name="Show 20 lines").click()
    await expect(card.locator(".output")).to_have_text(" ".join(str(number) for number in range(31, 51)))
    assert window.faults == []


async def test_an_edit_is_a_difference(window: Window, llm: ScriptedLLM) -> None:
    written = {"path": "notes.txt", "content": "first\nsecond\nthird\n"}
    edited = {"path": "notes.txt", "old_text": "first\nsecond\n", "new_text": "first\n2nd\n"}
    script(
        llm, tools(Call("write_file", json.dumps(written))), tools(Call("edit_file", json.dumps(edited), id="call_2"))
    )
    await window.create("Edit")
    page = window.page
    await expect(page.get_by_role("region", name="Write").locator(".output").first).to_contain_text("second")
    edit = page.get_by_role("region", name="Edit")
    await expect(edit.locator("header")).to_contain_text("notes.txt")
    await expect(edit.locator(".line.removed code")).to_have_text("second")
    await expect(edit.locator(".line.added code")).to_have_text("2nd")
    await expect(edit.locator(".line.same code")).to_have_text(["first", ""])
    assert window.faults == []


@pytest.mark.parametrize(
    "mark",
    [
        "> " * 3000,
        "- " * 2000,
        "*a **b " * 1000 + "c** d*" * 1000,
        "_" * 9000 + "a" + "_" * 9000,
        "![" * 2000,
        "[^a]: " * 3000,
    ],
    ids=["quotes", "lists", "emphases", "lines", "images", "footnotes"],
)
async def test_markdown_that_is_too_deep_is_shown_as_it_was_written(
    window: Window, llm: ScriptedLLM, mark: str
) -> None:
    script(llm, text(f"{mark}the end"))
    await window.create("Show me")
    await expect(window.page.locator(".message.agent .plain")).to_contain_text("the end")
    await expect(window.page.locator(".message.agent .markdown")).to_have_count(0)
    await window.say("Are you still there?")
    await expect(window.message("Are you still there?").first).to_be_visible()
    assert window.faults == []


async def test_code_with_many_stars_is_still_markdown(window: Window, llm: ScriptedLLM) -> None:
    code = "char *a, *b;\n" * 200
    script(llm, text(f"```c\n{code}```\n\nSome *emphasis*."))
    await window.create("Show me")
    await expect(window.page.locator(".message.agent em")).to_have_text("emphasis")
    await expect(window.page.locator(".message.agent pre")).to_contain_text("char *a, *b;")
    assert window.faults == []


async def test_nothing_is_hidden_in_what_is_approved(window: Window, llm: ScriptedLLM) -> None:
    command = "echo \u202egpj.exe\u2066 \u200bsafe\x1b[8m; \ufeffrm -r x"
    given = {"command": command, "wait\u202e": {"for": "\u202ereven"}}
    script(llm, tools(Call("run_command", json.dumps(given))))
    await window.create("Show me")
    card = window.page.get_by_role("region", name="Command")
    await expect(card.locator(".command")).to_have_text(
        "echo ⟨U+202E⟩gpj.exe⟨U+2066⟩ ⟨U+200B⟩safe⟨U+001B⟩[8m; ⟨U+FEFF⟩rm -r x"
    )
    await expect(card.locator(".arguments")).to_contain_text("wait⟨U+202E⟩")
    await expect(card.locator(".arguments")).to_contain_text('{"for":"⟨U+202E⟩reven"}')
    assert window.faults == []


@pytest.mark.parametrize("name", ["constructor", "__proto__"])
async def test_a_tool_of_any_name_has_a_card(window: Window, llm: ScriptedLLM, name: str) -> None:
    script(llm, tools(Call(name, json.dumps({"value": 1}))))
    await window.create("Show me")
    await expect(window.page.get_by_role("region", name=name).locator(".arguments")).to_contain_text("value")
    assert window.faults == []
