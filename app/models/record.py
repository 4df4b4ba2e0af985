"""Records: rows as the driver gave them, whose columns are decoded when they are asked for.

Reading a page of entities costs several times what the database takes for it. A record costs a tuple: its columns are
attributes, as an entity's are, and what the API shows of a column as it stands has an expression that makes it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import orjson
from sqlalchemy import JSON, Boolean, Column, Dialect, Uuid
from sqlmodel import UTCDateTime


@dataclass(frozen=True, slots=True)
class Form:
    """How a driver gives the values of one type.

    ``decode`` makes the Python value, ``text`` the API's: a UUID with its dashes, a time in RFC 3339, else the value.
    ``key`` makes the text that stands for it in a cursor. ``None`` where the driver's value is that already.
    """

    decode: Callable[[Any], Any] | None = None
    text: Callable[[Any], Any] | None = None
    key: Callable[[Any], str] | None = None


class Record(tuple[Any, ...]):
    """A row. Each column is an attribute; ``texts`` has an expression for the API's form of each, with ``{r}`` for it.

    ``names`` are what the expressions use; ``keys`` make a column's part of a cursor, from a row.
    """

    __slots__ = ()

    texts: ClassVar[Mapping[str, str]]
    names: ClassVar[Mapping[str, object]]
    keys: ClassVar[Mapping[str, Callable[[Sequence[Any]], str]]]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # noqa: ANN401  Columns have types of their own.


def record_class(columns: Sequence[Column[Any]], dialect: Dialect) -> type[Record]:
    """The class for rows with these columns, in this order."""
    return _record_class(tuple(columns), dialect.name)


@cache
def _record_class(columns: tuple[Column[Any], ...], dialect_name: str) -> type[Record]:
    texts: dict[str, str] = {}
    names: dict[str, object] = {}
    keys: dict[str, Callable[[Sequence[Any]], str]] = {}
    members: dict[str, object] = {"__slots__": ()}
    for index, column in enumerate(columns):
        kind, form = _form(column, dialect_name)
        members[column.name] = property(_reader(index, form.decode))
        keys[column.name] = _keyed(index, form.key)
        item = f"{{r}}[{index}]"
        if form.text is None:
            texts[column.name] = item
            continue
        name = f"{kind}_text_{dialect_name}"
        names[name] = form.text
        texts[column.name] = f"(None if {item} is None else {name}({item}))" if column.nullable else f"{name}({item})"
    return type("Record", (Record,), {**members, "texts": texts, "names": names, "keys": keys})


def _reader(index: int, decode: Callable[[Any], Any] | None) -> Callable[[Record], Any]:
    if decode is None:
        return lambda record: record[index]
    return lambda record: None if (value := record[index]) is None else decode(value)


def _keyed(index: int, key: Callable[[Any], str] | None) -> Callable[[Sequence[Any]], str]:
    return (lambda row: row[index]) if key is None else (lambda row: key(row[index]))


def _form(column: Column[Any], dialect_name: str) -> tuple[str, Form]:
    forms = _SQLITE if dialect_name == "sqlite" else _POSTGRES
    for kind, form in forms.items():
        if isinstance(column.type, kind):
            return kind.__name__.lower(), form
    return "", Form()


def _dashed(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _stamp(text: str) -> str:
    # Like datetime.isoformat(), which leaves out a fraction that is zero.
    return f"{text[:10]}T{text[11:19]}+00:00" if text.endswith(".000000") else f"{text[:10]}T{text[11:]}+00:00"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _json(text: str) -> object:
    """One bad document must not cost a whole page: it becomes ``None``."""
    try:
        return orjson.loads(text)
    except ValueError:
        return None


_SQLITE: dict[type, Form] = {
    Uuid: Form(UUID, _dashed),
    UTCDateTime: Form(_moment, _stamp, _stamp),
    Boolean: Form(bool, bool),
    JSON: Form(_json, _json),
}
_POSTGRES: dict[type, Form] = {
    Uuid: Form(None, str, attrgetter("hex")),
    UTCDateTime: Form(None, datetime.isoformat, datetime.isoformat),
    JSON: Form(_json, _json),
}
