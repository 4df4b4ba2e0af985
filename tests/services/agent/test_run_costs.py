"""What a run costs PostgreSQL, by its own log: the figures may fall, and are lowered here then."""

import asyncio
from pathlib import Path

from benchmarks.counting import Counts, count, without_background
from benchmarks.postgres import PostgresServer
from benchmarks.run_watchers import PostgresWatcher
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import ScriptedLLM
from tests.support.server import running_server
from tests.support.steps import create, events, save_settings

RUNS = 8
# How many wake-ups share a statement is a matter of time: two more than there are when nothing else runs.
MOST = Counts(statements=40, commits=5, rollbacks=0)


async def until_over(watcher: PostgresWatcher) -> None:
    """Return once no conversation has a run, and the engine has noted that."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not (watcher.is_waiting() and watcher.is_over()):  # noqa: ASYNC110  A database has no event to wait for.
            await asyncio.sleep(0.01)


async def test_a_run_without_tools_sends_postgresql_no_more_than_it_did(
    tmp_path: Path, postgres_server: PostgresServer, postgres_url: str, llm: ScriptedLLM
) -> None:
    watcher = PostgresWatcher(postgres_server, postgres_url)
    with running_server(tmp_path, database_url=postgres_url) as server, watcher.watching():
        async with Client(server) as client:
            await save_settings(client, llm)
            counted: list[Counts] = []
            for number in range(RUNS):
                watcher.begin()
                conversation = await create(client, f"message {number}")
                await until_over(watcher)
                counted.append(watcher.end())
                assert [event["__typename"] for event in await events(client, conversation["id"])] == [
                    "MessageEvent",
                    "StateChangeEvent",
                    "MessageEvent",
                    "StateChangeEvent",
                ]
    # Housekeeping reads now and then, and the first run opens connections.
    fewest = min(counted, key=lambda counts: counts.statements)
    assert fewest.statements <= MOST.statements, counted
    assert fewest.commits <= MOST.commits, counted
    assert fewest.rollbacks <= MOST.rollbacks, counted
    # What is durable: the conversation, the workflow, its attempt, its state, its answer and its end.
    assert fewest.commits >= 5, counted


def test_statements_are_counted_by_the_transactions_of_each_connection() -> None:
    logged = [
        (1, "BEGIN ISOLATION LEVEL READ COMMITTED;"),
        (2, "INSERT INTO draft VALUES ($1)"),
        (1, "UPDATE owner SET status_sequence=1"),
        (3, "SELECT 1"),
        (1, "COMMIT;"),
        (1, "BEGIN;"),
        (1, "ROLLBACK;"),
        (1, "WITH updated AS "),
        (3, ""),
    ]
    assert count(logged) == Counts(statements=9, commits=3, rollbacks=1)


def test_what_the_engine_asks_whatever_runs_is_left_out_with_its_transaction() -> None:
    logged = [
        (1, "ROLLBACK"),
        (2, ";"),
        (2, "BEGIN"),
        (3, ";"),
        (3, "BEGIN"),
        (2, "SELECT dbos.queues.queue_id, dbos.queues.name"),
        (3, "INSERT INTO dbos.workflow_status (workflow_uuid)"),
        (2, "COMMIT"),
        (3, "COMMIT"),
        (4, "SELECT 1"),
        (5, "SELECT conversation.id"),
        (6, "BEGIN"),
        (6, "ROLLBACK"),
    ]
    assert without_background(logged) == [
        (3, ";"),
        (3, "BEGIN"),
        (3, "INSERT INTO dbos.workflow_status (workflow_uuid)"),
        (3, "COMMIT"),
        (5, "SELECT conversation.id"),
        (6, "BEGIN"),
        (6, "ROLLBACK"),
    ]
