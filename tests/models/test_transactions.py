"""What belongs together is written together, and what does not is not waited for."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from sqlmodel import col, func, select

from app.config import load_config
from app.models.database.database import Database, database_url
from app.models.migration import upgrade
from app.models.owner import Owner, OwnerRepository
from tests.support.client import Client
from tests.support.scripted_llm import Call, Gate, ScriptedLLM, hold, tools
from tests.support.server import running_server
from tests.support.steps import create, events, save_settings, until_waiting

NOW = datetime(2026, 1, 1, tzinfo=UTC)
# The pool has as many connections: each is used for reads and for writes.
TIMES = 25


async def test_a_write_that_fails_leaves_nothing_on_a_connection_that_has_been_read_with(
    fresh_database_url: str,
) -> None:
    database = Database(database_url(load_config(env_file=None, database_url=fresh_database_url)))
    try:
        await upgrade(database)
        for number in range(TIMES):
            async with database.read() as session:
                assert (await session.exec(select(func.count()).select_from(Owner))).one() == number
            with pytest.raises(LookupError, match="in the middle"):
                await write_and_fail(database, f"failed {number}")
            async with database.write() as session:
                await OwnerRepository(session).ensure(f"kept {number}", NOW)
        async with database.read() as session:
            kept = (await session.exec(select(Owner.id).order_by(col(Owner.id)))).all()
        assert kept == sorted(f"kept {number}" for number in range(TIMES))
    finally:
        await database.close()


async def write_and_fail(database: Database, owner_id: str) -> None:
    """Write two rows, of which none may be kept."""
    async with database.write() as session:
        await OwnerRepository(session).ensure(owner_id, NOW)
        await OwnerRepository(session).ensure(f"{owner_id} as well", NOW)
        raise LookupError("in the middle")


async def test_others_do_not_see_what_is_being_written_until_it_is_committed(fresh_database_url: str) -> None:
    database = Database(database_url(load_config(env_file=None, database_url=fresh_database_url)))
    try:
        await upgrade(database)
        async with database.write() as writing:
            await OwnerRepository(writing).ensure("new", NOW)
            async with database.read() as reading:
                assert (await reading.exec(select(Owner.id))).all() == []
        async with database.read() as reading:
            assert (await reading.exec(select(Owner.id))).all() == ["new"]
    finally:
        await database.close()


async def test_calls_of_tools_go_on_while_the_owners_statuses_are_locked(
    tmp_path: Path, postgres_url: str, llm: ScriptedLLM
) -> None:
    before, after = Gate(), Gate()
    call = Call("write_file", '{"path": "a.txt", "content": "a"}')
    llm.script(
        replace(tools(call), gate=before),
        tools(Call("read_file", '{"path": "a.txt"}', "call_2")),
        hold(after, after=("done",)),
    )
    with running_server(tmp_path, database_url=postgres_url) as server:
        async with Client(server) as client:
            await save_settings(client, llm)
            conversation = await create(client, "Write a file.")
            await before.reached()
            with psycopg.connect(postgres_url) as lock:
                lock.execute("SELECT id FROM owner FOR UPDATE")
                before.release()
                await after.reached()
                kinds = [event["__typename"] for event in await events(client, conversation["id"])]
                assert kinds[-4:] == ["ToolCallEvent", "ToolResultEvent", "ToolCallEvent", "ToolResultEvent"]
            after.release()
            await until_waiting(client, conversation["id"])
