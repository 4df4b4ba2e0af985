"""Servers that are stopped in the middle of a run, and databases that go away in the middle of one."""

import asyncio
import contextlib
import importlib
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, event
from structlog.testing import capture_logs

from app.services.llm.base import LLM
from app.services.lock_file import LockFile
from tests.support import steps
from tests.support.client import Client
from tests.support.fake_llm import FakeLLM
from tests.support.patience import PROGRAM_SECONDS
from tests.support.postgres import PostgresServer
from tests.support.scripted_llm import Gate, ScriptedLLM, hold, text
from tests.support.server import RunningServer, running_server


async def states(client: Client, conversation_id: str) -> list[str]:
    """The agent's states, in the order of the log."""
    log = await steps.events(client, conversation_id)
    return [event["agentState"] for event in log if event["__typename"] == "StateChangeEvent"]


@asynccontextmanager
async def caller(
    data_dir: Path, database_url: str, *, name: str | None = None, llm: LLM | None = None
) -> AsyncGenerator[tuple[RunningServer, Client]]:
    """A server of its own, and somebody who calls it."""
    with running_server(data_dir, database_url=database_url, llm=llm) as server:
        async with Client(server, name) as client:
            yield server, client


@contextmanager
def outage(postgres: PostgresServer, url: str) -> Generator[None]:
    """The database answers nobody."""
    postgres.allow_connections(url, allowed=False)
    try:
        assert postgres.end_connections(url) > 0
        yield
    finally:
        postgres.allow_connections(url, allowed=True)


async def test_a_shutdown_is_quiet_and_the_run_goes_on_at_the_next_start(
    tmp_path: Path, database_url: str, llm: ScriptedLLM, caplog: pytest.LogCaptureFixture
) -> None:
    # DBOS does not pass its records on.
    logging.getLogger("dbos").addHandler(caplog.handler)
    llm.script(hold(Gate(), "Half of "))
    async with caller(tmp_path, database_url, name="ada") as (_, client):
        await steps.save_settings(client, llm)
        conversation = await steps.create(client)
        await steps.send_and_read(client, conversation["id"], "Hello")
        await steps.send(client, conversation["id"], "And then?")
        before = asyncio.all_tasks()
    assert asyncio.all_tasks() <= before
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    logging.getLogger("dbos").removeHandler(caplog.handler)
    async with caller(tmp_path, database_url, name="ada") as (_, client):
        await steps.until_waiting(client, conversation["id"])
        assert await steps.said(client, conversation["id"]) == [
            ("USER", "Hello"),
            ("USER", "And then?"),
            # What was read stays, marked as a part; the run asks again.
            ("AGENT", "Half of "),
            ("AGENT", "answer to Hello"),
            ("AGENT", "answer to And then?"),
        ]


async def test_usage_survives_a_restart(tmp_path: Path, database_url: str, llm: ScriptedLLM) -> None:
    async with caller(tmp_path, database_url, name="grace") as (_, client):
        await steps.save_settings(client, llm, llmModel="openai/gpt-4o")
        llm.script(text("One", usage=(100, 10)))
        conversation = await steps.create(client, "First")
        first = (await steps.until_waiting(client, conversation["id"]))["usage"]
    async with caller(tmp_path, database_url, name="grace") as (_, client):
        assert (await steps.get(client, conversation["id"]))["usage"] == first
        llm.script(text("Two", usage=(200, 20)))
        await steps.send(client, conversation["id"], "Second")
        both = (await steps.until_waiting(client, conversation["id"]))["usage"]
    assert (both["promptTokens"], both["completionTokens"]) == (300, 30)
    assert both["costUsd"] == pytest.approx(3 * first["costUsd"])


async def test_an_unexpected_failure_is_masked_and_the_log_has_its_reference(tmp_path: Path, database_url: str) -> None:
    broken = FakeLLM(RuntimeError("the password is hunter2"))
    broken.load()
    with capture_logs() as logs:
        async with caller(tmp_path, database_url, llm=broken) as (_, client):
            await steps.save_settings(client)
            conversation = await steps.create(client, "Hello")
            failed = await steps.until(client, conversation["id"], status="ERROR")
            log = str(await steps.events(client, conversation["id"]))
    [entry] = [entry for entry in logs if entry["event"] == "run.failed"]
    reason = failed["statusReason"]
    assert reason["messageId"] == "STATUS$ERROR_LLM_INTERNAL_SERVER_ERROR"
    assert reason["message"] == f"Unexpected RuntimeError; reference {entry['reference']}."
    assert "hunter2" not in log


async def test_the_agent_is_loading_while_the_library_is(tmp_path: Path, database_url: str) -> None:
    slow = FakeLLM()
    async with caller(tmp_path, database_url, llm=slow) as (_, client):
        await steps.save_settings(client)
        conversation = await steps.create(client, "Hello")
        await steps.until(client, conversation["id"], status="RUNNING", agentState="LOADING")
        slow.load()
        await steps.until_waiting(client, conversation["id"])
        assert await states(client, conversation["id"]) == ["LOADING", "RUNNING", "AWAITING_USER_INPUT"]
        assert await steps.said(client, conversation["id"]) == [("USER", "Hello"), ("AGENT", "Loaded")]


