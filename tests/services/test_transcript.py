"""Logs as Markdown."""

import re

from hypothesis import given
from hypothesis import strategies as st

from app.services.transcript import fenced, head, section

AT = {"createdAt": "2026-11-29T12:00:00+00:00"}


def test_each_event_has_its_heading() -> None:
    call = {
        **AT,
        "type": "ToolCallEvent",
        "toolName": "run_command",
        "arguments": {"command": "ls"},
        "thought": "Look.",
    }
    usage = {"llmModel": "demo/assistant", "promptTokens": 3, "completionTokens": 4}
    said = {**AT, "type": "MessageEvent", "source": "AGENT", "text": "# Done", "isPartial": True, "usage": usage}
    assert head({"title": "A\ntitle", "conversationId": "c", "exportedAt": "now"}) == (
        "# A title\n\nConversation `c`, now\n"
    )
    assert section(call) == (
        '\n## Tool: run_command\n\n_2026-11-29T12:00:00+00:00_\n\nLook.\n\n```json\n{\n  "command": "ls"\n}\n```\n'
    )
    assert section(said) == (
        "\n## Agent\n\n_2026-11-29T12:00:00+00:00_\n\n### Done\n\n_The answer was cut off._\n\n"
        "_demo/assistant: 3 + 4 tokens_\n"
    )
    result = {**AT, "type": "ToolResultEvent", "isError": True, "output": "```\n", "truncated": True}
    assert section(result) == (
        "\n## Error of the tool\n\n_2026-11-29T12:00:00+00:00_\n\n````\n```\n\n````\n\n_The output was shortened._\n"
    )
    state = {
        **AT,
        "type": "StateChangeEvent",
        "agentState": "ERROR",
        "problem": {"code": "X", "message": "It\nfailed."},
    }
    assert section(state) == "\n## State: ERROR\n\n_2026-11-29T12:00:00+00:00_\n\nIt failed.\n"


@given(st.text(st.sampled_from("`~a\n ")))
def test_nothing_in_a_fence_closes_it(text: str) -> None:
    fence, *lines, last = fenced(text).split("\n")
    assert fence == last
    assert not any(re.fullmatch(r" {0,3}(`+)\s*", line) and line.count("`") >= len(fence) for line in lines)
