"""Builds the SQL of a page of conversations: filter, order, and keyset pagination.

Conditions use named parameters, so that a statement can be compiled once for each *shape* (which filters are set, which
order, whether there is a cursor) and cached. ``walk`` and ``title_grams`` provide what a single index can't.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import product
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, String, Uuid, bindparam, case, func, tuple_
from sqlalchemy import select as sqlalchemy_select
from sqlalchemy.orm import InstrumentedAttribute, Mapped
from sqlmodel import UTCDateTime, col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from app.models.conversation import Conversation, fold
from app.models.search import title_grams
from app.models.search.title_grams import TitleGrams
from app.models.search.walk import NARROW_MAX_ROWS, Bounds, Path, Walk, exactly, without_index


class ConversationOrderField(StrEnum):
    """The sort key of a list of conversations."""

    CREATED_AT = "CREATED_AT"
    UPDATED_AT = "UPDATED_AT"
    TITLE = "TITLE"


class OrderDirection(StrEnum):
    """Sort direction: ascending has the smallest key first."""

    ASC = "ASC"
    DESC = "DESC"


_CREATED, _UPDATED = ConversationOrderField.CREATED_AT, ConversationOrderField.UPDATED_AT
_COLUMNS: dict[ConversationOrderField, Any] = {
    _CREATED: Conversation.created_at,
    _UPDATED: Conversation.updated_at,
    ConversationOrderField.TITLE: Conversation.title_folded,
}


@dataclass(frozen=True, slots=True)
class ConversationOrder:
    """Sort key and direction; the id breaks ties."""

    field: ConversationOrderField = _CREATED
    direction: OrderDirection = OrderDirection.DESC

    @property
    def column(self) -> InstrumentedAttribute[Any]:
        """The column of the sort key; titles sort by their case-folded form."""
        return _COLUMNS[self.field]

    @property
    def is_ascending(self) -> bool:
        """Tell whether the smallest key comes first."""
        return self.direction is OrderDirection.ASC


NEWEST_FIRST = ConversationOrder()


@dataclass(frozen=True, slots=True)
class ConversationFilter:
    """Conditions that must all hold; ``None`` means no condition.

    ``visible_after`` is the server's limit on the age of conversations that callers see, by creation.
    """

    statuses: tuple[str, ...] | None = None
    triggers: tuple[str, ...] | None = None
    repository_id: UUID | None = None
    title_contains: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    updated_after: datetime | None = None
    updated_before: datetime | None = None
    visible_after: datetime | None = None

    @property
    def is_impossible(self) -> bool:
        """Tell whether a list of allowed values is empty. Then no row matches, and no statement can be built."""
        return self.statuses == () or self.triggers == ()

    def conditions(self, owner_id: str) -> list[ColumnElement[bool]]:
        """Return all conditions as SQL, including the one on the owner."""
        return [_owned_by(owner_id), *self.matches(), *self.times(_CREATED), *self.times(_UPDATED)]

    def matches(self) -> list[ColumnElement[bool]]:
        """Return the conditions on all columns but times."""
        return [*self._equals(), *self.texts()]

    def _equals(self, status: int | None = None, trigger: int | None = None) -> list[ColumnElement[bool]]:
        """Return the equality conditions, which indexes cover in the order of each sort key.

        With ``status`` or ``trigger``, only the allowed value at that position counts, rather than all of them.
        """
        conditions: list[ColumnElement[bool]] = []
        if self.statuses is not None:
            conditions.append(_any_of(col(Conversation.status), "status", self.statuses, status))
        if self.triggers is not None:
            conditions.append(_any_of(col(Conversation.trigger), "trigger", self.triggers, trigger))
        if self.repository_id is not None:
            conditions.append(col(Conversation.repository_id) == bindparam("repository_id", self.repository_id))
        return conditions

    def texts(self) -> list[ColumnElement[bool]]:
        """Return the condition on the title, if there is one."""
        return [self.has_text(_element(Conversation.title_folded))] if self.title_contains else []

    def has_text(self, title: ColumnElement[str]) -> ColumnElement[bool]:
        """Return the condition that a folded title contains the text."""
        pattern: ColumnElement[str] = bindparam("title_contains", _pattern(self.title_contains or ""))
        # Without the CASE both databases would plan the statement again for each text, which takes longer than the
        # page: SQLite to use an index for a prefix, PostgreSQL by its estimate of the matches.
        return without_index(title.like(pattern, escape="/"))

    def grams(self, dialect: str) -> TitleGrams | None:
        """Return the look-up of the text in the n-gram index, if there is a condition on the title."""
        return TitleGrams(fold(self.title_contains), dialect) if self.title_contains else None

    def branches(self) -> list[list[ColumnElement[bool]]]:
        """Split the equality conditions into one branch for each pair of a status and a trigger: at most twenty.

        Each branch has its rows in the order of an index, so the database can merge them without sorting.
        """
        pairs = product(_numbers(self.statuses), _numbers(self.triggers))
        return [self._equals(status, trigger) for status, trigger in pairs]

    def bounds(self, of: ConversationOrderField) -> Bounds:
        """Return the tightest bounds on one time, also those derived from the filter on the other time.

        A row is never updated before it is created, so a lower bound of ``created_at`` is one of ``updated_at`` too.
        """
        # ``visible_after`` is an inclusive bound, unlike the others.
        visible = self.visible_after - timedelta(microseconds=1) if self.visible_after is not None else None
        lowest = _largest(self.created_after, visible)
        if of is _CREATED:
            return Bounds(lowest, _smallest(self.created_before, self.updated_before))
        return Bounds(_largest(self.updated_after, lowest), self.updated_before)

    def is_about(self, of: ConversationOrderField) -> bool:
        """Tell whether the filter has a condition on this time itself, rather than one derived from the other time."""
        conditions = {
            _CREATED: (self.created_after, self.created_before, self.visible_after),
            _UPDATED: (self.updated_after, self.updated_before),
        }
        return any(time is not None for time in conditions.get(of, ()))

    def times(self, of: ConversationOrderField) -> list[ColumnElement[bool]]:
        """Return the conditions on a time, with derived bounds; empty if the filter has none on this time itself."""
        return _between(of, self.bounds(of)) if self.is_about(of) else []

    def parameters(self) -> dict[str, object]:
        """Return the values of the conditions' parameters, by name."""
        values: dict[str, object] = {"repository_id": self.repository_id}
        for time in (_CREATED, _UPDATED):
            bounds = self.bounds(time)
            values |= {_lower(time): bounds.lower, _upper(time): bounds.upper}
        if self.title_contains:
            values["title_contains"] = _pattern(self.title_contains)
            values |= title_grams.parameters(fold(self.title_contains))
        for name, given in (("status", self.statuses), ("trigger", self.triggers)):
            values.update({f"{name}_{number}": value for number, value in enumerate(given or ())})
        return values

    @property
    def shape(self) -> tuple[object, ...]:
        """The part of a cache key on which the conditions' SQL depends, as opposed to the parameters' values."""
        return (
            len(self.statuses) if self.statuses is not None else None,
            len(self.triggers) if self.triggers is not None else None,
            self.repository_id is None,
            not self.title_contains,
            self.created_after is None,
            self.created_before is None,
            self.updated_after is None,
            self.updated_before is None,
            self.visible_after is None,
        )


