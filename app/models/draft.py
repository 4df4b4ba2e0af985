"""Drafts: the text streamed so far of answers that are still being written, kept so that it survives a crash."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Float, Integer, String, Uuid, bindparam, exists, insert, or_, select
from sqlalchemy.sql import ClauseElement
from sqlmodel import Field, SQLModel, col, delete
from sqlmodel import select as sqlmodel_select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.conversation import TOKENS, Conversation
from app.models.database.database import Database
from app.models.event import Usage


class Draft(SQLModel, table=True):
    """One piece of an answer's text, written while the answer streams. Concatenated by ``number`` they are the draft.

    Tokens and costs are cumulative estimates: they include all pieces up to this one.
    """

    conversation_id: UUID = Field(primary_key=True, foreign_key="conversation.id", ondelete="CASCADE")
    run: int = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    number: int = Field(primary_key=True)
    text: str
    llm_model: str = Field(max_length=200)
    prompt_tokens: int = Field(sa_type=TOKENS)
    completion_tokens: int = Field(sa_type=TOKENS)
    cost_usd: float | None = Field(default=None)


class DraftRepository:
    """Persistence of drafts in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def of(self, conversation_id: UUID) -> Sequence[Draft]:
        """Return all pieces of a conversation, ordered by run, attempt and number."""
        statement = (
            sqlmodel_select(Draft)
            .where(col(Draft.conversation_id) == conversation_id)
            .order_by(col(Draft.run), col(Draft.attempt), col(Draft.number))
        )
        return (await self._session.exec(statement)).all()

    async def conversations_with_left(self, after: UUID | None, limit: int) -> Sequence[Conversation]:
        """Return a batch of conversations, by id, with drafts of attempts that are over or were superseded."""
        active_run, attempt = col(Conversation.active_run), col(Conversation.run_attempts)
        is_left = or_(active_run.is_(None), col(Draft.run) != active_run, col(Draft.attempt) != attempt)
        statement = sqlmodel_select(Conversation).where(
            exists().where(col(Draft.conversation_id) == col(Conversation.id), is_left)
        )
        if after is not None:
            statement = statement.where(col(Conversation.id) > after)
        return (await self._session.exec(statement.order_by(col(Conversation.id)).limit(limit))).all()

    async def discard(self, conversation_id: UUID, run: int, attempt: int) -> None:
        """Delete all pieces of one attempt at a run."""
        statement = delete(Draft).where(col(Draft.conversation_id) == conversation_id)
        await self._session.exec(statement.where(col(Draft.run) == run, col(Draft.attempt) == attempt))


class Drafts:
    """Writes pieces of drafts outside any session, each with one compiled statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, conversation_id: UUID, run: int, attempt: int, number: int, text: str, used: Usage) -> None:
        """Insert a piece. Does nothing if another attempt has superseded this one (checked in the same statement)."""
        await self._database.direct.write(
            self._database.compiled("add draft", _add),
            {
                "of_id": conversation_id,
                "of_run": run,
                "of_attempt": attempt,
                "of_number": number,
                "piece": text,
                "model": used.llm_model,
                "prompt": used.prompt_tokens,
                "completion": used.completion_tokens,
                "cost": used.cost_usd,
            },
        )


def _add() -> ClauseElement:
    run, attempt = bindparam("of_run", type_=Integer()), bindparam("of_attempt", type_=Integer())
    conversation_id = bindparam("of_id", type_=Uuid())
    is_active = exists().where(
        col(Conversation.id) == conversation_id,
        col(Conversation.active_run) == run,
        col(Conversation.run_attempts) == attempt,
    )
    values = {
        "conversation_id": conversation_id,
        "run": run,
        "attempt": attempt,
        "number": bindparam("of_number", type_=Integer()),
        "text": bindparam("piece", type_=String()),
        "llm_model": bindparam("model", type_=String()),
        "prompt_tokens": bindparam("prompt", type_=TOKENS),
        "completion_tokens": bindparam("completion", type_=TOKENS),
        "cost_usd": bindparam("cost", type_=Float()),
    }
    table = SQLModel.metadata.tables["draft"]
    return insert(table).from_select(list(values), select(*values.values()).where(is_active))
