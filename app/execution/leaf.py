"""Leaves: the expression that gives a scalar's or an enumeration's JSON value."""

from collections.abc import Callable
from enum import Enum
from typing import Any

from graphql import GraphQLEnumType, GraphQLLeafType, GraphQLScalarType, specified_scalar_types
from graphql.pyutils import Undefined
from strawberry.execution import optimized_is_awaitable

# What passes as it is, by the built-in scalar; anything else is asked of graphql-core's serialisation.
_PASSING = {
    "String": "type({v}) is str",
    "ID": "type({v}) is str",
    "Boolean": "type({v}) is bool",
    "Int": "type({v}) is int and -2147483648 <= {v} <= 2147483647",
    # Neither infinite nor NaN.
    "Float": "type({v}) is float and {v} - {v} == 0.0",
}


class Unusual(Exception):
    """The generated code does not know what to do: graphql-core does it."""


def unusual() -> Any:  # noqa: ANN401  It stands in the place of any value.
    """Raise Unusual, inside an expression."""
    raise Unusual


def serializer(kind: GraphQLLeafType) -> Callable[[Any], object]:
    """What graphql-core does with a value that is not null; raises Unusual where that would be an error."""
    serialize = kind.coerce_output_value

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
    kind: GraphQLLeafType, source: str, *, is_nullable: bool, variable: str, constant: Callable[[object], str]
) -> str:
    """The expression for a leaf that is read by ``source``, which is evaluated once, into ``variable``.

    ``constant`` gives an object a name in the generated code.
    """
    serialize = constant(serializer(kind))
    passing, result = _passing(kind, variable, constant)
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


def _passing(kind: GraphQLLeafType, variable: str, constant: Callable[[object], str]) -> tuple[str | None, str]:
    """The condition under which a value is as expected, and its JSON value then."""
    if isinstance(kind, GraphQLScalarType):
        if specified_scalar_types.get(kind.name) is kind and kind.name in _PASSING:
            return _PASSING[kind.name].format(v=variable), variable
        return None, variable
    members = _members(kind)
    if not members:
        return None, variable
    # By identity, so that members that are equal to each other's values are not mixed up.
    names = constant({member._name_: name for member, name in members.items()})
    return f"type({variable}) is {constant(type(next(iter(members))))}", f"{names}[{variable}._name_]"


def _members(kind: GraphQLEnumType) -> dict[Enum, str]:
    """The members of the Python enumeration behind a GraphQL one, each with its name; none where there is none."""
    wrapped = getattr(kind, "wrapped_cls", None)
    if not (isinstance(wrapped, type) and issubclass(wrapped, Enum)):
        return {}
    try:
        return {member: kind.coerce_output_value(member) for member in wrapped}
    except Exception:  # noqa: BLE001  One that does not serialise is graphql-core's to report.
        return {}
