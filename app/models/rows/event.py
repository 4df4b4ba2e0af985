"""Events as records: a page of one log, by statements that are compiled once."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Integer, Uuid, bindparam, exists, select
from sqlmodel import SQLModel, col

from app.models.conversation import Conversation
from app.models.database.database import Database
from app.models.database.record import record_class
from app.models.database.row import Row
from app.models.event import EventQuery

_TABLE = SQLModel.metadata.tables["event"]
# What the API shows of an event.
_COLUMNS = [_TABLE.c[name] for name in ("conversation_id", "sequence", "kind", "source", "body", "created_at")]


class EventRecords:
    """The owner's events. ``kind`` is the class of the records."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.kind = record_class(_COLUMNS, database.reader.dialect)

    async def page(self, owner_id: str, query: EventQuery) -> Sequence[Row]:
        """Rows, oldest first, up to ``limit + 1``: the one more stands at the far end, and tells of another page."""
        if query.sources == ():
            return []
        sources = query.sources or ()
        shape = (query.after is None, query.before is None, query.backward, query.sources is None, len(sources))
        statement = self._database.compiled(("events", *shape), lambda: _statement(query))
        parameters: dict[str, Any] = {
            "owner_id": owner_id,
            "conversation_id": query.conversation_id,
            "after": query.after,
            "before": query.before,
            "limit": query.limit + 1,
            **{f"source_{number}": source for number, source in enumerate(sources)},
        }
        rows = await self._database.direct.read(statement, parameters)
        return rows[::-1] if query.backward else rows


def _statement(query: EventQuery) -> Any:  # noqa: ANN401  Of its columns.
    conversation_id = bindparam("conversation_id", type_=Uuid())
    owned = exists().where(col(Conversation.id) == conversation_id, col(Conversation.owner_id) == bindparam("owner_id"))
    conditions: list[ColumnElement[bool]] = [_TABLE.c.conversation_id == conversation_id, owned]
    if query.after is not None:
        conditions.append(_TABLE.c.sequence > bindparam("after"))
    if query.before is not None:
        conditions.append(_TABLE.c.sequence < bindparam("before"))
    if query.sources is not None:
        sources: list[ColumnElement[str]] = [bindparam(f"source_{number}") for number in range(len(query.sources))]
        conditions.append(_TABLE.c.source.in_(sources))
    ordering = _TABLE.c.sequence.desc() if query.backward else _TABLE.c.sequence.asc()
    return select(*_COLUMNS).where(*conditions).order_by(ordering).limit(bindparam("limit", type_=Integer()))
