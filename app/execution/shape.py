"""How the generated code reads a source that is no instance of a Strawberry type, such as a row of a database.

A class that stands in for a Strawberry type is a subclass of it and offers everything by attribute, since graphql-core
reads it so; ``__graphql_shape__`` tells a quicker way to the same values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SHAPE_ATTRIBUTE = "__graphql_shape__"


@dataclass(frozen=True, slots=True)
class Access:
    """How a field is read.

    ``expression`` is Python, in which ``{s}`` is replaced by the source. ``is_leaf``: it gives the JSON value, and
    ``None`` only where the field may be null. ``shape``: how the object that it gives, or each one in the list, is
    read; ``None``: as instances of the field's type.
    """

    expression: str
    is_leaf: bool = False
    shape: "Shape | None" = None


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """How a source is read. ``source`` makes what graphql-core would see of it, which resolvers get as ``self``.

    ``names`` are what the expressions use; shapes of one schema must not give one name two meanings. A source of an
    abstract type has ``variants`` in the place of accesses.
    """

    accesses: Mapping[str, Access] = field(default_factory=dict[str, Access])
    names: Mapping[str, object] = field(default_factory=dict[str, object])
    source: str = "{s}"
    variants: "Sequence[Variant]" = ()


@dataclass(frozen=True, slots=True)
class Variant:
    """An object type that a source may be of, by its name in the schema, and the condition under which it is."""

    type_name: str
    condition: str
    shape: Shape


def shaped_classes(origin: type) -> list[tuple[type, Shape]]:
    """The classes that stand in for a Strawberry type, with their shapes."""
    found: list[tuple[type, Shape]] = []
    waiting = origin.__subclasses__()
    while waiting:
        stand_in = waiting.pop()
        shape = vars(stand_in).get(SHAPE_ATTRIBUTE)
        if isinstance(shape, Shape):
            found.append((stand_in, shape))
        waiting += stand_in.__subclasses__()
    return found
