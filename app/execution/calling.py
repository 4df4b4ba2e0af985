"""Compiled calls of Strawberry resolvers: signatures are inspected once for each operation, not at each call."""

# graphql-core and Strawberry leave most of their types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false, reportPrivateUsage=false

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from inspect import iscoroutinefunction
from typing import Any, NamedTuple

from graphql import GraphQLField, GraphQLSchema
from strawberry.schema import Schema
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.field import StrawberryField
from strawberry.types.info import Info

from app.execution.inputs import compile_conversion

Call = Callable[[Any, Any, Callable[[], Any], Mapping[str, Any]], Any]
"""Takes the source, the context, a factory of graphql-core's info, and the arguments by their GraphQL names."""


class Calling(NamedTuple):
    """A compiled resolver call. ``is_coroutine``: the resolver is a coroutine function, so each result is awaited."""

    call: Call
    is_coroutine: bool = False


def compile_call(definition: GraphQLField, schema: GraphQLSchema, selected: frozenset[str]) -> Calling | None:
    """Compile the call of a field's resolver; ``None`` if extensions or exception handlers wrap the resolver.

    ``selected`` are the names of all fields below this one, which ``Info`` offers for lookahead.
    """
    field = (definition.extensions or {}).get("strawberry-definition")
    strawberry_schema = getattr(schema, "_strawberry_schema", None)
    if not isinstance(field, StrawberryField) or not isinstance(strawberry_schema, Schema) or field.is_subscription:
        return None
    resolver = field.base_resolver
    has_handlers = bool(strawberry_schema.schema_converter._exception_handler_specs)  # noqa: SLF001  They wrap resolvers.
    if resolver is None or field.extensions or has_handlers or not callable(resolver.wrapped_func):
        return None
    function = resolver.wrapped_func
    info_class = _deferred(strawberry_schema.config.info_class)
    info_name = resolver.info_parameter.name if resolver.info_parameter else None
    source_names = [each.name for each in (resolver.parent_parameter, resolver.root_parameter) if each]
    takes_self = resolver.self_parameter is not None
    arguments = [_Argument(argument, definition, strawberry_schema) for argument in field.arguments]

    def call(source: Any, context: Any, raw_info: Callable[[], Any], values: Mapping[str, Any]) -> Any:  # noqa: ANN401  Resolvers take and give anything.
        keywords: dict[str, Any] = {}
        strawberry_info = info_class(raw_info, field, context, selected)
        for argument in arguments:
            if argument.name in values:
                value = values[argument.name]
                keywords[argument.python_name] = argument.convert(value, strawberry_info) if argument.convert else value
        if info_name is not None:
            keywords[info_name] = strawberry_info
        for name in source_names:
            keywords[name] = source
        return function(source, **keywords) if takes_self else function(**keywords)

    return Calling(call, iscoroutinefunction(function))


@cache
def _deferred(info_class: type[Info[Any, Any]]) -> Any:  # noqa: ANN401  A class whose constructor is its own.
    """Subclass an ``Info`` class so that graphql-core's info is only built when more than the context is read."""

    class DeferredInfo(info_class):
        def __init__(
            self,
            make: Callable[[], Any],
            field: StrawberryField,
            context: Any,  # noqa: ANN401  A context is anything.
            selected: frozenset[str],
        ) -> None:
            self._make = make
            self._selected_names = selected
            self._field = field
            self._context = context

        @cached_property
        def _raw_info(self) -> Any:  # noqa: ANN401  # pyright: ignore[reportIncompatibleVariableOverride]  As Strawberry has it.
            return self._make()

        if info_class.context is Info.context:

            @property
            def context(self) -> Any:  # noqa: ANN401  As above.
                return self._context

    return DeferredInfo


class _Argument:
    """An argument's GraphQL name, its Python keyword, and its conversion (``None`` to pass the value as it is)."""

    __slots__ = ("convert", "name", "python_name")

    def __init__(self, argument: StrawberryArgument, definition: GraphQLField, schema: Schema) -> None:
        self.name = schema.config.name_converter.from_argument(argument)
        self.python_name = argument.python_name
        self.convert = compile_conversion(argument, schema, definition.args[self.name].default_value)
