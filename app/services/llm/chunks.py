"""Repairs chunks of OpenAI's streaming format, as real servers send them, so that litellm reads them without loss.

Gateways send content as a list of parts, calls in the format of 2023, token counts as strings, and whole answers
instead of a stream. litellm fails on some of these and silently drops others, so they are repaired first.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from app.services.llm.blocks import BlockOrder
from app.services.llm.counts import checked_count, repair_foreign_usage, repair_usage
from app.services.llm.deltas import number_calls, repair_delta
from app.services.llm.event_errors import error_of, short_error
from app.services.llm.faults import UNREAD
from app.services.llm.lenient_json import (
    JSON,
    MAX_ITEMS,
    MAX_LENIENT_BYTES,
    encoded,
    parsed_json,
    read_json,
    unambiguous,
)
from app.services.llm.native import is_end, is_google, native_events, repaired_native
from app.services.llm.transport import CallRefused, refused

END = b"\n\n"
DATA = b"data:"
DONE = b"[DONE]"
_ERROR = b"error:"
MAX_ERROR_BYTES = 16 * 1024
# Limit on the lines of one event, since litellm joins lines in quadratic time.
MAX_LINES = 1000
MAX_GLUED = 100
_DECODER = json.JSONDecoder(strict=False)
_HEAD = {"id": "", "object": "chat.completion.chunk", "created": 0, "model": ""}
# Fields that must be strings if they are present.
_TEXT_FIELDS = ("id", "object", "model", "system_fingerprint", "service_tier")
# Fields of a delta that carry content.
_SAID = frozenset({"content", "tool_calls", "function_call", "refusal"})
_FINISH_REASONS = {
    **{name: name for name in ("stop", "length", "tool_calls", "content_filter", "function_call")},
    "tool_use": "tool_calls",
    # Finish reasons without meaning, or for answers that broke off: OpenRouter's, DeepSeek's, Zhipu's, other servers'.
    **dict.fromkeys(("null", "none", "error", "abort", "aborted", "cancelled", "canceled", "failed", "timeout"), None),
    **dict.fromkeys(("insufficient_system_resource", "network_error", "engine_error", "internal_error"), None),
    **dict.fromkeys(("max_tokens", "max_output_tokens", "max_completion_tokens", "max_new_tokens"), "length"),
    **dict.fromkeys(("model_length", "model_context_window_exceeded", "context_length_exceeded"), "length"),
    **dict.fromkeys(("truncated", "incomplete", "repetition"), "length"),
    **dict.fromkeys(("safety", "sensitive", "recitation", "prohibited_content", "blocklist", "spii"), "content_filter"),
    **dict.fromkeys(("blocked", "guardrail_intervened", "content_filtered", "refusal"), "content_filter"),
}


@dataclass(slots=True)
class StreamRepair:
    """Repairs the events of one stream. ``is_openai``: they are known to be in OpenAI's format.

    ``is_json``: they are known to be JSON, so that anything else is noise or broken.
    """

    is_openai: bool = True
    is_json: bool = True
    is_text: bool = False
    """True if the events are text completions in OpenAI's format, which have no deltas."""
    is_ended: bool = False
    """True once the provider has sent a finish reason."""
    is_over: bool = False
    """True once the provider has sent the end of the stream."""
    failure: CallRefused | None = None
    """The error of an unreadable event, after which nothing more is read."""
    _has_begun: bool = False
    _has_said: bool = False
    _blocks: BlockOrder = field(default_factory=BlockOrder)
    # Only one answer was requested. If a server sends several, the first one is read.
    _choice: int | None = None

    @property
    def is_broken_off(self) -> bool:
        """Tell whether the answer has begun but has no end, which litellm would not notice."""
        return self._has_begun and not self.is_ended

    def repaired(self, block: bytes, *, is_last: bool = False) -> tuple[bytes, JSON | None]:
        """Repair one event, given without its blank line, and return (the event to pass on, its chunk).

        If it has no chunk in OpenAI's format, the chunk is ``None`` and the event unchanged. An event that needs no
        repair passes unchanged; one without content becomes empty. If it is unreadable, ``failure`` is set.
        ``is_last``: the stream ended after it, perhaps in the middle of it.
        """
        try:
            if block.startswith(DATA) and b"\n" not in block:
                return self._repaired_line(block, is_last=is_last)
            return self._repaired_block(block, is_last=is_last)
        except CallRefused as failure:
            self.failure = failure
            return b"", None

    def _repaired_block(self, block: bytes, *, is_last: bool) -> tuple[bytes, JSON | None]:
        given = block.split(b"\n")
        lines = [line for line in given if line.startswith(DATA)]
        if not lines and all(not line or line.startswith(b":") for line in given):
            # Servers send comments as keep-alives.
            return b"", None
        # Some servers end events with one line feed instead of two.
        if len(lines) > 1 and all(_is_whole(line) for line in lines):
            return self._repaired_lines(lines, is_last=is_last), None
        if len(given) > MAX_LINES:
            raise refused(f"An event of the model's answer has more than {MAX_LINES:,} lines.")
        if not lines:
            told = parsed_json(block.removeprefix(_ERROR)) if block.startswith(_ERROR) else None
            # The error format of llama.cpp.
            return (line_of({"error": cast("JSON", told)}) if isinstance(told, dict) else block), None
        line = lines[0] if len(lines) == 1 and _is_whole(lines[0]) else _in_one_line(block)
        if line is None and len(lines) > 1:
            return self._repaired_lines(lines, is_last=is_last), None
        is_error = any(each.removeprefix(b"event:").strip() == b"error" for each in given)
        output, chunk = self._repaired_line(line or lines[0], is_last=is_last, is_error=is_error)
        if output is lines[0]:
            return block, chunk
        # In other formats the event's name is in a line of its own, which must be kept.
        names = b"\n".join(each for each in given if each.startswith(b"event:"))
        return (output if chunk is not None or not output or not names else names + b"\n" + output), chunk

    def _repaired_lines(self, lines: Sequence[bytes], *, is_last: bool) -> bytes:
        """Repair each line as an event, up to the first unreadable one."""
        events: list[bytes] = []
        for number, line in enumerate(lines, 1):
            event, _ = self.repaired(line, is_last=is_last and number == len(lines))
            if event:
                events.append(event)
            if self.failure is not None or self.is_over:
                break
        return END.join(events)

    def _repaired_line(self, line: bytes, *, is_last: bool, is_error: bool = False) -> tuple[bytes, JSON | None]:
        """``is_error``: the event's name says so."""
        data = line[len(DATA) :]
        if data.lstrip().startswith(DATA):
            # Some proxies add a second "data:" prefix.
            data = data.lstrip()[len(DATA) :]
            line = DATA + data
        if data.strip() == DONE:
            # Some of litellm's handlers take [DONE] for the finish reason, and for the end wherever it stands.
            self.is_over = True
            return b"", None
        parsed, is_strict = read_json(data)
        if not isinstance(parsed, dict):
            if parsed is None and (lines := _glued(data)):
                return self._repaired_lines(lines, is_last=is_last), None
            if is_error and self.is_openai and not data.lstrip().startswith((b"{", b"[")):
                return line_of({"error": error_of({"message": data.decode(errors="replace")}, is_named=True)}), None
            return self._checked_noise(line, parsed, is_last=is_last), None
        self.is_json = True
        chunk = cast("JSON", parsed)
        # Errors have no common format.
        if chunk.get("error"):
            is_long = len(line) > MAX_ERROR_BYTES
            return line_of({"error": short_error(chunk["error"])}) if is_long or not is_strict else line, None
        if self.is_openai and (error := error_of(chunk, is_named=is_error)) is not None:
            return line_of({"error": error}), None
        if "choices" not in chunk:
            return self._repaired_native(chunk, None if not is_strict else line), None
        is_changed = self.repair(chunk)
        return (line_of(chunk) if is_changed or not is_strict else unambiguous(line)), chunk

    def _repaired_native(self, event: JSON, line: bytes | None) -> bytes:
        """``line``: as it came, where it can be passed on."""
        self.note(event)
        is_changed = repair_foreign_usage(event)
        repaired = repaired_native(event)
        events = [each for given in repaired or [event] for each in self._blocks.ordered(given)]
        if repaired is None and not is_changed and line is not None and len(events) == 1 and events[0] is event:
            return unambiguous(line)
        return END.join(line_of(each) for each in events)

    def note(self, event: JSON, *, is_whole: bool = False) -> None:
        """Update the state from an event in another format than OpenAI's: whether the answer has begun or ended."""
        self.is_ended = self.is_ended or is_whole or is_end(event)
        self._has_begun = self._has_begun or is_google(event)

    def _checked_noise(self, line: bytes, parsed: object, *, is_last: bool) -> bytes:
        """Return what to pass on of an event that is not a JSON object. Raises ``CallRefused`` for a broken one."""
        if not self.is_json:
            return line
        if not line[len(DATA) :].lstrip().startswith((b"{", b"[")):
            # Some gateways send words of their own, such as "ping".
            return b""
        if parsed is not None:
            return line
        # After its finish reason an answer is complete, whatever follows. A truncated last event is reported elsewhere.
        if self.is_ended or is_last:
            return b""
        raise refused(UNREAD)

    def repair(self, chunk: JSON) -> bool:
        """Repair a chunk in place; return whether it was changed."""
        is_changed = _repair_head(chunk)
        choices = chunk.get("choices")
        if isinstance(choices, dict) and cast("JSON", choices).keys() & {"delta", "message", "text"}:
            choices = chunk["choices"] = [cast("JSON", choices)]
            is_changed = True
        if not isinstance(choices, list):
            chunk["choices"] = []
            return True
        given = [cast("JSON", choice) for choice in cast("list[object]", choices) if isinstance(choice, dict)]
        first = self._first(given)
        if len(first) != len(cast("list[object]", choices)):
            chunk["choices"] = first
            is_changed = True
        self._has_begun = self._has_begun or bool(first)
        for choice in first:
            is_piece = isinstance(choice.get("delta"), dict)
            is_changed = _repair_choice(choice, has_said=self._has_said, is_text=self.is_text) or is_changed
            self._has_said = self._has_said or (is_piece and any(map(choice["delta"].get, _SAID)))
            self.is_ended = self.is_ended or choice.get("finish_reason") is not None
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
    """Parse a body as chunks: one, a list, or one on each line; empty if it has anything else."""
    answer = parsed_json(body)
    documents = cast("list[object]", answer) if isinstance(answer, list) else [answer]
    if answer is None:
        lines = [line for line in body.split(b"\n", MAX_ITEMS) if line.strip()]
        if len(lines) > MAX_ITEMS:
            raise refused(f"The model's answer has more than {MAX_ITEMS:,} lines.")
        documents = [parsed_json(line) for line in lines] if len(lines) > 1 else []
    chunks = [cast("JSON", chunk) for chunk in documents if isinstance(chunk, dict)]
    return chunks if len(chunks) == len(documents) else []


