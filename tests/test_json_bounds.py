"""JSON is measured as a parser would count it, whatever its strings look like."""

import json

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


def test_a_string_without_end_is_looked_at_once() -> None:
    # Quadratic, this would be 10^12 steps.
    BOUNDS.check(b"[[[[[" + b'"\\' * 500_000)
