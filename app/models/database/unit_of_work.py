"""A transaction of statements that are compiled once, for what is written most: a run's beginning, steps and end.

A session of the ORM takes several times what the database takes for the same rows. Here a row is read into an object
once, under its lock, and what was changed of it is written at the commit, together with the rows that were added. There
is nothing else: no identity map, no lazy loading, and every statement stands beside its table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, TypeVar, cast

from sqlalchemy import Dialect, Table, bindparam, insert, update
from sqlalchemy.orm import class_mapper
from sqlalchemy.sql import ClauseElement
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.database.access import DirectTransaction
from app.models.database.row import Row, decoder
from app.models.database.statement import Statement

Model = TypeVar("Model", bound=SQLModel)
Compiled = Callable[[object, Callable[[], ClauseElement]], Statement]


@dataclass(frozen=True, slots=True)
class _Tracked:
    """A row that was read, with the values it had."""

    row: SQLModel
    values: Mapping[str, Any]


class UnitOfWork:
    """One transaction. ``compiled`` gives the statement of a name, and builds it the first time."""

    def __init__(self, compiled: Compiled, dialect: Dialect, transaction: DirectTransaction) -> None:
        self.dialect = dialect
        self._compiled = compiled
        self._transaction = transaction
        self._tracked: list[_Tracked] = []
        self._added: list[SQLModel] = []

    async def rows(
        self, name: object, build: Callable[[], ClauseElement], parameters: Mapping[str, Any]
    ) -> Sequence[Row]:
        """Run a statement now; its rows as the driver gives them."""
        return await self._transaction.run(self._compiled(name, build), parameters)

    def later(self, name: object, build: Callable[[], ClauseElement], parameters: Mapping[str, Any]) -> None:
        """Run a statement before the next one, or with the commit."""
        self._transaction.later(self._compiled(name, build), parameters)

    async def read(
        self, model: type[Model], name: object, build: Callable[[], ClauseElement], parameters: Mapping[str, Any]
    ) -> Model | None:
        """The row of a statement that has all columns of the model; what is changed of it is written at the commit."""
        rows = await self.rows(name, build, parameters)
        if not rows:
            return None
        [row] = loaded(model, rows, self.dialect)
        self._tracked.append(_Tracked(row, _values(row)))
        return row

    def add(self, row: SQLModel) -> None:
        """Insert a row with the commit, behind those that were added before."""
        self._added.append(row)

    async def flush(self) -> None:
        """As a session's; what was added is written with the values that it has now."""
        self.finish()

    def finish(self) -> None:
        """Leave to the commit what was changed and added."""
        for tracked in self._tracked:
            self._update(tracked)
        self._tracked = [_Tracked(tracked.row, _values(tracked.row)) for tracked in self._tracked]
        for row in self._added:
            table = table_of(type(row))
            self.later(("insert", table.name), lambda table=table: insert(table), _values(row))
            self._tracked.append(_Tracked(row, _values(row)))
        self._added = []

    def _update(self, tracked: _Tracked) -> None:
        values = _values(tracked.row)
        changed = tuple(name for name, value in values.items() if value != tracked.values[name])
        if changed:
            table = table_of(type(tracked.row))
            keys = {f"of_{column.name}": tracked.values[column.name] for column in table.primary_key}
            self.later(
                ("update", table.name, *changed),
                lambda: _update(table, changed),
                keys | {f"new_{name}": values[name] for name in changed},
            )


Writes: TypeAlias = AsyncSession | UnitOfWork
"""What takes rows that are to be written in one transaction."""


def made(model: type[Model], values: Mapping[str, Any]) -> Model:
    """A row's object with all of its columns, as the ORM makes one of what it has read.

    The constructor, which looks at each value, takes a hundred times as long.
    """
    row = class_mapper(model).class_manager.new_instance()
    vars(row).update(values)
    return row


def loaded(model: type[Model], rows: Sequence[Row], dialect: Dialect) -> list[Model]:
    """Objects of rows that begin with all columns of the model, in the table's order."""
    decoders = _decoders(table_of(model), dialect)
    return [
        made(
            model,
            {
                name: value if decode is None or value is None else decode(value)
                for (name, decode), value in zip(decoders, row, strict=False)
            },
        )
        for row in rows
    ]


@cache
def _decoders(table: Table, dialect: Dialect) -> Sequence[tuple[str, Callable[[Any], Any] | None]]:
    return [(column.name, decoder(column, dialect)) for column in table.c]


def table_of(model: type[SQLModel]) -> Table:
    """The table of a model."""
    return cast("Table", class_mapper(model).local_table)


def _values(row: SQLModel) -> dict[str, Any]:
    given = vars(row)
    return {column.name: given.get(column.name) for column in table_of(type(row)).c}


def _update(table: Table, changed: Sequence[str]) -> ClauseElement:
    keys = [column == bindparam(f"of_{column.name}", type_=column.type) for column in table.primary_key]
    values = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in changed}
    return update(table).where(*keys).values(values)
