"""A peer of ``fan_out`` as in Strawberry's documentation: its view, its handler, and a resolver that reads no rows.

For each line of standard input it sends a change to all subscribers.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum

import strawberry
import uvicorn
from strawberry.asgi import GraphQL


@strawberry.enum
class ConversationStatus(StrEnum):
    """The same as Parley's type."""

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"


@strawberry.type
class Problem:
    """The same as Parley's type."""

    code: str
    message: str


@strawberry.type
class Conversation:
    """The same as Parley's type."""

    id: strawberry.ID
    title: str
    status: ConversationStatus
    agent_state: str | None
    status_reason: Problem | None
    updated_at: datetime


@strawberry.type
class ConversationStatusChange:
    """The same as Parley's type."""

    conversation: Conversation
    previous_status: ConversationStatus | None
    occurred_at: datetime


CONVERSATION = Conversation(
    id=strawberry.ID("0b0f7d0e-6a8c-4a53-8f4e-0d5a3e0e9b11"),
    title="Bench",
    status=ConversationStatus.STOPPED,
    agent_state=None,
    status_reason=None,
    updated_at=datetime.now(UTC),
)
queues: set[asyncio.Queue[ConversationStatusChange]] = set()


def change() -> ConversationStatusChange:
    now = datetime.now(UTC)
    return ConversationStatusChange(
        conversation=replace(CONVERSATION, updated_at=now), previous_status=ConversationStatus.RUNNING, occurred_at=now
    )


@strawberry.type
class Query:
    """A placeholder, since GraphQL requires a query type."""

    ok: bool = True


@strawberry.type
class Subscription:
    """The same as Parley's type."""

    @strawberry.subscription
    async def conversation_status_changed(
        self, conversation_ids: list[strawberry.ID] | None = None
    ) -> AsyncGenerator[ConversationStatusChange]:
        queue: asyncio.Queue[ConversationStatusChange] = asyncio.Queue()
        queues.add(queue)
        try:
            yield change()
            while True:
                yield await queue.get()
        finally:
            queues.discard(queue)


async def main() -> None:
    """Print the port, and serve until standard input is closed."""
    schema = strawberry.Schema(Query, subscription=Subscription)
    server = uvicorn.Server(uvicorn.Config(GraphQL(schema), port=0, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  uvicorn has no event to wait for.
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        now = change()
        for queue in queues:
            queue.put_nowait(now)
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
    runner.run(main())
