"""Markdown of a log: a heading for each event; outputs and arguments are in fenced code blocks."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

_HEADINGS = {"USER": "User", "AGENT": "Agent", "ENVIRONMENT": "Environment"}
_FENCE = re.compile(r"`{3,}|~{3,}")
_MAX_URL_CHARACTERS = 500


def head(document: Mapping[str, Any]) -> str:
    """Return the title, the conversation's id and the time of the export."""
    return f"# {_line(document['title'])}\n\nConversation `{document['conversationId']}`, {document['exportedAt']}\n"


def section(event: Mapping[str, Any]) -> str:
    """Return the section of one event of a trajectory."""
    title, body = _parts(event)
    usage: Mapping[str, Any] | None = event.get("usage")
    used = (
        f"_{_line(usage['llmModel'])}: {usage['promptTokens']} + {usage['completionTokens']} tokens_" if usage else ""
    )
    blocks = [block for block in (f"## {title}", f"_{event['createdAt']}_", *body, used) if block]
    return "\n" + "\n\n".join(blocks) + "\n"


def _parts(event: Mapping[str, Any]) -> tuple[str, list[str]]:
    match event["type"]:
        case "MessageEvent":
            images = [
                f"![image](<{url}>)" if len(url) <= _MAX_URL_CHARACTERS else "_An image._" for url in _urls(event)
            ]
            files = [f"_Attached: {_line(each['name'])}_" for each in event.get("attachments", ())]
            cut = ["_The answer was cut off._"] if event.get("isPartial") else []
            return _HEADINGS.get(event["source"], "Message"), [
                _with_lower_headings(event["text"]),
                *images,
                *files,
                *cut,
            ]
        case "ToolCallEvent":
            arguments = orjson.dumps(event["arguments"], option=orjson.OPT_INDENT_2).decode("utf-8", "replace")
            thought = _with_lower_headings(event["thought"]) if event.get("thought") else ""
            return f"Tool: {_line(event['toolName'])}", [thought, fenced(arguments, "json")]
        case "ToolResultEvent":
            title = "Error of the tool" if event["isError"] else "Result of the tool"
            return title, [fenced(event["output"]), "_The output was shortened._" if event["truncated"] else ""]
        case _:
            problem: Mapping[str, Any] | None = event.get("problem")
            return f"State: {event['agentState']}", [_line(problem["message"])] if problem else []


def fenced(text: str, language: str = "") -> str:
    """Return a fenced code block, whose fence is longer than any in the text."""
    longest = max((len(run) for run in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _with_lower_headings(text: str) -> str:
    """Lower the headings in a text below those of events."""
    return re.sub(r"^(#{1,4}) ", r"##\1 ", text, flags=re.MULTILINE)


def _urls(event: Mapping[str, Any]) -> list[str]:
    return event.get("imageUrls", [])


def _line(text: str) -> str:
    return " ".join(text.split())
