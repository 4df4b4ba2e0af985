"""JSON is measured as a parser would count it, whatever its strings look like."""

import json
from random import Random
from typing import Any, cast

import pytest

from app.json_bounds import JSONBounds, TooMuchJSON

BOUNDS = JSONBounds(items=20, depth=5, digits=10)


WITHIN: list[object] = [
    list(range(19)),
    {str(number): number for number in range(19)},
    [[[[[]]]]],
    "[" * 1000,
    "," * 1000,
    "9" * 1000,
    '"' * 1000,
    "\\" * 1000,
    '\\"[{,' * 1000,
    {'"\\[[[[[[[[': '\\\\"{{{{{{{{'},
    [[], [], [], [], [], [], [], [], []],
    [9999999999, -9999999999],
]


@pytest.mark.parametrize("value", WITHIN)
def test_what_is_within_the_bounds_passes_with_any_text_in_it(value: object) -> None:
    BOUNDS.check(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("text", "code", "limit"),
    [
        (b"[" + b"1," * 20 + b"1]", "JSON_ITEMS_LIMIT_EXCEEDED", 20),
        (b"[" + b"[]," * 20 + b"1]", "JSON_ITEMS_LIMIT_EXCEEDED", 20),
        (b"[" + b'"",' * 100 + b'""]', "JSON_ITEMS_LIMIT_EXCEEDED", 20),
        (b"[" + b'"\\\\",' * 100 + b'""]', "JSON_ITEMS_LIMIT_EXCEEDED", 20),
        (b"[" + b'"\\\\\\"",' * 100 + b'""]', "JSON_ITEMS_LIMIT_EXCEEDED", 20),
        (b"[[[[[[]]]]]]", "JSON_DEPTH_LIMIT_EXCEEDED", 5),
        (b"[[[[[[", "JSON_DEPTH_LIMIT_EXCEEDED", 5),
        (b'{"a":{"b":[{"c":{"]]]]":{}}}]}}', "JSON_DEPTH_LIMIT_EXCEEDED", 5),
        (b'["\\"]]]]]]",[[[[[]]]]]]', "JSON_DEPTH_LIMIT_EXCEEDED", 5),
        (b"[12345678901]", "JSON_NUMBER_LIMIT_EXCEEDED", 10),
        (b"[0.00000000000]", "JSON_NUMBER_LIMIT_EXCEEDED", 10),
        (b'["12345678901", 1e12345678901]', "JSON_NUMBER_LIMIT_EXCEEDED", 10),
    ],
)
def test_what_is_beyond_a_bound_is_told_by_its_code(text: bytes, code: str, limit: int) -> None:
    with pytest.raises(TooMuchJSON) as refused:
        BOUNDS.check(text)
    assert (refused.value.code, refused.value.limit) == (code, limit)


def _entries(value: object) -> int:
    if isinstance(value, dict):
        return sum(map(_entries, cast("dict[str, object]", value).values())) + max(1, len(cast("Any", value)))
    if isinstance(value, list):
        return sum(map(_entries, cast("list[object]", value))) + max(1, len(cast("Any", value)))
    return 0


@pytest.mark.parametrize("seed", range(8))
def test_a_long_text_is_measured_in_pieces_as_it_would_be_in_one(seed: int) -> None:
    chance = Random(seed)
    words = ['"', "\\", "[", "]", "{", "}", ",", "9" * 4000, "ab", '\\"', "é"]
    value: list[object] = []
    while len(json.dumps(value)) < 600_000:
        text = "".join(chance.choices(words, k=chance.choice([0, 1, 5, 50, 20_000])))
        value += [text, {text: [[], {}, [chance.randrange(10**9), text]]}, [1] * chance.randrange(1, 2000)]
    given = json.dumps(value, ensure_ascii=chance.random() < 0.5).encode()
    entries = _entries(value)
    # An empty list or object counts as one, and one that is not as its entries.
    assert JSONBounds(items=entries, depth=4).check(given) == entries
    with pytest.raises(TooMuchJSON, match="entries"):
        JSONBounds(items=entries - 1, depth=4).check(given)
    with pytest.raises(TooMuchJSON, match="deep"):
        JSONBounds(items=entries, depth=3).check(given)


@pytest.mark.parametrize("before", range(256 * 1024 - 12, 256 * 1024 + 2))
def test_a_number_is_one_wherever_a_long_text_is_cut(before: int) -> None:
    text = b"[" + b" " * before + b"12345678901," + b" " * 300_000 + b"1]"
    with pytest.raises(TooMuchJSON, match="digits"):
        BOUNDS.check(text)
    JSONBounds(items=20, depth=5, digits=11).check(text)


def test_a_string_without_end_is_looked_at_once() -> None:
    # Quadratic, this would be 10^12 steps.
    BOUNDS.check(b"[[[[[" + b'"\\' * 500_000)
