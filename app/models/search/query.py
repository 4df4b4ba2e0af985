"""Lists of conversations: what an owner's list is filtered and ordered by, and the statement for one page of it."""

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
    """What a list of conversations is ordered by."""

    CREATED_AT = "CREATED_AT"
    UPDATED_AT = "UPDATED_AT"
    TITLE = "TITLE"


class OrderDirection(StrEnum):
    """Smallest or largest first."""

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
        """The column of the sort key."""
        return _COLUMNS[self.field]

    @property
    def is_ascending(self) -> bool:
        """Whether the smallest comes first."""
        return self.direction is OrderDirection.ASC


NEWEST_FIRST = ConversationOrder()


@dataclass(frozen=True, slots=True)
class ConversationFilter:
    """All that is given must hold. ``visible_after``: the age limit."""

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
        """Whether no row can match: a list of allowed values is empty, for which there is no statement."""
        return self.statuses == () or self.triggers == ()

    def conditions(self, owner_id: str) -> list[ColumnElement[bool]]:
        """The filter as SQL, the owner's rows only."""
        return [_owned_by(owner_id), *self.matches(), *self.times(_CREATED), *self.times(_UPDATED)]

    def matches(self) -> list[ColumnElement[bool]]:
        """What is asked of anything but times."""
        return [*self._equals(), *self.texts()]

    def _equals(self, status: int | None = None, trigger: int | None = None) -> list[ColumnElement[bool]]:
        """What indexes have in order. ``status`` and ``trigger``: only the one of that number."""
        conditions: list[ColumnElement[bool]] = []
        if self.statuses is not None:
            conditions.append(_any_of(col(Conversation.status), "status", self.statuses, status))
        if self.triggers is not None:
            conditions.append(_any_of(col(Conversation.trigger), "trigger", self.triggers, trigger))
        if self.repository_id is not None:
            conditions.append(col(Conversation.repository_id) == bindparam("repository_id", self.repository_id))
        return conditions

    def texts(self) -> list[ColumnElement[bool]]:
        """What is asked of the title."""
        return [self.has_text(_element(Conversation.title_folded))] if self.title_contains else []

    def has_text(self, title: ColumnElement[str]) -> ColumnElement[bool]:
        """Whether a folded title has the text that is asked for."""
        pattern: ColumnElement[str] = bindparam("title_contains", _pattern(self.title_contains or ""))
        # Either database would plan the statement anew for each text, which takes longer than the page: SQLite in case
        # the text is a beginning, PostgreSQL by how many titles it thinks have it.
        return without_index(title.like(pattern, escape="/"))

    def grams(self, dialect: str) -> TitleGrams | None:
        """How an index finds the text in the title."""
        return TitleGrams(fold(self.title_contains), dialect) if self.title_contains else None

    def branches(self) -> list[list[ColumnElement[bool]]]:
        """What is asked of anything but times and titles, for each pair of a status and a trigger: at most twenty."""
        pairs = product(_numbers(self.statuses), _numbers(self.triggers))
        return [self._equals(status, trigger) for status, trigger in pairs]

    def bounds(self, of: ConversationOrderField) -> Bounds:
        """What the filter says of a time. Nothing is updated before it is created, so that each tells of the other."""
        # A time of visibility is itself visible, unlike the other bounds.
        visible = self.visible_after - timedelta(microseconds=1) if self.visible_after is not None else None
        lowest = _largest(self.created_after, visible)
        if of is _CREATED:
            return Bounds(lowest, _smallest(self.created_before, self.updated_before))
        return Bounds(_largest(self.updated_after, lowest), self.updated_before)

    def is_about(self, of: ConversationOrderField) -> bool:
        """Whether the filter asks anything of this time."""
        given = {
            _CREATED: (self.created_after, self.created_before, self.visible_after),
            _UPDATED: (self.updated_after, self.updated_before),
        }
        return any(time is not None for time in given.get(of, ()))

    def times(self, of: ConversationOrderField) -> list[ColumnElement[bool]]:
        """What is asked of a time, and all that follows for it."""
        return _between(of, self.bounds(of)) if self.is_about(of) else []

    def parameters(self) -> dict[str, object]:
        """The values that the conditions compare with, by the names of the parameters."""
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
        """What the conditions depend on, apart from the values."""
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
    """Where a page begins: behind the row with this sort key and id."""

    key: datetime | str
    id: UUID


