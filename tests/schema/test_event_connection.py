"""Events that are read from their rows are shown alike by graphql-core and compiled."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import strawberry
from sqlalchemy.engine import make_url
from strawberry.schema.config import StrawberryConfig

from app.errors import ErrorCode
from app.execution.executor import compiled_executor
from app.models import migration
from app.models.conversation import AgentState, Conversation, Problem
from app.models.database.database import Database
from app.models.event import (
    Event,
    EventQuery,
    EventSource,
    MessageBody,
    StateChangeBody,
    ToolCallBody,
    ToolResultBody,
    encode_body,
    kind_of,
)
from app.models.owner import OwnerRepository
from app.models.rows.event import EventRows
from app.schema import event as schema
from app.schema.event_connection import RowEventConnection
from app.schema.scalar import SCALARS
from app.services.event import EventPage

OWNER = "ada"
KEY = UUID(int=7)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BODIES = [
    MessageBody("Straße 🎈", ("https://example.com/a.png",)),
    ToolCallBody("c1", "bash", {"command": "ls", "number": 10**30, "nested": [None, 1.5, {"a": True}]}, "First."),
    ToolCallBody("c2", "bash", {}),
    ToolResultBody(2, "out", truncated=True, is_error=True),
    StateChangeBody(AgentState.RUNNING),
    StateChangeBody(AgentState.ERROR, Problem(ErrorCode.LIMIT_REACHED, "Too much.")),
]
SELECTION = """
edges { cursor node { __typename ...F } } nodes { ...F }
pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
"""
FRAGMENT = """
fragment F on Event {
  id sequence createdAt source
  ... on MessageEvent { text imageUrls }
  ... on ToolCallEvent { toolName arguments thought }
  ... on ToolResultEvent { output truncated isError }
  ... on StateChangeEvent { agentState problem { code messageId message } }
}
"""


def rows() -> list[Event]:
    found = [
        Event(
            conversation_id=KEY,
            sequence=number,
            run=1,
            kind=kind_of(body).value,
            source=EventSource.AGENT.value,
            body=encode_body(body),
            created_at=NOW + timedelta(microseconds=number),
        )
        for number, body in enumerate(BODIES, 1)
    ]
    strange: list[tuple[str, str, dict[str, Any]]] = [
        ("NewKindOfEvent", "AGENT", {"text": "?"}),
        ("MessageEvent", "SOMEBODY", {"text": "from a newer release"}),
        ("MessageEvent", "USER", {"text": 5}),
        ("ToolCallEvent", "AGENT", json.loads('{"call_id": "\\ud800", "tool_name": "t", "arguments": {}}')),
    ]
    for kind, source, body in strange:
        number = len(found) + 1
        found.append(
            Event(conversation_id=KEY, sequence=number, run=1, kind=kind, source=source, body=body, created_at=NOW)
        )
    return found


async def test_rows_are_shown_alike_whoever_executes(database_url: str) -> None:
    url = make_url(database_url)
    kind = "sqlite+aiosqlite" if url.get_backend_name() == "sqlite" else "postgresql+asyncpg"
    database = Database(url.set(drivername=kind))
    await migration.upgrade(database)
    async with database.write() as session:
        await OwnerRepository(session).ensure(OWNER, NOW)
        session.add(
            Conversation(
                id=KEY,
                owner_id=OWNER,
                title="t",
                title_folded="t",
                status="RUNNING",
                trigger="GUI",
                created_at=NOW,
                updated_at=NOW,
            )
        )
        await session.flush()
        session.add_all(rows())
    query = EventQuery(KEY, 50, backward=True)
    [page] = await EventRows(database).pages(OWNER, [query])
    await database.close()
    assert len(page) == len(rows())

    @strawberry.type
    class Query:
        @strawberry.field
        def plain(self) -> schema.EventConnection:
            return schema.connection(EventPage(page, has_more=True), query)

        @strawberry.field
        def rows(self) -> schema.EventConnection:
            return RowEventConnection.of(EventPage(page, has_more=True), query)

    answers: list[Any] = []
    for executor in (None, compiled_executor(10**6)):
        built = strawberry.Schema(
            Query,
            types=schema.EVENT_TYPES,
            config=StrawberryConfig(scalar_map=SCALARS),
            execution_context_class=executor,
        )
        for name in ("plain", "rows"):
            for _ in range(3):
                result = built.execute_sync(f"{{ page: {name} {{ {SELECTION} }} }} {FRAGMENT}")
                assert result.errors is None
                answers.append(result.data)
    assert all(answer == answers[0] for answer in answers)
    shown = answers[0]["page"]["edges"]
    assert [edge["node"]["sequence"] for edge in shown] == list(range(1, len(rows()) + 1))
    assert [edge["node"].get("text") for edge in shown[6:9]] == [
        schema.UNREADABLE,
        "from a newer release",
        schema.UNREADABLE,
    ]
