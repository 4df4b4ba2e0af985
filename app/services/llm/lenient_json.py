"""Parses JSON of model servers leniently, in bounded time."""

import json
import re
from typing import Any, TypeAlias

import orjson

from app.services.llm.counts import MAX_DIGITS
from app.services.llm.transport import refused

JSON: TypeAlias = dict[str, Any]
# Limit on the items of one event, since litellm takes 4 µs for each.
MAX_ITEMS = 10_000
# Limit on JSON that only Python's parser accepts, since it takes 200 ms for each MiB.
MAX_LENIENT_BYTES = 256 * 1024
_READABLE = re.compile(rb"\\u[dD][89a-fA-F]|NaN|Infinity|\d{19}|[eE]\+?\d{3}|[\x00-\x1f]")
# Characters in strings that httpx takes for the end of a line, and words that litellm takes for the end of a stream.
_AMBIGUOUS = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
    (b"[DONE]", b"\\u005bDONE]"),
)


def encoded(chunk: object) -> bytes:
    """Encode a chunk, or a part of one, as JSON. Lone surrogates stay escaped."""
    try:
        return orjson.dumps(chunk)
    except TypeError:
        return json.dumps(chunk).encode()


def unambiguous(data: bytes) -> bytes:
    """Escape characters and words in strings that httpx or litellm would not treat as text."""
    for character, escaped in _AMBIGUOUS:
        if character in data:
            data = data.replace(character, escaped)
    return data


def parsed_json(data: bytes) -> object:
    """Parse JSON; ``None`` if it is invalid. Raises ``CallRefused`` if it would block the event loop for too long."""
    return read_json(data)[0]


def read_json(data: bytes) -> tuple[object, bool]:
    """Parse as ``parsed_json`` does, and return whether it is strictly valid, so that every parser accepts it."""
    _check_items(data)
    try:
        return orjson.loads(data), True
    except ValueError:
        if len(data) > MAX_LENIENT_BYTES:
            return None, False
        # orjson refuses lone surrogates, which some models write, NaN and Infinity, which some servers send as counts,
        # line feeds in strings, and incomplete UTF-8 characters.
        text = data.decode(errors="replace")
        if not text.lstrip().startswith("{") or not (_READABLE.search(data) or "\N{REPLACEMENT CHARACTER}" in text):
            return None, False
    try:
        return json.loads(text, parse_int=_whole_number, strict=False), False
    except (ValueError, RecursionError):
        return None, False


def _check_items(data: bytes) -> None:
    """Raise ``CallRefused`` if an event has more items than any answer; commas within strings don't count."""
    if data.count(b",") <= MAX_ITEMS:
        return
    # Escaped quotation marks don't delimit strings.
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Each item has at most two strings, a name and a value.
    is_much = bare.count(b'"') > 4 * MAX_ITEMS
    if is_much or b"".join(bare.split(b'"')[::2]).count(b",") > MAX_ITEMS:
        raise refused("A part of the model's answer has too much in it.")


def _whole_number(digits: str) -> int | float:
    # Python refuses to parse integers with more than some thousand digits.
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)
