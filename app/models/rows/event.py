"""Events as typed rows: pages of logs, read by compiled statements."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic_core import from_json
from sqlalchemy import ColumnElement, Integer, Select, Uuid, bindparam, exists, literal, select, union_all
from sqlalchemy.sql import ClauseElement
from sqlmodel import SQLModel, col

from app.models.conversation import Conversation
from app.models.database.database import Database
from app.models.database.row import Row, Rows, TypedRow, row_class_for, table_columns
from app.models.event import EventQuery, body_fields

_TABLE = SQLModel.metadata.tables["event"]


class EventRow(TypedRow):
    """The columns of an event that the API shows."""

    conversation_id: UUID
    sequence: int
    kind: str
    source: str
    body: object
    created_at: datetime


_COLUMNS = table_columns(EventRow, _TABLE)
# An extra column after the event's own: the number of the query that the row belongs to.
_QUERY_INDEX = len(_COLUMNS)


class EventRows:
    """Reads events of an owner's conversations."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._row_class = row_class_for(EventRow, _TABLE, database.reader.dialect.name)

    async def pages(self, owner_id: str, queries: Sequence[EventQuery]) -> list[Rows[EventRow]]:
        """Return a page for each query, oldest event first, of up to ``limit + 1`` events, with one statement.

        The extra event, last in the direction of reading, tells that there is another page.
        """
        # An empty list of sources allows no event.
        asked = {number: query for number, query in enumerate(queries) if query.sources != ()}
        values: Sequence[Row] = await self._read(owner_id, asked) if asked else ()
        pages: list[list[Row]] = [[] for _ in queries]
        if len(asked) == 1:
            pages[next(iter(asked))] = list(values)
        else:
            for row in values:
                number: int = row[_QUERY_INDEX]
                pages[number].append(row)
        return [
            Rows(self._row_class, page[::-1] if query.backward else page)
            for page, query in zip(pages, queries, strict=True)
        ]

    async def after(self, conversation_id: UUID, sequence: int, limit: int) -> Rows[EventRow]:
        """Return up to ``limit`` events after a sequence, in order, without checking the owner."""
        statement = self._database.compiled("events behind", _after)
        parameters = {"conversation_id": conversation_id, "sequence": sequence, "limit": limit}
        return Rows(self._row_class, await self._database.direct.read(statement, parameters))

    async def get_many(self, owner_id: str, keys: Sequence[tuple[UUID, int]]) -> list[EventRow | None]:
        """Return events in the order of ``keys`` (conversation id, sequence); ``None`` if absent or another owner's."""
        # Each event is read as a page of one, after the sequence before it.
        queries = [EventQuery(conversation_id, 1, sequence - 1, sequence + 1) for conversation_id, sequence in keys]
        return [page[0] if page else None for page in await self.pages(owner_id, queries)]

    async def _read(self, owner_id: str, asked: Mapping[int, EventQuery]) -> Sequence[Row]:
        shapes = tuple((number, *query.shape) for number, query in asked.items())
        statement = self._database.compiled(("events", shapes), lambda: _statement(asked))
        parameters: dict[str, Any] = {"owner_id": owner_id}
        for number, query in asked.items():
            parameters |= query.parameters(number)
        return await self._database.direct.read(statement, parameters)


def read_bodies(rows: Rows[EventRow]) -> list[Mapping[str, Any] | None]:
    """Parse the bodies to JSON values; ``None`` for one that this release can't read."""
    columns = rows.row_class.columns
    kind, body = columns["kind"].place, columns["body"].place
    try:
        # One call for all bodies takes a third of the time of one for each.
        text = ",".join([row[body] for row in rows.values])
        documents = from_json(f"[{text}]", allow_inf_nan=False, cache_strings="keys")
    except (ValueError, TypeError):
        documents = [row.body for row in rows]
    return [body_fields(row[kind], document) for row, document in zip(rows.values, documents, strict=True)]


def _statement(asked: Mapping[int, EventQuery]) -> ClauseElement:
    pages = [_page(number, query) for number, query in asked.items()]
    if len(pages) == 1:
        return pages[0]
    # In SQL, a part of a union can have a LIMIT only as a subquery.
    return union_all(*(select(page.subquery()) for page in pages))


def _page(number: int, query: EventQuery) -> Select[Any]:
    conversation_id = bindparam(f"conversation_id_{number}", type_=Uuid())
    # With IN and all ids of the owner, SQLite would read 100,000 ids for a page of 50 events.
    owned = exists().where(col(Conversation.id) == conversation_id, col(Conversation.owner_id) == bindparam("owner_id"))
    conditions: list[ColumnElement[bool]] = [_TABLE.c.conversation_id == conversation_id, owned]
    if query.after is not None:
        conditions.append(_TABLE.c.sequence > bindparam(f"after_{number}"))
    if query.before is not None:
        conditions.append(_TABLE.c.sequence < bindparam(f"before_{number}"))
    if query.sources is not None:
        names = [f"source_{number}_{place}" for place in range(len(query.sources))]
        conditions.append(_TABLE.c.source.in_([bindparam(name) for name in names]))
    ordering = _TABLE.c.sequence.desc() if query.backward else _TABLE.c.sequence.asc()
    limit = bindparam(f"limit_{number}", type_=Integer())
    page = select(*_COLUMNS, literal(number, Integer()).label("query"))
    return page.where(*conditions).order_by(ordering).limit(limit)


def _after() -> ClauseElement:
    return (
        select(*_COLUMNS)
        .where(
            _TABLE.c.conversation_id == bindparam("conversation_id", type_=Uuid()),
            _TABLE.c.sequence > bindparam("sequence"),
        )
        .order_by(_TABLE.c.sequence)
        .limit(bindparam("limit", type_=Integer()))
    )
