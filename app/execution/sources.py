"""What resolved values are: instances of Strawberry types, and how their plain fields are read."""

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
    """The operation is graphql-core's to execute, always."""


def object_definition(kind: GraphQLObjectType) -> StrawberryObjectDefinition | None:
    """Strawberry's definition of an object type."""
    found = (kind.extensions or {}).get(_DEFINITION)
    return found if isinstance(found, StrawberryObjectDefinition) else None


def plain_attribute(definition: GraphQLField) -> Access | None:
    """How a field without a resolver is read; ``None`` for one that has a resolver."""
    field = (definition.extensions or {}).get(_DEFINITION)
    if (
        isinstance(field, StrawberryField)
        and field.is_basic_field
        and field.default_resolver is getattr
        and getattr(definition.resolve, "_is_default", False)
    ):
        return Access("{s}." + field.python_name)
    return None


class Checked(set[type]):
    """The classes whose instances an object type takes. ``check`` looks at an instance of another class.

    ``on_stand_in`` is called where that class stands in for the type, and came into being after the code.
    """

    def __init__(self, kind: GraphQLObjectType, on_stand_in: Callable[[], None]) -> None:
        super().__init__()
        definition = object_definition(kind)
        self._origin = definition.origin if definition is not None else None
        self._on_stand_in = on_stand_in
        self._is_type_of = kind.is_type_of
        self.is_castable = self._is_type_of is not None
        if self.is_castable and (definition is None or definition.is_type_of is not None):
            # It is told what it is asked for, and may say one thing now and another then.
            raise Unsupported

    def check(self, value: Any) -> bool:  # noqa: ANN401  Resolvers give anything.
        """True, or Unusual is raised."""
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
        """The condition under which an object needs no look; ``name`` is what this set is called."""
        condition = f"type({variable}) in {name}"
        return f"{condition} and {TYPE_CAST_ATTRIBUTE!r} not in {variable}.__dict__" if self.is_castable else condition


def is_cast(value: Any) -> bool:  # noqa: ANN401  As above.
    """Whether ``strawberry.cast`` was told of this very object, or might be, unseen in its attributes."""
    return not hasattr(value, "__dict__") or getattr(value, TYPE_CAST_ATTRIBUTE, None) is not None
