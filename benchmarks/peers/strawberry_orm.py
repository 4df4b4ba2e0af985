"""Strawberry as its documentation shows it, on SQLModel's ORM.

``python -m benchmarks.peers.strawberry_orm FILE PORT [cached]``.
"""

import sys
from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry
import uvicorn
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, ValidationCache

from app.models import conversation as models
from app.models import git_repository  # noqa: F401  Conversations refer to its table.
from app.models.conversation import AgentState, ConversationStatus, ConversationTrigger
from app.models.conversation_search import ConversationOrder
from app.schema.connection import conversation_cursor

OWNER = "bench"
DATABASE, PORT = sys.argv[1], int(sys.argv[2])
engine = create_async_engine(f"sqlite+aiosqlite:///{DATABASE}")
strawberry.enum(ConversationStatus)
strawberry.enum(AgentState)
strawberry.enum(ConversationTrigger)


@strawberry.type
class Conversation:
    id: strawberry.ID
    title: str
    title_is_auto_generated: bool
    status: ConversationStatus
    agent_state: AgentState | None
    trigger: ConversationTrigger
    branch_name: str | None
    llm_model: str | None
    created_at: datetime
    updated_at: datetime


@strawberry.type
class Edge:
    cursor: str
    node: Conversation


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class Connection:
    edges: list[Edge]
    page_info: PageInfo


@strawberry.type
class UserError:
    message: str


@strawberry.type
class Payload:
    conversation: Conversation | None
    user_errors: list[UserError]


@strawberry.input
class RenameInput:
    id: strawberry.ID
    title: str


def convert(row: models.Conversation) -> Conversation:
    status = ConversationStatus(row.status)
    return Conversation(
        id=strawberry.ID(str(row.id)),
        title=row.title,
        title_is_auto_generated=row.title_is_auto_generated,
        status=status,
        agent_state=AgentState(row.agent_state) if row.agent_state and status is ConversationStatus.RUNNING else None,
        trigger=ConversationTrigger(row.trigger),
        branch_name=row.branch_name,
        llm_model=row.llm_model,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


@strawberry.type
class Query:
    @strawberry.field
    async def conversations(self, first: int = 20) -> Connection:
        statement = (
            select(models.Conversation)
            .where(models.Conversation.owner_id == OWNER)
            .order_by(col(models.Conversation.created_at).desc(), col(models.Conversation.id).desc())
            .limit(first + 1)
        )
        async with AsyncSession(engine) as session:
            rows = list(await session.exec(statement))
        edges = [Edge(cursor=conversation_cursor(row, ConversationOrder()), node=convert(row)) for row in rows[:first]]
        info = PageInfo(
            has_next_page=len(rows) > first,
            has_previous_page=False,
            start_cursor=edges[0].cursor,
            end_cursor=edges[-1].cursor,
        )
        return Connection(edges=edges, page_info=info)

    @strawberry.field
    async def conversation(self, id: strawberry.ID) -> Conversation | None:  # noqa: A002  The contract's name.
        async with AsyncSession(engine) as session:
            row = await session.get(models.Conversation, UUID(id))
        return convert(row) if row is not None else None


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def rename_conversation(self, input: RenameInput) -> Payload:  # noqa: A002  The contract's name.
        async with AsyncSession(engine) as session:
            row = await session.get(models.Conversation, UUID(input.id))
            assert row is not None
            row.title, row.title_folded = input.title, input.title.casefold()
            row.title_is_auto_generated, row.title_revision = False, row.title_revision + 1
            row.updated_at = datetime.now(row.updated_at.tzinfo)
            await session.commit()
            await session.refresh(row)
        return Payload(conversation=convert(row), user_errors=[])


extensions: list[Any] = [ParserCache, ValidationCache] if sys.argv[3:] == ["cached"] else []
app = GraphQL[Any, Any](strawberry.Schema(Query, Mutation, extensions=extensions))


async def served(scope: Any, receive: Any, send: Any) -> None:
    await app(scope, receive, send)


if __name__ == "__main__":
    uvicorn.run(served, host="127.0.0.1", port=PORT, log_config=None, access_log=False, lifespan="off")
