"""Conversations as records: what is read most, by statements that are compiled once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, bindparam, case, update
from sqlalchemy.sql import ClauseElement
from sqlmodel import SQLModel, UTCDateTime, col, select

from app.models.conversation import Conversation, fold
from app.models.database.database import Database
from app.models.database.record import Record, record_class
from app.models.database.row import Row
from app.models.search.query import ConversationQuery

_TABLE = SQLModel.metadata.tables["conversation"]
# What lists mostly show of a conversation: reading all costs a quarter more.
_BRIEF = [
    _TABLE.c[name]
    for name in (
        "id",
        "title",
        "title_is_auto_generated",
        "status",
        "agent_state",
        "trigger",
        "branch_name",
        "llm_model",
        "created_at",
        "updated_at",
    )
]
# All that the API shows, and where a conversation stands in a list.
_WHOLE: list[Column[Any]] = [
    *_BRIEF,
    *(
        _TABLE.c[name]
        for name in (
            "title_folded",
            "reason_code",
            "reason_message",
            "repository_id",
            "prompt_tokens",
            "completion_tokens",
            "cost_usd",
            "is_cost_known",
        )
    ),
]
BRIEF_COLUMNS = frozenset(column.name for column in _BRIEF)


class ConversationRecords:
    """The owner's conversations. ``kind`` is the class of the records, ``brief_kind`` of those that have less."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.kind = record_class(_WHOLE, database.reader.dialect)
        self.brief_kind = record_class(_BRIEF, database.reader.dialect, _WHOLE[len(_BRIEF) :])

    async def get(self, owner_id: str, conversation_id: UUID, *, is_brief: bool = False) -> Record | None:
        """The owner's conversation, or ``None``."""
        statement = self._database.compiled(
            ("conversation", is_brief),
            lambda: select(*(_BRIEF if is_brief else _WHOLE)).where(
                col(Conversation.owner_id) == bindparam("owner_id"), col(Conversation.id) == bindparam("id")
            ),
        )
        rows = await self._database.direct.read(statement, {"owner_id": owner_id, "id": conversation_id})
        kind = self.brief_kind if is_brief else self.kind
        return kind(rows[0]) if rows else None

    async def search(self, owner_id: str, query: ConversationQuery, *, is_brief: bool) -> Sequence[Row]:
        """Up to ``first + 1`` rows as the driver gave them: the one more tells that there is a next page."""
        if query.filter.is_impossible:
            return []
        name = ("conversations", is_brief, *query.shape)
        columns = _BRIEF if is_brief else _WHOLE
        dialect = self._database.reader.dialect.name
        statement = self._database.compiled(name, lambda: query.statement(select(*columns), owner_id, dialect))
        return await self._database.direct.read(statement, query.parameters(owner_id))

    async def rename(self, owner_id: str, conversation_id: UUID, title: str, now: datetime) -> Record | None:
        """Write a title that a user gave; the conversation then, or ``None``."""
        statement = self._database.compiled("rename conversation", _rename)
        rows = await self._database.direct.write(
            statement,
            {
                "of_owner": owner_id,
                "of_id": conversation_id,
                "new_title": title,
                "new_title_folded": fold(title),
                "now": now,
            },
        )
        return self.kind(rows[0]) if rows else None


def _rename() -> ClauseElement:
    given = bindparam("now", type_=UTCDateTime())
    created_at = col(Conversation.created_at)
    return (
        update(Conversation)
        .where(col(Conversation.owner_id) == bindparam("of_owner"), col(Conversation.id) == bindparam("of_id"))
        .values(
            title=bindparam("new_title"),
            title_folded=bindparam("new_title_folded"),
            title_is_auto_generated=False,
            title_revision=col(Conversation.title_revision) + 1,
            updated_at=case((created_at > given, created_at), else_=given),
        )
        .returning(*_WHOLE)
    )
