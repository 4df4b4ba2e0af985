"""Transactions of statements that are compiled once, on SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, delete, func, select

from app.config import load_config
from app.errors import ErrorCode
from app.models.conversation import AgentState, Conversation, ConversationStatus, Problem
from app.models.database.database import Database, database_url
from app.models.database.unit_of_work import Writes
from app.models.event import Event, EventRepository, EventSource, EventUsage, MessageBody, NewEvent, new_row
from app.models.migration import upgrade
from app.models.owner import Owner, OwnerRepository
from app.models.replay import Replay, ReplayProgress, ReplayRepository, encode_events
from app.models.run_writes import RunWrites
from app.models.status_change import StatusChange
from app.models.tool_call import ToolCall
from app.services.event import append
from app.services.lifecycle import moves
from tests.support.patience import WAIT_SECONDS

OWNER = "owner"
NOW = datetime(2026, 1, 1, 12, 30, 15, 250, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)
SAID = NewEvent(EventSource.AGENT, MessageBody("Ä \U0001f600"), EventUsage("m", 3, 4, 0.25))


@pytest.fixture
async def database(fresh_database_url: str) -> AsyncGenerator[Database]:
    found = Database(database_url(load_config(env_file=None, database_url=fresh_database_url)))
    await upgrade(found)
    async with found.write() as session:
        await OwnerRepository(session).ensure(OWNER, NOW)
    yield found
    await found.close()


def new_conversation() -> Conversation:
    return Conversation(
        owner_id=OWNER, title="T", title_folded="t", trigger="GUI", status="STOPPED", created_at=NOW, updated_at=NOW
    )


async def created(database: Database) -> UUID:
    conversation = new_conversation()
    async with database.unit_of_work() as unit:
        await moves.create(unit, conversation, NOW, message=MessageBody("Hello"))
    return conversation.id


async def rows_of(database: Database, conversation_id: UUID) -> dict[str, Any]:
    """All that is stored of a conversation, as the ORM reads it, without its ids."""
    async with database.read() as session:
        conversation = await session.get_one(Conversation, conversation_id)
        events = (await session.exec(select(Event).order_by(col(Event.sequence)))).all()
        changes = (await session.exec(select(StatusChange).order_by(col(StatusChange.sequence)))).all()
        owner = await session.get_one(Owner, OWNER)
    of = {"id", "conversation_id"}
    return {
        "conversation": conversation.model_dump(exclude=of),
        "events": [event.model_dump(exclude=of) for event in events if event.conversation_id == conversation_id],
        "changes": [change.model_dump(exclude=of) for change in changes if change.conversation_id == conversation_id],
        "owner": owner.status_sequence,
    }


async def life(session: Writes, conversation: Conversation) -> None:
    """Make every move that a run makes."""
    moves.begin_attempt(conversation)
    await moves.work(session, conversation, LATER, AgentState.RUNNING)
    append(session, conversation, 1, [SAID, SAID], LATER)
    conversation.cost_usd += 0.5
    await moves.end_run(session, conversation, LATER, 1, Problem(ErrorCode.LIMIT_REACHED, "Enough"))
    await moves.receive(session, conversation, LATER, MessageBody("Go on", ("https://example.org/a.png",)))
    await moves.fail(session, conversation, LATER, Problem(ErrorCode.LIMIT_REACHED, "No"))


async def test_a_unit_of_work_writes_what_the_orm_would_write(database: Database) -> None:
    direct = await created(database)
    async with database.unit_of_work() as unit:
        conversation = await moves.lock_for_run(unit, direct)
        assert conversation is not None
        await life(unit, conversation)
    written = await rows_of(database, direct)
    async with database.write() as session:
        await session.delete(await session.get_one(Conversation, direct))
        await session.exec(delete(StatusChange))
        owner = await session.get_one(Owner, OWNER)
        owner.status_sequence = 0
    by_orm = new_conversation()
    async with database.write() as session:
        await moves.create(session, by_orm, NOW, message=MessageBody("Hello"))
    async with database.write() as session:
        found = await moves.lock_for_run(session, by_orm.id)
        assert found is not None
        await life(session, found)
    wanted = await rows_of(database, by_orm.id)
    assert written == wanted
    assert [event["sequence"] for event in written["events"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (written["conversation"]["status"], written["owner"]) == (ConversationStatus.ERROR, 5)


async def test_what_is_read_under_the_lock_is_what_the_orm_reads(database: Database) -> None:
    conversation_id = await created(database)
    async with database.unit_of_work() as unit:
        found = await RunWrites(unit).lock(conversation_id, with_owner=False)
        assert await RunWrites(unit).lock(uuid4(), with_owner=True) is None
    async with database.read() as session:
        wanted = await session.get_one(Conversation, conversation_id)
    assert found is not None
    assert found.model_dump() == wanted.model_dump()
    # asyncpg's own class of UUIDs is equal, and slower.
    assert kinds(found) == kinds(wanted)


def kinds(row: Conversation) -> dict[str, str]:
    return {name: value.__class__.__name__ for name, value in row.model_dump(exclude={"id"}).items()}


async def test_a_block_that_raises_writes_nothing_and_gives_its_connection_back(database: Database) -> None:
    conversation_id = await created(database)
    before = await rows_of(database, conversation_id)
    # More often than there are connections.
    for _ in range(25):
        with pytest.raises(LookupError):
            await write_and_fail(database, conversation_id)
    assert await rows_of(database, conversation_id) == before
    async with database.write() as session:
        assert await moves.lock_for_run(session, conversation_id) is not None


async def write_and_fail(database: Database, conversation_id: UUID) -> None:
    async with database.unit_of_work() as unit:
        conversation = await moves.lock_for_run(unit, conversation_id)
        assert conversation is not None
        await life(unit, conversation)
        await unit.flush()
        await RunWrites(unit).count_live(OWNER)
        raise LookupError


async def test_a_statement_that_fails_takes_the_whole_transaction_with_it(database: Database) -> None:
    conversation_id = await created(database)
    before = await rows_of(database, conversation_id)
    with pytest.raises(DBAPIError) as caught:
        await write_twice(database, conversation_id)
    assert "\U0001f600" not in str(caught.value)
    assert await rows_of(database, conversation_id) == before
    await created(database)


async def write_twice(database: Database, conversation_id: UUID) -> None:
    async with database.unit_of_work() as unit:
        conversation = await moves.lock_for_run(unit, conversation_id)
        assert conversation is not None
        append(unit, conversation, 1, [SAID], NOW)
        # There is one already.
        unit.add(new_row(conversation_id, 1, 1, SAID, NOW))


async def test_one_that_is_cancelled_while_it_waits_leaves_nothing_behind(database: Database) -> None:
    conversation_id = await created(database)
    before = await rows_of(database, conversation_id)
    for pauses in range(12):
        task = asyncio.create_task(write_and_fail(database, conversation_id))
        for _ in range(pauses):
            await asyncio.sleep(0.0005)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, LookupError)):
            await task
    assert await rows_of(database, conversation_id) == before
    async with asyncio.timeout(WAIT_SECONDS), database.unit_of_work() as unit:
        assert await moves.lock_for_run(unit, conversation_id) is not None


@pytest.mark.parametrize("is_direct", [True, False])
async def test_events_that_are_appended_at_once_are_numbered_without_a_gap(
    database: Database, *, is_direct: bool
) -> None:
    """Both kinds of transactions wait for each other."""
    conversation_id = await created(database)

    async def step(opened: Callable[[], Any]) -> None:
        async with opened() as session:
            conversation = await moves.lock_for_run(session, conversation_id)
            assert conversation is not None
            append(session, conversation, 1, [SAID], NOW)
            await moves.work(session, conversation, NOW, AgentState.LOADING)
            await moves.work(session, conversation, NOW, AgentState.RUNNING)

    other = database.unit_of_work if is_direct else database.write
    await asyncio.gather(*(step(opened) for _ in range(10) for opened in (database.unit_of_work, other)))
    async with database.read() as session:
        conversation = await session.get_one(Conversation, conversation_id)
        sequences = [event.sequence for event in await EventRepository(session).after(conversation_id, 0, 1000)]
        told = (await session.exec(select(StatusChange.sequence).order_by(col(StatusChange.sequence)))).all()
        owner = await session.get_one(Owner, OWNER)
    assert conversation.last_sequence == len(sequences)
    assert sequences == list(range(1, len(sequences) + 1))
    assert told == list(range(1, len(told) + 1))
    assert (owner.status_sequence, len(told)) == (conversation.status_sequence, 41)


async def test_conversations_of_one_owner_that_change_at_once_never_wait_for_each_other_in_a_circle(
    database: Database,
) -> None:
    ids = [await created(database) for _ in range(4)]

    async def step(conversation_id: UUID, state: AgentState) -> None:
        async with database.unit_of_work() as unit:
            conversation = await moves.lock_for_run(unit, conversation_id)
            assert conversation is not None
            await moves.work(unit, conversation, NOW, state)

    async with asyncio.timeout(WAIT_SECONDS):
        await asyncio.gather(*(step(each, state) for state in (AgentState.LOADING, AgentState.RUNNING) for each in ids))
    async with database.read() as session:
        assert (await session.get_one(Owner, OWNER)).status_sequence == 12


async def test_a_call_begins_whatever_is_known_of_it(database: Database) -> None:
    conversation_id = await created(database)
    async with database.write() as session:
        session.add(new_row(conversation_id, 1, 2, SAID, NOW))
        await session.flush()
        session.add(ToolCall(conversation_id=conversation_id, sequence=2, approved=True, reason="R", decided_at=NOW))
    async with database.unit_of_work() as unit:
        RunWrites(unit).begin_call(conversation_id, 1, LATER)
        RunWrites(unit).begin_call(conversation_id, 2, LATER)
    async with database.read() as session:
        calls = (await session.exec(select(ToolCall).order_by(col(ToolCall.sequence)))).all()
    assert [(call.sequence, call.approved, call.reason, call.decided_at, call.begun_at) for call in calls] == [
        (1, None, None, None, LATER),
        (2, True, "R", NOW, LATER),
    ]


async def test_a_replay_is_discarded_with_the_run_that_fails(database: Database) -> None:
    conversation_id = await created(database)
    async with database.write() as session:
        ReplayRepository(session).add(conversation_id, encode_events([{"a": 1}]))
    async with database.unit_of_work() as unit:
        conversation = await moves.lock_for_run(unit, conversation_id)
        assert conversation is not None
        await moves.fail(unit, conversation, NOW, Problem(ErrorCode.LIMIT_REACHED, "No"))
    async with database.read() as session:
        for table in (Replay, ReplayProgress):
            assert (await session.exec(select(func.count()).select_from(table))).one() == 0


async def test_what_is_there_already_is_known_again(database: Database) -> None:
    conversation_id = await created(database)
    async with database.unit_of_work() as unit:
        conversation = await moves.lock_for_run(unit, conversation_id)
        assert conversation is not None
        append(unit, conversation, 1, [SAID], NOW)
    async with database.unit_of_work() as unit:
        writes = RunWrites(unit)
        assert await writes.is_of(conversation_id, 2, 1, SAID, NOW)
        assert not await writes.is_of(conversation_id, 2, 1, SAID, LATER)
        assert not await writes.is_of(conversation_id, 2, 2, SAID, NOW)
        assert not await writes.is_of(conversation_id, 3, 1, SAID, NOW)
