"""What is JSON already is put into an answer as it is, whichever encoder the rest of it needs."""

import json

import orjson
import pytest

from app.json_encoding import encode

FRAGMENT = orjson.Fragment(b'{"a":[1,"\\u00e9"]}')
INNER = {"a": [1, "é"]}


@pytest.mark.parametrize("other", [1, 2**64, -(2**70), "\ud800", "{}", '"', 1.5], ids=repr)
@pytest.mark.parametrize("fragment", [FRAGMENT, orjson.Fragment('{"a":[1,"é"]}')], ids=["bytes", "text"])
def test_fragments_stand_where_they_are_beside_anything(other: object, fragment: orjson.Fragment) -> None:
    body = {"first": fragment, "list": [fragment, other, {"x": fragment}], "other": other}
    assert json.loads(encode(body)) == {"first": INNER, "list": [INNER, other, {"x": INNER}], "other": other}


def test_a_fragment_may_be_all_there_is() -> None:
    assert json.loads(encode(FRAGMENT)) == INNER


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x"])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        encode({"value": value, "large": 2**70, "fragment": FRAGMENT})
