"""Filters of a list of conversations, as conditions in SQL and their parameters."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, case, exists, false, literal, select, true
from sqlalchemy.orm import InstrumentedAttribute, Mapped
from sqlmodel import UTCDateTime, col

from app.models.conversation import Conversation, fold
from app.models.search import title_grams
from app.models.search.order import COLUMNS, ConversationOrderField
from app.models.search.title_grams import TitleGrams
from app.models.search.walk import Bounds, Path, Walk, exactly, without_index
from app.models.tag import ConversationTag

CREATED, UPDATED = ConversationOrderField.CREATED_AT, ConversationOrderField.UPDATED_AT
_TAG = cast("Any", ConversationTag).__table__.c


@dataclass(frozen=True, slots=True)
class ConversationFilter:
    """Conditions that must all hold; ``None`` means no condition.

    ``visible_after`` is the server's limit on the age of conversations that callers see, by creation. Tags are folded.
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
    is_archived: bool | None = None
    is_pinned: bool | None = None
    any_tags: tuple[str, ...] | None = None
    all_tags: tuple[str, ...] = ()

    @property
    def is_impossible(self) -> bool:
        """Tell whether a list of allowed values is empty. Then no row matches, and no statement can be built."""
        return () in (self.statuses, self.triggers, self.any_tags)

    def conditions(self, owner_id: str, *, is_scan: bool = False) -> list[ColumnElement[bool]]:
        """Return all conditions as SQL, and the one on the owner. ``is_scan``: all of the owner's rows are read."""
        matches = self.matches(is_scan=is_scan)
        return [owned_by(owner_id), *matches, *self.times(CREATED), *self.times(UPDATED)]

    def matches(self, *, is_scan: bool = False) -> list[ColumnElement[bool]]:
        """Return the conditions on all columns but times."""
        return [*self._equals(is_archived=self.is_archived), *self.texts(), *self.marks(is_scan=is_scan)]

    def _equals(
        self, status: int | None = None, trigger: int | None = None, *, is_archived: bool | None
    ) -> list[ColumnElement[bool]]:
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
        if is_archived is not None:
            conditions.append(_is(Conversation.is_archived, value=is_archived))
        return conditions

    def marks(self, *, is_scan: bool = False) -> list[ColumnElement[bool]]:
        """Return the conditions on pins and tags, which the indexes of the sort keys do not have."""
        conditions = [without_index(has_tag(names, is_scan=is_scan)) for names in self._tags()]
        if self.is_pinned:
            conditions.append(without_index(is_pinned_row()))
        elif self.is_pinned is not None:
            # No index has those that are not pinned, and the planner knows that these are almost all rows.
            conditions.append(_is(Conversation.is_pinned, value=False))
        return conditions

    def mark_paths(self, walk: Walk, owner_id: ColumnElement[str]) -> list[Path]:
        """Return the paths to the rows with the filter's tags, and to pinned rows."""
        paths = [tag_path(names, owner_id) for names in self._tags()]
        return [*paths, walk.path(owner_id, [is_pinned_row()])] if self.is_pinned else paths

    def _tags(self) -> list[list[ColumnElement[str]]]:
        """Return a list of names for each condition on tags: a conversation has one of them."""
        every: list[list[ColumnElement[str]]] = [
            [bindparam(f"every_tag_{number}", name)] for number, name in enumerate(self.all_tags)
        ]
        if self.any_tags is None:
            return every
        return [[bindparam(f"any_tag_{number}", name) for number, name in enumerate(self.any_tags)], *every]

    def texts(self) -> list[ColumnElement[bool]]:
        """Return the condition on the title, if there is one."""
        return [self.has_text(element(Conversation.title_folded))] if self.title_contains else []

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
        """Split the equality conditions into one branch for each status, trigger and ``is_archived``: at most 32.

        Each branch has its rows in the order of an index, so the database can merge them without sorting.
        """
        archived = (False, True) if self.is_archived is None else (self.is_archived,)
        values = product(archived, _numbers(self.statuses), _numbers(self.triggers))
        return [self._equals(status, trigger, is_archived=flag) for flag, status, trigger in values]

    def archived(self) -> list[ColumnElement[bool]]:
        """Return the condition on ``is_archived`` that lets an index be used whose last column is a time."""
        if self.is_archived is not None:
            return [_is(Conversation.is_archived, value=self.is_archived)]
        return [element(Conversation.is_archived).in_([false(), true()])]

    def bounds(self, of: ConversationOrderField) -> Bounds:
        """Return the tightest bounds on one time, also those derived from the filter on the other time.

        A row is never updated before it is created, so a lower bound of ``created_at`` is one of ``updated_at`` too.
        """
        # ``visible_after`` is an inclusive bound, unlike the others.
        visible = self.visible_after - timedelta(microseconds=1) if self.visible_after is not None else None
        lowest = _largest(self.created_after, visible)
        if of is CREATED:
            return Bounds(lowest, _smallest(self.created_before, self.updated_before))
        return Bounds(_largest(self.updated_after, lowest), self.updated_before)

    def is_about(self, of: ConversationOrderField) -> bool:
        """Tell whether the filter has a condition on this time itself, rather than one derived from the other time."""
        conditions = {
            CREATED: (self.created_after, self.created_before, self.visible_after),
            UPDATED: (self.updated_after, self.updated_before),
        }
        return any(time is not None for time in conditions.get(of, ()))

    def times(self, of: ConversationOrderField) -> list[ColumnElement[bool]]:
        """Return the conditions on a time, with derived bounds; empty if the filter has none on this time itself."""
        return between(of, self.bounds(of)) if self.is_about(of) else []

    def parameters(self) -> dict[str, object]:
        """Return the values of the conditions' parameters, by name."""
        values: dict[str, object] = {"repository_id": self.repository_id}
        for time in (CREATED, UPDATED):
            bounds = self.bounds(time)
            values |= {_lower(time): bounds.lower, _upper(time): bounds.upper}
        if self.title_contains:
            values["title_contains"] = _pattern(self.title_contains)
            values |= title_grams.parameters(fold(self.title_contains))
        lists = {
            "status": self.statuses,
            "trigger": self.triggers,
            "any_tag": self.any_tags,
            "every_tag": self.all_tags,
        }
        for name, given in lists.items():
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
            self.is_archived,
            self.is_pinned,
            len(self.any_tags) if self.any_tags is not None else None,
            len(self.all_tags),
        )


