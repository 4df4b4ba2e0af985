"""Declarations of fields that are read from rows; compiled execution generates code from them.

A row is a tuple in the driver's form. A ``Layout`` has each column's index in it, and its conversion to JSON.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from app.execution.shape import Access, Shape, Variant

SUBJECT = "{s}"
"""The placeholder for the row in an expression."""


class Transform(Enum):
    """The conversion of a column's value, as a Python expression of ``{v}``."""

    NONE = "{v}"
    TEXT = "str({v})"
    HEXADECIMAL = "{v}.hex"
    """A UUID object as hexadecimal digits."""
    DASHES = """f"{{v}[:8]}-{{v}[8:12]}-{{v}[12:16]}-{{v}[16:20]}-{{v}[20:]}\""""
    """A UUID of 32 digits with dashes inserted."""
    ISO_TIME = """f"{{v}[:10]}T{{v}[11:]}+00:00".replace(".000000+", "+")"""
    """``2026-01-02 03:04:05.000006`` as ``datetime.isoformat`` writes it, which leaves out a fraction that is zero."""
    TRUTH = "({v} == 1)"


@dataclass(frozen=True, slots=True)
class Item:
    """A column's index in the row, and its conversion."""

    place: int
    transform: Transform = Transform.NONE
    is_nullable: bool = False

    def expression(self, row: str) -> str:
        """Return the expression for the converted value; ``row`` is the row's expression."""
        value = f"{row}[{self.place}]"
        if self.transform is Transform.NONE:
            return value
        text = self.transform.value.replace("{v}", value)
        return f"(None if {value} is None else {text})" if self.is_nullable else text


Layout = Mapping[str, Item]


class Value(Protocol):
    """A value that is computed from a row."""

    @property
    def columns(self) -> frozenset[str]:
        """The columns that it is computed from."""
        ...

    def expression(self, layout: Layout, row: str) -> str:
        """Return its Python expression."""
        ...

    def names(self) -> Mapping[str, object]:
        """Return the global names that the expression uses. They contain the object's ``id()``, so they are unique."""
        ...


@dataclass(frozen=True, slots=True)
class Column:
    """The value of a column."""

    name: str

    @property
    def columns(self) -> frozenset[str]:
        return frozenset({self.name})

    def expression(self, layout: Layout, row: str) -> str:
        return layout[self.name].expression(row)

    def names(self) -> Mapping[str, object]:
        return {}


@dataclass(frozen=True, slots=True)
class At:
    """The item at an index of the subject, or a value of the row at that index."""

    place: int
    value: Value | None = None

    @property
    def columns(self) -> frozenset[str]:
        return self.value.columns if self.value is not None else frozenset()

    def expression(self, layout: Layout, row: str) -> str:
        there = f"{row}[{self.place}]"
        return self.value.expression(layout, there) if self.value is not None else there

    def names(self) -> Mapping[str, object]:
        return self.value.names() if self.value is not None else {}


@dataclass(frozen=True, slots=True)
class Attribute:
    """A value of the row that is an attribute of the subject."""

    name: str
    value: Value

    @property
    def columns(self) -> frozenset[str]:
        return self.value.columns

    def expression(self, layout: Layout, row: str) -> str:
        return self.value.expression(layout, f"{row}.{self.name}")

    def names(self) -> Mapping[str, object]:
        return self.value.names()


@dataclass(frozen=True, slots=True)
class MappingEntry:
    """An entry of the mapping at an index of the subject, or ``default`` if it is absent."""

    place: int
    key: str
    default: "tuple[bool | tuple[()] | None] | None" = None

    @property
    def columns(self) -> frozenset[str]:
        return frozenset()

    def expression(self, layout: Layout, row: str) -> str:  # noqa: ARG002  As every value has it.
        mapping = f"{row}[{self.place}]"
        if self.default is None:
            return f"{mapping}[{self.key!r}]"
        return f"{mapping}.get({self.key!r}, {self.default[0]!r})"

    def names(self) -> Mapping[str, object]:
        return {}


M = TypeVar("M", bound=Enum)
F = TypeVar("F", bound=Enum | None)


