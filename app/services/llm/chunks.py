"""Chunks of OpenAI's streaming format as servers really send them, turned into what litellm reads without loss.

Gateways send content as a list of parts, calls in the form of 2023, token counts as strings, and whole answers where
a stream was asked for. litellm fails on some of these and silently drops others, so they are repaired before it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from app.services.llm.counts import checked_count, repair_foreign_usage, repair_usage
from app.services.llm.lenient_json import JSON, MAX_ITEMS, check_items, encoded, parsed_json
from app.services.llm.native import native_events, repaired_native
from app.services.llm.transport import refused

END = b"\n\n"
DATA = b"data:"
DONE = b"[DONE]"
MAX_ERROR_BYTES = 16 * 1024
# Of one event. litellm joins lines in square time, and takes 60 µs for each piece of a call.
MAX_LINES = 1000
MAX_CALL_PIECES = 1000
MAX_ERROR_CHARS = 4_000
# A part's text stands under the name of its type.
_TEXT_PARTS = ("text", "output_text", "refusal")
_HEAD = {"id": "", "object": "chat.completion.chunk", "created": 0, "model": ""}
# Fields that are text wherever they are.
_TEXT_FIELDS = ("id", "object", "model", "system_fingerprint", "service_tier")
# Fields of a delta that nobody reads here, and whose form litellm insists on.
_UNREAD = ("images", "audio", "annotations")
_FINISH_REASONS = {
    # OpenRouter ends an answer so that its provider broke off.
    "error": None,
    **{name: name for name in ("stop", "length", "tool_calls", "content_filter", "function_call")},
    "max_tokens": "length",
    "max_output_tokens": "length",
    "MAX_TOKENS": "length",
    "safety": "content_filter",
    "SAFETY": "content_filter",
    "tool_use": "tool_calls",
}


@dataclass(slots=True)
class StreamRepair:
    """Repairs the events of one stream. ``is_openai``: they are in OpenAI's format for certain."""

    is_openai: bool = True
    # One answer was asked for. Where a server gives several, the first one that came is read.
    _choice: int | None = None

    def repaired(self, block: bytes) -> tuple[bytes, JSON | None]:
        """One event, without the blank line behind it, as (the event to pass on, its chunk).

        The chunk is ``None``, and the event as it came, where it holds no chunk of OpenAI's. An event that needs no
        repair passes byte by byte; one that says nothing to anybody is empty.
        """
        if block.startswith(DATA) and b"\n" not in block:
            return self._repaired_line(block)
        given = block.split(b"\n")
        lines = [line for line in given if line.startswith(DATA)]
        if not lines and all(not line or line.startswith(b":") for line in given):
            # Comments, by which a server keeps a connection open.
            return b"", None
        if len(lines) == 1:
            output, chunk = self._repaired_line(lines[0])
            if output is lines[0]:
                return block, chunk
            # The name of an event of another format stands in a line of its own.
            return (output if chunk is not None or not output else block.replace(lines[0], output, 1)), chunk
        # Some servers end their events with one line feed, where the format asks for two.
        if lines and all(_is_whole(line) for line in lines):
            return END.join(event for event, _ in map(self._repaired_line, lines) if event), None
        if len(given) > MAX_LINES:
            raise refused(f"An event of the model's answer has more than {MAX_LINES:,} lines.")
        return block, None

    def _repaired_line(self, line: bytes) -> tuple[bytes, JSON | None]:
        data = line[len(DATA) :]
        if data.strip() == DONE:
            return line, None
        parsed = parsed_json(data)
        if not isinstance(parsed, dict):
            # Some gateways send words of their own, such as a ping.
            is_noise = self.is_openai and not data.lstrip().startswith((b"{", b"["))
            return b"" if is_noise else line, None
        chunk = cast("JSON", parsed)
        check_items(data, chunk)
        # What an error says is of no format.
        if chunk.get("error"):
            is_long = len(line) > MAX_ERROR_BYTES
            return DATA + b" " + encoded({"error": _short_error(chunk["error"])}) if is_long else line, None
        if "choices" not in chunk:
            is_changed = repair_foreign_usage(chunk)
            events = repaired_native(chunk) or ([chunk] if is_changed else [])
            return END.join(DATA + b" " + encoded(each) for each in events) or line, None
        is_changed = self.repair(chunk)
        return (DATA + b" " + encoded(chunk) if is_changed else line), chunk

    def repair(self, chunk: JSON) -> bool:
        """Repair a chunk in place; tells whether anything had to be changed."""
        is_changed = _repair_head(chunk)
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            chunk["choices"] = []
            return True
        given = [cast("JSON", choice) for choice in cast("list[object]", choices) if isinstance(choice, dict)]
        first = self._first(given)
        if len(first) != len(cast("list[object]", choices)):
            chunk["choices"] = first
            is_changed = True
        for choice in first:
            is_changed = _repair_choice(choice) or is_changed
        return is_changed

    def _first(self, choices: Sequence[JSON]) -> list[JSON]:
        wanted = (self._choice or 0, None)
        first = [choice for choice in choices if choice.get("index") in wanted][:1]
        if not first and self._choice is None:
            first = list(choices[:1])
        if first and self._choice is None:
            index = first[0].get("index")
            self._choice = index if type(index) is int else None
        return first


