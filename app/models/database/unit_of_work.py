"""A unit of work with compiled statements, for the most frequent writes: the beginning, steps and end of a run.

An ORM session costs several times the statements themselves. Here, a row is locked and read into an object; changes of
its attributes and added rows are written at the commit. There is no identity map and no lazy loading, and every
statement is defined in the module of its table.
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
    """A row that was read, with its values then, to detect changes."""

    row: SQLModel
    values: Mapping[str, Any]


class UnitOfWork:
    """One transaction. ``compiled`` returns a statement from the cache by its name, or builds it."""

    def __init__(self, compiled: Compiled, dialect: Dialect, transaction: DirectTransaction) -> None:
        self.dialect = dialect
        self._compiled = compiled
        self._transaction = transaction
        self._tracked: list[_Tracked] = []
        self._added: list[SQLModel] = []

    async def rows(
        self, name: object, build: Callable[[], ClauseElement], parameters: Mapping[str, Any]
    ) -> Sequence[Row]:
        """Run a statement, and return its rows in the driver's form."""
        return await self._transaction.run(self._compiled(name, build), parameters)

    def later(self, name: object, build: Callable[[], ClauseElement], parameters: Mapping[str, Any]) -> None:
        """Defer a statement until the next one is run, or until the commit."""
        self._transaction.later(self._compiled(name, build), parameters)

    async def read(
        self, model: type[Model], name: object, build: Callable[[], ClauseElement], parameters: Mapping[str, Any]
    ) -> Model | None:
        """Read one object with all columns of its model. Changes of its attributes are written at the commit."""
        rows = await self.rows(name, build, parameters)
        if not rows:
            return None
        [row] = loaded(model, rows, self.dialect)
        self._tracked.append(_Tracked(row, _values(row)))
        return row

    def add(self, row: SQLModel) -> None:
        """Insert a row at the commit, after the rows added before."""
        self._added.append(row)

    async def flush(self) -> None:
        """Like ``AsyncSession.flush``: write added rows with their current values."""
        self.finish()

    def finish(self) -> None:
        """Defer the statements for all changes until the commit."""
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
"""A transaction that rows can be added to."""


def made(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Create an object with all columns, like the ORM does for a row.

    The constructor, which validates each value, takes a hundred times as long.
    """
    row = class_mapper(model).class_manager.new_instance()
    vars(row).update(values)
    return row


def loaded(model: type[Model], rows: Sequence[Row], dialect: Dialect) -> list[Model]:
    """Create objects of rows, whose first columns are those of the model, in the table's order."""
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
    """Return the table of a model."""
    return cast("Table", class_mapper(model).local_table)


def _values(row: SQLModel) -> dict[str, Any]:
    attributes = vars(row)
    return {column.name: attributes.get(column.name) for column in table_of(type(row)).c}


def _update(table: Table, changed: Sequence[str]) -> ClauseElement:
    keys = [column == bindparam(f"of_{column.name}", type_=column.type) for column in table.primary_key]
    values = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in changed}
    return update(table).where(*keys).values(values)