EVERYTHING = ConversationFilter()


@dataclass(frozen=True, slots=True)
class Position:
    """A keyset: the page begins after the row with this sort key and id."""

    key: datetime | str
    id: UUID


@dataclass(frozen=True, slots=True)
class ConversationQuery:
    """One page: the first ``first`` rows that match the filter, in order, after the keyset ``after``.

    Every plan reads about as many rows as the page has. If one index has the filtered rows in order, it is scanned from
    the keyset. Several statuses or triggers are scanned as branches and merged. For a filter on a time that is not the
    sort key, or on text in the title, the plan depends on the number of matches: with few, they are read by another
    index and sorted; with many, the rows are scanned in order and filtered.
    """

    first: int
    after: Position | None = None
    filter: ConversationFilter = EVERYTHING
    order: ConversationOrder = field(default_factory=ConversationOrder)

    def statement(self, selected: SelectOfScalar[Any], owner_id: str, dialect: str) -> SelectOfScalar[Any]:
        """Build the statement for up to ``first + 1`` rows: the extra row tells that there is a next page."""
        key, row_id = col(self.order.column), col(Conversation.id)
        ordering = (key.asc(), row_id.asc()) if self.order.is_ascending else (key.desc(), row_id.desc())
        conditions = self._conditions(owner_id, dialect)
        return selected.where(*conditions).order_by(*ordering).limit(exactly(self.first + 1))

    def parameters(self, owner_id: str) -> dict[str, object]:
        """Return the values of the statement's parameters, by name."""
        parameters: dict[str, object] = {"owner_id": owner_id}
        if self.filter is not EVERYTHING:
            parameters |= self.filter.parameters()
        if self.after is not None:
            parameters |= {"after_key": self.after.key, "after_id": self.after.id}
        return parameters

    @property
    def shape(self) -> tuple[object, ...]:
        """The cache key of the compiled statement: all on which its SQL depends, without the parameters' values."""
        order = self.order
        if self.after is None and (self.filter is EVERYTHING or self.filter == EVERYTHING):
            return (self.first, order.field, order.direction)
        return (self.first, order.field, order.direction, self.after is not None, self._is_begun, *self.filter.shape)

    def _conditions(self, owner_id: str, dialect: str) -> list[ColumnElement[bool]]:
        conversation_filter, start = self.filter, self._start()
        branches = conversation_filter.branches()
        others = [
            time for time in (_CREATED, _UPDATED) if time is not self.order.field and conversation_filter.is_about(time)
        ]
        grams = conversation_filter.grams(dialect)
        if len(branches) == 1 and not others and grams is None:
            return [_owned_by(owner_id), *branches[0], *start]
        passed = [without_index(*conversation_filter.times(time)) for time in others]
        walk = Walk(
            owner=_element(Conversation.owner_id),
            row_id=_element(Conversation.id),
            key=_element(self.order.column),
            is_ascending=self.order.is_ascending,
            limit=self.first + 1,
        )
        owner: ColumnElement[str] = bindparam("owner_id", owner_id, String())
        paths = [walk.path(owner, conversation_filter.times(time)) for time in others]
        near = None
        if grams is not None:
            paths.insert(0, Path(grams.matches(owner), lambda is_taken: grams.ids(owner, is_taken)))
            if not others:
                title = _element(Conversation.title_folded)
                near = walk.near(owner, [[*branch, *start] for branch in branches], title, conversation_filter.has_text)
        walked = [[*branch, *conversation_filter.texts(), *passed, *start] for branch in branches]
        # The ids are candidates only: those from another index are not filtered by all conditions.
        recheck = without_index(_owned_by(owner_id), *conversation_filter.matches(), *passed, *start)
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
            conditions += _between(order.field, bounds)
        if is_begun and self.after is not None:
            key: ColumnElement[Any] = bindparam("after_key", self.after.key, type_=order.column.type)
            here = tuple_(order.column, col(Conversation.id))
            there = tuple_(key, bindparam("after_id", self.after.id, Uuid()))
            conditions.append(here > there if order.is_ascending else here < there)
        return conditions


