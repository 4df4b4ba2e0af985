"""Rows as a driver gives them, and typed rows, whose columns are decoded when they are asked for.

Reading a page of entities costs several times what the database takes for it; a typed row costs a tuple.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum, auto
from functools import cache
from inspect import get_annotations
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast, overload
from uuid import UUID

from sqlalchemy import JSON, Boolean, Column, Dialect, Table, Uuid
from sqlmodel import UTCDateTime

Row = Sequence[Any]
"""The values of one row, in the order of the statement's columns, in the driver's own types."""


class Stored(Enum):
    """The form of a column's values, as the driver returns them."""

    PLAIN = auto()
    """The same value as in Python."""
    HEX_UUID = auto()
    """A UUID as 32 hexadecimal digits."""
    DRIVER_UUID = auto()
    """A UUID as an instance of the driver's own class."""
    SPACED_TIME = auto()
    """A time in UTC as ``2026-01-02 03:04:05.000006``."""
    ISO_TIME = auto()
    """A time in RFC 3339."""
    NUMBER_FLAG = auto()
    """A boolean as 0 or 1."""
    JSON_TEXT = auto()
    """A JSON document as text."""


class StoredColumn(NamedTuple):
    """A column's index in the row, and the form of its values."""

    place: int
    stored: Stored
    is_nullable: bool


class TypedRow(tuple[Any, ...]):
    """A row. A subclass annotates its columns, by their names in the table and in the order of the statement.

    ``columns`` tells of those that were read. The others are ``None``, whatever their annotation says.
    """

    __slots__ = ()

    columns: ClassVar[Mapping[str, StoredColumn]] = {}

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the annotated columns."""
        return tuple(name for name in get_annotations(cls) if name != "columns")


T_co = TypeVar("T_co", bound=TypedRow, covariant=True)
T = TypeVar("T", bound=TypedRow)


class Rows(Sequence[T_co], Generic[T_co]):
    """The rows of one statement: ``values`` as the driver gave them, each made a typed row when it is looked at."""

    __slots__ = ("row_class", "values")

    def __init__(self, row_class: type[T_co], values: Sequence[Row]) -> None:
        self.row_class = row_class
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[T_co]:
        return map(self.row_class, self.values)

    @overload
    def __getitem__(self, index: int) -> T_co: ...

    @overload
    def __getitem__(self, index: slice) -> "Rows[T_co]": ...

    def __getitem__(self, index: int | slice) -> "T_co | Rows[T_co]":
        """Return a row, or the rows of a slice."""
        if isinstance(index, slice):
            return Rows(self.row_class, self.values[index])
        return self.row_class(self.values[index])


def table_columns(row_class: type[TypedRow], table: Table, names: Sequence[str] | None = None) -> list[Column[Any]]:
    """Return the table's columns that a statement has to select for this class; with ``names``, only these."""
    return [table.c[name] for name in names or row_class.names()]


@cache
def row_class_for(row_class: type[T], table: Table, dialect_name: str, names: tuple[str, ...] | None = None) -> type[T]:
    """Return the subclass that decodes the rows of a statement with ``table_columns``.

    It is cached for each dialect, however many databases a process opens, since code is generated for each class.
    """
    columns = {
        column.name: StoredColumn(place, _stored(column, dialect_name), bool(column.nullable))
        for place, column in enumerate(table_columns(row_class, table, names))
    }
    readers = {name: property(_reader(column)) for name, column in columns.items()}
    unread = {name: None for name in row_class.names() if name not in columns}
    members = {"__slots__": (), "columns": columns, **unread, **readers}
    return cast("type[T]", type(row_class.__name__, (row_class,), members))


def _reader(column: StoredColumn) -> Callable[[Row], Any]:
    place, decode = column.place, _DECODERS.get(column.stored)
    if decode is None:
        return lambda row: row[place]
    return lambda row: None if (value := row[place]) is None else decode(value)


def decoder(column: Column[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """Return the function that converts a driver's values to Python's; ``None`` if they are the same."""
    return _DECODERS.get(_stored(column, dialect.name))


def _stored(column: Column[Any], dialect_name: str) -> Stored:
    types = _SQLITE if dialect_name == "sqlite" else _POSTGRES
    return next((stored for column_type, stored in types.items() if isinstance(column.type, column_type)), Stored.PLAIN)


def lenient_json(text: str) -> object:
    """Parse JSON; ``None`` if it is malformed, which SQLite may store: one bad row must not fail a whole page."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None


_SQLITE: Mapping[type, Stored] = {
    Uuid: Stored.HEX_UUID,
    UTCDateTime: Stored.SPACED_TIME,
    Boolean: Stored.NUMBER_FLAG,
    JSON: Stored.JSON_TEXT,
}
_POSTGRES: Mapping[type, Stored] = {
    Uuid: Stored.DRIVER_UUID,
    UTCDateTime: Stored.ISO_TIME,
    JSON: Stored.JSON_TEXT,
}
_DECODERS: Mapping[Stored, Callable[[Any], Any]] = {
    Stored.HEX_UUID: UUID,
    Stored.DRIVER_UUID: lambda value: UUID(int=value.int),
    Stored.SPACED_TIME: lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC),
    Stored.ISO_TIME: datetime.fromisoformat,
    Stored.NUMBER_FLAG: bool,
    Stored.JSON_TEXT: lenient_json,
}
