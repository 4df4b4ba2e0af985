"""Chunks of OpenAI's streaming format as servers really send them, turned into what litellm reads without loss.

Gateways send content as a list of parts, calls in the form of 2023, token counts as strings, and whole answers where
a stream was asked for. litellm fails on some of these and silently drops others, so they are repaired before it.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import orjson

JSON: TypeAlias = dict[str, Any]
END = b"\n\n"
DATA = b"data:"
DONE = b"[DONE]"
MAX_COUNT = 2**53 - 1
MAX_ERROR_BYTES = 16 * 1024
MAX_ERROR_CHARS = 4_000
# A part's text stands under the name of its type.
_TEXT_PARTS = ("text", "output_text", "refusal")
_FINISH_REASONS = {
    **{name: name for name in ("stop", "length", "tool_calls", "content_filter", "function_call")},
    "max_tokens": "length",
    "max_output_tokens": "length",
    "MAX_TOKENS": "length",
    "safety": "content_filter",
    "SAFETY": "content_filter",
    "tool_use": "tool_calls",
}


def repaired(block: bytes) -> tuple[bytes, JSON | None]:
    """One event of a stream, without the blank line behind it, as (the event to pass on, its chunk).

    The chunk is ``None``, and the event as it came, where it holds no chunk of OpenAI's. An event that needs no repair
    passes byte by byte.
    """
    if block.startswith(DATA) and b"\n" not in block:
        return _repaired_line(block)
    lines = [line for line in block.split(b"\n") if line.startswith(DATA)]
    if len(lines) == 1:
        output, chunk = _repaired_line(lines[0])
        return (block, chunk) if output is lines[0] else (output, chunk)
    # Some servers end their events with one line feed, where the format asks for two.
    if lines and all(_is_whole(line) for line in lines):
        return END.join(_repaired_line(line)[0] for line in lines), None
    return block, None


def whole_answer(body: bytes) -> bytes:
    """A JSON answer to a request for a stream, as the events of a stream; empty where it is none."""
    answer = _parsed(body)
    if not isinstance(answer, dict):
        return b""
    chunk = cast("JSON", answer)
    if chunk.get("error"):
        return _repaired_line(DATA + b" " + encoded(chunk))[0] + END
    if not isinstance(chunk.get("choices"), list):
        return b""
    repair(chunk)
    usage = chunk.pop("usage", None)
    events = [encoded(chunk)]
    if usage:
        events.append(encoded({**chunk, "choices": [], "usage": usage}))
    return b"".join(DATA + b" " + event + END for event in (*events, DONE))


def encoded(chunk: Mapping[str, object]) -> bytes:
    """A chunk as JSON. Halves of surrogate pairs stay as they are, escaped."""
    try:
        return orjson.dumps(chunk)
    except TypeError:
        return json.dumps(chunk).encode()


def repair(chunk: JSON) -> bool:
    """Repair a chunk in place; tells whether anything had to be changed."""
    is_changed = False
    if type(chunk.get("created", 0)) is not int:
        chunk["created"] = checked_count(chunk["created"]) or 0
        is_changed = True
    if chunk.get("object") == "chat.completion":
        chunk["object"] = "chat.completion.chunk"
        is_changed = True
    usage = chunk.get("usage")
    if usage is not None and (not isinstance(usage, dict) or _repair_usage(cast("JSON", usage))):
        chunk["usage"] = usage if isinstance(usage, dict) else None
        is_changed = True
    choices = chunk.get("choices")
    if not isinstance(choices, list):
        chunk["choices"] = []
        return True
    given = [cast("JSON", choice) for choice in cast("list[object]", choices) if isinstance(choice, dict)]
    # One answer was asked for.
    first = [choice for choice in given if choice.get("index") in (0, None)][:1] or given[:1]
    if len(first) != len(cast("list[object]", choices)):
        chunk["choices"] = first
        is_changed = True
    for choice in first:
        is_changed = _repair_choice(choice) or is_changed
    return is_changed


def checked_count(value: object) -> int | None:
    """A number of tokens as a provider gave it, within 0 and 2**53 - 1; ``None`` where it is no number."""
    if isinstance(value, str) and len(value) <= _MAX_DIGITS:
        try:
            value = float(value)
        except ValueError:
            return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, float) and math.isnan(value))
    ):
        return None
    return int(min(max(value, 0), MAX_COUNT))


_MAX_DIGITS = 40


def _repaired_line(line: bytes) -> tuple[bytes, JSON | None]:
    data = line[len(DATA) :]
    if data.strip() == DONE:
        return line, None
    parsed = _parsed(data)
    if not isinstance(parsed, dict):
        return line, None
    chunk = cast("JSON", parsed)
    # Anthropic's events, and what an error says, are of other formats.
    if chunk.get("error") and len(line) > MAX_ERROR_BYTES:
        return DATA + b" " + encoded({"error": _short_error(chunk["error"])}), None
    if "choices" not in chunk or chunk.get("error"):
        return line, None
    return (DATA + b" " + encoded(chunk) if repair(chunk) else line), chunk


def _short_error(error: object) -> JSON:
    """What tells the kind of an error, and its message's beginning: the library looks through it in square time."""
    fields = cast("JSON", error) if isinstance(error, dict) else {"message": error}
    message = fields.get("message")
    text = message if isinstance(message, str) else encoded({"": message or fields})[4:].decode()
    kinds = {name: value for name in ("type", "code", "status") if isinstance(value := fields.get(name), str | int)}
    return {"message": text[:MAX_ERROR_CHARS], **{name: str(value)[:100] for name, value in kinds.items()}}


