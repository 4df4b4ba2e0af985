"""The index of titles' pieces: it finds what a plain look finds, and follows the titles."""

import random
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import func, insert, inspect, literal, text
from sqlalchemy import select as sqlalchemy_select
from sqlmodel import select

from app.config import load_config
from app.models import migration
from app.models.conversation import Conversation, ConversationRepository, fold
from app.models.database.database import Database, database_url
from app.models.owner import Owner
from app.models.rows.conversation import ConversationRows
from app.models.search.filter import ConversationFilter
from app.models.search.order import ConversationOrder, ConversationOrderField, OrderDirection
from app.models.search.query import ConversationQuery, ConversationSearch, Position
from app.models.search.title_grams import TitleGrams, catch_up, match, pieces
from tests.support import steps
from tests.support.client import Client
from tests.support.server import RunningServer

START = datetime(2026, 1, 1, tzinfo=UTC)
EARLIER = [script.revision for script in migration.script_directory().walk_revisions()][:0:-1]
# What FTS5 and LIKE take for something else, and characters of one to four bytes.
SYMBOLS = [
    '"',
    "'",
    "*",
    "%",
    "_",
    "/",
    "\\",
    "^",
    "-",
    ":",
    "(",
    " AND ",
    " NEAR(",
    "a",
    "b",
    "B",
    "ß",
    "é",
    "日",
    "😀",
]


@pytest.fixture
async def database(fresh_database_url: str) -> AsyncGenerator[Database]:
    """The empty database, as the server opens it."""
    opened = Database(database_url(load_config(env_file=None, database_url=fresh_database_url)))
    yield opened
    await opened.close()


def conversation(title: str, number: int = 0, *, owner_id: str = "ada") -> Conversation:
    return Conversation(
        id=uuid4(),
        owner_id=owner_id,
        title=title,
        title_folded=fold(title),
        status="STOPPED" if number % 3 else "ERROR",
        trigger="API" if number % 2 else "GUI",
        created_at=START + timedelta(seconds=number),
        updated_at=START + timedelta(seconds=number + number * 7919 % 5000),
    )


async def add(database: Database, rows: list[Conversation]) -> None:
    """Rows of the models, with the columns that the tables have by now."""
    async with database.write() as session:
        if not (await session.exec(select(Owner))).all():
            session.add_all([Owner(id=name, created_at=START) for name in ("ada", "bob")])
            await session.flush()
        connection = await session.connection()
        columns = await connection.run_sync(lambda sync: inspect(sync).get_columns("conversation"))
        missing = set(Conversation.model_fields) - {column["name"] for column in columns}
        for begin in range(0, len(rows), 500):
            batch = [row.model_dump(exclude=missing) for row in rows[begin : begin + 500]]
            await connection.execute(insert(Conversation), batch)


async def indexed(database: Database, text_of_title: str, owner_id: str = "ada") -> int:
    """How many of the owner's titles have the pieces of a text by the index alone, once it is up to date."""
    await catch_up(database)
    grams = TitleGrams(fold(text_of_title), database.reader.dialect.name)
    rows = grams.matches(literal(owner_id)).subquery()
    async with database.reader.connect() as connection:
        return (await connection.execute(sqlalchemy_select(func.count()).select_from(rows))).scalar_one()