def whole_answer(body: bytes, stream: StreamRepair) -> bytes:
    """Convert a JSON response to a streaming request to the events of a stream; empty if it is not an answer.

    The body may also be the stream's chunks as a list, or one on each line.
    """
    chunks = _documents(body)
    if not chunks:
        return b""
    events: list[bytes] = []
    for chunk in chunks:
        if chunk.get("error"):
            return stream.repaired(line_of(chunk))[0] + END
        if not stream.is_openai and "choices" not in chunk:
            stream.note(chunk, is_whole=len(chunks) == 1)
            repair_foreign_usage(chunk)
            native = [each for event in native_events(chunk) for each in repaired_native(event) or [event]]
            events += map(line_of, native)
            continue
        if not isinstance(chunk.get("choices"), dict | list):
            error = error_of(chunk, is_alone=True) if stream.is_openai else None
            return line_of({"error": error}) + END if error is not None else b""
        stream.repair(chunk)
        for choice in chunk["choices"] if len(chunks) == 1 else ():
            choice["finish_reason"] = choice.get("finish_reason") or "stop"
            stream.is_ended = True
        usage = chunk.pop("usage", None)
        events.append(line_of(chunk))
        if usage:
            events.append(line_of({**chunk, "choices": [], "usage": usage}))
    return END.join(events) + END