EVERYTHING = ConversationFilter()
SHOWN = ConversationFilter(is_archived=False)
"""The list without a filter. Archived conversations are left out."""


def has_tag(names: list[ColumnElement[str]], *, is_scan: bool) -> ColumnElement[bool]:
    """Return the condition that a conversation has one of these tags.

    For EXISTS PostgreSQL may read all of the owner's rows of the tags into a hash table, since it does not count with
    the LIMIT around it: 29 ms for a page. That is right for ``is_scan``. For a subquery with a LIMIT it never does.
    """
    of_row = (_TAG.owner_id == element(Conversation.owner_id), _TAG.conversation_id == element(Conversation.id))
    is_named = _TAG.name_folded.in_(names)
    if is_scan:
        return exists().where(*of_row, is_named)
    return select(literal(1)).where(*of_row, is_named).limit(exactly(1)).scalar_subquery().is_not(None)


def tag_path(names: list[ColumnElement[str]], owner_id: ColumnElement[str]) -> Path:
    """Build the path to conversations with one of these tags. One that has several of them is counted as often."""
    is_named = _TAG.name_folded.in_(names)
    return Path(
        select(literal(1).label("found")).where(_TAG.owner_id == owner_id, is_named),
        lambda is_taken: select(_TAG.conversation_id).where(
            is_taken, _TAG.owner_id == case((is_taken, owner_id)), is_named
        ),
    )


def is_pinned_row() -> ColumnElement[bool]:
    """Return the condition of the index of pinned conversations."""
    return _is(Conversation.is_pinned, value=True)


def _is(column: object, *, value: bool) -> ColumnElement[bool]:
    """Compare with a literal, by which both databases recognise a partial index."""
    return element(column) == (true() if value else false())


def owned_by(owner_id: str) -> ColumnElement[bool]:
    return col(Conversation.owner_id) == bindparam("owner_id", owner_id)


def element(column: object) -> ColumnElement[Any]:
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


def between(of: ConversationOrderField, bounds: Bounds) -> list[ColumnElement[bool]]:
    lower, upper = bounds
    column = col(COLUMNS[of])
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