def _is_whole(line: bytes) -> bool:
    data = line[len(DATA) :].strip()
    return data == DONE or isinstance(_parsed(data), dict)


def _parsed(data: bytes) -> object:
    try:
        return orjson.loads(data)
    except ValueError:
        # It refuses halves of surrogate pairs, which some models write.
        try:
            return json.loads(data) if b"\\u" in data else None
        except (ValueError, RecursionError):
            return None


def _repair_usage(usage: JSON) -> bool:
    is_changed = False
    for name, value in list(usage.items()):
        if isinstance(value, dict):
            is_changed = _repair_usage(cast("JSON", value)) or is_changed
        elif name.endswith("tokens") and value is not None and (type(value) is not int or not 0 <= value <= MAX_COUNT):
            usage[name] = checked_count(value)
            is_changed = True
    if "completion_tokens" in usage or "prompt_tokens" in usage:
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            if usage.get(name, 0) is None:
                usage[name] = 0
                is_changed = True
    return is_changed


def _repair_choice(choice: JSON) -> bool:
    is_changed = False
    reason = choice.get("finish_reason")
    # An unknown word is an end all the same.
    known = _FINISH_REASONS.get(reason, "stop") if isinstance(reason, str) and reason else None
    if reason != known:
        choice["finish_reason"] = known
        is_changed = True
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        message = choice.pop("message", None)
        choice["delta"] = delta = cast("JSON", message if isinstance(message, dict) else {})
        _number_calls(delta)
        is_changed = True
    return _repair_delta(cast("JSON", delta)) or is_changed


def _number_calls(message: JSON) -> None:
    """The calls of a whole message are in order, and have no index."""
    calls = message.get("tool_calls")
    for number, call in enumerate(cast("list[object]", calls) if isinstance(calls, list) else []):
        if isinstance(call, dict):
            cast("JSON", call).setdefault("index", number)


def _repair_delta(delta: JSON) -> bool:
    is_changed = False
    content = delta.get("content")
    if content is not None and not isinstance(content, str):
        text, reasoning = _text_of(content)
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
            delta[name] = "".join(_text_of(value))
            is_changed = True
    if delta.get("reasoning_content") is None and (delta.get("reasoning") or delta.get("reasoning_details")):
        # litellm renames the first, so that nobody can tell any more which one a provider wants back, and drops a chunk
        # that has nothing besides the second, the signature of a thought among them.
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
    given = cast("list[object]", calls)
    repaired_calls = [cast("JSON", call) for call in given if isinstance(call, dict)]
    for call in repaired_calls:
        is_changed = _repair_call(call) or is_changed
    delta["tool_calls"] = repaired_calls
    return is_changed or len(repaired_calls) != len(given)


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
    function = call.get("function")
    if function is None and not call.keys() & {"name", "arguments"}:
        return is_changed
    if not isinstance(function, dict):
        # The name and arguments stand beside the id in some servers' calls.
        call["function"] = function = {name: call[name] for name in ("name", "arguments") if name in call}
        is_changed = True
    parts = cast("JSON", function)
    if parts.get("name") is not None and not isinstance(parts["name"], str):
        parts["name"] = None
        is_changed = True
    arguments = parts.get("arguments")
    if not isinstance(arguments, str):
        parts["arguments"] = encoded(cast("JSON", arguments)).decode() if isinstance(arguments, dict) else ""
        is_changed = True
    return is_changed


def _text_of(content: object) -> tuple[str, str]:
    """The text of a list of parts, and what the model thought."""
    text, reasoning = "", ""
    for part in _parts(content):
        if isinstance(part, str):
            text += part
        elif isinstance(part, dict):
            fields = cast("JSON", part)
            thought = fields.get("thinking") or fields.get("reasoning")
            if thought:
                reasoning += thought if isinstance(thought, str) else "".join(_text_of(thought))
            for name in _TEXT_PARTS:
                said = fields.get(name)
                said = cast("JSON", said).get("value") if isinstance(said, dict) else said
                if isinstance(said, str):
                    text += said
                    break
    return text, reasoning


def _parts(content: object) -> Iterator[object]:
    if isinstance(content, Sequence) and not isinstance(content, str):
        yield from cast("Sequence[object]", content)
    else:
        yield content
