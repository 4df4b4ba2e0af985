"""Scalars: what they take, what they give, and what they refuse."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import pytest
from graphql import GraphQLError, GraphQLScalarType, GraphQLSchema, StringValueNode
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.graphql.schema import build_schema
from app.schema.scalar import SECRET_MAX_LENGTH, URI_MAX_LENGTH

SCHEMA = cast("GraphQLSchema", getattr(build_schema(), "_schema"))  # noqa: B009  Strawberry keeps it private.


def scalar(name: str) -> GraphQLScalarType:
    return cast("GraphQLScalarType", SCHEMA.type_map[name])


def parsed(name: str, value: object) -> Any:
    """What a resolver gets of a variable's value."""
    return scalar(name).coerce_input_value(value)


def shown(name: str, value: object) -> Any:
    """What a client gets of a resolver's value."""
    return scalar(name).coerce_output_value(value)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123456+01:00", datetime(2026, 1, 31, 11, 0, 0, 123456, tzinfo=UTC)),
        ("2026-01-31T00:30:00-23:59", datetime(2026, 2, 1, 0, 29, tzinfo=UTC)),
        ("2026-01-31t12:00:00z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_a_date_and_time_comes_as_utc(text: str, moment: datetime) -> None:
    found = parsed("DateTime", text)
    assert (found, found.tzinfo) == (moment, UTC)


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "12:00:00Z",
        "20260131",
        "2026-02-30T12:00:00Z",
        "2026-01-31T25:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
        "20260131T120000Z",
        "2026-W05-6T12:00:00Z",
        "2026-01-31T12:00Z",
        "2026-01-31T12:00:60Z",
        "2026-01-31T12:00:00+01",
        "２026-01-31T12:00:00Z",
        "now",
        "",
        "2026-01-31T12:00:00Z" + "0" * 100,
        "2026-01-31T12:00:00Z\x00",
        "\ud800",
        1_767_225_600,
        1.5,
        True,
        [],
        {},
    ],
)
def test_another_date_is_refused(value: object) -> None:
    with pytest.raises(GraphQLError) as refused:
        parsed("DateTime", value)
    assert refused.value.extensions == {"code": "INVALID_INPUT", "messageId": "INVALID_INPUT"}


@given(st.datetimes(timezones=st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours))),
                    min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)))  # noqa: DTZ001  Hypothesis adds the zones.  # fmt: skip
def test_a_date_that_is_shown_is_read_as_the_same(moment: datetime) -> None:
    assert shown("DateTime", moment).endswith("+00:00")
    assert parsed("DateTime", shown("DateTime", moment)) == moment


@pytest.mark.parametrize("value", ["https://example.com/a?b=c#d", "data:image/png;base64,AAAA", "ftp://x", "é"])
def test_a_uri_is_taken_as_it_is(value: str) -> None:
    assert parsed("URI", value) == value
    assert shown("URI", value) == value


@pytest.mark.parametrize(
    "value", ["a b", "a\nb", "a\x00", "\ud800", "a\u2028b", "x" * (URI_MAX_LENGTH + 1), 5, True, [], {}]
)
def test_another_uri_is_refused(value: object) -> None:
    with pytest.raises(GraphQLError) as refused:
        parsed("URI", value)
    assert (refused.value.extensions or {})["code"] == "INVALID_INPUT"


def test_a_secret_is_wrapped_at_once() -> None:
    for found in (
        parsed("Secret", "sk-123456789"),
        scalar("Secret").parse_literal(StringValueNode(value="sk-123456789")),
    ):
        assert isinstance(found, SecretStr)
        assert found.get_secret_value() == "sk-123456789"
        assert "123" not in repr(found)


@pytest.mark.parametrize(
    "value", [5, 1.5, True, ["sk-123456789"], {"a": "sk-123456789"}, "x" * (SECRET_MAX_LENGTH + 1)]
)
def test_another_secret_is_refused_without_being_repeated(value: object) -> None:
    with pytest.raises(GraphQLError) as refused:
        parsed("Secret", value)
    assert "123" not in str(refused.value)
    assert "xx" not in str(refused.value)


@pytest.mark.parametrize("value", [SecretStr("sk-123456789"), "sk-123456789"])
def test_a_secret_is_never_shown(value: object) -> None:
    with pytest.raises(GraphQLError) as refused:
        shown("Secret", value)
    assert refused.value.message == "A Secret can't be read."


TEXTS = st.lists(st.integers(0, 0x10FFFF).map(chr), max_size=20).map("".join)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
))  # fmt: skip
def test_json_stays_what_it_is(value: object) -> None:
    assert parsed("JSON", value) == value
    assert json.dumps(shown("JSON", value)) == json.dumps(value)


@pytest.mark.parametrize("number", [0, -1, 2**31, 2**53 - 1, 2**63 - 1, -(2**63)])
def test_a_long_is_a_whole_number_of_64_bits(number: int) -> None:
    assert (parsed("Long", number), shown("Long", number)) == (number, number)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 1.0, math.inf, math.nan, "1", True, None, [], {}])
def test_another_long_is_refused(value: object) -> None:
    for use in (parsed, shown):
        with pytest.raises(GraphQLError, match="A Long is a whole number"):
            use("Long", value)
