"""Statements on connections of PostgreSQL's driver: what is cut off, given up, too slow or too much."""

# pyright: reportPrivateUsage=false

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from app.models.database.access import DEFAULT_LIMITS, AccessLimits
from app.models.database.database import is_outage
from app.models.database.postgres import PostgresAccess
from app.models.database.statement import Statement
from tests.support.patience import WAIT_SECONDS
from tests.support.postgres import PostgresServer


def statement(sql: str) -> Statement:
    return Statement(text(sql), asyncpg.dialect())


BACKEND = statement("SELECT pg_backend_pid()")
SLEEP = statement("SELECT 'slept' FROM pg_sleep(CAST(:seconds AS float8))")
ADD = statement("INSERT INTO things VALUES (CAST(:name AS text)) RETURNING *")
MOMENT = statement("SELECT CAST(:moment AS timestamptz), CAST(NULL AS timestamptz)")
ALL = statement("SELECT * FROM things")


CONNECTIONS = DEFAULT_LIMITS.connections


@pytest.fixture
def limits() -> AccessLimits:
    """The usual ones. A test has others by parametrising ``limits``."""
    return DEFAULT_LIMITS


@pytest.fixture
async def access(postgres_url: str, limits: AccessLimits) -> AsyncGenerator[PostgresAccess]:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE things (name text NOT NULL)")
    access = PostgresAccess(make_url(postgres_url), limits)
    yield access
    await access.close()


def count(url: str, condition: str = "true") -> int:
    """The connections that PostgreSQL has from Parley, as it sees them now."""
    with psycopg.connect(url) as connection:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'parley' AND datname = %s AND "
        row = connection.execute(statement.encode() + condition.encode(), (url.rsplit("/", 1)[1],)).fetchone()
    assert row
    return row[0]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110  It is the server's.
            await asyncio.sleep(0.01)


async def sleep(access: PostgresAccess, seconds: float) -> Any:
    return [tuple(row) for row in await access.read(SLEEP, {"seconds": seconds})]


async def backend(access: PostgresAccess) -> int:
    return (await access.read(BACKEND, {}))[0][0]


async def sleepers(access: PostgresAccess, url: str, number: int) -> list[asyncio.Task[Any]]:
    """So many statements that are under way."""
    tasks = [asyncio.create_task(sleep(access, 30)) for _ in range(number)]
    await until(lambda: count(url, "wait_event = 'PgSleep'") == min(number, CONNECTIONS))
    return tasks


async def open_connections(access: PostgresAccess, number: int) -> None:
    assert await asyncio.gather(*(sleep(access, 0.2) for _ in range(number))) == [[("slept",)]] * number


async def assert_whole(access: PostgresAccess, url: str) -> None:
    """As many statements run at once as before anything happened."""
    await until(lambda: not access._pool._repairs)
    tasks = await sleepers(access, url, CONNECTIONS)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 11, 26, 13, 14, 15, 123456, tzinfo=UTC),
        datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 1, 1, 9, 5, 7, 10, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2000, 1, 1, tzinfo=UTC),
        datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ],
    ids=str,
)
async def test_times_come_as_the_text_that_is_shown(access: PostgresAccess, moment: datetime) -> None:
    for given in (moment, moment.astimezone(timezone(timedelta(hours=-5, minutes=-30))) if moment.year > 1 else moment):
        [row] = await access.read(MOMENT, {"moment": given})
        assert tuple(row) == (moment.isoformat(), None)


async def test_no_more_connections_are_opened_than_there_may_be(access: PostgresAccess, postgres_url: str) -> None:
    tasks = await sleepers(access, postgres_url, CONNECTIONS)
    more = [asyncio.create_task(sleep(access, 0)) for _ in range(3 * CONNECTIONS)]
    await asyncio.sleep(0.1)
    assert count(postgres_url) == CONNECTIONS
    assert not any(task.done() for task in more)
    for task in tasks:
        task.cancel()
    assert await asyncio.gather(*more) == [[("slept",)]] * len(more)
    assert count(postgres_url) == CONNECTIONS


async def test_one_after_another_runs_on_one_connection(access: PostgresAccess, postgres_url: str) -> None:
    assert len({await backend(access) for _ in range(5)}) == 1
    assert count(postgres_url) == 1


