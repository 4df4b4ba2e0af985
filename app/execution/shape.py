"""Shapes: declarations of how generated code reads sources that are not instances of a Strawberry type, such as rows.

A stand-in class is a subclass of a Strawberry type that has all fields as attributes, for graphql-core, and an
attribute ``__graphql_shape__`` that declares a faster way to read the same values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SHAPE_ATTRIBUTE = "__graphql_shape__"


@dataclass(frozen=True, slots=True)
class Access:
    """The access to a field's value.

    ``expression`` is Python, in which ``{s}`` is replaced by the source. ``is_leaf``: the value is JSON already, and
    ``None`` only if the field is nullable. ``shape`` is that of the object, or of each object in the list; ``None`` if
    these are instances of the field's type.
    """

    expression: str
    is_leaf: bool = False
    shape: "Shape | None" = None


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The accesses to all fields of a source.

    ``source`` is the expression of the instance that graphql-core would get, which resolvers get as ``self``. ``names``
    are the global names that the expressions use; one name must mean the same in all shapes of a schema. A source of an
    abstract type has ``variants`` instead of accesses.
    """

    accesses: Mapping[str, Access] = field(default_factory=dict[str, Access])
    names: Mapping[str, object] = field(default_factory=dict[str, object])
    source: str = "{s}"
    variants: "Sequence[Variant]" = ()


@dataclass(frozen=True, slots=True)
class Variant:
    """A possible object type of a source: its name in the schema, and the condition on which the source is of it."""

    type_name: str
    condition: str
    shape: Shape


def shaped_classes(origin: type) -> list[tuple[type, Shape]]:
    """Return the stand-in classes of a Strawberry type, with their shapes."""
    classes: list[tuple[type, Shape]] = []
    waiting = origin.__subclasses__()
    while waiting:
        stand_in = waiting.pop()
        shape = vars(stand_in).get(SHAPE_ATTRIBUTE)
        if isinstance(shape, Shape):
            classes.append((stand_in, shape))
        waiting += stand_in.__subclasses__()
    return classes
