"""Parses the text that an LLM writes as the arguments of a tool call.

A text that is not JSON is repaired if it can only be read in one way: Python's or JavaScript's notation, trailing
commas, invalid escapes in strings, and a code fence, control tokens or a sentence around the object. A text that may
have been cut, or that contains several objects, is refused with the reason. Parsing takes linear time.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

from app.services.message import MAX_JSON_DEPTH, MAX_NUMBER_CHARS, storable, storable_json
from app.services.secrets.redaction import JSONValue

MAX_ARGUMENTS_LENGTH = 200_000
MAX_VALUES = 8
# JSON in a JSON string in a JSON string.
MAX_ENCODINGS = 3
# Limits of repairs: tokens of the object, and characters around it.
MAX_TOKENS = 2_000
MAX_PROSE = 2_000
MAX_PREVIEW = 20
UNPARSED = "unparsed"


class ArgumentsFault(ValueError):
    """The arguments can't be read. The message is for the agent, as the end of a sentence."""


def parse_arguments(text: str) -> dict[str, Any]:
    """Parse a call's arguments, in a form that every database can store.

    A text that can't be read, is longer than 200,000 characters or nests deeper than 50 levels becomes
    ``{"unparsed": …}``.
    """
    try:
        return _read(text)
    except ArgumentsFault:
        return {UNPARSED: storable(text[:MAX_ARGUMENTS_LENGTH])}


def is_whole(text: str) -> bool:
    """Tell whether a text contains complete arguments."""
    return bool(text.strip()) and fault_in(text) is None


def fault_in(text: str) -> str | None:
    """Return why a text can't be read as arguments, as the end of a sentence; ``None`` if it can be."""
    try:
        _read(text)
    except ArgumentsFault as fault:
        return str(fault)
    return None


def _read(text: str) -> dict[str, Any]:
    if len(text) > MAX_ARGUMENTS_LENGTH:
        message = f"the arguments have more than {MAX_ARGUMENTS_LENGTH} characters"
        raise ArgumentsFault(message)
    try:
        return cast("dict[str, Any]", storable_json(cast("JSONValue", _object(text))))
    except RecursionError:
        message = f"the arguments nest deeper than {MAX_JSON_DEPTH} levels"
        raise ArgumentsFault(message) from None


def _object(text: str) -> dict[str, object]:
    """Parse the object in a text.

    Gateways send an empty object before the arguments, send all of them twice, as a JSON string, or as ``null`` or an
    empty list if there are none. Models write unescaped line breaks in strings.
    """
    values = _values(text)
    for _ in range(MAX_ENCODINGS - 1):
        if len(values) == 1 and isinstance(values[0], str):
            values = _values(values[0])
    said = [value for value in values if value not in _NOTHING]
    if not said:
        return {}
    if not isinstance(said[0], dict):
        message = f"the arguments are no JSON object, but {_KINDS[said[0].__class__.__name__]}"
        raise ArgumentsFault(message)
    if any(value != said[0] for value in said):
        message = "the arguments are several JSON values; make one call for each object"
        raise ArgumentsFault(message)
    return cast("dict[str, object]", said[0])


def _values(text: str) -> list[object]:
    """Parse a text of concatenated JSON values, or of one that is repaired."""
    values: list[object] = []
    rest = text.strip()
    try:
        while rest and len(values) < MAX_VALUES:
            value, end = _DECODER.raw_decode(rest)
            values.append(value)
            rest = rest[end:].strip()
    except json.JSONDecodeError as error:
        return [_repaired(text, error)]
    if rest:
        message = "the arguments are several JSON values; make one call for each object"
        raise ArgumentsFault(message)
    return values


