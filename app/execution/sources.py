"""Reads and checks resolved values that are instances of Strawberry types."""

# graphql-core and Strawberry leave most of their types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false

from collections.abc import Callable
from typing import Any, cast

from graphql import GraphQLField, GraphQLObjectType
from graphql.pyutils import Undefined
from strawberry.execution import optimized_is_awaitable
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.cast import TYPE_CAST_ATTRIBUTE
from strawberry.types.field import StrawberryField

from app.execution.leaf import Unusual
from app.execution.shape import SHAPE_ATTRIBUTE, Access

_DEFINITION = "strawberry-definition"


class Unsupported(Exception):
    """Raised while code is generated for an operation that only graphql-core can execute."""


def object_definition(graphql_type: GraphQLObjectType) -> StrawberryObjectDefinition | None:
    """Return the Strawberry definition behind a graphql-core type; ``None`` if Strawberry did not make the type."""
    definition = (graphql_type.extensions or {}).get(_DEFINITION)
    return definition if isinstance(definition, StrawberryObjectDefinition) else None


def plain_attribute(definition: GraphQLField) -> Access | None:
    """Return the attribute access of a field without a resolver; ``None`` if it has one."""
    field = (definition.extensions or {}).get(_DEFINITION)
    if (
        isinstance(field, StrawberryField)
        and field.is_basic_field
        and field.default_resolver is getattr
        and getattr(definition.resolve, "_is_default", False)
    ):
        return Access("{s}." + field.python_name)
    return None


class KnownClasses(set[type]):
    """Cache of the classes whose instances are known to belong to an object type.

    ``check`` decides about an instance of another class, and adds the class. ``on_stand_in`` is called for a stand-in
    class of the type that was defined after the code was generated, so that the code does not know how to read it.
    """

    def __init__(self, graphql_type: GraphQLObjectType, on_stand_in: Callable[[], None]) -> None:
        super().__init__()
        definition = object_definition(graphql_type)
        self._origin = definition.origin if definition is not None else None
        self._on_stand_in = on_stand_in
        self._is_type_of = graphql_type.is_type_of
        self.is_castable = self._is_type_of is not None
        if self.is_castable and (definition is None or definition.is_type_of is not None):
            # A custom ``is_type_of`` may decide differently for two instances of one class, so no class can be cached.
            raise Unsupported

    def check(self, value: Any) -> bool:  # noqa: ANN401  Resolvers give anything.
        """Return True if the value belongs to the type. Raises Unusual otherwise, so it can be used with ``or``."""
        if isinstance(value, Exception) or value is Undefined or optimized_is_awaitable(value):
            raise Unusual
        if self._origin is not None and SHAPE_ATTRIBUTE in vars(type(value)) and isinstance(value, self._origin):
            self._on_stand_in()
            raise Unusual
        if self._is_type_of is not None and self._is_type_of(value, cast("Any", None)) is not True:
            raise Unusual
        if not self.is_castable or not is_cast(value):
            self.add(type(value))
        return True

    def condition(self, variable: str, name: str) -> str:
        """Build the source of the fast check; ``name`` is this set's name in the generated code."""
        condition = f"type({variable}) in {name}"
        return f"{condition} and {TYPE_CAST_ATTRIBUTE!r} not in {variable}.__dict__" if self.is_castable else condition


def is_cast(value: Any) -> bool:  # noqa: ANN401  As above.
    """Tell whether ``strawberry.cast`` set this object's type, or could have: without ``__dict__`` that is unknown."""
    return not hasattr(value, "__dict__") or getattr(value, TYPE_CAST_ATTRIBUTE, None) is not None
