"""Parses the JSON of requests and messages: small texts at once, large ones in a thread.

A parser in C holds Python's lock until it is done, also in a thread: 25 ms for 100,000 entries, 250 ms for a million.
So larger texts are parsed by a parser in Python, which takes five times as long, but lets other threads run. Only
trajectories for replay may be that large: executing any other input of that size would block the event loop.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping
from json.decoder import JSONArray, JSONObject  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
from json.scanner import py_make_scanner  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
from typing import Any, cast

import orjson

from app.config import Config
from app.json_bounds import JSONBounds, TooMuchJSON, has_digits

# Parsing this many bytes takes 2 ms at most.
SMALL_BYTES = 128 * 1024
# Digits of the least integer that orjson may make a float of.
_LARGE_DIGITS = 19
_SIMPLE = frozenset({str, int, bool, type(None)})


class JSONTexts:
    """Parses JSON within configured bounds. One large text is parsed at a time."""

    def __init__(self, config: Config) -> None:
        self._bounds = JSONBounds(items=config.max_json_items)
        self._long = JSONBounds(items=max(config.max_json_items, config.max_trajectory_items))
        self._turn = asyncio.Semaphore()

    def check(self, text: bytes) -> None:
        """Raise TooMuchJSON if a bound is exceeded."""
        self._bounds.check(text)

    def parse_small(self, text: bytes) -> object:
        """Parse up to ``SMALL_BYTES``. Raises TooMuchJSON, and ValueError if it is not JSON."""
        self._bounds.check(text)
        return _parse(text)

    async def parse(self, text: bytes) -> object:
        """Parse a text of any length, with the errors of ``parse_small``."""
        if len(text) <= SMALL_BYTES:
            return self.parse_small(text)
        async with self._turn:
            return await asyncio.to_thread(self._parse_large, text)

    def _parse_large(self, text: bytes) -> object:
        items = self._long.check(text)
        if items <= self._bounds.items:
            return _parse(text)
        body = _IN_PYTHON.decode(text.decode())
        if sum(map(_items, _without_trajectories(body))) > self._bounds.items:
            limit = self._bounds.items
            message = f"JSON has at most {limit} entries of lists and objects, apart from those of a trajectory."
            raise TooMuchJSON("JSON_ITEMS_LIMIT_EXCEEDED", message, limit)
        return body


def parse_text(text: str) -> object:
    """Parse strictly. Raises ValueError also for NaN and Infinity, which Python's parser accepts."""
    return json.loads(text, parse_constant=_refuse_constant)


def _parse(text: bytes) -> object:
    """Parse with orjson; with the standard library if orjson fails, or would round large integers to floats."""
    try:
        body = cast("object", orjson.loads(text))
    except orjson.JSONDecodeError:
        return parse_text(text.decode())
    return parse_text(text.decode()) if _may_have_floats(body) and has_digits(text, _LARGE_DIGITS) else body


def _may_have_floats(body: object) -> bool:
    """Tell whether the body may contain a float. A fast check, since most variables are strings and integers."""
    variables = cast("dict[str, object]", body).get("variables") if isinstance(body, dict) else None
    return not isinstance(variables, dict) or not _SIMPLE.issuperset(
        map(type, cast("dict[str, object]", variables).values())
    )


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


class _PythonDecoder(json.JSONDecoder):
    """The standard library's decoder, made of its parts that are written in Python."""

    def __init__(self) -> None:
        super().__init__(parse_constant=_refuse_constant)
        self.parse_object = cast("Any", JSONObject)
        self.parse_array = cast("Any", JSONArray)
        self.scan_once = cast("Any", py_make_scanner)(self)


_IN_PYTHON = _PythonDecoder()


def _without_trajectories(body: object) -> Iterable[object]:
    """Yield the values of a body, or of a message's payload, except trajectories in the variables."""
    fields = cast("Mapping[str, object]", body) if isinstance(body, dict) else {"body": body}
    for name, value in fields.items():
        if name == "payload":
            yield from _without_trajectories(value)
        elif name == "variables" and isinstance(value, dict):
            for variable in cast("Mapping[str, object]", value).values():
                yield from _without_replay(variable)
        else:
            yield value


def _without_replay(variable: object) -> Iterable[object]:
    if _is_trajectory(variable):
        return
    if isinstance(variable, dict):
        fields = cast("Mapping[str, object]", variable)
        yield from (value for name, value in fields.items() if name != "replay" or not _is_trajectory(value))
    else:
        yield variable


def _is_trajectory(value: object) -> bool:
    return isinstance(value, dict) and isinstance(cast("Mapping[str, object]", value).get("events"), list)


def _items(value: object) -> int:
    """Count the entries of all lists and objects in a value, including itself."""
    count, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        count += 1
        if isinstance(item, dict):
            waiting += cast("dict[str, object]", item).values()
        elif isinstance(item, list):
            waiting += cast("list[object]", item)
    return count
