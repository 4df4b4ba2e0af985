"""Repairs events in Anthropic's and Google's formats, as gateways send them, for litellm."""

import json
from typing import cast

from app.services.llm.lenient_json import JSON, parsed_json

# Anthropic's stop reasons that litellm would take for a normal end.
_STOP_REASONS = {"model_context_window_exceeded": "max_tokens"}
_BLANKS = {"id": "", "name": " "}
# Fields by which events in Google's format are recognised, also those without candidates.
_GOOGLES = {"usageMetadata", "modelVersion", "responseId"}


def is_streamed(path: str) -> bool:
    """Tell whether a request to this path expects a stream of events, whatever the response's headers say."""
    return path.endswith(("/messages", ":streamGenerateContent"))


def is_google(event: JSON) -> bool:
    """Tell whether it is in Google's format, in which litellm takes any last event for the end."""
    return isinstance(event.get("candidates"), list) or isinstance(event.get("promptFeedback"), dict)


def is_end(event: JSON) -> bool:
    """Tell whether it has the reason why the answer ended."""
    feedback, delta = event.get("promptFeedback"), event.get("delta")
    if isinstance(feedback, dict) and cast("JSON", feedback).get("blockReason"):
        return True
    if event.get("type") == "message_delta" and isinstance(delta, dict) and cast("JSON", delta).get("stop_reason"):
        return True
    candidates = event.get("candidates")
    items = cast("list[object]", candidates) if isinstance(candidates, list) else []
    return any(isinstance(each, dict) and cast("JSON", each).get("finishReason") for each in items)


def repaired_native(event: JSON) -> list[JSON] | None:
    """Return the events that replace this one; ``None`` if it needs no repair."""
    match event.get("type"):
        case "message_start" if not isinstance(event.get("message"), dict):
            return [{**event, "message": {"role": "assistant", "content": [], "usage": {}}}]
        case "content_block_start":
            return _with_arguments(event)
        case "content_block_delta" if not isinstance(event.get("delta"), dict):
            return [{**event, "delta": {}}]
        case "message_delta" if isinstance(delta := event.get("delta"), dict):
            reason = _STOP_REASONS.get(str(cast("JSON", delta).get("stop_reason")))
            return [{**event, "delta": {**cast("JSON", delta), "stop_reason": reason}}] if reason else None
        case _:
            pass
    if event.keys() & _GOOGLES and not event.keys() & {"candidates", "promptFeedback"}:
        # litellm takes an event without a candidate for the end of the stream.
        return [{**event, "candidates": [{"index": 0, "content": {"role": "model", "parts": []}}]}]
    if isinstance(event.get("candidates"), list):
        return [event] if _repair_candidates(cast("list[object]", event["candidates"])) else None
    return None


def native_events(message: JSON) -> list[JSON]:
    """Convert a whole message in Anthropic's format to the events of a stream; others are returned unchanged."""
    blocks = message.get("content")
    if message.get("type") != "message" or not isinstance(blocks, list):
        return [message]
    content_blocks = [cast("JSON", block) for block in cast("list[object]", blocks) if isinstance(block, dict)]
    events: list[JSON] = [{"type": "message_start", "message": {**message, "content": []}}]
    for index, block in enumerate(content_blocks):
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
    delta_events: list[JSON] = [
        {"type": "content_block_delta", "index": index, "delta": {"type": kind, name: value}}
        for kind, name, value in deltas
        if value
    ]
    return [{**begin, "content_block": start}, *delta_events, end]


def _with_arguments(event: JSON) -> list[JSON] | None:
    """Split the start of a call from complete arguments in it, which litellm would ignore there."""
    block = event.get("content_block")
    if not isinstance(block, dict) or cast("JSON", block).get("type") != "tool_use":
        return None
    content_block = cast("JSON", block)
    # litellm requires both fields. A call with a blank name is dropped later.
    names = {
        name: content_block[name] if isinstance(content_block.get(name), str) else blank
        for name, blank in _BLANKS.items()
    }
    arguments = content_block.get("input")
    if not arguments or not isinstance(arguments, dict):
        return (
            None if content_block.keys() >= _BLANKS.keys() else [{**event, "content_block": {**content_block, **names}}]
        )
    whole = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
    delta: JSON = {"type": "content_block_delta", "index": event.get("index", 0), "delta": whole}
    return [{**event, "content_block": {**content_block, **names, "input": {}}}, delta]


def _repair_candidates(candidates: list[object]) -> bool:
    """Remove malformed parts, and give each call arguments, which Google omits if a call has none."""
    is_changed = False
    for candidate in candidates:
        content = cast("JSON", candidate).get("content") if isinstance(candidate, dict) else None
        parts = cast("JSON", content).get("parts") if isinstance(content, dict) else None
        if not isinstance(content, dict) or not isinstance(parts, list):
            continue
        part_list = cast("list[object]", parts)
        kept = [cast("JSON", part) for part in part_list if isinstance(part, dict) and _is_part(cast("JSON", part))]
        if len(kept) != len(part_list):
            cast("JSON", content)["parts"] = kept
            is_changed = True
        for part in kept:
            call = cast("JSON | None", part.get("functionCall"))
            if call is not None and not isinstance(call.get("args"), dict):
                read = parsed_json(call["args"].encode()) if isinstance(call.get("args"), str) else None
                call["args"] = read if isinstance(read, dict) else {}
                is_changed = True
    return is_changed


def _is_part(part: JSON) -> bool:
    if "functionCall" in part:
        call = part["functionCall"]
        return isinstance(call, dict) and isinstance(cast("JSON", call).get("name"), str)
    if "inlineData" in part:
        # Without a MIME type litellm takes it for text.
        data = part["inlineData"]
        return isinstance(data, dict) and isinstance(cast("JSON", data).get("mimeType"), str)
    return isinstance(part.get("text", ""), str)
