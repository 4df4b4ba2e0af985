"""Repairs the delta of a chunk in OpenAI's streaming format, so that litellm reads it without loss."""

from collections.abc import Iterator, Sequence
from typing import cast

from app.services.llm.counts import checked_count
from app.services.llm.lenient_json import JSON, encoded
from app.services.llm.transport import refused

# Limit on fragments of calls in one chunk, since litellm takes 60 µs for each.
MAX_CALL_PIECES = 1000
# Types of content parts with text; the text is in the field with the type's name.
_TEXT_PARTS = ("text", "output_text", "refusal")
# Fields of a delta that are not used here, but whose types litellm requires; so they are removed.
_UNREAD = ("images", "audio", "annotations")


def _leave_out_odd(delta: JSON) -> bool:
    """Remove unused fields, and those of a wrong type."""
    odd = [name for name in _UNREAD if delta.get(name) is not None]
    if delta.get("role") is not None and not isinstance(delta["role"], str):
        odd.append("role")
    fields = delta.get("provider_specific_fields")
    if fields is not None and not isinstance(fields, dict):
        odd.append("provider_specific_fields")
    for name in ("thinking_blocks", "reasoning_details"):
        value = delta.get(name)
        if isinstance(value, dict):
            delta[name] = [value]
        elif value is not None and not isinstance(value, list):
            odd.append(name)
    for name in odd:
        del delta[name]
    return bool(odd)


def number_calls(message: JSON) -> None:
    """Add indices to the calls of a whole message, which has none since they are in order."""
    calls = message.get("tool_calls")
    for number, call in enumerate(cast("list[object]", calls) if isinstance(calls, list) else []):
        if isinstance(call, dict):
            cast("JSON", call).setdefault("index", number)


def repair_delta(delta: JSON) -> bool:
    is_changed = _leave_out_odd(delta)
    content = delta.get("content")
    if content is not None and not isinstance(content, str):
        text, reasoning = text_of(content)
        delta["content"] = text
        if reasoning:
            delta["reasoning_content"] = f"{delta.get('reasoning_content') or ''}{reasoning}"
        is_changed = True
    refusal = delta.pop("refusal", None)
    if isinstance(refusal, str) and refusal:
        delta["content"] = f"{delta.get('content') or ''}{refusal}"
    is_changed = is_changed or refusal is not None
    for name in ("reasoning_content", "reasoning"):
        value = delta.get(name)
        if value is not None and not isinstance(value, str):
            delta[name] = "".join(text_of(value))
            is_changed = True
    if delta.get("reasoning_content") is None and (delta.get("reasoning") or delta.get("reasoning_details")):
        # litellm renames `reasoning`, so that the field a provider needs back is unknown afterwards. It also drops a
        # chunk with only `reasoning_details`, which may contain a thought's signature.
        delta["reasoning_content"] = delta.get("reasoning") or ""
        is_changed = True
    return _repair_calls(delta) or is_changed


def _repair_calls(delta: JSON) -> bool:
    is_changed = False
    old = delta.pop("function_call", None)
    calls = delta.get("tool_calls")
    if isinstance(calls, dict):
        calls = [cast("JSON", calls)]
        is_changed = True
    if isinstance(old, dict) and not calls:
        calls = [cast("JSON", {"index": 0, "function": old})]
        is_changed = True
    if not isinstance(calls, list):
        if calls is not None:
            del delta["tool_calls"]
        return is_changed or calls is not None or old is not None
    call_list = cast("list[object]", calls)
    if len(call_list) > MAX_CALL_PIECES:
        raise refused("The model asked for too many tools at once.")
    repaired_calls = [cast("JSON", call) for call in call_list if isinstance(call, dict)]
    for call in repaired_calls:
        is_changed = _repair_call(call) or is_changed
    delta["tool_calls"] = repaired_calls
    return is_changed or len(repaired_calls) != len(call_list)


def _repair_call(call: JSON) -> bool:
    is_changed = False
    call_id = call.get("id")
    if call_id is not None and (not isinstance(call_id, str) or not call_id.strip()):
        call["id"] = str(call_id) if isinstance(call_id, int) and not isinstance(call_id, bool) else None
        is_changed = True
    index = call.get("index")
    if type(index) is not int:
        number = checked_count(index)
        call["index"] = number if number is not None else 0
        is_changed = True
    if call.get("type", "function") != "function":
        call["type"] = "function"
        is_changed = True
    custom = call.pop("custom", None)
    if isinstance(custom, dict) and not call.get("function"):
        # litellm converts a custom call to one without a function, and then fails.
        call["function"] = {"name": cast("JSON", custom).get("name"), "arguments": cast("JSON", custom).get("input")}
    is_changed = is_changed or custom is not None
    function = call.get("function")
    if isinstance(function, str):
        call["function"] = function = {
            "name": function,
            **{name: call[name] for name in ("arguments",) if name in call},
        }
        is_changed = True
    if function is None and not call.keys() & {"name", "arguments"}:
        return is_changed
    if not isinstance(function, dict):
        # Some servers put name and arguments beside the id.
        call["function"] = function = {name: call[name] for name in ("name", "arguments") if name in call}
        is_changed = True
    parts = cast("JSON", function)
    if parts.get("name") is not None and not isinstance(parts["name"], str):
        parts["name"] = None
        is_changed = True
    return _repair_arguments(call, parts) or is_changed


def _repair_arguments(call: JSON, function: JSON) -> bool:
    is_changed = False
    if "arguments" not in function and isinstance(given := call.pop("input", function.pop("input", None)), dict | str):
        # The name that Anthropic's format has for them.
        function["arguments"] = cast("object", given)
        is_changed = True
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        is_json = isinstance(arguments, dict | list)
        function["arguments"] = encoded(cast("object", arguments)).decode() if is_json else ""
        is_changed = True
    return is_changed


def text_of(content: object) -> tuple[str, str]:
    """Return the text of a list of content parts, and the model's reasoning in it."""
    text, reasoning = "", ""
    for part in _parts(content):
        if isinstance(part, str):
            text += part
        elif isinstance(part, int | float):
            text += encoded(part).decode()
        elif isinstance(part, dict):
            fields = cast("JSON", part)
            thought = fields.get("thinking") or fields.get("reasoning")
            if thought:
                reasoning += thought if isinstance(thought, str) else "".join(text_of(thought))
            for name in _TEXT_PARTS:
                value = fields.get(name)
                value = cast("JSON", value).get("value") if isinstance(value, dict) else value
                if isinstance(value, str):
                    text += value
                    break
    return text, reasoning


def _parts(content: object) -> Iterator[object]:
    if isinstance(content, Sequence) and not isinstance(content, str):
        yield from cast("Sequence[object]", content)
    else:
        yield content