async def test_connections_that_were_cut_off_while_they_waited_are_replaced(
    access: PostgresAccess, postgres_server: PostgresServer, postgres_url: str
) -> None:
    await open_connections(access, 3)
    assert postgres_server.end_connections(postgres_url) == 3
    # Nothing has told the event loop yet, so that the first of them is tried. The others are not.
    assert len({await backend(access) for _ in range(5)}) == 1
    assert count(postgres_url) == 1
    await open_connections(access, 3)
    assert postgres_server.end_connections(postgres_url) == 3
    await asyncio.sleep(0.1)
    # Now it is known, and even what may not be tried again succeeds.
    assert [tuple(row) for row in await access.write(ADD, {"name": "a"})] == [("a",)]
    await assert_whole(access, postgres_url)


async def test_a_read_that_is_cut_off_is_tried_again_and_a_write_is_not(
    access: PostgresAccess, postgres_server: PostgresServer, postgres_url: str
) -> None:
    reading = asyncio.create_task(sleep(access, 1))
    await until(lambda: count(postgres_url, "wait_event = 'PgSleep'") == 1)
    assert postgres_server.end_connections(postgres_url) == 1
    assert await reading == [("slept",)]
    writing = asyncio.ensure_future(access.write(SLEEP, {"seconds": 30}))
    await until(lambda: count(postgres_url, "wait_event = 'PgSleep'") == 1)
    assert postgres_server.end_connections(postgres_url) == 1
    with pytest.raises(DBAPIError) as caught:
        await writing
    assert caught.value.connection_invalidated
    assert is_outage(caught.value)
    await assert_whole(access, postgres_url)


async def test_what_is_cancelled_ends_at_the_server_and_its_connection_is_used_again(
    access: PostgresAccess, postgres_url: str
) -> None:
    tasks = await sleepers(access, postgres_url, CONNECTIONS)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    assert len({await backend(access) for _ in range(5)}) == 1
    await until(lambda: count(postgres_url, "wait_event = 'PgSleep'") == 0)
    await until(lambda: not access._pool._repairs)
    assert count(postgres_url) == CONNECTIONS
    await assert_whole(access, postgres_url)


