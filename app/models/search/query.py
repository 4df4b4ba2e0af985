"""Builds the SQL of a page of conversations: filter, order, and keyset pagination.

Conditions use named parameters, so that a statement can be compiled once for each *shape* (which filters are set, which
order, whether there is a cursor) and cached. ``walk`` and ``title_grams`` provide what a single index can't.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce
from operator import add
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    String,
    UnaryExpression,
    Uuid,
    and_,
    bindparam,
    case,
    func,
    or_,
    true,
    tuple_,
    union_all,
)
from sqlalchemy import select as sqlalchemy_select
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from app.models.conversation import Conversation
from app.models.search.filter import (
    CREATED,
    EVERYTHING,
    SHOWN,
    UPDATED,
    ConversationFilter,
    between,
    element,
    is_pinned_row,
    owned_by,
)
from app.models.search.order import ConversationOrder, ConversationOrderField
from app.models.search.walk import NARROW_MAX_ROWS, Bounds, Path, Walk, exactly, without_index


@dataclass(frozen=True, slots=True)
class Position:
    """A keyset: the page begins after the row with this sort key and id, and where pins precede, of these."""

    key: datetime | str
    id: UUID
    is_pinned: bool = False


@dataclass(frozen=True, slots=True)
class ConversationQuery:
    """One page: the first ``first`` rows that match the filter, in order, after the keyset ``after``.

    Every plan reads about as many rows as the page has. If one index has the filtered rows in order, it is scanned from
    the keyset. Several statuses or triggers are scanned as branches and merged. For a filter on a time that is not the
    sort key, on text in the title, or on tags, the plan depends on the number of matches: with few, they are read by
    another index and sorted; with many, the rows are scanned in order and filtered. An owner's pinned conversations are
    always few, so they are read at once, and passed over where the others are scanned.
    """

    first: int
    after: Position | None = None
    filter: ConversationFilter = EVERYTHING
    order: ConversationOrder = field(default_factory=ConversationOrder)

    def statement(self, selected: SelectOfScalar[Any], owner_id: str, dialect: str) -> SelectOfScalar[Any]:
        """Build the statement for up to ``first + 1`` rows: the extra row tells that there is a next page."""
        if self._has_pinned_part:
            conditions = self._with_pinned_part(owner_id, dialect)
            ordering = [element(Conversation.is_pinned).desc(), *self._ordering]
        else:
            conditions, ordering = self._scanned.conditions(owner_id, dialect), self._ordering
        return selected.where(*conditions).order_by(*ordering).limit(exactly(self.first + 1))

    def parameters(self, owner_id: str) -> dict[str, object]:
        """Return the values of the statement's parameters, by name."""
        parameters: dict[str, object] = {"owner_id": owner_id}
        if self.filter is not SHOWN:
            parameters |= self.filter.parameters()
        if self.after is not None:
            parameters |= {"after_key": self.after.key, "after_id": self.after.id}
        return parameters

    @property
    def shape(self) -> tuple[object, ...]:
        """The cache key of the compiled statement: all on which its SQL depends, without the parameters' values."""
        order, after = self.order, self.after
        if self.filter is SHOWN and after is None and not order.pinned_first:
            return (self.first, order.field, order.direction)
        start = (order.pinned_first, after is not None, after is not None and after.is_pinned, self._is_begun)
        return (self.first, order.field, order.direction, *start, *self.filter.shape)

    @property
    def _has_pinned_part(self) -> bool:
        """Tell whether the page may have both pinned conversations and, behind them, others."""
        is_behind = self.after is not None and not self.after.is_pinned
        return self.order.pinned_first and self.filter.is_pinned is None and not is_behind

    @property
    def is_impossible(self) -> bool:
        """Tell whether no row can be on the page. Then no statement can be built."""
        wants_pinned = self.order.pinned_first and self.filter.is_pinned is True
        return self.filter.is_impossible or (wants_pinned and self.after is not None and not self.after.is_pinned)

    @property
    def _scanned(self) -> "ConversationQuery":
        """The query for the part of the list that is in the order of the sort key alone."""
        if not self.order.pinned_first or self.filter.is_pinned:
            return self
        after = self.after if self.after is not None and not self.after.is_pinned else None
        return replace(self, after=after, filter=replace(self.filter, is_pinned=False))

    def _with_pinned_part(self, owner_id: str, dialect: str) -> list[ColumnElement[bool]]:
        """Return the conditions for a page whose candidates are all pinned conversations and a page of the others."""
        owner: ColumnElement[str] = bindparam("owner_id", owner_id, String())
        others = sqlalchemy_select(element(Conversation.id)).where(*self._scanned.conditions(owner_id, dialect))
        others = others.order_by(*self._ordering).limit(exactly(self.first + 1)).subquery()
        pinned = self.walk.path(owner, [is_pinned_row()]).ids(true())
        candidates = union_all(pinned, sqlalchemy_select(others.c[0])).subquery()
        conversation_filter = self.filter
        recheck = [owned_by(owner_id), *conversation_filter.matches()]
        recheck += [*conversation_filter.times(CREATED), *conversation_filter.times(UPDATED)]
        if self.after is not None:
            recheck.append(or_(~is_pinned_row(), self._is_behind(self.after)))
        return [col(Conversation.id).in_(sqlalchemy_select(candidates.c[0])), without_index(*recheck)]

    @property
    def _ordering(self) -> list[UnaryExpression[Any]]:
        columns = (element(self.order.column), element(Conversation.id))
        return [column.asc() if self.order.is_ascending else column.desc() for column in columns]

    @property
    def walk(self) -> Walk:
        """The ordered scan of the page."""
        return Walk(
            owner=element(Conversation.owner_id),
            row_id=element(Conversation.id),
            key=element(self.order.column),
            is_ascending=self.order.is_ascending,
            limit=self.first + 1,
        )

    def conditions(self, owner_id: str, dialect: str) -> list[ColumnElement[bool]]:
        """Return the conditions for rows in the order of the sort key alone."""
        conversation_filter, start = self.filter, self._start()
        branches = conversation_filter.branches()
        others = [
            time for time in (CREATED, UPDATED) if time is not self.order.field and conversation_filter.is_about(time)
        ]
        grams = conversation_filter.grams(dialect)
        walk, marks = self.walk, conversation_filter.marks()
        owner: ColumnElement[str] = bindparam("owner_id", owner_id, String())
        paths = conversation_filter.mark_paths(walk, owner)
        if len(branches) == 1 and not others and grams is None and not paths:
            return [owned_by(owner_id), *branches[0], *marks, *start]
        passed = [without_index(*conversation_filter.times(time)) for time in others]
        archived = conversation_filter.archived()
        paths += [walk.path(owner, [*archived, *conversation_filter.times(time)]) for time in others]
        near = None
        if grams is not None:
            paths.insert(0, Path(grams.matches(owner), lambda is_taken: grams.ids(owner, is_taken)))
            if not passed and not marks:
                title = element(Conversation.title_folded)
                near = walk.near(owner, [[*branch, *start] for branch in branches], title, conversation_filter.has_text)
        walked = [[*branch, *conversation_filter.texts(), *marks, *passed, *start] for branch in branches]
        # The ids are candidates only: those from another index are not filtered by all conditions.
        recheck = without_index(owned_by(owner_id), *conversation_filter.matches(), *passed, *start)
        return [col(Conversation.id).in_(walk.ids(owner, walked, paths, near)), recheck]

    @property
    def _is_begun(self) -> bool:
        """Tell whether the keyset, rather than the filter's own bound on the sort key, is where the scan begins."""
        if self.after is None or self.order.field is ConversationOrderField.TITLE:
            return self.after is not None
        bounds, key = self.filter.bounds(self.order.field), self.after.key
        reached = bounds.lower if self.order.is_ascending else bounds.upper
        if reached is None or not isinstance(key, datetime):
            return True
        return key > reached if self.order.is_ascending else key < reached

    def _start(self) -> list[ColumnElement[bool]]:
        """Return the bounds of the index scan, at most one on each side.

        Given two bounds on one side, SQLite would use either for the index and scan up to the other.
        """
        conditions: list[ColumnElement[bool]] = []
        order, is_begun = self.order, self._is_begun
        if order.field is not ConversationOrderField.TITLE:
            bounds = self.filter.bounds(order.field)
            if is_begun:
                bounds = Bounds(None, bounds.upper) if order.is_ascending else Bounds(bounds.lower, None)
            conditions += between(order.field, bounds)
        if is_begun and self.after is not None:
            conditions.append(self._is_behind(self.after))
        return conditions

    def _is_behind(self, after: Position) -> ColumnElement[bool]:
        order = self.order
        key: ColumnElement[Any] = bindparam("after_key", after.key, type_=order.column.type)
        here = tuple_(order.column, col(Conversation.id))
        there = tuple_(key, bindparam("after_id", after.id, Uuid()))
        return here > there if order.is_ascending else here < there


