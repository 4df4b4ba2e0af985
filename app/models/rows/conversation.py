"""Conversations as typed rows, read by compiled statements."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, case, update
from sqlalchemy.sql import ClauseElement
from sqlmodel import SQLModel, UTCDateTime, col, select

from app.models.conversation import Conversation, fold
from app.models.database.database import Database
from app.models.database.row import Rows, TypedRow, row_class_for, table_columns
from app.models.search.query import ConversationQuery

_TABLE = SQLModel.metadata.tables["conversation"]


class ConversationRow(TypedRow):
    """The columns of a conversation that the API shows, and its sort keys."""

    id: UUID
    title: str
    title_is_auto_generated: bool
    status: str
    agent_state: str | None
    trigger: str
    branch_name: str | None
    llm_model: str | None
    created_at: datetime
    updated_at: datetime
    title_folded: str
    reason_code: str | None
    reason_message: str | None
    repository_id: UUID | None
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    is_cost_known: bool
    tags: list[str]
    is_pinned: bool
    archived_at: datetime | None
    last_sequence: int
    last_message_sequence: int | None
    read_sequence: int


# The columns that most lists show. Reading all columns costs a quarter more.
BRIEF_COLUMNS = (
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
_ALL_COLUMNS = table_columns(ConversationRow, _TABLE)
_FEW_COLUMNS = table_columns(ConversationRow, _TABLE, BRIEF_COLUMNS)


class ConversationRows:
    """Reads an owner's conversations. ``columns`` are those to read, ``None`` for all."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = database.reader.dialect.name
        self._row_class = row_class_for(ConversationRow, _TABLE, dialect)
        self._brief_row_class = row_class_for(ConversationRow, _TABLE, dialect, BRIEF_COLUMNS)

    async def get(
        self, owner_id: str, conversation_id: UUID, columns: frozenset[str] | None = None
    ) -> ConversationRow | None:
        """Return the conversation; ``None`` if it is absent or another owner's."""
        is_brief = _is_brief(columns)
        statement = self._database.compiled(
            ("conversation", is_brief),
            lambda: select(*(_FEW_COLUMNS if is_brief else _ALL_COLUMNS)).where(
                col(Conversation.owner_id) == bindparam("owner_id"), col(Conversation.id) == bindparam("id")
            ),
        )
        values = await self._database.direct.read(statement, {"owner_id": owner_id, "id": conversation_id})
        row_class = self._brief_row_class if is_brief else self._row_class
        return row_class(values[0]) if values else None

    async def search(
        self, owner_id: str, query: ConversationQuery, columns: frozenset[str] | None = None
    ) -> Rows[ConversationRow]:
        """Return up to ``first + 1`` rows: the extra row tells that there is a next page."""
        is_brief = _is_brief(columns)
        row_class = self._brief_row_class if is_brief else self._row_class
        if query.is_impossible:
            return Rows(row_class, [])
        dialect = self._database.reader.dialect.name
        statement = self._database.compiled(
            ("conversations", is_brief, *query.shape),
            lambda: query.statement(select(*(_FEW_COLUMNS if is_brief else _ALL_COLUMNS)), owner_id, dialect),
        )
        return Rows(row_class, await self._database.direct.read(statement, query.parameters(owner_id)))

    async def rename(self, owner_id: str, conversation_id: UUID, title: str, now: datetime) -> ConversationRow | None:
        """Set a title, and return the updated row; ``None`` if it is absent or another owner's."""
        statement = self._database.compiled("rename conversation", _rename)
        values = await self._database.direct.write(
            statement,
            {
                "of_owner": owner_id,
                "of_id": conversation_id,
                "new_title": title,
                "new_title_folded": fold(title),
                "now": now,
            },
        )
        return self._row_class(values[0]) if values else None


def _is_brief(columns: frozenset[str] | None) -> bool:
    return columns is not None and columns.issubset(BRIEF_COLUMNS)


def _rename() -> ClauseElement:
    now = bindparam("now", type_=UTCDateTime())
    created_at = col(Conversation.created_at)
    return (
        update(Conversation)
        .where(col(Conversation.owner_id) == bindparam("of_owner"), col(Conversation.id) == bindparam("of_id"))
        .values(
            title=bindparam("new_title"),
            title_folded=bindparam("new_title_folded"),
            title_is_auto_generated=False,
            title_revision=col(Conversation.title_revision) + 1,
            updated_at=case((created_at > now, created_at), else_=now),
        )
        .returning(*_ALL_COLUMNS)
    )
