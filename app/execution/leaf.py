"""Generated expressions that serialise scalars and enums."""

from collections.abc import Callable
from enum import Enum
from typing import Any

from graphql import GraphQLEnumType, GraphQLLeafType, GraphQLScalarType, specified_scalar_types
from graphql.pyutils import Undefined
from strawberry.execution import optimized_is_awaitable

# Conditions under which a Python value is already its JSON value. Any other value goes through graphql-core.
_PASSING = {
    "String": "type({v}) is str",
    "ID": "type({v}) is str",
    "Boolean": "type({v}) is bool",
    "Int": "type({v}) is int and -2147483648 <= {v} <= 2147483647",
    # The difference is NaN for infinities and NaN, which JSON does not have.
    "Float": "type({v}) is float and {v} - {v} == 0.0",
}


class Unusual(Exception):
    """Raised by generated code for a value it does not handle, so that graphql-core executes as the fallback."""


def unusual() -> Any:  # noqa: ANN401  It stands in the place of any value.
    """Raise Unusual; a function, since ``raise`` can't stand inside an expression."""
    raise Unusual


def serializer(graphql_type: GraphQLLeafType) -> Callable[[Any], object]:
    """Return a function that serialises as graphql-core does, but raises Unusual instead of a field error."""
    serialize = graphql_type.coerce_output_value

    def serialized(value: Any) -> object:  # noqa: ANN401  As graphql-core has it.
        if value is None or isinstance(value, Exception) or optimized_is_awaitable(value):
            raise Unusual
        try:
            result = serialize(value)
        except Exception:  # noqa: BLE001  A scalar raises what it likes.
            raise Unusual from None
        if result is None or result is Undefined:
            raise Unusual
        return result

    return serialized


def leaf_expression(
    graphql_type: GraphQLLeafType, source: str, *, is_nullable: bool, variable: str, constant: Callable[[object], str]
) -> str:
    """Build the expression that serialises a leaf.

    ``source`` is evaluated once and assigned to ``variable``. ``constant`` makes an object available to the code.
    """
    serialize = constant(serializer(graphql_type))
    passing, result = _passing(graphql_type, variable, constant)
    if passing is None:
        call = f"{serialize}({{}})"
        return (
            f"(None if ({variable} := {source}) is None else {call.format(variable)})"
            if is_nullable
            else call.format(source)
        )
    if is_nullable:
        return f"(None if ({variable} := {source}) is None else {result} if {passing} else {serialize}({variable}))"
    first, rest = passing.split(variable, 1)
    return f"({result} if {first}({variable} := {source}){rest} else {serialize}({variable}))"


def _passing(graphql_type: GraphQLLeafType, variable: str, constant: Callable[[object], str]) -> tuple[str | None, str]:
    """Return the condition of the fast path (``None`` if there is none), and the expression of the JSON value then."""
    if isinstance(graphql_type, GraphQLScalarType):
        if specified_scalar_types.get(graphql_type.name) is graphql_type and graphql_type.name in _PASSING:
            return _PASSING[graphql_type.name].format(v=variable), variable
        return None, variable
    members = _members(graphql_type)
    if not members:
        return None, variable
    # The look-up is by name: members of an IntEnum or a StrEnum are equal to plain values and to other enums' members.
    names = constant({member._name_: name for member, name in members.items()})
    return f"type({variable}) is {constant(type(next(iter(members))))}", f"{names}[{variable}._name_]"


def _members(graphql_type: GraphQLEnumType) -> dict[Enum, str]:
    """Map the members of the Python enum behind a GraphQL enum to their GraphQL names; empty if there is none."""
    wrapped = getattr(graphql_type, "wrapped_cls", None)
    if not (isinstance(wrapped, type) and issubclass(wrapped, Enum)):
        return {}
    try:
        return {member: graphql_type.coerce_output_value(member) for member in wrapped}
    except Exception:  # noqa: BLE001  One that does not serialise is graphql-core's to report.
        return {}