class EnumName(Generic[M, F]):
    """The name of an enumeration's member; ``fallback`` if it is unknown, such as a value of a newer release."""

    def __init__(self, column: str, enumeration: type[M], fallback: F) -> None:
        self._column = column
        self._members: Mapping[str, M] = dict(enumeration.__members__)
        self._fallback = fallback
        self._known = {name: name for name in self._members}

    def member(self, name: str | None) -> M | F:
        """The member of that name, or the fallback."""
        return self._members.get(name or "", self._fallback)

    @property
    def columns(self) -> frozenset[str]:
        return frozenset({self._column})

    def expression(self, layout: Layout, row: str) -> str:
        fallback = self._fallback.name if self._fallback is not None else None
        return f"{_name(self._known)}.get({layout[self._column].expression(row)}, {fallback!r})"

    def names(self) -> Mapping[str, object]:
        return {_name(self._known): self._known}


@dataclass(frozen=True, slots=True)
class Only:
    """A value if a column has a certain value; else ``None``."""

    value: Value
    column: str
    equals: str

    @property
    def columns(self) -> frozenset[str]:
        return self.value.columns | {self.column}

    def expression(self, layout: Layout, row: str) -> str:
        condition = f"{layout[self.column].expression(row)} == {self.equals!r}"
        return f"({self.value.expression(layout, row)} if {condition} else None)"

    def names(self) -> Mapping[str, object]:
        return self.value.names()


@dataclass(frozen=True, slots=True)
class Made:
    """The result of a function called with values."""

    function: Callable[..., object]
    values: tuple[Value, ...]

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(column for value in self.values for column in value.columns)

    def expression(self, layout: Layout, row: str) -> str:
        values = ", ".join(value.expression(layout, row) for value in self.values)
        return f"{_name(self.function)}({values})"

    def names(self) -> Mapping[str, object]:
        names: dict[str, object] = {_name(self.function): self.function}
        for value in self.values:
            names |= value.names()
        return names


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a GraphQL type. ``is_leaf``: its value is JSON, and ``None`` only if the field is nullable."""

    value: Value
    is_leaf: bool = True


def shape_of(
    fields: Mapping[str, Field],
    layout: Layout,
    *,
    source: Callable[[Any], object] | None = None,
    row_place: int | None = None,
) -> Shape:
    """Build the shape of subjects from declared fields. Fields whose columns are not in the layout are left out.

    ``source`` converts a row to the instance that graphql-core would get. The subject is the row itself, or a tuple
    with the row at the index ``row_place``.
    """
    known = {name: each for name, each in fields.items() if each.value.columns <= layout.keys()}
    names: dict[str, object] = {}
    for each in known.values():
        names |= each.value.names()
    made = SUBJECT
    if source is not None:
        names[_name(source)] = source
        row = SUBJECT if row_place is None else f"{SUBJECT}[{row_place}]"
        made = f"{_name(source)}({row})"
    accesses = {name: Access(each.value.expression(layout, SUBJECT), each.is_leaf) for name, each in known.items()}
    return Shape(accesses, names, made)


def variant(type_name: str, place: int, shape: Shape) -> Variant:
    """Declare the object type of the subjects that have its name at this index."""
    return Variant(type_name, f"{SUBJECT}[{place}] == {type_name!r}", shape)


def itself(shape: Shape) -> Access:
    """Read the subject itself, by another shape."""
    return Access(SUBJECT, shape=shape)


def item(place: int, shape: Shape | None = None) -> Access:
    """Read the item at an index of the subject: JSON, or an object with a shape."""
    return Access(f"{SUBJECT}[{place}]", is_leaf=shape is None, shape=shape)


def attribute(name: str, shape: Shape | None = None) -> Access:
    """Read an attribute of the subject."""
    return Access(f"{SUBJECT}.{name}", shape=shape)


def items(name: str, place: int, shape: Shape) -> Access:
    """Read the item at an index of each tuple in a list attribute."""
    return Access(f"[each[{place}] for each in {SUBJECT}.{name}]", shape=shape)


def compile_texts(parts: Sequence[str | Value], layout: Layout) -> Callable[[Sequence[Sequence[Any]]], list[str]]:
    """Compile a function that returns for each row the concatenation of the parts; all values must be strings."""
    names: dict[str, object] = {}
    expressions: list[str] = []
    for part in parts:
        if isinstance(part, str):
            expressions.append(repr(part))
        else:
            names |= part.names()
            expressions.append(part.expression(layout, "row"))
    code = f"lambda rows: [{' + '.join(expressions)} for row in rows]"
    return eval(code, names)  # noqa: S307  The expressions are those of this module.


def _name(value: object) -> str:
    name = getattr(value, "__name__", "known").strip("<>")
    return f"{name}_{id(value)}"