class ConversationSearch:
    """Runs searches over an owner's conversations in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def page(self, owner_id: str, query: ConversationQuery) -> list[Conversation]:
        """Return up to ``first + 1`` rows, with at most one statement."""
        if query.filter.is_impossible:
            return []
        return list(await self._session.exec(query.statement(select(Conversation), owner_id, self._dialect)))

    async def count(self, owner_id: str, conversation_filter: ConversationFilter) -> int:
        """Count the owner's conversations that match the filter, with at most one statement."""
        if conversation_filter.is_impossible:
            return 0
        counting = select(func.count()).select_from(Conversation)
        grams = conversation_filter.grams(self._dialect)
        if grams is None:
            return (await self._session.exec(counting.where(*conversation_filter.conditions(owner_id)))).one()
        owner: ColumnElement[str] = bindparam("owner_id", owner_id, String())
        wide = grams.matches(owner).limit(1).offset(NARROW_MAX_ROWS).cte("wide")
        is_wide = sqlalchemy_select(wide.c[0]).exists()
        among = col(Conversation.id).in_(grams.ids(owner, ~is_wide))
        few = counting.where(among, without_index(*conversation_filter.conditions(owner_id))).scalar_subquery()
        everyone = col(Conversation.owner_id) == case((is_wide, owner))
        many = counting.where(everyone, *conversation_filter.conditions(owner_id)).scalar_subquery()
        return (await self._session.exec(select(few + many))).one()

    @property
    def _dialect(self) -> str:
        return self._session.get_bind().dialect.name


def _owned_by(owner_id: str) -> ColumnElement[bool]:
    return col(Conversation.owner_id) == bindparam("owner_id", owner_id)


def _element(column: object) -> ColumnElement[Any]:
    return cast("InstrumentedAttribute[Any]", column).expression


def _any_of(column: Mapped[str], name: str, values: tuple[str, ...], number: int | None) -> ColumnElement[bool]:
    parameters: list[ColumnElement[str]] = [bindparam(f"{name}_{place}", value) for place, value in enumerate(values)]
    if number is not None:
        return column == parameters[number]
    # With a single value, equality instead of IN lets the index provide the order too.
    return column == parameters[0] if len(values) == 1 else column.in_(parameters)


def _numbers(values: tuple[str, ...] | None) -> tuple[int | None, ...]:
    """Return the positions of distinct values; a single ``None`` if there are fewer than two values."""
    if values is None or len(values) <= 1:
        return (None,)
    return tuple(place for place, value in enumerate(values) if value not in values[:place])


def _pattern(text: str) -> str:
    """Build the LIKE pattern for a substring, with ``/`` as the escape character for wildcards."""
    escaped = re.sub("([/%_])", r"/\1", fold(text))
    return f"%{escaped}%"


def _between(of: ConversationOrderField, bounds: Bounds) -> list[ColumnElement[bool]]:
    lower, upper = bounds
    column = col(_COLUMNS[of])
    conditions = [column > bindparam(_lower(of), lower, UTCDateTime())] if lower is not None else []
    return [*conditions, column < bindparam(_upper(of), upper, UTCDateTime())] if upper is not None else conditions


def _lower(of: ConversationOrderField) -> str:
    return f"{of.lower()}_lower"


def _upper(of: ConversationOrderField) -> str:
    return f"{of.lower()}_upper"


def _largest(*times: datetime | None) -> datetime | None:
    return max((time for time in times if time is not None), default=None)


def _smallest(*times: datetime | None) -> datetime | None:
    return min((time for time in times if time is not None), default=None)
