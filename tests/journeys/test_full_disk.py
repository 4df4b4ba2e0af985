"""A disk that has no room for the database: what is refused says so, nothing is lost, and it works again."""

import asyncio
import resource
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import text as sql
from sqlalchemy.engine import make_url

from app.errors import StorageFull
from app.models.database.database import Database, is_outage
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.processes import ForkedServer
from tests.support.scripted_llm import Gate, ScriptedLLM, hold, text
from tests.support.server import running_server

JSON = dict[str, Any]
REFUSED = {
    "code": "STORAGE_FULL",
    "message": "The server's disk is full, or can't be written. Nothing was changed; try again later.",
}
# What PostgreSQL says when it can't extend a file.
FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'could not extend file "base/5/16384": No space left on device' USING ERRCODE = 'disk_full';
END $$;
CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE OR DELETE ON conversation EXECUTE FUNCTION full_disk();
CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE OR DELETE ON settings EXECUTE FUNCTION full_disk();
"""
EMPTIED = "DROP FUNCTION full_disk CASCADE"


def mutations(conversation_id: str) -> list[tuple[str, JSON]]:
    """Every kind of change to a conversation and to settings."""
    message = {"text": "Is there room?"}
    return [
        (documents.CREATE, {"title": "No room", "initialMessage": message}),
        (documents.SEND, {"conversationId": conversation_id, "message": message}),
        (documents.RENAME, {"id": conversation_id, "title": "No room"}),
        (documents.STOP, {"id": conversation_id}),
        (documents.DELETE, {"id": conversation_id}),
        (documents.UPDATE_SETTINGS, {"maxIterations": 7}),
    ]


def shown(body: JSON) -> list[JSON]:
    """The errors of an answer, as far as clients go by them."""
    return [{"code": error["extensions"]["code"], "message": error["message"]} for error in body["errors"]]


def allow_files(server: ForkedServer, size: int) -> None:
    """Let the process write files up to that size: its database, its log and everything else."""
    _, most = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, most))


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncGenerator[ForkedServer]:
    """A process with SQLite."""
    server = ForkedServer(tmp_path)
    try:
        await server.start()
        yield server
    finally:
        await server.close()


async def read(server: ForkedServer, conversation_id: str) -> list[JSON]:
    """The conversation's log."""
    data = await server.execute(documents.EVENTS, id=conversation_id, first=100)
    nodes: list[JSON] = data["conversation"]["events"]["nodes"]
    return nodes


async def until_log_has(server: ForkedServer, conversation_id: str, length: int) -> list[JSON]:
    """The log, once it is that long."""
    async with asyncio.timeout(WAIT_SECONDS):
        while len(log := await read(server, conversation_id)) < length:  # noqa: ASYNC110  As clients poll.
            await asyncio.sleep(0.05)
    return log


async def test_on_a_full_disk_each_mutation_says_so_and_afterwards_all_goes_on(
    embedded: ForkedServer, llm: ScriptedLLM
) -> None:
    given = {"llmModel": "openai/scripted", "llmBaseUrl": llm.url, "llmApiKey": "sk-full-disk-0123456789"}
    await embedded.execute(documents.UPDATE_SETTINGS, input=given)
    gate = Gate()
    llm.script(text("First"), hold(gate, after=["Worth ", "keeping"]))
    created = await embedded.execute(documents.CREATE, input={"title": "T", "initialMessage": {"text": "Hello"}})
    conversation_id: str = created["createConversation"]["conversation"]["id"]
    await until_log_has(embedded, conversation_id, 4)
    await embedded.execute(documents.SEND, input={"conversationId": conversation_id, "message": {"text": "And then?"}})
    await gate.reached()
    before = await read(embedded, conversation_id)
    allow_files(embedded, 0)
    gate.release()
    async with httpx.AsyncClient(timeout=20) as client:
        for query, variables in mutations(conversation_id):
            asked = {"query": query, "variables": {"input": variables}}
            answer = (await client.post(f"{embedded.url}/graphql", json=asked)).json()
            assert shown(answer) == [REFUSED], query
        assert (await client.get(f"{embedded.url}/health/live")).status_code == 200
    assert await read(embedded, conversation_id) == before
    allow_files(embedded, resource.RLIM_INFINITY)
    log = await until_log_has(embedded, conversation_id, len(before) + 2)
    assert [event["sequence"] for event in log] == list(range(1, len(log) + 1))
    said = [event["text"] for event in log if event["__typename"] == "MessageEvent"]
    assert said == ["Hello", "First", "And then?", "Worth keeping"]
    # The answer was in the server's hands, and was not asked for again.
    assert len(llm.requests) == 2
    found = (await embedded.execute(documents.SEARCH, first=10))["conversations"]
    assert [node["title"] for node in found["nodes"]] == ["T"]
    after = await embedded.execute(documents.CREATE, input={"title": "Room", "initialMessage": {"text": "Again"}})
    await until_log_has(embedded, after["createConversation"]["conversation"]["id"], 4)


