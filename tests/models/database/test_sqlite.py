"""Statements on the driver's own connections."""

# pyright: reportPrivateUsage=false

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, insert, select, text
from sqlalchemy.dialects.sqlite import aiosqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement

from app.models.database.access import AccessLimits
from app.models.database.database import MAX_STATEMENTS, Database
from app.models.database.sqlite import SQLiteAccess
from app.models.database.statement import Statement
from tests.support.patience import WAIT_SECONDS

THINGS = Table("things", MetaData(), Column("id", Integer, primary_key=True), Column("name", String, nullable=False))
ADD = Statement(
    insert(THINGS).values(id=bindparam("the_id"), name=bindparam("the_name")).returning(THINGS.c.id),
    aiosqlite.dialect(),
)
NAMES = Statement(
    select(THINGS.c.name).where(THINGS.c.id >= bindparam("least")).order_by(THINGS.c.id), aiosqlite.dialect()
)
COUNTING = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :last) SELECT max(i) FROM n"
LONG = Statement(text(COUNTING), aiosqlite.dialect())


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database]:
    found = Database(make_url(f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"))
    async with found.writer.begin() as connection:
        await connection.run_sync(THINGS.metadata.create_all)
    yield found
    await found.close()


async def add(database: Database, number: int, name: str | None) -> Any:
    return await database.direct.write(ADD, {"the_id": number, "the_name": name})


async def names(database: Database) -> list[str]:
    return [row[0] for row in await database.direct.read(NAMES, {"least": 0})]


def commits(database: Database) -> int:
    """The frames in the write-ahead log that end a transaction (SQLite's file format, section 4.1)."""
    log = Path(f"{database.url.database}-wal").read_bytes()
    frame_bytes = 24 + int.from_bytes(log[8:12], "big")
    return sum(log[start + 4 : start + 8] != bytes(4) for start in range(32, len(log), frame_bytes))


async def test_what_is_written_at_once_shares_a_commit_and_what_fails_changes_nothing(database: Database) -> None:
    before = commits(database)
    given: list[tuple[int, str | None]] = [(1, "a"), (2, None), (3, "c"), (3, "twice"), (4, "d")]
    results = await asyncio.gather(*(add(database, *one) for one in given), return_exceptions=True)
    assert commits(database) == before + 1
    assert [isinstance(result, DBAPIError) for result in results] == [False, True, False, True, False]
    assert await names(database) == ["a", "c", "d"]


async def test_what_the_caller_gives_up_before_it_begins_is_not_written(database: Database) -> None:
    async with database.write():
        waiting = asyncio.create_task(add(database, 1, "a"))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait({waiting})
    await add(database, 2, "b")
    assert await names(database) == ["b"]


async def test_sessions_and_direct_writes_wait_for_each_other(database: Database) -> None:
    async def by_session(number: int) -> None:
        async with database.write() as session:
            await session.exec(insert(THINGS).values(id=number, name="session"))
            await asyncio.sleep(0.01)

    await asyncio.gather(*(by_session(n) if n % 2 else add(database, n, "direct") for n in range(20)))
    assert len(await names(database)) == 20


async def test_readers_do_not_wait_for_the_writer_and_see_what_was_there_before(database: Database) -> None:
    await add(database, 1, "before")
    async with database.write() as session, asyncio.timeout(WAIT_SECONDS):
        await session.exec(insert(THINGS).values(id=2, name="written"))
        assert await names(database) == ["before"]
        # By a thread of its own, with another connection.
        assert await database.direct.read(LONG, {"last": 100_000}) == [(100_000,)]
        async with database.read() as reading:
            connection = await reading.connection()
            assert (await connection.execute(select(THINGS.c.name))).scalars().all() == ["before"]
    assert await names(database) == ["before", "written"]


async def test_what_takes_long_is_read_by_a_thread_and_the_loop_goes_on(database: Database) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    turning = asyncio.create_task(turn())
    assert (await database.direct.read(LONG, {"last": 1_000_000}))[0] == (1_000_000,)
    turning.cancel()
    assert turns > 3
    assert await names(database) == []


async def test_no_statement_runs_for_ever(database: Database) -> None:
    access = SQLiteAccess(Path(database.url.database or ""), asyncio.Lock(), AccessLimits(deadline_seconds=0.2))
    with pytest.raises(DBAPIError, match="interrupted"):
        await access.read(LONG, {"last": 10**12})
    assert await access.read(NAMES, {"least": 0}) == []
    await access.close()


async def test_a_statement_that_is_wrong_is_told_without_its_values(database: Database) -> None:
    wrong = Statement(text("SELECT missing FROM things WHERE name = :name"), aiosqlite.dialect())
    with pytest.raises(DBAPIError, match="no such column") as caught:
        await database.direct.read(wrong, {"name": "secret"})
    assert "secret" not in str(caught.value)


async def test_readers_only_read(database: Database) -> None:
    with pytest.raises(DBAPIError, match="readonly"):
        await database.direct.read(ADD, {"the_id": 1, "the_name": "a"})


async def test_reads_of_one_turn_of_the_loop_share_a_transaction_and_see_what_was_written_before(
    database: Database,
) -> None:
    access = cast("SQLiteAccess", database.direct)
    await add(database, 1, "A")
    assert await names(database) == ["A"]
    connection = access._inline._connection
    assert connection is not None
    statements: list[str] = []
    connection.set_trace_callback(statements.append)

    async def written_and_read(number: int) -> list[str]:
        await add(database, number, "B")
        return await names(database)

    found = await asyncio.gather(*(names(database) for _ in range(20)), *(written_and_read(2 + i) for i in range(20)))
    assert found[:20] == [["A"]] * 20
    assert found[20:] == [["A", *["B"] * 20]] * 20
    # The writes were one commit, and all who read after it read at once.
    assert [statements.count(text) for text in ("BEGIN", "ROLLBACK")] == [2, 2]
    assert not connection.in_transaction
    async with database.writer.begin() as other:
        await other.execute(text("UPDATE things SET name = 'C' WHERE id = 1"))
    assert (await names(database))[0] == "C"


async def test_a_read_that_goes_wrong_spoils_none_of_its_turn(database: Database) -> None:
    await add(database, 1, "A")
    wrong = Statement(text("SELECT nothing FROM things"), aiosqlite.dialect())
    found = await asyncio.gather(
        *(names(database) for _ in range(2)),
        database.direct.read(wrong, {}),
        database.direct.read(LONG, {"last": 100_000}),
        *(names(database) for _ in range(2)),
        return_exceptions=True,
    )
    assert isinstance(found[2], DBAPIError)
    assert found[3] == [(100_000,)]
    assert found[:2] == found[4:] == [["A"], ["A"]]


async def test_a_statement_in_use_outlives_any_number_of_rarer_ones(database: Database) -> None:
    built: list[object] = []

    def compiled(name: object) -> Statement:
        def build() -> ClauseElement:
            built.append(name)
            return select(THINGS.c.name)

        return database.compiled(name, build)

    hot = compiled("hot")
    for number in range(2 * MAX_STATEMENTS):
        compiled(number)
        assert compiled("hot") is hot
    assert built == ["hot", *range(2 * MAX_STATEMENTS)]
    # Those that came last are still there, with the hot one; what came before them is built again.
    for number in range(MAX_STATEMENTS + 1, 2 * MAX_STATEMENTS):
        compiled(number)
    assert len(built) == 2 * MAX_STATEMENTS + 1
    compiled(MAX_STATEMENTS)
    assert built[-1] == MAX_STATEMENTS
    assert len(built) == 2 * MAX_STATEMENTS + 2