def line_of(chunk: object) -> bytes:
    """Encode a chunk as the ``data:`` line of an event."""
    return DATA + b" " + unambiguous(encoded(chunk))


def is_terse(beginning: bytes | bytearray) -> bool | None:
    """Tell whether a stream's events end with one line feed; ``None`` if that is not known yet."""
    first, _, rest = bytes(beginning).partition(b"\n")
    if len(rest) < len(DATA) and DATA.startswith(rest):
        return None
    return first.startswith(DATA) and rest.startswith(DATA) and _is_whole(first)


def _glued(data: bytes) -> list[bytes]:
    """Split events between which a server or a proxy lost the line feeds; empty if the data is not such."""
    if len(data) > MAX_LENIENT_BYTES or not data.lstrip().startswith(b"{"):
        return []
    text, lines = data.decode(errors="replace").strip(), list[bytes]()
    while text:
        text = text.removeprefix(DATA.decode()).lstrip()
        try:
            value, end = _DECODER.raw_decode(text)
        except (ValueError, RecursionError):
            return [*lines, DATA + DONE] if lines and text == DONE.decode() else []
        if not isinstance(value, dict) or len(lines) == MAX_GLUED:
            return []
        lines.append(DATA + b" " + text[:end].encode())
        text = text[end:].lstrip()
    return lines if len(lines) > 1 else []