@dataclass(frozen=True, slots=True)
class ConversationQuery:
    """One page: at most ``first`` rows of the filter's, in order, behind ``after``.

    Every path reads about as many rows as the page has. Where one index has the filter in order, it is walked from its
    place. Several statuses or triggers are walked side by side. A time that is not the order and a text in the title
    are walked past where many rows match, or sorted where few do.
    """

    first: int
    after: Position | None = None
    filter: ConversationFilter = EVERYTHING
    order: ConversationOrder = field(default_factory=ConversationOrder)

    def statement(self, selected: SelectOfScalar[Any], owner_id: str, dialect: str) -> SelectOfScalar[Any]:
        """Up to ``first + 1`` rows: the one more tells that there is a next page. ``parameters`` has its values."""
        key, row_id = col(self.order.column), col(Conversation.id)
        ordering = (key.asc(), row_id.asc()) if self.order.is_ascending else (key.desc(), row_id.desc())
        conditions = self._conditions(owner_id, dialect)
        return selected.where(*conditions).order_by(*ordering).limit(exactly(self.first + 1))

    def parameters(self, owner_id: str) -> dict[str, object]:
        """The values of the statement's parameters, by name."""
        parameters: dict[str, object] = {"owner_id": owner_id}
        if self.filter is not EVERYTHING:
            parameters |= self.filter.parameters()
        if self.after is not None:
            parameters |= {"after_key": self.after.key, "after_id": self.after.id}
        return parameters

    @property
    def shape(self) -> tuple[object, ...]:
        """What the statement depends on, apart from the values."""
        order = self.order
        if self.after is None and (self.filter is EVERYTHING or self.filter == EVERYTHING):
            return (self.first, order.field, order.direction)
        return (self.first, order.field, order.direction, self.after is not None, self._is_begun, *self.filter.shape)

    def _conditions(self, owner_id: str, dialect: str) -> list[ColumnElement[bool]]:
        wanted, start = self.filter, self._start()
        branches = wanted.branches()
        others = [time for time in (_CREATED, _UPDATED) if time is not self.order.field and wanted.is_about(time)]
        grams = wanted.grams(dialect)
        if len(branches) == 1 and not others and grams is None:
            return [_owned_by(owner_id), *branches[0], *start]
        passed = [without_index(*wanted.times(time)) for time in others]
        walk = Walk(
            owner=_element(Conversation.owner_id),
            row_id=_element(Conversation.id),
            key=_element(self.order.column),
            is_ascending=self.order.is_ascending,
            limit=self.first + 1,
        )
        owner: ColumnElement[str] = bindparam("owner_id", owner_id, String())
        paths = [walk.path(owner, wanted.times(time)) for time in others]
        near = None
        if grams is not None:
            paths.insert(0, Path(grams.found(owner), lambda is_taken: grams.ids(owner, is_taken)))
            if not others:
                title = _element(Conversation.title_folded)
                near = walk.near(owner, [[*branch, *start] for branch in branches], title, wanted.has_text)
        walked = [[*branch, *wanted.texts(), *passed, *start] for branch in branches]
        found = without_index(_owned_by(owner_id), *wanted.matches(), *passed, *start)
        return [col(Conversation.id).in_(walk.ids(owner, walked, paths, near)), found]

    @property
    def _is_begun(self) -> bool:
        """Whether the position is where the page begins: not if all that the filter lets through is behind it."""
        if self.after is None or self.order.field is ConversationOrderField.TITLE:
            return self.after is not None
        bounds, key = self.filter.bounds(self.order.field), self.after.key
        reached = bounds.lower if self.order.is_ascending else bounds.upper
        if reached is None or not isinstance(key, datetime):
            return True
        return key > reached if self.order.is_ascending else key < reached

    def _start(self) -> list[ColumnElement[bool]]:
        """Where the walk begins and ends: one bound a side, since SQLite takes any of two and scans to the other."""
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
    """An owner's lists, in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def page(self, owner_id: str, query: ConversationQuery) -> list[Conversation]:
        """Up to ``first + 1`` rows. One statement at most."""
        if query.filter.is_impossible:
            return []
        return list(await self._session.exec(query.statement(select(Conversation), owner_id, self._dialect)))

    async def count(self, owner_id: str, wanted: ConversationFilter) -> int:
        """How many of the owner's conversations the filter lets through."""
        if wanted.is_impossible:
            return 0
        counting = select(func.count()).select_from(Conversation)
        grams = wanted.grams(self._dialect)
        if grams is None:
            return (await self._session.exec(counting.where(*wanted.conditions(owner_id)))).one()
        owner: ColumnElement[str] = bindparam("owner_id", owner_id, String())
        wide = grams.found(owner).limit(1).offset(NARROW_MAX_ROWS).cte("wide")
        is_wide = sqlalchemy_select(wide.c[0]).exists()
        among = col(Conversation.id).in_(grams.ids(owner, ~is_wide))
        few = counting.where(among, without_index(*wanted.conditions(owner_id))).scalar_subquery()
        everyone = col(Conversation.owner_id) == case((is_wide, owner))
        many = counting.where(everyone, *wanted.conditions(owner_id)).scalar_subquery()
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
    # One value is compared directly, so that the index also gives the order.
    return column == parameters[0] if len(values) == 1 else column.in_(parameters)


def _numbers(values: tuple[str, ...] | None) -> tuple[int | None, ...]:
    """The places of several values, each value once."""
    if values is None or len(values) <= 1:
        return (None,)
    return tuple(place for place, value in enumerate(values) if value not in values[:place])


def _pattern(text: str) -> str:
    """What LIKE finds a text by, wherever it stands; ``/`` makes a wildcard an ordinary character."""
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
