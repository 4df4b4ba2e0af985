"""JSON as model servers really send it, read in a time that is bounded."""

import json
import re
from typing import Any, TypeAlias

import orjson

from app.services.llm.counts import MAX_DIGITS
from app.services.llm.transport import refused

JSON: TypeAlias = dict[str, Any]
# Of one event. litellm takes 4 µs for each.
MAX_ITEMS = 10_000
# Of what Python reads and the faster parser does not, at some 5 MiB a second.
MAX_LENIENT_BYTES = 256 * 1024
_READABLE = re.compile(rb"\\u[dD][89a-fA-F]|NaN|Infinity|\d{19}|[eE]\+?\d{3}|[\x00-\x1f]")
# Within a text: what httpx takes for the end of a line, and litellm for the end of a stream.
_AMBIGUOUS = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
    (b"[DONE]", b"\\u005bDONE]"),
)


def encoded(chunk: object) -> bytes:
    """A chunk, or a part of one, as JSON. Halves of surrogate pairs stay as they are, escaped."""
    try:
        return orjson.dumps(chunk)
    except TypeError:
        return json.dumps(chunk).encode()


def unambiguous(data: bytes) -> bytes:
    """The same JSON, without what its readers take for something else than text."""
    for character, escaped in _AMBIGUOUS:
        if character in data:
            data = data.replace(character, escaped)
    return data


def parsed_json(data: bytes) -> object:
    """``None`` for what is no JSON. Raises where it has so much in it that reading it would hold up everybody."""
    return read_json(data)[0]


def read_json(data: bytes) -> tuple[object, bool]:
    """The value, as ``parsed_json`` has it, and whether every reader of JSON would read it."""
    _check_items(data)
    try:
        return orjson.loads(data), True
    except ValueError:
        if len(data) > MAX_LENIENT_BYTES:
            return None, False
        # It refuses halves of surrogate pairs, which some models write, NaN and Infinity, which some servers count,
        # line feeds within texts, and characters of which a server sends a part.
        text = data.decode(errors="replace")
        if not text.lstrip().startswith("{") or not (_READABLE.search(data) or "\N{REPLACEMENT CHARACTER}" in text):
            return None, False
    try:
        return json.loads(text, parse_int=_whole_number, strict=False), False
    except (ValueError, RecursionError):
        return None, False


def _check_items(data: bytes) -> None:
    """Raise where an event has more in it than any answer; its texts may be as long as a line, and of commas alone."""
    if data.count(b",") <= MAX_ITEMS:
        return
    # Escaped quotation marks begin and end no text.
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two texts for each item, for its name and its value.
    is_much = bare.count(b'"') > 4 * MAX_ITEMS
    if is_much or b"".join(bare.split(b'"')[::2]).count(b",") > MAX_ITEMS:
        raise refused("A part of the model's answer has too much in it.")


def _whole_number(digits: str) -> int | float:
    # Python refuses to read more than some thousands.
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)