def _in_one_line(block: bytes) -> bytes | None:
    """Join an event whose JSON is spread over several lines, with or without ``data:`` prefixes."""
    spread = block[block.find(DATA) + len(DATA) :].replace(b"\n" + DATA, b"\n")
    parsed = parsed_json(spread)
    return DATA + b" " + encoded(cast("object", parsed)) if isinstance(parsed, dict) else None


def _is_whole(line: bytes) -> bool:
    data = line[len(DATA) :].strip()
    return data == DONE or isinstance(parsed_json(data), dict)


def _repair_head(chunk: JSON) -> bool:
    """Repair the fields beside ``choices``, of which some of litellm's handlers require four."""
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


def _repair_choice(choice: JSON, *, has_said: bool, is_text: bool) -> bool:
    """Repair a choice in place. ``has_said``: deltas came before, so a whole message would repeat them."""
    is_changed = type(choice.get("index", 0)) is not int
    if is_changed:
        choice["index"] = 0
    reason = choice.get("finish_reason")
    # An unknown finish reason is an end all the same.
    known = _FINISH_REASONS.get(reason.strip().casefold(), "stop") if isinstance(reason, str) and reason else None
    if reason != known:
        choice["finish_reason"] = known
        is_changed = True
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        said = delta or choice.pop("message", None) or choice.pop("content", None)
        if isinstance(said, list) and said and isinstance(said[0], dict):
            said = cast("list[object]", said)[0]
        message = cast("object", {"content": said} if isinstance(said, str) else said)
        choice["delta"] = delta = cast("JSON", message if isinstance(message, dict) and not has_said else {})
        number_calls(delta)
        is_changed = True
    if isinstance(choice.get("text"), str) and not is_text and not cast("JSON", delta).get("content"):
        # The older format of text completions.
        cast("JSON", delta)["content"] = choice.pop("text")
        is_changed = True
    if choice.pop("logprobs", None) is not None:
        is_changed = True
    return repair_delta(cast("JSON", delta)) or is_changed
