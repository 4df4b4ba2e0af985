"""Records: rows as the driver gave them, whose columns are decoded when they are asked for.

Reading a page of entities costs several times what the database takes for it. A record costs a tuple: its columns are
attributes, as an entity's are, and what the API shows of a column as it stands has an expression that makes it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from sqlalchemy import JSON, Boolean, Column, Dialect, Uuid
from sqlmodel import UTCDateTime


@dataclass(frozen=True, slots=True)
class Form:
    """How a driver gives the values of one type, ``{v}`` in expressions.

    ``decode`` makes the Python value. ``text`` is the expression for the API's: a UUID with its dashes, a time in
    RFC 3339, else the value; ``key`` the one for the text that stands for it in a cursor.
    """

    decode: Callable[[Any], Any] | None = None
    text: str = "{v}"
    key: str = "{v}"


class Record(tuple[Any, ...]):
    """A row. Each column is an attribute; ``texts`` has an expression for the API's form of each, with ``{r}`` for it.

    ``keys`` has those for a cursor. ``names`` are what expressions use.
    """

    __slots__ = ()

    texts: ClassVar[Mapping[str, str]]
    keys: ClassVar[Mapping[str, str]]
    names: ClassVar[Mapping[str, object]]

    columns: ClassVar[Mapping[str, int]]

    def raw(self, name: str) -> Any:  # noqa: ANN401  As the driver gives it.
        """The value of a column, not decoded."""
        return self[self.columns[name]]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # noqa: ANN401  Columns have types of their own.

    @classmethod
    def function(cls, expression: str, names: Mapping[str, object]) -> Callable[[Sequence[Any]], Any]:
        """What computes an expression for a row, ``r`` in it."""
        return eval(f"lambda r: {expression}", {**cls.names, **names})  # noqa: S307  Expressions are written in this code, never sent to it.


def record_class(columns: Sequence[Column[Any]], dialect: Dialect, absent: Sequence[Column[Any]] = ()) -> type[Record]:
    """The class for rows with these columns, in this order. Those ``absent`` were not read, and are ``None``."""
    return _record_class(tuple(columns), tuple(absent), dialect.name)


@cache
def _record_class(columns: tuple[Column[Any], ...], absent: tuple[Column[Any], ...], dialect_name: str) -> type[Record]:
    texts: dict[str, str] = {}
    keys: dict[str, str] = {}
    members: dict[str, object] = {"__slots__": (), **{column.name: None for column in absent}}
    for index, column in enumerate(columns):
        form = _form(column, dialect_name)
        item = f"{{r}}[{index}]"
        members[column.name] = property(_reader(index, form.decode))
        text = form.text.replace("{v}", item)
        is_optional = column.nullable and text != item
        texts[column.name] = f"(None if {item} is None else {text})" if is_optional else text
        keys[column.name] = form.key.replace("{v}", item)
    places = {column.name: index for index, column in enumerate(columns)}
    shown = {"texts": texts, "keys": keys, "names": {"loads": _json}, "columns": places}
    return type("Record", (Record,), {**members, **shown})


def _reader(index: int, decode: Callable[[Any], Any] | None) -> Callable[[Record], Any]:
    if decode is None:
        return lambda record: record[index]
    return lambda record: None if (value := record[index]) is None else decode(value)


def _form(column: Column[Any], dialect_name: str) -> Form:
    forms = _SQLITE if dialect_name == "sqlite" else _POSTGRES
    return next((form for kind, form in forms.items() if isinstance(column.type, kind)), Form())


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _json(text: str) -> object:
    """One bad document must not cost a whole page: it becomes ``None``."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None


# Like datetime.isoformat(), which leaves out a fraction that is zero.
_STAMP = """f"{{v}[:10]}T{{v}[11:]}+00:00".replace(".000000+", "+")"""
_DASHED = """f"{{v}[:8]}-{{v}[8:12]}-{{v}[12:16]}-{{v}[16:20]}-{{v}[20:]}\""""
_SQLITE: dict[type, Form] = {
    Uuid: Form(UUID, _DASHED),
    UTCDateTime: Form(_moment, _STAMP, _STAMP),
    Boolean: Form(bool, "({v} == 1)"),
    JSON: Form(_json, "loads({v})"),
}
_POSTGRES: dict[type, Form] = {
    # asyncpg has a class of its own for them.
    Uuid: Form(lambda value: UUID(int=value.int), "str({v})", "{v}.hex"),
    # They come as they are shown.
    UTCDateTime: Form(datetime.fromisoformat),
    JSON: Form(_json, "loads({v})"),
}
