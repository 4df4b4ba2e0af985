"""Repairs streams of JSON lines: Ollama's, and Cohere's events, which litellm reads as such lines.

litellm's handlers ignore a line that is not JSON, or fail on it.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import cast

import httpx

from app.services.llm.counts import checked_count, repair_counts
from app.services.llm.deltas import text_of
from app.services.llm.fault_words import sentence_of
from app.services.llm.faults import BROKE_OFF, UNREAD
from app.services.llm.lenient_json import JSON, encoded, parsed_json, unambiguous
from app.services.llm.transport import MAX_LINE_BYTES, refused

_DATA = b"data:"
_DONE = b"[DONE]"
_SPREAD = (b"{\n", b"{\r\n")
# Limit on a document that is spread over many lines.
MAX_DOCUMENT_BYTES = 4 * MAX_LINE_BYTES
# Prefixes of lines in an event stream that have no data.
_FIELDS = (b"event:", b"id:", b"retry:", b":")
_OLLAMA_COUNTS = ("prompt_eval_count", "eval_count")
_COHERE_ENDS = {"MAX_TOKENS": "length", "TOOL_CALL": "tool_calls", "ERROR_TOXIC": "content_filter"}


def repair_of(request: httpx.Request) -> Callable[[JSON], JSON] | None:
    """Return the repair function for a response of lines to this request; ``None`` for other responses."""
    path = request.url.path
    if path.endswith(("/api/chat", "/api/generate")):
        return _ollama_line
    # litellm sends this header only to Cohere.
    if "request-source" in request.headers:
        return _cohere_line
    return None


class Lines(httpx.AsyncByteStream):
    """A response's lines, each repaired, up to the first unreadable one."""

    def __init__(self, stream: httpx.AsyncByteStream, repair: Callable[[JSON], JSON]) -> None:
        self._stream = stream
        self._repair = repair
        self._received = bytearray()
        self._is_ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            looked_at = len(self._received)
            self._received += data
            end = self._received.rfind(b"\n", looked_at) + 1
            if len(self._received) - end > MAX_LINE_BYTES or len(self._received) > MAX_DOCUMENT_BYTES:
                raise refused(f"A line of the model's answer is longer than {MAX_LINE_BYTES // 2**20} MiB.")
            if self._received.lstrip().startswith(_SPREAD):
                # A document that is spread over several lines is not complete yet.
                continue
            taken = bytes(self._received[:end])
            del self._received[:end]
            for line in taken.split(b"\n"):
                if repaired := self._repaired(line):
                    yield repaired
        # The last line may lack its line feed, or be truncated.
        rest = bytes(self._received)
        if isinstance(parsed_json(_data_of(rest)), dict) and (repaired := self._repaired(rest)):
            yield repaired
        if not self._is_ended:
            raise refused(BROKE_OFF)

    async def aclose(self) -> None:
        """Close the connection without reading the rest."""
        await self._stream.aclose()

    def _repaired(self, line: bytes) -> bytes:
        event = repaired_line(line, self._repair, is_ended=self._is_ended)
        if event is None:
            return b""
        self._is_ended = self._is_ended or event.get("done") is True or event.get("event") == "message-end"
        return unambiguous(encoded(event)) + b"\n"


def repaired_line(line: bytes, repair: Callable[[JSON], JSON], *, is_ended: bool = False) -> JSON | None:
    """Parse and repair a line; ``None`` if it has no event. Raises ``CallRefused`` if it is unreadable.

    ``is_ended``: the answer is complete already, so that unreadable lines are ignored.
    """
    data = _data_of(line)
    if not data or data == _DONE or data.startswith(_FIELDS):
        return None
    parsed = parsed_json(data)
    if not isinstance(parsed, dict):
        # For example, a gateway's ping.
        if is_ended or not data.startswith((b"{", b"[")):
            return None
        raise refused(UNREAD)
    event = cast("JSON", parsed)
    if event.get("error"):
        raise refused(f"The model's server failed. {sentence_of(event['error'])}".strip())
    return repair(event)


def _data_of(line: bytes) -> bytes:
    data = line.strip()
    return data[len(_DATA) :].strip() if data.startswith(_DATA) else data


def _ollama_line(event: JSON) -> JSON:
    """Repair the fields that litellm requires in Ollama's format."""
    counts = {name: checked_count(event.pop(name)) for name in _OLLAMA_COUNTS if name in event}
    repaired = dict(event)
    if any(count is not None for count in counts.values()):
        # litellm needs both counts, but Ollama omits that of a cached prompt.
        repaired |= {name: counts.get(name) or 0 for name in _OLLAMA_COUNTS}
    model = event.get("model")
    repaired |= {"model": model if isinstance(model, str) else "", "done": event.get("done") in (True, "true")}
    if "response" in event:
        repaired["response"] = _text(event["response"])
        return repaired
    message = dict(_fields(event, "message"))
    repaired["message"] = message
    for name in ("content", "thinking"):
        if message.get(name) is not None and not isinstance(message[name], str):
            message[name] = text_of(message[name])[0]
    calls = message.pop("tool_calls", None)
    given = (
        [cast("JSON", call) for call in cast("list[object]", calls) if isinstance(call, dict)]
        if isinstance(calls, list)
        else []
    )
    called = [call for call in given if isinstance(call.get("function"), dict)]
    if called:
        message["tool_calls"] = called
    return repaired


def _cohere_line(event: JSON) -> JSON:
    """Convert Cohere's event to the format that litellm expects, which Cohere itself never sends."""
    delta = _fields(event, "delta")
    message = _fields(delta, "message")
    index = event.get("index") if type(event.get("index")) is int else 0
    match event.get("type"):
        case "content-delta":
            content = _fields(message, "content")
            return {
                "type": "content-delta",
                "index": 0,
                "delta": {"message": {"content": {"text": _text(content.get("text"))}}},
            }
        case "tool-call-start" | "tool-call-delta":
            call = _fields(message, "tool_calls")
            function = _fields(call, "function")
            said = {"id": _text(call.get("id")), **{name: _text(function.get(name)) for name in ("name", "arguments")}}
            return {"type": "tool-call-delta", "index": index, "delta": {"tool_calls": [said]}}
        case "message-end":
            usage = dict(_fields(delta, "usage"))
            tokens = dict(_fields(usage, "tokens") or _fields(usage, "billed_units"))
            repair_counts(tokens)
            reason = _text(delta.get("finish_reason"))
            end = {"finish_reason": _COHERE_ENDS.get(reason, "stop"), "usage": {"tokens": tokens} if tokens else {}}
            return {"event": "message-end", "data": {"delta": end}}
        case _:
            return {"type": "other"}


def _fields(holder: Mapping[str, object], name: str) -> JSON:
    value = holder.get(name)
    if isinstance(value, list):
        value = next(iter(cast("list[object]", value)), None)
    return cast("JSON", value) if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
