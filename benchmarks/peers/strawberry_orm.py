"""Strawberry as its documentation shows it, on SQLModel's ORM.

``python -m benchmarks.peers.strawberry_orm FILE PORT [cached]``.
"""

import sys
from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry
import uvicorn
from sqlalchemy import tuple_
from sqlalchemy.event import listens_for
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.scalars import JSON

from app.models import conversation as models
from app.models import git_repository, owner  # noqa: F401  Conversations refer to their tables.
from app.models.conversation import AgentState, ConversationStatus, ConversationTrigger
from app.models.event import Event as EventRow
from app.models.event import EventSource
from app.models.search.order import ConversationOrder
from app.schema.connection import conversation_cursor, event_cursor, parse_conversation_cursor, parse_event_cursor

OWNER = "bench"
DATABASE, PORT = sys.argv[1], int(sys.argv[2])
LAST = 50
engine = create_async_engine(f"sqlite+aiosqlite:///{DATABASE}")
strawberry.enum(ConversationStatus)
strawberry.enum(AgentState)
strawberry.enum(ConversationTrigger)
strawberry.enum(EventSource)


@listens_for(engine.sync_engine, "connect")
def prepare(connection: Any, _entry: Any) -> None:
    # The same setting as Parley's: commits do not wait for the disk.
    connection.execute("PRAGMA synchronous = NORMAL")


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.interface
class Event:
    id: strawberry.ID
    sequence: int
    created_at: datetime
    source: EventSource


@strawberry.type
class MessageEvent(Event):
    text: str
    image_urls: list[str]


@strawberry.type
class ToolCallEvent(Event):
    tool_name: str
    arguments: JSON
    thought: str | None


@strawberry.type
class ToolResultEvent(Event):
    output: str
    truncated: bool
    is_error: bool


@strawberry.type
class Problem:
    code: str
    message: str


@strawberry.type
class StateChangeEvent(Event):
    agent_state: AgentState
    problem: Problem | None


@strawberry.type
class EventEdge:
    cursor: str
    node: Event


@strawberry.type
class EventConnection:
    edges: list[EventEdge]
    page_info: PageInfo


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

    @strawberry.field
    async def events(self, last: int = LAST, before: str = "") -> EventConnection:
        statement = (
            select(EventRow)
            .where(EventRow.conversation_id == UUID(self.id))
            .where(EventRow.sequence < parse_event_cursor(before))
            .order_by(col(EventRow.sequence).desc())
            .limit(last + 1)
        )
        async with AsyncSession(engine) as session:
            rows = list(await session.exec(statement))
        edges = [EventEdge(cursor=event_cursor(row.sequence), node=convert_event(row)) for row in reversed(rows[:last])]
        info = PageInfo(
            has_next_page=True,
            has_previous_page=len(rows) > last,
            start_cursor=edges[0].cursor,
            end_cursor=edges[-1].cursor,
        )
        return EventConnection(edges=edges, page_info=info)


@strawberry.type
class Edge:
    cursor: str
    node: Conversation


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


def convert_event(row: EventRow) -> Event:
    body = row.body
    head = {
        "id": strawberry.ID(f"{row.conversation_id}:{row.sequence}"),
        "sequence": row.sequence,
        "created_at": row.created_at,
        "source": EventSource(row.source),
    }
    match row.kind:
        case "MessageEvent":
            return MessageEvent(**head, text=body["text"], image_urls=body["image_urls"])
        case "ToolCallEvent":
            thought = body["thought"]
            return ToolCallEvent(**head, tool_name=body["tool_name"], arguments=body["arguments"], thought=thought)
        case "ToolResultEvent":
            flags = {"truncated": body["truncated"], "is_error": body["is_error"]}
            return ToolResultEvent(**head, output=body["output"], **flags)
        case _:
            problem = Problem(**body["problem"]) if body["problem"] else None
            return StateChangeEvent(**head, agent_state=AgentState(body["agent_state"]), problem=problem)


@strawberry.type
class Query:
    @strawberry.field
    async def conversations(self, first: int = 20, after: str = "") -> Connection:
        position = parse_conversation_cursor(after, ConversationOrder())
        statement = (
            select(models.Conversation)
            .where(models.Conversation.owner_id == OWNER, col(models.Conversation.is_archived).is_(False))
            .where(
                tuple_(col(models.Conversation.created_at), col(models.Conversation.id)) < (position.key, position.id)
            )
            .order_by(col(models.Conversation.created_at).desc(), col(models.Conversation.id).desc())
            .limit(first + 1)
        )
        async with AsyncSession(engine) as session:
            rows = list(await session.exec(statement))
        edges = [Edge(cursor=conversation_cursor(row, ConversationOrder()), node=convert(row)) for row in rows[:first]]
        info = PageInfo(
            has_next_page=len(rows) > first,
            has_previous_page=True,
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
events = [MessageEvent, ToolCallEvent, ToolResultEvent, StateChangeEvent]
app = GraphQL[Any, Any](strawberry.Schema(Query, Mutation, types=events, extensions=extensions))


async def served(scope: Any, receive: Any, send: Any) -> None:
    await app(scope, receive, send)


if __name__ == "__main__":
    uvicorn.run(served, host="127.0.0.1", port=PORT, log_config=None, access_log=False, lifespan="off")
