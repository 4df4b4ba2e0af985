"""Many conversations, and long logs, written into a server's database at once."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import insert

from app.models.conversation import Conversation, fold
from app.models.event import Event, EventSource, MessageBody, NewEvent, new_row
from app.models.owner import OwnerRepository
from tests.support.client import Client

BATCH = 500


async def seed_conversations(client: Client, count: int, *, title: str = "Seeded {number}") -> None:
    """Give the caller this many stopped conversations, a minute apart, the last of them an hour old."""
    newest = datetime.now(UTC) - timedelta(hours=1)
    moments = [newest - timedelta(minutes=count - number) for number in range(1, count + 1)]
    await _insert(
        client,
        [_stopped(client, title.format(number=number), moment) for number, moment in enumerate(moments, start=1)],
    )


async def seed_log(client: Client, title: str, texts: Sequence[str]) -> None:
    """Give the caller a stopped conversation, whose log has these messages, the user's and the agent's in turn."""
    conversation = _stopped(client, title, datetime.now(UTC) - timedelta(minutes=1))
    conversation.last_sequence = len(texts)
    events = [
        new_row(conversation.id, 1, number, NewEvent(source, MessageBody(text)), conversation.created_at)
        for number, (source, text) in enumerate(zip(_turns(), texts, strict=False), start=1)
    ]
    await _insert(client, [conversation], events)


def _turns() -> Iterator[EventSource]:
    while True:
        yield EventSource.USER
        yield EventSource.AGENT


def _stopped(client: Client, title: str, moment: datetime) -> Conversation:
    key: UUID = uuid4()
    return Conversation(
        id=key,
        owner_id=client.name,
        title=title,
        title_folded=fold(title),
        status="STOPPED",
        trigger="GUI",
        created_at=moment,
        updated_at=moment,
    )


async def _insert(client: Client, conversations: Sequence[Conversation], events: Sequence[Event] = ()) -> None:
    parley = client.server.parley

    async def write() -> None:
        async with parley.database.write() as session:
            await OwnerRepository(session).ensure(client.name, datetime.now(UTC))
            connection = await session.connection()
            for table, rows in ((Conversation, conversations), (Event, events)):
                for begin in range(0, len(rows), BATCH):
                    await connection.execute(insert(table), [row.model_dump() for row in rows[begin : begin + BATCH]])

    await asyncio.to_thread(client.server.call, write())
