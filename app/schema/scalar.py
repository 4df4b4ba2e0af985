"""Custom scalars (DateTime, JSON, Long, Secret, URI): how each is parsed and serialised, and which input is refused."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NewType

import strawberry
from graphql import GraphQLError, ValueNode
from graphql.language import StringValueNode
from pydantic import SecretStr
from strawberry.types.scalar import ScalarDefinition

from app.errors import ErrorCode
from app.services.message import is_storable

SECRET_MAX_LENGTH = 10_000
# Data URLs of images are URIs too, so the limit allows for an image.
URI_MAX_LENGTH = 6 * 1024 * 1024

# RFC 3339, section 5.6.
_DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)

# GraphQL's Int ends at 2**31 - 1.
_LONGEST = 2**63 - 1

JSON = NewType("JSON", object)
Long = NewType("Long", int)
URI = NewType("URI", str)


def invalid(message: str) -> GraphQLError:
    """Build an INVALID_INPUT error, whose message reaches the client unmasked."""
    code = ErrorCode.INVALID_INPUT
    return GraphQLError(message, extensions={"code": code.name, "messageId": code.message_id})


def _serialize_datetime(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()


def _parse_datetime(value: object) -> datetime:
    # `fromisoformat` alone would accept other forms of ISO 8601 too, and ignore text behind a NUL character.
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        raise invalid("A DateTime is a string with an offset, such as 2026-01-31T12:00:00Z or …T12:00:00+01:00.")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid("The DateTime is out of range.") from None


def _refuse_secret(_value: object) -> str:
    raise GraphQLError("A Secret can't be read.")


def _parse_secret(value: object) -> SecretStr:
    # The error message must never repeat the value, even if it has the wrong type.
    if not isinstance(value, str):
        raise invalid("A Secret is a string.")
    if len(value) > SECRET_MAX_LENGTH:
        raise invalid(f"A Secret has at most {SECRET_MAX_LENGTH} characters.")
    if not is_storable(value):
        raise invalid("A Secret is valid Unicode, without null characters.")
    return SecretStr(value)


def _parse_secret_literal(node: ValueNode, _variables: Mapping[str, Any] | None = None) -> SecretStr:
    return _parse_secret(node.value if isinstance(node, StringValueNode) else None)


def _parse_uri(value: object) -> str:
    if not isinstance(value, str):
        raise invalid("A URI is a string.")
    if len(value) > URI_MAX_LENGTH or not value.isprintable() or " " in value:
        raise invalid(f"A URI has at most {URI_MAX_LENGTH} characters, and no spaces or control characters.")
    return value


def _checked_long(value: object) -> int:
    if type(value) is not int or not -_LONGEST - 1 <= value <= _LONGEST:
        raise invalid("A Long is a whole number of at most 64 bits.")
    return value


def _parse_json(value: object) -> object:
    return value


SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="Date and time with offset, RFC 3339 profile.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
        serialize=_serialize_datetime,
        parse_value=_parse_datetime,
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description="Arbitrary JSON value. Only used where the shape belongs to a third party (tool arguments).",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
        serialize=lambda value: value,
        parse_value=_parse_json,
    ),
    Long: strawberry.scalar(
        name="Long",
        description="Whole number of 64 bits, written as a JSON number. What this server counts ends at 2**53 - 1, so "
        "that clients whose numbers are doubles read it exactly.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259#section-6",
        serialize=_checked_long,
        parse_value=_checked_long,
    ),
    SecretStr: strawberry.scalar(
        name="Secret",
        description="Write-only secret. Accepted as a string in inputs; the server refuses to serialise it, so it can "
        "never be read back.",
        specified_by_url="https://spec.graphql.org/September2025/#sec-String",
        serialize=_refuse_secret,
        parse_value=_parse_secret,
        parse_literal=_parse_secret_literal,
    ),
    URI: strawberry.scalar(
        name="URI",
        description="Absolute URI.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3986",
        serialize=str,
        parse_value=_parse_uri,
    ),
}
