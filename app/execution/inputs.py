"""Compiled conversion of input objects from graphql-core's dictionaries to instances of Strawberry's input types."""

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
"""Takes the coerced value and Strawberry's info, and returns what the resolver gets."""

_DEPTH = 8


def compile_conversion(argument: StrawberryArgument, schema: Schema, default: object) -> Conversion | None:
    """Compile the conversion of an argument's value; ``None`` if Strawberry would pass the value unchanged.

    The argument's ``default`` is converted once and shared by all calls, like a default in Python.
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


def _is_passed_on(strawberry_type: object) -> bool:
    """Tell whether values of the type need no conversion: nullable or not, it is a scalar or an enum."""
    if isinstance(strawberry_type, StrawberryOptional) and not isinstance(strawberry_type, StrawberryMaybe):
        strawberry_type = strawberry_type.of_type
    is_composed = isinstance(strawberry_type, StrawberryList | StrawberryMaybe | StrawberryOptional | LazyType)
    return not is_composed and not has_object_definition(strawberry_type) and strawberry_type is not GlobalID


def _conversion(strawberry_type: object, schema: Schema, depth: int) -> Conversion | None:
    """Compile a conversion; ``None`` for rare types that Strawberry has to convert, such as ``Maybe``."""
    if depth == 0 or isinstance(strawberry_type, StrawberryMaybe | LazyType) or strawberry_type is GlobalID:
        return None
    if isinstance(strawberry_type, StrawberryOptional):
        return _conversion(strawberry_type.of_type, schema, depth)
    if isinstance(strawberry_type, StrawberryList):
        return _list(strawberry_type, schema, depth)
    if has_object_definition(strawberry_type):
        definition = cast("StrawberryObjectDefinition", getattr(strawberry_type, "__strawberry_definition__"))  # noqa: B009  Strawberry adds it.
        return _object(cast("type", strawberry_type), definition, schema, depth)
    return lambda value, _info: value


def _list(strawberry_type: StrawberryList, schema: Schema, depth: int) -> Conversion | None:
    if _is_passed_on(strawberry_type.of_type):
        return lambda value, _info: None if value is None else list(value)
    convert = _conversion(strawberry_type.of_type, schema, depth - 1)
    if convert is None:
        return None
    return lambda value, info: None if value is None else [convert(item, info) for item in value]


def _object(input_class: type, definition: StrawberryObjectDefinition, schema: Schema, depth: int) -> Conversion | None:
    if definition.from_input is not None or not definition.is_input:
        return None
    fields: list[tuple[str, str, Conversion | None]] = []
    for field in definition.fields:
        field_type = field.resolve_type(type_definition=definition)
        convert = None if _is_passed_on(field_type) else _conversion(field_type, schema, depth - 1)
        if convert is None and not _is_passed_on(field_type):
            return None
        fields.append((schema.config.name_converter.from_field(field), field.python_name, convert))
    absent = {field.python_name: None for field in definition.fields if _has_no_default(field)}

    def made(value: Mapping[str, Any] | None, info: Any) -> Any:  # noqa: ANN401  As above.
        if value is None:
            return None
        values: dict[str, Any] = absent.copy()
        for name, python_name, convert in fields:
            if name in value:
                values[python_name] = value[name] if convert is None else convert(value[name], info)
        return input_class(**values)

    return made


def _has_no_default(field: StrawberryField) -> bool:
    return field.default_value is MISSING and field.default_factory is MISSING