def _repaired(text: str, error: json.JSONDecodeError) -> object:
    """Parse the only object in a text that is not valid JSON. ``error`` is that of the text itself."""
    place = error.doc[error.pos : error.pos + MAX_PREVIEW]
    unreadable = f"the arguments are no JSON object: {error.msg.rstrip(': ').removesuffix(' at')} at {place!r}"
    start = text.find("{")
    if start < 0 or not place:
        raise ArgumentsFault(unreadable if place else "the arguments are no JSON object: they end too soon")
    tokens: list[str] = []
    end = start
    for token, after in _tokens(text, start):
        tokens.append(token)
        end = after
    if tokens[-1] != "}":
        raise ArgumentsFault(unreadable)
    try:
        value = _DECODER.decode("".join(tokens))
    except json.JSONDecodeError:
        raise ArgumentsFault(unreadable) from None
    before, behind = text[:start], text[end:].lstrip("} \t\r\n")
    is_prose = len(before) + len(behind) <= MAX_PROSE and _BEFORE.fullmatch(before) and _BEHIND.fullmatch(behind)
    if not is_prose:
        message = (
            f"the arguments are more than one JSON object: there is {(behind or before)[:MAX_PREVIEW]!r} beside it"
        )
        raise ArgumentsFault(message)
    return value


def _tokens(text: str, start: int) -> Iterator[tuple[str, int]]:
    """Yield the tokens of the object that starts there as JSON, each with the position behind it."""
    depth, position, previous = 0, start, ""
    for match in islice(_TOKEN.finditer(text, start), MAX_TOKENS):
        # ``finditer`` skips text that is no token.
        if match.start() != position:
            return
        kind, token, position = match.lastgroup, match[0], match.end()
        match kind:
            case "space":
                continue
            case "trailing" if previous not in "{[,":
                continue
            case "double":
                token = _ESCAPE.sub(_escape, token)
            case "single":
                token = f'"{_SINGLE_ESCAPE.sub(_single_escape, token[1:-1])}"'
            case "key":
                token = f'"{token}"'
            case "word":
                token = _WORDS.get(token, token)
            case _:
                depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token, 0)
        previous = token
        yield token, position
        if depth == 0 or depth > MAX_JSON_DEPTH + 1:
            return


def _escape(match: re.Match[str]) -> str:
    r"""Return a valid escape for one that JSON doesn't have: ``\d`` in a pattern, or JavaScript's ``\'``."""
    if match["valid"]:
        return match[0]
    return "'" if match[0] == "\\'" else "\\" + match[0]


def _single_escape(match: re.Match[str]) -> str:
    """Return an escape, or a quotation mark, of a string in single quotes as it is written in double quotes."""
    if match[0] == '"':
        return '\\"'
    return f"\\u00{match[0][2:]}" if match["byte"] else _escape(match)


def _integer(digits: str) -> int | str | float:
    # Python refuses to parse longer integers.
    return int(digits) if len(digits) <= MAX_NUMBER_CHARS else digits[:MAX_NUMBER_CHARS]


_DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=str, strict=False)
_NOTHING: tuple[object, ...] = ({}, [], None)
_KINDS = {"list": "a list", "str": "a string", "bool": "a Boolean value", "int": "a number", "float": "a number"}
_WORDS = {"True": "true", "False": "false", "None": "null", "undefined": "null"}
# Qwen writes ``\n`` between tokens, as two characters.
_TOKEN = re.compile(
    r"""
      (?P<space>(?:\s|\\[nrt])++)
    | (?P<double>"(?:[^"\\]|\\.)*+")
    | (?P<single>'(?:[^'\\]|\\.)*+')
    | (?P<trailing>,(?=(?:\s|\\[nrt])*+[}\]]))
    | (?P<key>[A-Za-z_]\w*+(?=\s*+:))
    | (?P<word>-?[A-Za-z_]\w*+)
    | (?P<number>-?\d[\w.+-]*+)
    | (?P<mark>[{}\[\]:,])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"""\\(?:(?P<valid>["\\/bfnrt]|u[0-9a-fA-F]{4})|.)""", re.DOTALL)
_SINGLE_ESCAPE = re.compile(
    r"""\\(?:(?P<valid>["\\/bfnrt]|u[0-9a-fA-F]{4})|(?P<byte>x[0-9a-fA-F]{2})|.)|\"""", re.DOTALL
)
# Structure around the object would mean that it is a part of something else.
_BEFORE = re.compile(r'[^{}\[\]"]*+')
_BEHIND = re.compile(r"(?:[^,:\"'\]{}][^{}]*+)?")