@pytest.mark.parametrize("is_behind", [True, False])
async def test_random_texts_find_what_a_plain_look_finds(database: Database, is_behind: bool) -> None:
    chance = random.Random(5)

    def made(longest: int) -> str:
        return "".join(chance.choices(SYMBOLS, k=chance.randint(1, longest)))[:200]

    rows = [
        conversation(made(chance.choice((4, 12, 200))), number, owner_id="bob" if number % 9 == 0 else "ada")
        for number in range(3000)
    ]
    await migration.upgrade(database)
    await add(database, rows)
    if not is_behind:
        await catch_up(database)
        for row in chance.sample(rows, 20):
            row.title = made(12)
            row.title_folded, row.updated_at = fold(row.title), START + timedelta(seconds=9000)
            await ConversationRows(database).rename(row.owner_id, row.id, row.title, row.updated_at)
    texts = [*SYMBOLS, *(made(4) for _ in range(30)), "absent", "a" * 200, "日" * 70]
    for row in chance.sample(rows, 60):
        begin = chance.randrange(len(row.title))
        texts.append(row.title[begin : begin + chance.choice((1, 2, 3, 5, 8, 9, 17, 60, 200))])
    numbers: set[bool] = set()
    for wanted in [ConversationFilter(title_contains=title) for title in texts]:
        field = chance.choice((ConversationOrderField.CREATED_AT, ConversationOrderField.TITLE))
        order = ConversationOrder(field, chance.choice(list(OrderDirection)))
        if chance.random() < 0.5:
            wanted = ConversationFilter(  # noqa: PLW2901  The same text among fewer rows.
                title_contains=wanted.title_contains,
                statuses=chance.choice((None, ("ERROR",), ("ERROR", "STOPPED"))),
                triggers=chance.choice((None, ("GUI", "API"))),
                updated_after=chance.choice((None, START + timedelta(seconds=chance.randrange(8000)))),
            )
        expected = [row for row in rows if _lets_through(wanted, row)]
        expected.sort(key=lambda row: _key(order, row), reverse=not order.is_ascending)
        numbers.add(len(expected) > 1000)
        middle = expected[len(expected) // 2] if expected else None
        await _check(database, wanted, order, expected, None)
        await _check(database, wanted, order, expected, middle)
    assert numbers == {True, False}


async def _check(
    database: Database,
    wanted: ConversationFilter,
    order: ConversationOrder,
    expected: list[Conversation],
    start: Conversation | None,
) -> None:
    behind = [row.id for row in expected[expected.index(start) + 1 :]] if start else [row.id for row in expected]
    after = Position(start.created_at if "CREATED" in order.field else start.title_folded, start.id) if start else None
    async with database.read() as session:
        search = ConversationSearch(session)
        page = await search.page("ada", ConversationQuery(20, after, wanted, order))
        assert [row.id for row in page] == behind[:21], (wanted, order)
        assert await search.count("ada", wanted) == len(expected), wanted
    rows = await ConversationRows(database).search(
        "ada", ConversationQuery(20, after, wanted, order), frozenset({"id"})
    )
    assert [row.id for row in rows] == behind[:21], (wanted, order)


def _key(order: ConversationOrder, row: Conversation) -> tuple[datetime | str, str]:
    return row.created_at if order.field is ConversationOrderField.CREATED_AT else row.title_folded, row.id.hex


def _lets_through(wanted: ConversationFilter, row: Conversation) -> bool:
    return (
        row.owner_id == "ada"
        and fold(wanted.title_contains or "") in row.title_folded
        and (wanted.statuses is None or row.status in wanted.statuses)
        and (wanted.updated_after is None or row.updated_at > wanted.updated_after)
    )


async def test_the_index_follows_titles_and_is_of_one_owner(database: Database) -> None:
    await migration.upgrade(database)
    first, second, other = conversation("Zebra"), conversation("Zebras", 1), conversation("Zebra", 2, owner_id="bob")
    await add(database, [first, second, other])
    assert [await indexed(database, "zebra", owner) for owner in ("ada", "bob", "eve")] == [2, 1, 0]
    await ConversationRows(database).rename("ada", first.id, "Quokka", START)
    assert [await indexed(database, word) for word in ("zebra", "zebras", "quokka", "k")] == [1, 1, 1, 1]
    async with database.write() as session:
        await ConversationRepository(session).delete(second.id)
    assert [await indexed(database, word) for word in ("zebra", "zebras", "quokka", "z")] == [0, 0, 1, 0]
    assert await indexed(database, "zebra", "bob") == 1
    await add(database, [conversation("Zebra", 3)])
    assert await indexed(database, "zebra") == 1


async def test_a_title_that_changes_and_goes_before_the_index_follows_leaves_nothing(database: Database) -> None:
    await migration.upgrade(database)
    made = conversation("Zebra")
    await add(database, [made])
    assert await indexed(database, "zebra") == 1
    for title in ("Quokka", "Wombat", "Zebra", "Quokka"):
        await ConversationRows(database).rename("ada", made.id, title, START)
    async with database.write() as session:
        await ConversationRepository(session).delete(made.id)
    assert [await indexed(database, word) for word in ("zebra", "quokka", "wombat", "a")] == [0, 0, 0, 0]


async def test_what_is_rolled_back_is_not_indexed(database: Database) -> None:
    await migration.upgrade(database)
    await add(database, [conversation("Zebra")])
    async with database.write() as session:
        session.add(conversation("Quokka", 1))
        await session.flush()
        await session.rollback()
    assert [await indexed(database, word) for word in ("zebra", "quokka")] == [1, 0]


@pytest.mark.parametrize("start", EARLIER)
async def test_titles_of_every_earlier_revision_are_indexed(database: Database, start: str) -> None:
    await migration.upgrade(database, start)
    titles = ["Zebra", "ZEBRA crossing", "日本", "Straße"]
    rows = [conversation(title, number) for number, title in enumerate(titles)]
    rows += [conversation(f"Quokka {number}", number) for number in range(2500)]
    await add(database, [*rows, conversation("zebra", owner_id="bob")])
    await migration.upgrade(database)
    for word, count in {"zebra": 2, "crossing": 1, "本": 1, "STRASSE": 1, "quokka ": 2500, "wombat": 0}.items():
        assert await indexed(database, word) == count, word
    await migration.downgrade(database, "0004")
    await migration.upgrade(database)
    assert await indexed(database, "zebra") == 2


async def test_other_changes_leave_the_index_alone_on_sqlite_and_a_vacuum_too(tmp_path: Path) -> None:
    database = Database(database_url(load_config(env_file=None, database_url=f"sqlite:///{tmp_path / 'parley.db'}")))
    try:
        await migration.upgrade(database)
        rows = [conversation(f"Zebra {number}", number) for number in range(50)]
        await add(database, rows)
        await catch_up(database)

        async def blocks() -> list[object]:
            async with database.reader.connect() as connection:
                return list(await connection.execute(text("SELECT * FROM titlegram_data ORDER BY id")))

        before = await blocks()
        async with database.write() as session:
            await session.exec(text("UPDATE conversation SET title_folded = title_folded, updated_at = created_at"))  # pyright: ignore[reportCallIssue, reportArgumentType]
        assert await blocks() == before
        async with database.write() as session:
            await ConversationRepository(session).delete(rows[0].id)
        async with database.writer.connect() as connection:
            await connection.exec_driver_sql("COMMIT")
            await connection.exec_driver_sql("VACUUM")
            await connection.exec_driver_sql("BEGIN")
        async with database.read() as session:
            search = ConversationSearch(session)
            [found] = await search.page("ada", ConversationQuery(20, None, ConversationFilter(title_contains="a 49")))
            assert found.id == rows[49].id
            assert await search.count("ada", ConversationFilter(title_contains="zebra")) == 49
    finally:
        await database.close()


def test_a_text_is_taken_to_pieces() -> None:
    assert match("ab") == '"6162" *'
    assert match("parser") == '"70617273" * AND "72736572" *'
    assert match('"OR" NEA') == '"224F5222204E4541"'
    assert pieces("the parser of") == ["the pars", "arser of"]
    assert pieces("日") == ["日"]
    assert len(pieces("a" * 600)) == match("a" * 600).count("AND") + 1 == 16


async def test_the_server_brings_the_index_up_to_date(client: Client, server: RunningServer) -> None:
    await steps.save_settings(client)
    made = await steps.create(client, title="Zebra")
    await steps.until_waiting(client, made["id"])

    async def changed() -> list[object]:
        async with server.parley.database.reader.connect() as connection:
            return list(await connection.execute(text("SELECT 1 FROM titlegram_stale")))

    assert len(server.call(changed())) == 1
    server.call(server.parley.housekeeping.index_titles())
    assert server.call(changed()) == []
    found = await client.execute('{ conversations(filter: { titleContains: "ZEBRA" }) { totalCount nodes { id } } }')
    assert found["conversations"] == {"totalCount": 1, "nodes": [{"id": made["id"]}]}