def _documents(body: bytes) -> list[JSON]:
    """Its chunks; empty where it holds anything else."""
    answer = parsed_json(body)
    check_items(body, answer)
    found = cast("list[object]", answer) if isinstance(answer, list) else [answer]
    if answer is None:
        lines = [line for line in body.split(b"\n", MAX_ITEMS) if line.strip()]
        if len(lines) > MAX_ITEMS:
            raise refused(f"The model's answer has more than {MAX_ITEMS:,} lines.")
        found = [parsed_json(line) for line in lines] if len(lines) > 1 else []
    chunks = [cast("JSON", chunk) for chunk in found if isinstance(chunk, dict)]
    return chunks if len(chunks) == len(found) else []


def whole_answer(body: bytes, *, is_openai: bool = True) -> bytes:
    """A JSON answer to a request for a stream, as the events of a stream; empty where it is none.

    Several chunks, in a list or each on a line of its own, are the stream without its form.
    """
    chunks = _documents(body)
    if not chunks:
        return b""
    stream = StreamRepair(is_openai)
    events: list[bytes] = []
    for chunk in chunks:
        if chunk.get("error"):
            return stream.repaired(DATA + b" " + encoded(chunk))[0] + END
        if not is_openai and "choices" not in chunk:
            repair_foreign_usage(chunk)
            native = [each for event in native_events(chunk) for each in repaired_native(event) or [event]]
            events += [DATA + b" " + encoded(event) for event in native]
            continue
        if not isinstance(chunk.get("choices"), list):
            return b""
        stream.repair(chunk)
        for choice in chunk["choices"] if len(chunks) == 1 else ():
            choice["finish_reason"] = choice.get("finish_reason") or "stop"
        usage = chunk.pop("usage", None)
        events.append(DATA + b" " + encoded(chunk))
        if usage:
            events.append(DATA + b" " + encoded({**chunk, "choices": [], "usage": usage}))
    return END.join((*events, DATA + b" " + DONE)) + END


def _short_error(error: object) -> JSON:
    """What tells the kind of an error, and its message's beginning: the library looks through it in square time."""
    fields = cast("JSON", error) if isinstance(error, dict) else {"message": error}
    message = fields.get("message")
    text = message if isinstance(message, str) else encoded({"": message or fields})[4:].decode()
    kinds = {name: value for name in ("type", "code", "status") if isinstance(value := fields.get(name), str | int)}
    return {"message": text[:MAX_ERROR_CHARS], **{name: str(value)[:100] for name, value in kinds.items()}}


def _is_whole(line: bytes) -> bool:
    data = line[len(DATA) :].strip()
    return data == DONE or isinstance(parsed_json(data), dict)


def _repair_head(chunk: JSON) -> bool:
    """Repair what stands beside the choices; litellm's handlers of some providers insist on four fields."""
    is_changed = not chunk.keys() >= _HEAD.keys()
    if is_changed:
        for name, value in _HEAD.items():
            chunk.setdefault(name, value)
    for name in _TEXT_FIELDS:
        value = chunk.get(name)
        if value is not None and not isinstance(value, str):
            chunk[name] = str(value) if isinstance(value, int) else None
            is_changed = True
    if type(chunk.get("created", 0)) is not int:
        chunk["created"] = checked_count(chunk["created"]) or 0
        is_changed = True
    if chunk.get("object") == "chat.completion":
        chunk["object"] = "chat.completion.chunk"
        is_changed = True
    usage = chunk.get("usage")
    if usage is not None and (not isinstance(usage, dict) or repair_usage(cast("JSON", usage))):
        chunk["usage"] = usage if isinstance(usage, dict) else None
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
    if isinstance(choice.get("text"), str) and not cast("JSON", delta).get("content"):
        # The older form, for completions of a text.
        cast("JSON", delta)["content"] = choice.pop("text")
        is_changed = True
    if choice.pop("logprobs", None) is not None:
        is_changed = True
    return _repair_delta(cast("JSON", delta)) or is_changed


def _leave_out_odd(delta: JSON) -> bool:
    """Leave out what nobody reads, and fields in a form that says nothing."""
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


def _number_calls(message: JSON) -> None:
    """The calls of a whole message are in order, and have no index."""
    calls = message.get("tool_calls")
    for number, call in enumerate(cast("list[object]", calls) if isinstance(calls, list) else []):
        if isinstance(call, dict):
            cast("JSON", call).setdefault("index", number)


def _repair_delta(delta: JSON) -> bool:
    is_changed = _leave_out_odd(delta)
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
    if len(given) > MAX_CALL_PIECES:
        raise refused("The model asked for too many tools at once.")
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
    custom = call.pop("custom", None)
    if isinstance(custom, dict) and not call.get("function"):
        # litellm makes a thing without a function of it, and fails on that.
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
        # The name and arguments stand beside the id in some servers' calls.
        call["function"] = function = {name: call[name] for name in ("name", "arguments") if name in call}
        is_changed = True
    parts = cast("JSON", function)
    if parts.get("name") is not None and not isinstance(parts["name"], str):
        parts["name"] = None
        is_changed = True
    arguments = parts.get("arguments")
    if not isinstance(arguments, str):
        parts["arguments"] = encoded(cast("object", arguments)).decode() if isinstance(arguments, dict | list) else ""
        is_changed = True
    return is_changed


def _text_of(content: object) -> tuple[str, str]:
    """The text of a list of parts, and what the model thought."""
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