async def test_a_full_disk_of_postgresql_is_told_likewise(tmp_path: Path, postgres_url: str, llm: ScriptedLLM) -> None:
    with running_server(tmp_path, database_url=postgres_url) as server:
        async with Client(server) as client:
            await steps.save_settings(client, llm)
            conversation = await steps.create(client, "Hello")
            await steps.until_waiting(client, conversation["id"])
            before = await steps.get(client, conversation["id"])
            log = await steps.events(client, conversation["id"])
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                connection.execute(FULL)
            for query, variables in mutations(conversation["id"]):
                answer = await client.post(query, {"input": variables})
                assert shown(answer.body) == [REFUSED], query
            assert await steps.get(client, conversation["id"]) == before
            assert await steps.events(client, conversation["id"]) == log
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                connection.execute(EMPTIED)
            await steps.send(client, conversation["id"], "And now?")
            await steps.until_waiting(client, conversation["id"])
            assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "answer to And now?")


async def insert(database: Database, value: str) -> None:
    """Write one row."""
    async with database.write() as session:
        connection = await session.connection()
        await connection.execute(sql(f"INSERT INTO note VALUES ({value})"))  # noqa: S608  The tests' own.


async def test_a_database_without_room_raises_what_it_is_and_can_be_used_afterwards(tmp_path: Path) -> None:
    database = Database(make_url(f"sqlite+aiosqlite:///{tmp_path / 'small.db'}"))
    try:
        async with database.write() as session:
            connection = await session.connection()
            await connection.execute(sql("CREATE TABLE note (text TEXT)"))
        await insert(database, "'kept'")
        async with database.writer.connect() as connection:
            await connection.execute(sql("PRAGMA max_page_count = 3"))
        for _ in range(2):
            with pytest.raises(StorageFull) as caught:
                await insert(database, "hex(randomblob(100000))")
            # So that a run waits for room, rather than fail.
            assert is_outage(caught.value)
        async with database.writer.connect() as connection:
            await connection.execute(sql("PRAGMA max_page_count = 1000000"))
        await insert(database, "'new'")
        async with database.reader.connect() as connection:
            rows = (await connection.execute(sql("SELECT text FROM note"))).scalars().all()
        assert rows == ["kept", "new"]
    finally:
        await database.close()


async def test_a_database_that_can_not_be_written_is_told_likewise(tmp_path: Path) -> None:
    database = Database(make_url(f"sqlite+aiosqlite:///{tmp_path / 'read-only.db'}"))
    try:
        async with database.write() as session:
            connection = await session.connection()
            await connection.execute(sql("CREATE TABLE note (text TEXT)"))
        # SQLite answers as on a file system that became read-only.
        async with database.writer.connect() as connection:
            await connection.execute(sql("PRAGMA query_only = ON"))
        with pytest.raises(StorageFull) as caught:
            await insert(database, "'lost'")
        assert is_outage(caught.value)
        # A new connection may write.
        await database.writer.dispose()
        await insert(database, "'kept'")
        async with database.reader.connect() as connection:
            rows = (await connection.execute(sql("SELECT text FROM note"))).scalars().all()
        assert rows == ["kept"]
    finally:
        await database.close()
