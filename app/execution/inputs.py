"""Input objects: from graphql-core's dictionaries to instances of Strawberry's input types."""

# graphql-core and Strawberry leave most of their types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from functools import partial
from typing import Any, cast

from strawberry.relay import GlobalID
from strawberry.schema import Schema
from strawberry.types.arguments import StrawberryArgument, convert_argument
from strawberry.types.base import (
    StrawberryList,
    StrawberryMaybe,
    StrawberryObjectDefinition,
    StrawberryOptional,
    has_object_definition,
)
from strawberry.types.field import StrawberryField
from strawberry.types.lazy_type import LazyType

Conversion = Callable[[Any, Any], Any]
"""Takes a value and Strawberry's info."""

_DEPTH = 8


def compile_conversion(argument: StrawberryArgument, schema: Schema, default: object) -> Conversion | None:
    """What converts an argument's value as Strawberry does; ``None`` where it hands the value on.

    ``default``: the argument's own, which is converted once, as Python's own defaults too are shared by all calls.
    """
    if _is_passed_on(argument.type):
        return None
    convert = _conversion(argument.type, schema, _DEPTH)
    if convert is None:
        convert = _slow(argument, schema)
    kept: list[Any] = []

    def converted(value: Any, info: Any) -> Any:  # noqa: ANN401  Inputs are anything.
        if value is not default:
            return convert(value, info)
        if not kept:
            kept.append(convert(value, info))
        return kept[0]

    return converted


def _slow(argument: StrawberryArgument, schema: Schema) -> Conversion:
    convert = partial(
        convert_argument,
        type_=argument.type,
        scalar_registry=schema.schema_converter.scalar_registry,
        config=schema.config,
        path=(schema.config.name_converter.from_argument(argument),),
    )
    return lambda value, info: convert(value, info=info)


def _is_passed_on(kind: object) -> bool:
    """Whether Strawberry hands a value on as graphql-core gave it: scalars and enumerations, and null for them."""
    if isinstance(kind, StrawberryOptional) and not isinstance(kind, StrawberryMaybe):
        kind = kind.of_type
    is_composed = isinstance(kind, StrawberryList | StrawberryMaybe | StrawberryOptional | LazyType)
    return not is_composed and not has_object_definition(kind) and kind is not GlobalID


def _conversion(kind: object, schema: Schema, depth: int) -> Conversion | None:
    """``None`` for what is rare: optional values that may be absent, ids that are taken apart, deep nesting."""
    if depth == 0 or isinstance(kind, StrawberryMaybe | LazyType) or kind is GlobalID:
        return None
    if isinstance(kind, StrawberryOptional):
        return _conversion(kind.of_type, schema, depth)
    if isinstance(kind, StrawberryList):
        return _list(kind, schema, depth)
    if has_object_definition(kind):
        definition = cast("StrawberryObjectDefinition", getattr(kind, "__strawberry_definition__"))  # noqa: B009  Strawberry adds it.
        return _object(cast("type", kind), definition, schema, depth)
    return lambda value, _info: value


def _list(kind: StrawberryList, schema: Schema, depth: int) -> Conversion | None:
    if _is_passed_on(kind.of_type):
        return lambda value, _info: None if value is None else list(value)
    convert = _conversion(kind.of_type, schema, depth - 1)
    if convert is None:
        return None
    return lambda value, info: None if value is None else [convert(item, info) for item in value]


def _object(kind: type, definition: StrawberryObjectDefinition, schema: Schema, depth: int) -> Conversion | None:
    if definition.from_input is not None or not definition.is_input:
        return None
    fields: list[tuple[str, str, Conversion | None]] = []
    for field in definition.fields:
        kind_of_field = field.resolve_type(type_definition=definition)
        convert = None if _is_passed_on(kind_of_field) else _conversion(kind_of_field, schema, depth - 1)
        if convert is None and not _is_passed_on(kind_of_field):
            return None
        fields.append((schema.config.name_converter.from_field(field), field.python_name, convert))
    absent = {field.python_name: None for field in definition.fields if _has_no_default(field)}

    def made(value: Mapping[str, Any] | None, info: Any) -> Any:  # noqa: ANN401  As above.
        if value is None:
            return None
        given: dict[str, Any] = absent.copy()
        for name, python_name, convert in fields:
            if name in value:
                given[python_name] = value[name] if convert is None else convert(value[name], info)
        return kind(**given)

    return made


def _has_no_default(field: StrawberryField) -> bool:
    return field.default_value is MISSING and field.default_factory is MISSING
