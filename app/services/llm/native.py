"""Events of the formats of Anthropic and Google as gateways really send them, turned into what litellm reads."""

import json
from typing import Any, TypeAlias, cast

JSON: TypeAlias = dict[str, Any]


def is_streamed(path: str) -> bool:
    """Whether a request to that path asks for a stream of events, whatever the answer's headers say."""
    return path.endswith(("/messages", ":streamGenerateContent"))


def repaired_native(event: JSON) -> list[JSON] | None:
    """The events to read instead of this one; ``None`` where it needs no repair."""
    if event.get("type") == "content_block_start":
        return _with_arguments(event)
    if isinstance(event.get("candidates"), list):
        return [event] if _repair_candidates(cast("list[object]", event["candidates"])) else None
    return None


def native_events(message: JSON) -> list[JSON]:
    """A whole message of Anthropic's as the events of a stream; the message itself where it is of another format."""
    blocks = message.get("content")
    if message.get("type") != "message" or not isinstance(blocks, list):
        return [message]
    given = [cast("JSON", block) for block in cast("list[object]", blocks) if isinstance(block, dict)]
    events: list[JSON] = [{"type": "message_start", "message": {**message, "content": []}}]
    for index, block in enumerate(given):
        events += _block_events(index, block)
    usage = message.get("usage")
    delta = {"stop_reason": message.get("stop_reason") or "end_turn", "stop_sequence": message.get("stop_sequence")}
    end: JSON = {"type": "message_delta", "delta": delta}
    return [*events, {**end, "usage": usage} if isinstance(usage, dict) else end, {"type": "message_stop"}]


def _block_events(index: int, block: JSON) -> list[JSON]:
    begin: JSON = {"type": "content_block_start", "index": index, "content_block": block}
    end: JSON = {"type": "content_block_stop", "index": index}
    match block.get("type"):
        case "text":
            start, deltas = {**block, "text": ""}, [("text_delta", "text", block.get("text"))]
        case "thinking":
            start = {**block, "thinking": "", "signature": ""}
            deltas = [
                ("thinking_delta", "thinking", block.get("thinking")),
                ("signature_delta", "signature", block.get("signature")),
            ]
        case _:
            return [begin, end]
    said: list[JSON] = [
        {"type": "content_block_delta", "index": index, "delta": {"type": kind, name: value}}
        for kind, name, value in deltas
        if value
    ]
    return [{**begin, "content_block": start}, *said, end]


def _with_arguments(event: JSON) -> list[JSON] | None:
    """The beginning of a call, and behind it the arguments where it has them all, which litellm doesn't read there."""
    block = event.get("content_block")
    if not isinstance(block, dict) or cast("JSON", block).get("type") != "tool_use":
        return None
    given = cast("JSON", block).get("input")
    if not given or not isinstance(given, dict):
        return None
    arguments = {"type": "input_json_delta", "partial_json": json.dumps(given)}
    delta: JSON = {"type": "content_block_delta", "index": event.get("index", 0), "delta": arguments}
    return [{**event, "content_block": {**cast("JSON", block), "input": {}}}, delta]


def _repair_candidates(candidates: list[object]) -> bool:
    """Google leaves out the arguments of a call that has none, where litellm insists on them."""
    is_changed = False
    for candidate in candidates:
        content = cast("JSON", candidate).get("content") if isinstance(candidate, dict) else None
        parts = cast("JSON", content).get("parts") if isinstance(content, dict) else None
        for part in cast("list[object]", parts) if isinstance(parts, list) else []:
            call = cast("JSON", part).get("functionCall") if isinstance(part, dict) else None
            if isinstance(call, dict) and not isinstance(cast("JSON", call).get("args"), dict):
                cast("JSON", call)["args"] = {}
                is_changed = True
    return is_changed