async def test_connections_that_are_cut_while_the_llm_answers_change_nothing(
    tmp_path: Path, postgres_server: PostgresServer, postgres_url: str, llm: ScriptedLLM
) -> None:
    gate = Gate()
    async with caller(tmp_path, postgres_url) as (_, client):
        await steps.save_settings(client, llm)
        llm.script(hold(gate, after=["Still here"]))
        conversation = await steps.create(client, "Hello")
        await gate.reached()
        assert postgres_server.end_connections(postgres_url) > 0
        gate.release()
        await steps.until_waiting(client, conversation["id"])
        assert await steps.said(client, conversation["id"]) == [("USER", "Hello"), ("AGENT", "Still here")]
        await steps.send(client, conversation["id"], "More")
        await steps.until_waiting(client, conversation["id"])
        assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "answer to More")


async def test_an_outage_in_the_middle_of_a_run_ends_neither_the_run_nor_the_server(
    tmp_path: Path, postgres_server: PostgresServer, postgres_url: str, llm: ScriptedLLM
) -> None:
    gate = Gate()
    async with caller(tmp_path, postgres_url) as (_, client):
        await steps.save_settings(client, llm)
        llm.script(hold(gate, after=["In vain"]))
        conversation = await steps.create(client, "Hello")
        await steps.send(client, conversation["id"], "And then?")
        await gate.reached()
        with outage(postgres_server, postgres_url):
            gate.release()
            # Long enough for the answer to have come, and for every part of the server to have looked at its database.
            await asyncio.sleep(3.0)
        await steps.until_waiting(client, conversation["id"])
        said = await steps.said(client, conversation["id"])
    assert said[:2] == [("USER", "Hello"), ("USER", "And then?")]
    assert said[2] in {("AGENT", "In vain"), ("AGENT", "answer to Hello")}
    assert said[3:] == [("AGENT", "answer to And then?")]


def test_a_second_server_on_the_same_embedded_database_says_so_and_ends(tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    with LockFile(tmp_path / "parley.db.lock"):
        second = subprocess.run(
            [sys.executable, "-m", "app", "serve", "--port", "0"],
            env={**inherited, "PARLEY_DATA_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=PROGRAM_SECONDS,
            check=False,
        )
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr == (
        f"parley: Another Parley process uses {tmp_path / 'parley.db'}. Stop it, or set PARLEY_DATA_DIR.\n"
    )


def test_a_database_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    nowhere = {"PARLEY_DATA_DIR": str(tmp_path), "PARLEY_DATABASE_URL": "postgresql://ada:hunter2@127.0.0.1:1/parley"}
    server = subprocess.run(
        [sys.executable, "-m", "app", "serve", "--port", "0"],
        env={**inherited, **nowhere},
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
        check=False,
    )
    assert (server.returncode, server.stdout) == (1, "")
    assert server.stderr.startswith("parley: the database can't be reached: ")
    assert "hunter2" not in server.stderr


async def test_the_embedded_engine_writes_ahead_and_syncs_every_commit(tmp_path: Path, llm: ScriptedLLM) -> None:
    path = tmp_path / "parley-engine.db"
    modes = set[tuple[str, int]]()

    def look(*executed: object) -> None:
        cursor = executed[1]
        # The server's own statements go through another driver.
        if not isinstance(cursor, sqlite3.Cursor):
            return
        connection = cursor.connection
        if connection.execute("PRAGMA database_list").fetchone()[2] == str(path):
            [journal], [synchronous] = (
                connection.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous")
            )
            modes.add((journal, synchronous))

    # As a release left it that did not set the mode.
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    with running_server(tmp_path) as server:
        event.listen(Engine, "before_cursor_execute", look)
        try:
            async with Client(server) as client:
                await steps.save_settings(client, llm)
                conversation = await steps.create(client, "Hello")
                await steps.until_waiting(client, conversation["id"])
        finally:
            event.remove(Engine, "before_cursor_execute", look)
    # 2 is FULL.
    assert modes == {("wal", 2)}


def test_dbos_looks_for_due_workflows_every_hour_on_sqlite(tmp_path: Path) -> None:
    commands = importlib.import_module("dbos._workflow_commands")
    with running_server(tmp_path):
        # It is the name by which DBOS's thread reads the interval.
        assert "_BACKGROUND_JOBS_INTERVAL_SEC" in commands.background_jobs_thread.__code__.co_names
        assert vars(commands)["_BACKGROUND_JOBS_INTERVAL_SEC"] == 3600.0


def test_dbos_looks_for_due_workflows_every_second_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    # It holds a transaction in between.
    commands = importlib.import_module("dbos._workflow_commands")
    with running_server(tmp_path, database_url=postgres_url):
        assert vars(commands)["_BACKGROUND_JOBS_INTERVAL_SEC"] == 1.0
