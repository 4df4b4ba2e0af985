"""Trajectories are stored and read event by event, with every value as it was, on both databases."""

import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.config import load_config
from app.models import migration
from app.models.conversation import Conversation
from app.models.database.database import Database, database_url
from app.models.owner import Owner
from app.models.replay import ReplayRepository, encode_events

JSON = dict[str, Any]
MOMENT = datetime(2026, 11, 29, 6, 0, tzinfo=UTC)
EVENTS: list[JSON] = [
    {"type": "MessageEvent", "text": '], [ , " \\ é 🎈 \u2028', "imageUrls": []},
    {},
    {"arguments": {"a": [1, [2, {"b": None}], 2**70, -1.5e300, True]}, "]": "["},
    {"text": "x" * 1_000_000},
]


@pytest.fixture
async def database(fresh_database_url: str) -> AsyncGenerator[Database]:
    opened = Database(database_url(load_config(env_file=None, database_url=fresh_database_url)))
    yield opened
    await opened.close()


async def stored(database: Database, written: str) -> list[JSON]:
    """What is read of such a column."""
    conversation = Conversation(
        id=uuid4(),
        owner_id="ada",
        title="Title",
        title_folded="title",
        title_is_auto_generated=False,
        status="STOPPED",
        trigger="API",
        created_at=MOMENT,
        updated_at=MOMENT,
    )
    await migration.upgrade(database)
    async with database.write() as session:
        session.add(Owner(id="ada", created_at=MOMENT))
        await session.flush()
        session.add(conversation)
        await session.flush()
        ReplayRepository(session).add(conversation.id, written)
    async with database.read() as session:
        repository = ReplayRepository(session)
        assert await repository.position(conversation.id) == 0
        assert await repository.events(uuid4()) == []
        return await repository.events(conversation.id)


async def test_events_are_read_as_they_were_written(database: Database) -> None:
    assert await stored(database, encode_events(EVENTS)) == EVENTS


async def test_no_events_are_read_as_none(database: Database) -> None:
    assert await stored(database, encode_events([])) == []


async def test_what_earlier_releases_wrote_is_read(database: Database) -> None:
    assert await stored(database, json.dumps(EVENTS)) == EVENTS


async def test_the_database_sees_a_list_in_json(database: Database) -> None:
    await stored(database, encode_events(EVENTS))
    async with database.reader.connect() as connection:
        assert (await connection.execute(text("SELECT json_array_length(events) FROM replay"))).scalar_one() == len(
            EVENTS
        )
