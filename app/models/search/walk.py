"""Pages whose cost does not grow with the table although no single index has the filtered rows in order.

The statement decides at run time between an ordered scan of the sort key's index and sorting the few matches of another
index. Both are subqueries of one statement, and a condition switches off those that are not used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, UnaryExpression, and_, case, literal, literal_column, select, union_all
from sqlalchemy.sql.selectable import CompoundSelect, Select

NARROW_MAX_ROWS = 1000
"""With up to this many matches in another index they are read and sorted; with more, the sort key's index is scanned.

Sorting 1,000 rows takes 1.5 ms. If 1,000 of 1,000,000 rows match, evenly spread, a scan fills a page of 21 within
21,000 rows.
"""

NEAR_ROWS = 250
"""Rows of the sort key's index that are always scanned first: for a common text they already fill the page."""


class Bounds(NamedTuple):
    """Exclusive bounds of a time; ``None`` is no bound."""

    lower: datetime | None
    upper: datetime | None


@dataclass(frozen=True, slots=True)
class Path:
    """An index that has all matching rows, but not in the page's order.

    ``matches`` has a row for each match, for counting them. ``ids`` builds the query of their ids from a condition, and
    returns no rows unless that condition holds.
    """

    matches: Select[int] | CompoundSelect[int]
    ids: Callable[[ColumnElement[bool]], Select[UUID]]


@dataclass(frozen=True, slots=True)
class Walk:
    """An ordered scan of one owner's rows by (``key``, ``row_id``), which ends after ``limit`` matches."""

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
        """Build the query of ids that include the page: the page itself, or all matches of one path if they are few.

        Each of ``branches`` is a filter whose rows some index has in order, and no row is in two of them: the database
        merges them, and reads no further than the page. ``near`` are the matches in the scan's first rows: if they fill
        the page, nothing else is read. Unused subqueries compare the owner with NULL, so the index stops at once;
        PostgreSQL, which may not choose the index, gets an explicit condition too.
        """
        closed: list[ColumnElement[bool]] = []
        parts: list[Select[UUID]] = []
        if near is not None:
            met = near.cte("near")
            closed.append(~select(met.c[0]).limit(1).offset(self.limit - 1).exists())
            parts.append(select(met.c[0]))
        for number, path in enumerate(paths):
            wide = path.matches.limit(1).offset(NARROW_MAX_ROWS).cte(f"wide_{number}")
            is_wide = select(wide.c[0]).exists()
            parts.append(path.ids(and_(*closed, ~is_wide)))
            closed.append(is_wide)
        walker = case((and_(*closed), owner_id)) if closed else owner_id
        parts.append(self._merged([[*closed, self.owner == walker, *branch] for branch in branches], self.limit))
        if len(parts) == 1:
            return parts[0]
        together = union_all(*parts).subquery()
        return select(together.c[0])

    def near(
        self,
        owner_id: ColumnElement[str],
        branches: Sequence[Sequence[ColumnElement[bool]]],
        asked: ColumnElement[str],
        condition: Callable[[ColumnElement[str]], ColumnElement[bool]],
    ) -> Select[UUID]:
        """Build the query of matches among the scan's first rows: those whose column ``asked`` meets the condition."""
        # SQLite reads this many rows of each branch, so their sum is bounded.
        limit = max(self.limit, NEAR_ROWS // max(1, len(branches)))
        rows = self._merged([[self.owner == owner_id, *branch] for branch in branches], limit, asked).subquery()
        return select(rows.c.id).where(condition(rows.c.asked)).limit(exactly(self.limit))

    def path(self, owner_id: ColumnElement[str], conditions: Sequence[ColumnElement[bool]]) -> Path:
        """Build the path for conditions that an index of the table itself covers."""
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
            # Each branch has a limit of its own: otherwise PostgreSQL would sort all rows of all branches.
            both = union_all(*(select(*part.c) for part in parts)).subquery()
            whole: Select[Any] = select(both)
            whole = whole.order_by(*self._ordering(both.c.sort_key, both.c.id)).limit(exactly(limit))
            page = whole.subquery()
        columns: list[ColumnElement[Any]] = [page.c.id, *(page.c[column.name] for column in others)]
        return select(*columns)

    def _ordering(self, *columns: ColumnElement[Any]) -> list[UnaryExpression[Any]]:
        return [column.asc() if self.is_ascending else column.desc() for column in columns]


def exactly(limit: int) -> ColumnElement[int]:
    """Build a LIMIT with a literal instead of a parameter.

    For a parameter PostgreSQL's generic plan assumes a tenth of the table, so it would plan for each execution: 0.5 ms,
    while the page itself takes 0.2 ms.
    """
    return literal_column(str(int(limit)), Integer())


def without_index(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Combine conditions into a CASE, which no index can answer, so that the planner keeps to the intended index."""
    return case((and_(*conditions), 1)) == 1
