"""Pages of an owner's rows whose cost does not grow with the table, where one index alone would not give that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, UnaryExpression, and_, case, literal, literal_column, select, union_all
from sqlalchemy.sql.selectable import CompoundSelect, Select

NARROW_MAX_ROWS = 1000
"""Up to so many rows are read and sorted; more of them, and the order's own index soon meets a page full of them.

Sorting 1,000 rows takes 1.5 ms. Among 1,000,000 rows, evenly spread, a page of 21 is met within 21,000.
"""

NEAR_ROWS = 250
"""So many rows of the order are looked at first for what no index has in order."""


class Bounds(NamedTuple):
    """A time lies between these, and is neither of them."""

    lower: datetime | None
    upper: datetime | None


@dataclass(frozen=True, slots=True)
class Path:
    """An index that finds every row of the page, in another order: ``found`` has a row for each, ``ids`` their ids.

    ``ids`` is given the condition that it is taken, and has none otherwise.
    """

    found: Select[int] | CompoundSelect[int]
    ids: Callable[[ColumnElement[bool]], Select[UUID]]


@dataclass(frozen=True, slots=True)
class Walk:
    """The rows of one owner in the order of ``key``, then ``row_id``: at most ``limit`` of them."""

    owner: ColumnElement[str]
    row_id: ColumnElement[UUID]
    key: ColumnElement[Any]
    is_ascending: bool
    limit: int

    def ids(
        self,
        owner_id: ColumnElement[str],
        branches: Sequence[Sequence[ColumnElement[bool]]],
        paths: Sequence[Path] = (),
        near: Select[UUID] | None = None,
    ) -> Select[UUID]:
        """Ids among which the page is: the page itself, or all rows of one of the paths where they are few.

        Each of ``branches`` is a filter that some index has in order, and no row is in two of them: the database reads
        them side by side, no further than the page goes. ``near`` are rows of the page's beginning: nothing else is
        looked at when it has a page full. What is not taken is asked for the owner NULL, which ends at the index's
        first look; PostgreSQL, which may take no index, is told beside it not to begin.
        """
        closed: list[ColumnElement[bool]] = []
        found: list[Select[UUID]] = []
        if near is not None:
            met = near.cte("near")
            closed.append(~select(met.c[0]).limit(1).offset(self.limit - 1).exists())
            found.append(select(met.c[0]))
        for number, path in enumerate(paths):
            wide = path.found.limit(1).offset(NARROW_MAX_ROWS).cte(f"wide_{number}")
            is_wide = select(wide.c[0]).exists()
            found.append(path.ids(and_(*closed, ~is_wide)))
            closed.append(is_wide)
        walker = case((and_(*closed), owner_id)) if closed else owner_id
        found.append(self._merged([[*closed, self.owner == walker, *branch] for branch in branches], self.limit))
        if len(found) == 1:
            return found[0]
        together = union_all(*found).subquery()
        return select(together.c[0])

    def near(
        self,
        owner_id: ColumnElement[str],
        branches: Sequence[Sequence[ColumnElement[bool]]],
        asked: ColumnElement[str],
        condition: Callable[[ColumnElement[str]], ColumnElement[bool]],
    ) -> Select[UUID]:
        """Of the order's first rows those whose ``asked`` meets a condition, as far as the page goes."""
        # SQLite reads as many of each branch.
        limit = max(self.limit, NEAR_ROWS // max(1, len(branches)))
        rows = self._merged([[self.owner == owner_id, *branch] for branch in branches], limit, asked).subquery()
        return select(rows.c.id).where(condition(rows.c.asked)).limit(exactly(self.limit))

    def path(self, owner_id: ColumnElement[str], conditions: Sequence[ColumnElement[bool]]) -> Path:
        """The path of conditions that an index of the table has."""
        return Path(
            select(literal(1).label("found")).where(self.owner == owner_id, *conditions),
            lambda is_taken: select(self.row_id).where(is_taken, self.owner == case((is_taken, owner_id)), *conditions),
        )

    def _merged(
        self,
        branches: Sequence[Sequence[ColumnElement[bool]]],
        limit: int,
        asked: ColumnElement[str] | None = None,
    ) -> Select[Any]:
        others = [asked.label("asked")] if asked is not None else []
        rows = select(self.row_id.label("id"), self.key.label("sort_key"), *others)
        rows = rows.order_by(*self._ordering(self.key, self.row_id)).limit(exactly(limit))
        parts = [rows.where(*branch).subquery() for branch in branches]
        if len(parts) == 1:
            page = parts[0]
        else:
            # PostgreSQL would sort all that the branches have, did not each of them end by itself.
            both = union_all(*(select(*part.c) for part in parts)).subquery()
            whole: Select[Any] = select(both)
            whole = whole.order_by(*self._ordering(both.c.sort_key, both.c.id)).limit(exactly(limit))
            page = whole.subquery()
        columns: list[ColumnElement[Any]] = [page.c.id, *(page.c[column.name] for column in others)]
        return select(*columns)

    def _ordering(self, *columns: ColumnElement[Any]) -> list[UnaryExpression[Any]]:
        return [column.asc() if self.is_ascending else column.desc() for column in columns]


def exactly(limit: int) -> ColumnElement[int]:
    """A limit that is part of the statement.

    PostgreSQL plans a statement whose limit it is not told for a tenth of the table, and so plans it anew each time:
    0.5 ms where the page itself takes 0.2 ms.
    """
    return literal_column(str(int(limit)), Integer())


def without_index(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether all hold, as no index has it: the database keeps to the index that finds or orders the rows."""
    return case((and_(*conditions), 1)) == 1