async def test_who_waits_for_a_connection_can_be_cancelled_at_any_time(
    access: PostgresAccess, postgres_url: str
) -> None:
    dice = random.Random(3)

    async def impatient(seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await sleep(access, 0.002) == [("slept",)]
        except TimeoutError:
            return False

    patience = [0.0, *(dice.random() * 0.2 for _ in range(400)), 60.0]
    done = await asyncio.gather(*map(impatient, patience))
    assert (done[0], done[-1]) == (False, True)
    await until(lambda: not access._pool._repairs)
    assert access._pool._places + len(access._pool._all) == CONNECTIONS
    assert not access._pool._waiting
    await assert_whole(access, postgres_url)


@pytest.mark.parametrize("limits", [AccessLimits(connections=1)])
async def test_a_connection_that_is_given_to_somebody_who_is_cancelled_is_given_on(
    access: PostgresAccess, postgres_url: str
) -> None:
    pool = access._pool
    connection = pool.take() or await pool.wait()
    waiting = [asyncio.create_task(backend(access)) for _ in range(2)]
    await asyncio.sleep(0)
    pool.give(connection)
    waiting[0].cancel()
    assert await waiting[1] > 0
    assert waiting[0].cancelled()
    # And so is the place of one.
    connection = pool.take()
    assert connection
    waiting = [asyncio.create_task(backend(access)) for _ in range(2)]
    await asyncio.sleep(0)
    connection.close()
    pool.take_back(connection, is_sound=False)
    waiting[0].cancel()
    assert await waiting[1] > 0
    assert count(postgres_url) == 1


@pytest.mark.parametrize("limits", [AccessLimits(deadline_seconds=0.3)])
async def test_a_statement_that_takes_too_long_ends_and_is_not_tried_again(
    access: PostgresAccess, postgres_url: str
) -> None:
    process = await backend(access)
    with pytest.raises(TimeoutError) as caught:
        await sleep(access, 30)
    assert is_outage(caught.value)
    await until(lambda: not access._pool._repairs)
    assert count(postgres_url, "wait_event = 'PgSleep'") == 0
    assert await backend(access) == process
    assert count(postgres_url) == 1


@pytest.mark.parametrize("limits", [AccessLimits(wait_seconds=0.3, max_waiting=2)])
async def test_nobody_waits_for_ever_and_not_too_many_do(access: PostgresAccess, postgres_url: str) -> None:
    tasks = await sleepers(access, postgres_url, CONNECTIONS)
    waiting = [asyncio.create_task(backend(access)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError, match="Too many statements wait"):
        await backend(access)
    assert not any(task.done() for task in waiting)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [TimeoutError] * 2
    for task in tasks:
        task.cancel()
    await assert_whole(access, postgres_url)


async def test_a_table_that_was_changed_is_read_and_written_as_it_is_now(
    access: PostgresAccess, postgres_url: str
) -> None:
    await access.write(ADD, {"name": "a"})
    assert [tuple(row) for row in await access.read(ALL, {})] == [("a",)]
    process = await backend(access)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("ALTER TABLE things ADD COLUMN number int DEFAULT 7")
    assert [tuple(row) for row in await access.write(ADD, {"name": "b"})] == [("b", 7)]
    assert [tuple(row) for row in await access.read(ALL, {})] == [("a", 7), ("b", 7)]
    assert await backend(access) == process


async def test_a_statement_that_is_wrong_is_told_without_its_values_and_costs_no_connection(
    access: PostgresAccess,
) -> None:
    process = await backend(access)
    for sql in ("SELECT missing FROM things WHERE name = CAST(:name AS text)", "SELECT CAST(:name AS int)"):
        with pytest.raises(DBAPIError) as caught:
            await access.read(statement(sql), {"name": "secret"})
        assert not caught.value.connection_invalidated
        assert not is_outage(caught.value)
    with pytest.raises(DBAPIError, match="null value"):
        await access.write(ADD, {"name": None})
    assert [tuple(row) for row in await access.read(ALL, {})] == []
    assert await backend(access) == process


@pytest.mark.parametrize("limits", [AccessLimits(max_prepared=3)])
async def test_the_server_keeps_no_more_statements_than_a_connection_may_have(access: PostgresAccess) -> None:
    process = await backend(access)
    for number in range(10):
        assert (await access.read(statement(f"SELECT {number}"), {}))[0][0] == number
        # It is used all the time, and stays.
        assert await backend(access) == process
    kept = await access.read(statement("SELECT statement FROM pg_prepared_statements ORDER BY prepare_time"), {})
    # What is no longer kept is closed before the next one is prepared.
    assert kept[0][0] == BACKEND.sql
    assert len(kept) <= 4


@pytest.mark.parametrize("limits", [AccessLimits(idle_seconds=0.2)])
async def test_connections_that_nobody_needed_for_long_are_closed(access: PostgresAccess, postgres_url: str) -> None:
    await open_connections(access, 3)
    assert count(postgres_url) == 3
    await until(lambda: count(postgres_url) == 0)
    assert access._pool._idle_timer is None
    assert await backend(access) > 0
    await assert_whole(access, postgres_url)


async def test_a_database_that_takes_no_connections_is_asked_again_later(
    access: PostgresAccess, postgres_server: PostgresServer, postgres_url: str
) -> None:
    postgres_server.allow_connections(postgres_url, allowed=False)
    results = await asyncio.gather(*(backend(access) for _ in range(3 * CONNECTIONS)), return_exceptions=True)
    assert all(isinstance(result, DBAPIError) and is_outage(result) for result in results)
    postgres_server.allow_connections(postgres_url, allowed=True)
    assert await backend(access) > 0
    await assert_whole(access, postgres_url)


async def test_closing_ends_what_is_under_way_and_what_waits(access: PostgresAccess, postgres_url: str) -> None:
    tasks = await sleepers(access, postgres_url, CONNECTIONS)
    waiting = [asyncio.create_task(backend(access)) for _ in range(3)]
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    await access.close()
    results = await asyncio.gather(*tasks[1:], *waiting, return_exceptions=True)
    assert all(isinstance(result, DBAPIError | ConnectionError) for result in results)
    with pytest.raises(ConnectionError, match="closed"):
        await backend(access)
    # What was under way the server ends when it has something to say.
    await until(lambda: count(postgres_url, "wait_event <> 'PgSleep'") == 0)
    assert not access._pool._repairs
