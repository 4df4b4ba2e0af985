"""The database's shape: from empty and from every earlier revision to the models', and what the connections promise."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

import pytest
from alembic.runtime.migration import MigrationContext
from sqlalchemy import JSON, Connection, Uuid, column, insert, inspect, table, text
from sqlalchemy import select as select_columns
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from app.config import ConfigError, load_config
from app.models import migration
from app.models.conversation import Conversation
from app.models.database.database import Database, database_url
from app.models.event import Event
from app.models.owner import Owner
from app.models.replay import ReplayRepository, encode_events
from app.models.settings import Settings

T = TypeVar("T")
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
REVISIONS = [script.revision for script in migration.script_directory().walk_revisions()][::-1]
TABLES = {
    "condensation",
    "owner",
    "conversation",
    "conversationtag",
    "draft",
    "event",
    "gitbranch",
    "gitrepository",
    "idempotencykey",
    "mergebase",
    "provideraccount",
    "pullrequest",
    "pushedbranch",
    "replay",
    "replayprogress",
    "settings",
    "statuschange",
    "toolcall",
    "workspaceremoval",
}

# Columns of conversations that came after the third revision.
LATER = {
    "branch_is_default",
    "tags",
    "is_pinned",
    "is_archived",
    "archived_at",
    "last_message_sequence",
    "read_sequence",
}


@pytest.fixture
async def database(fresh_database_url: str) -> AsyncGenerator[Database]:
    """The empty database, as the server opens it."""
    opened = open_database(fresh_database_url)
    yield opened
    await opened.close()


def open_database(url: str) -> Database:
    return Database(database_url(load_config(env_file=None, database_url=url)))


async def ask(database: Database, question: Callable[[Connection], T]) -> T:
    """The answer of a synchronous question."""
    async with database.writer.connect() as connection:
        return await connection.run_sync(question)


async def tables(database: Database) -> set[str]:
    names = set(await ask(database, lambda connection: inspect(connection).get_table_names())) - {"alembic_version"}
    return {name for name in names if not name.startswith(migration.INDEX_TABLES)}


async def revision(database: Database) -> str | None:
    return await ask(database, lambda connection: MigrationContext.configure(connection).get_current_revision())


def conversation(owner_id: str) -> Conversation:
    return Conversation(
        id=uuid4(),
        owner_id=owner_id,
        title="Title",
        title_folded="title",
        title_is_auto_generated=False,
        status="STOPPED",
        trigger="API",
        created_at=MOMENT,
        updated_at=MOMENT,
    )


def test_the_revisions_are_one_line() -> None:
    scripts = migration.script_directory()
    assert len(scripts.get_heads()) == len(scripts.get_bases()) == 1
    assert scripts.get_current_head() == REVISIONS[-1]


async def test_an_empty_database_gets_the_models_tables(database: Database) -> None:
    await migration.upgrade(database)
    assert await migration.differences(database) == []
    assert await tables(database) == TABLES == set(migration.METADATA.tables)
    assert await revision(database) == REVISIONS[-1]


async def test_a_difference_would_be_seen(database: Database) -> None:
    assert len(await migration.differences(database)) >= len(TABLES)
    await migration.upgrade(database)
    async with database.writer.begin() as connection:
        await connection.execute(text("DROP INDEX ix_event_source"))
    assert len(await migration.differences(database)) == 1


@pytest.mark.parametrize("start", REVISIONS)
async def test_every_earlier_revision_comes_to_the_same(database: Database, start: str) -> None:
    await migration.upgrade(database, start)
    assert await revision(database) == start
    await migration.upgrade(database)
    assert await migration.differences(database) == []
    assert await revision(database) == REVISIONS[-1]


async def test_the_way_back_to_nothing_and_up_again(database: Database) -> None:
    await migration.upgrade(database)
    await migration.downgrade(database, "base")
    assert set(await ask(database, lambda connection: inspect(connection).get_table_names())) == {"alembic_version"}
    assert await revision(database) is None
    await migration.upgrade(database)
    assert await migration.differences(database) == []


async def test_a_second_time_changes_nothing_and_keeps_the_rows(database: Database) -> None:
    await migration.upgrade(database)
    async with database.write() as session:
        session.add(Owner(id="ada", created_at=MOMENT))
    await migration.upgrade(database)
    assert await migration.differences(database) == []
    async with database.read() as session:
        assert [owner.id for owner in await session.exec(select(Owner))] == ["ada"]


async def test_a_migration_that_fails_leaves_nothing_behind(database: Database) -> None:
    async with database.writer.begin() as connection:
        await connection.execute(text("CREATE TABLE settings (a INTEGER)"))
    with pytest.raises(Exception, match="settings"):
        await migration.upgrade(database)
    assert await tables(database) == {"settings"}
    assert await revision(database) is None


async def test_two_instances_may_begin_at_once(fresh_database_url: str) -> None:
    databases = [open_database(fresh_database_url) for _ in range(3)]
    try:
        await asyncio.gather(*(migration.upgrade(database) for database in databases))
        assert await migration.differences(databases[0]) == []
        assert await revision(databases[0]) == REVISIONS[-1]
    finally:
        for database in databases:
            await database.close()


async def test_foreign_keys_are_enforced(database: Database) -> None:
    await migration.upgrade(database)
    with pytest.raises(IntegrityError):
        async with database.write() as session:
            session.add(conversation("nobody"))
    async with database.read() as session:
        assert list(await session.exec(select(Conversation))) == []


async def test_times_come_back_as_they_went_in_utc(database: Database) -> None:
    await migration.upgrade(database)
    async with database.write() as session:
        session.add(Owner(id="ada", created_at=MOMENT))
        await session.flush()
        session.add(conversation("ada"))
    async with database.read() as session:
        (found,) = await session.exec(select(Conversation))
    assert (found.created_at, found.created_at.tzinfo) == (MOMENT, UTC)


async def test_what_was_updated_before_it_was_created_is_mended(database: Database) -> None:
    await migration.upgrade(database, "0003")
    late, fine = conversation("ada"), conversation("ada")
    late.updated_at, fine.updated_at = MOMENT - timedelta(seconds=5), MOMENT + timedelta(seconds=5)
    async with database.write() as session:
        session.add(Owner(id="ada", created_at=MOMENT))
        await session.flush()
        # As the table was: a column that came later is not named.
        rows = [row.model_dump(exclude=LATER) for row in (late, fine)]
        columns = [
            column(each.name, each.type) for each in migration.METADATA.tables["conversation"].c if each.name in rows[0]
        ]
        await session.exec(insert(table("conversation", *columns)).values(rows))
    await migration.upgrade(database)
    async with database.read() as session:
        found = {row.id: row.updated_at for row in await session.exec(select(Conversation))}
    assert found == {late.id: MOMENT, fine.id: MOMENT + timedelta(seconds=5)}


async def test_what_had_the_status_archived_is_stopped_and_in_the_archive(database: Database) -> None:
    await migration.upgrade(database, "0011")
    away, kept = conversation("ada"), conversation("ada")
    away.status, kept.status = "ARCHIVED", "ERROR"
    async with database.write() as session:
        session.add(Owner(id="ada", created_at=MOMENT))
        await session.flush()
        rows = [row.model_dump(exclude=LATER - {"branch_is_default"}) for row in (away, kept)]
        columns = [
            column(each.name, each.type) for each in migration.METADATA.tables["conversation"].c if each.name in rows[0]
        ]
        await session.exec(insert(table("conversation", *columns)).values(rows))
    await migration.upgrade(database)
    async with database.read() as session:
        found = {row.id: row for row in await session.exec(select(Conversation))}
    shown = {key: (row.status, row.is_archived, row.archived_at, row.is_pinned, row.tags) for key, row in found.items()}
    assert shown[away.id] == ("STOPPED", True, away.updated_at, False, [])
    assert shown[kept.id] == ("ERROR", False, None, False, [])


async def test_what_was_there_counts_as_read_and_its_last_message_is_found(database: Database) -> None:
    await migration.upgrade(database, "0013")
    talk, silent = conversation("ada"), conversation("ada")
    talk.last_sequence = 5
    sources = ["USER", "AGENT", "ENVIRONMENT", "AGENT", "ENVIRONMENT"]
    kinds = ["MessageEvent", "MessageEvent", "MessageEvent", "ToolCallEvent", "StateChangeEvent"]
    async with database.write() as session:
        session.add(Owner(id="ada", created_at=MOMENT))
        await session.flush()
        rows = [row.model_dump(exclude={"last_message_sequence", "read_sequence"}) for row in (talk, silent)]
        columns = [
            column(each.name, each.type) for each in migration.METADATA.tables["conversation"].c if each.name in rows[0]
        ]
        await session.exec(insert(table("conversation", *columns)).values(rows))
        for sequence, (kind, source) in enumerate(zip(kinds, sources, strict=True), start=1):
            event = logged(talk.id, sequence, kind)
            event.source = source
            session.add(event)
    await migration.upgrade(database)
    async with database.read() as session:
        found = {row.id: row for row in await session.exec(select(Conversation))}
    shown = {key: (row.last_sequence, row.read_sequence, row.last_message_sequence) for key, row in found.items()}
    assert shown == {talk.id: (5, 5, 2), silent.id: (0, 0, None)}


def logged(conversation_id: UUID, sequence: int, kind: str) -> Event:
    return Event(
        conversation_id=conversation_id,
        sequence=sequence,
        run=1,
        kind=kind,
        source="AGENT",
        body={},
        created_at=MOMENT,
    )


async def test_replays_that_have_begun_go_on_where_they_were_after_an_upgrade_and_the_way_back(
    database: Database,
) -> None:
    await migration.upgrade(database)
    begun, new = conversation("ada"), conversation("ada")
    kinds = ["ToolCallEvent", "MessageEvent", "ToolCallEvent", "ToolResultEvent", "ToolCallEvent"]
    events = [{"type": kind, "sequence": 10 * number} for number, kind in enumerate(kinds, 1)]
    async with database.write() as session:
        session.add(Owner(id="ada", created_at=MOMENT))
        await session.flush()
        session.add_all([begun, new])
        await session.flush()
        # Somebody sent a message between the second and the third of its events.
        session.add_all([logged(begun.id, at, kinds[place]) for place, at in enumerate((1, 2, 4, 5))])
        session.add(logged(begun.id, 3, "MessageEvent"))
        for replayed in (begun, new):
            ReplayRepository(session).add(replayed.id, encode_events(events))
        await session.flush()
        await ReplayRepository(session).move(begun.id, 4)
    replays = table("replay", column("conversation_id", Uuid()), column("position"), column("tool_calls", JSON()))
    for _ in range(2):
        await migration.downgrade(database, "0007")
        async with database.writer.connect() as connection:
            rows = {row.conversation_id: row for row in await connection.execute(select_columns(replays))}
        assert (rows[begun.id].position, rows[begun.id].tool_calls) == (4, {"10": 1, "30": 4})
        assert (rows[new.id].position, rows[new.id].tool_calls) == (0, {})
        await migration.upgrade(database)
        async with database.read() as session:
            repository = ReplayRepository(session)
            assert [await repository.position(replayed.id) for replayed in (begun, new)] == [4, 0]
            assert await repository.events(begun.id) == events


def test_a_clock_that_lags_does_not_update_before_the_creation() -> None:
    made = conversation("ada")
    made.touch(MOMENT - timedelta(seconds=5))
    assert made.updated_at == MOMENT
    made.touch(MOMENT + timedelta(seconds=5))
    assert made.updated_at == MOMENT + timedelta(seconds=5)


async def test_one_owner_has_one_row_of_settings(database: Database) -> None:
    await migration.upgrade(database)
    async with database.write() as session:
        session.add(Owner(id="ada", created_at=MOMENT))
    for number in range(2):
        row = Settings(owner_id="ada", llm_model=f"demo/{number}", created_at=MOMENT, updated_at=MOMENT)
        if number:
            with pytest.raises(IntegrityError):
                async with database.write() as session:
                    session.add(row)
        else:
            async with database.write() as session:
                session.add(row)


async def test_a_reader_cannot_write_on_sqlite_and_does_not_wait_for_the_writer(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'parley.db'}")
    try:
        await migration.upgrade(database)
        for engine in (database.writer, database.reader):
            async with engine.connect() as connection:
                settings = {
                    name: (await connection.execute(text(f"PRAGMA {name}"))).scalar()
                    for name in ("journal_mode", "foreign_keys", "synchronous")
                }
            assert settings == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 1}
        async with database.write() as writing:
            writing.add(Owner(id="ada", created_at=MOMENT))
            await writing.flush()
            async with database.read() as reading:
                assert list(await reading.exec(select(Owner))) == []
        with pytest.raises(Exception, match="readonly"):
            async with database.reader.begin() as connection:
                await connection.execute(text("DELETE FROM owner"))
    finally:
        await database.close()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://u:secret@x/y",
        "postgresqll://u:secret@x/y",
        "secret nonsense",
        "postgresql://u:secret@x:port/y",
    ],
)
def test_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^PARLEY_DATABASE_URL") as refused:
        database_url(load_config(env_file=None, database_url=url))
    assert "secret" not in str(refused.value)