class ConversationSearch:
    """Runs searches over an owner's conversations in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def page(self, owner_id: str, query: ConversationQuery) -> list[Conversation]:
        """Return up to ``first + 1`` rows, with at most one statement."""
        if query.is_impossible:
            return []
        return list(await self._session.exec(query.statement(select(Conversation), owner_id, self._dialect)))

    async def count(self, owner_id: str, conversation_filter: ConversationFilter) -> int:
        """Count the owner's conversations that match the filter, with at most one statement."""
        if conversation_filter.is_impossible:
            return 0
        counting = select(func.count()).select_from(Conversation)
        conditions = conversation_filter.conditions(owner_id)
        owner: ColumnElement[str] = bindparam("owner_id", owner_id, String())
        grams = conversation_filter.grams(self._dialect)
        paths = conversation_filter.mark_paths(ConversationQuery(1).walk, owner)
        if grams is not None:
            paths.insert(0, Path(grams.matches(owner), lambda is_taken: grams.ids(owner, is_taken)))
        if not paths:
            return (await self._session.exec(counting.where(*conditions))).one()
        counts: list[ColumnElement[int]] = []
        closed: list[ColumnElement[bool]] = []
        for number, path in enumerate(paths):
            wide = path.matches.limit(1).offset(NARROW_MAX_ROWS).cte(f"wide_{number}")
            is_wide = sqlalchemy_select(wide.c[0]).exists()
            among = col(Conversation.id).in_(path.ids(and_(*closed, ~is_wide)))
            counts.append(counting.where(among, without_index(*conditions)).scalar_subquery())
            closed.append(is_wide)
        everyone = col(Conversation.owner_id) == case((and_(*closed), owner))
        scanned = conversation_filter.conditions(owner_id, is_scan=True)
        counts.append(counting.where(everyone, *scanned).scalar_subquery())
        return (await self._session.exec(select(reduce(add, counts)))).one()

    @property
    def _dialect(self) -> str:
        return self._session.get_bind().dialect.name
