"""Coercion of arguments and variables: a fast path for the usual ones, graphql-core for all others."""

# graphql-core and Strawberry leave most of their types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLSchema,
    OperationDefinitionNode,
    VariableNode,
    specified_scalar_types,
)
from graphql.execution.collect_fields import FieldDetails
from graphql.execution.values import VariableValues, get_argument_values
from graphql.pyutils import Undefined
from graphql.utilities import type_from_ast

Arguments = Callable[[VariableValues], dict[str, Any]]
Coercion = Callable[[Mapping[str, Any]], dict[str, Any] | None]

_TYPES: dict[str, type] = {"Int": int, "String": str, "ID": str, "Boolean": bool}
_LARGEST_INT = 2**31 - 1


def compile_arguments(definition: GraphQLField, details: FieldDetails) -> Arguments:
    """Compile a function from coerced variables to the field's arguments, equivalent to ``get_argument_values``.

    It raises the same errors as graphql-core, since it calls graphql-core for every case but the plain ones.
    """
    node = details.node
    if not definition.args and not node.arguments:
        return lambda _variables: {}

    def coerced(variables: VariableValues) -> dict[str, Any]:
        return get_argument_values(definition, node, variables, details.fragment_variable_values)

    nodes = {argument.name.value: argument.value for argument in node.arguments or ()}
    if all(not isinstance(value, VariableNode) and _is_constant(value) for value in nodes.values()):
        return _constant(coerced)
    passed: list[tuple[str, str, bool, Any]] = []
    fixed: dict[str, Any] = {}
    for name, argument in definition.args.items():
        value = nodes.get(name)
        default = _default(argument)
        if isinstance(value, VariableNode) and default is not _UNKNOWN:
            is_required = isinstance(argument.type, GraphQLNonNull)
            passed.append((argument.out_name or name, value.name.value, is_required, default))
        elif value is None and (default is not Undefined or not isinstance(argument.type, GraphQLNonNull)):
            if default is _UNKNOWN:
                return coerced
            if default is not Undefined:
                fixed[argument.out_name or name] = default
        else:
            return coerced
    return _passed_on(passed, fixed, coerced)


def compile_coercion(schema: GraphQLSchema, operation: OperationDefinitionNode) -> Coercion | None:
    """Compile a function that coerces an operation's raw variables, all of which must be built-in scalars.

    Returns ``None`` if the operation has variables of other types, or with defaults or directives. The compiled
    function returns ``None`` for input that graphql-core has to coerce or reject.
    """
    expected: list[tuple[str, type, bool]] = []
    for definition in operation.variable_definitions or ():
        declared = type_from_ast(schema, definition.type)
        is_required = isinstance(declared, GraphQLNonNull)
        named = declared.of_type if isinstance(declared, GraphQLNonNull) else declared
        scalar = _scalar(named)
        if scalar is None or definition.default_value is not None or definition.directives:
            return None
        expected.append((definition.variable.name.value, scalar, is_required))

    def coerce(raw: Mapping[str, Any]) -> dict[str, Any] | None:
        values: dict[str, Any] = {}
        for name, python_type, is_required in expected:
            value = raw.get(name, Undefined)
            if value is Undefined or value is None:
                if is_required:
                    return None
                if value is None:
                    values[name] = None
            elif type(value) is python_type and (python_type is not int or -_LARGEST_INT <= value <= _LARGEST_INT):
                values[name] = value
            else:
                return None
        return values

    return coerce


_UNKNOWN = object()


def _scalar(graphql_type: object) -> type | None:
    if isinstance(graphql_type, GraphQLScalarType) and specified_scalar_types.get(graphql_type.name) is graphql_type:
        return _TYPES.get(graphql_type.name)
    return None


def _default(argument: GraphQLArgument) -> object:
    """Return the argument's default value, or ``_UNKNOWN`` if graphql-core would coerce it at each call."""
    return argument.default_value if argument.default is None else _UNKNOWN


def _is_immutable(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | Enum)


def _is_constant(value: object) -> bool:
    return getattr(value, "kind", "") in {"int_value", "float_value", "string_value", "boolean_value", "null_value"}


def _constant(coerced: Arguments) -> Arguments:
    kept: dict[str, Any] | None = None

    def arguments(variables: VariableValues) -> dict[str, Any]:
        nonlocal kept
        if kept is None:
            values = coerced(variables)
            if not all(_is_immutable(value) for value in values.values()):
                return values
            kept = values
        return kept.copy()

    return arguments


def _passed_on(passed: list[tuple[str, str, bool, Any]], fixed: dict[str, Any], coerced: Arguments) -> Arguments:
    def arguments(variables: VariableValues) -> dict[str, Any]:
        values = fixed.copy()
        known = variables.coerced
        for name, variable, is_required, default in passed:
            value = known.get(variable, default)
            if value is None and is_required:
                return coerced(variables)
            if value is not Undefined:
                values[name] = value
            elif is_required:
                return coerced(variables)
        return values

    return arguments
