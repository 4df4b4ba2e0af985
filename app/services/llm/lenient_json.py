"""JSON as model servers really send it, read in a time that is bounded."""

import json
import re
from typing import Any, TypeAlias, cast

import orjson

from app.services.llm.counts import MAX_DIGITS
from app.services.llm.transport import refused

JSON: TypeAlias = dict[str, Any]
# Of one event. litellm takes 4 µs for each.
MAX_ITEMS = 10_000
# Before it is read; within texts as well, so that a table of two million characters has room.
MAX_COMMAS = 500_000
# What Python reads and the faster parser does not.
_READABLE = re.compile(rb"\\u[dD][89a-fA-F]|NaN|Infinity|\d{19}|[eE]\+?\d{3}")


def encoded(chunk: object) -> bytes:
    """A chunk, or a part of one, as JSON. Halves of surrogate pairs stay as they are, escaped."""
    try:
        return orjson.dumps(chunk)
    except TypeError:
        return json.dumps(chunk).encode()


def parsed_json(data: bytes) -> object:
    """``None`` for what is no JSON. Raises where it has so much in it that reading it would hold up everybody."""
    if data.count(b",") > MAX_COMMAS:
        raise refused("A part of the model's answer has too much in it.")
    try:
        return orjson.loads(data)
    except ValueError:
        # It refuses halves of surrogate pairs, which some models write, and NaN and Infinity, which some servers count.
        if not data.lstrip().startswith(b"{") or not _READABLE.search(data):
            return None
    try:
        return json.loads(data, parse_int=_whole_number)
    except (ValueError, RecursionError):
        return None


def check_items(data: bytes, value: object) -> None:
    """Raise where an event has more in it than any answer; its text may be as long as a line."""
    if data.count(b",") <= MAX_ITEMS:
        return
    waiting, items = [value], 0
    while waiting:
        each = waiting.pop()
        if not isinstance(each, dict | list):
            continue
        inner = list(cast("JSON", each).values()) if isinstance(each, dict) else cast("list[object]", each)
        items += len(inner)
        if items > MAX_ITEMS:
            raise refused("A part of the model's answer has too much in it.")
        waiting += inner


def _whole_number(digits: str) -> int | float:
    # Python refuses to read more than some thousands.
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)
