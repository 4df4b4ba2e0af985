"""A page costs the same among few conversations and among many, and its paths find the rows that a plain look finds."""

import asyncio
import random
import re
import sqlite3
from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import insert
from sqlmodel import select

from app.config import load_config
from app.models import migration
from app.models.conversation import Conversation, fold
from app.models.database.database import Database, database_url
from app.models.owner import Owner
from app.models.search.filter import ConversationFilter
from app.models.search.order import ConversationOrder, ConversationOrderField, OrderDirection
from app.models.search.query import ConversationQuery, ConversationSearch, Position
from app.models.search.title_grams import catch_up
from app.models.search.walk import NARROW_MAX_ROWS
from app.models.tag import ConversationTag
from tests.support.search_costs import steps

OWNER = "owner"
FEW, MANY = 4_000, 40_000
START = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=100)
FIRST = 20
ORDERS = [
    *(ConversationOrder(field, direction) for field in ConversationOrderField for direction in OrderDirection),
    ConversationOrder(pinned_first=True),
    ConversationOrder(ConversationOrderField.TITLE, OrderDirection.ASC, pinned_first=True),
]
ORDER_NAMES = [f"{order.field}-{order.direction}" + "-pinned-first" * order.pinned_first for order in ORDERS]


def at(part: float) -> datetime:
    return START + SPAN * part


Filter = ConversationFilter
EVERYWHERE = {
    "none": Filter(),
    "status": Filter(statuses=("ERROR",)),
    "statuses": Filter(statuses=("ERROR", "STOPPED")),
    "statuses-rare": Filter(statuses=("FUTURE", "STARTING")),
    "trigger": Filter(triggers=("API",)),
    "triggers": Filter(triggers=("API", "GUI")),
    "triggers-none": Filter(triggers=("SUGGESTED_TASK", "RESOLVER")),
    "statuses-triggers": Filter(statuses=("ERROR", "STOPPED"), triggers=("API", "GUI")),
    "statuses-trigger": Filter(statuses=("ERROR", "STOPPED"), triggers=("API",)),
    "created-after": Filter(created_after=at(0.5)),
    "created-before": Filter(created_before=at(0.5)),
    "updated-after": Filter(updated_after=at(0.5)),
    "updated-before": Filter(updated_before=at(0.5)),
    "age": Filter(visible_after=at(0.5)),
    "title-common": Filter(title_contains="1"),
    "title-rare": Filter(title_contains="Quokka"),
    "title-absent": Filter(title_contains="wombat"),
    "title-absent-letter": Filter(title_contains="~"),
    "title-rare-status": Filter(title_contains="quokka", statuses=("ERROR", "STOPPED")),
    "title-rare-updated": Filter(title_contains="quokka", updated_after=at(0.2)),
    "shown": Filter(is_archived=False),
    "shown-statuses": Filter(is_archived=False, statuses=("ERROR", "STOPPED"), triggers=("API", "GUI")),
    "shown-updated": Filter(is_archived=False, updated_after=at(0.5)),
    "archived": Filter(is_archived=True),
    "archived-status": Filter(is_archived=True, statuses=("ERROR",)),
    "pinned": Filter(is_pinned=True),
    "pinned-shown": Filter(is_pinned=True, is_archived=False, triggers=("API",)),
    "not-pinned": Filter(is_pinned=False, is_archived=False),
    "tag-common": Filter(any_tags=("common",)),
    "tag-rare": Filter(any_tags=("rare",), is_archived=False),
    "tag-absent": Filter(any_tags=("absent",)),
    "tags-any": Filter(any_tags=("rare", "few"), is_archived=False),
    "tags-all": Filter(all_tags=("common", "rare")),
    "tags-both": Filter(any_tags=("common", "few"), all_tags=("few",), statuses=("ERROR", "STOPPED")),
    "tag-title": Filter(any_tags=("common",), title_contains="quokka"),
    "tag-pinned": Filter(any_tags=("few", "common"), is_pinned=True),
}
AT_THE_EDGE = {
    "created-after-rare": Filter(created_after=at(0.9999)),
    "created-before-rare": Filter(created_before=at(0.0001)),
    "updated-before-rare": Filter(updated_before=at(0.0001)),
    "age-rare": Filter(visible_after=at(0.9999)),
    "created-after-none": Filter(created_after=at(2)),
    "created-before-none": Filter(created_before=at(-1)),
    "updated-after-none": Filter(updated_after=at(2)),
    "updated-before-none": Filter(updated_before=at(-1)),
}


def conversations(count: int, *, lifetime: timedelta | None = None) -> list[Conversation]:
    """Evenly over the time; most live an hour, one in five until any later time; or all up to ``lifetime``.

    Three of them are about quokkas. One in eleven is archived, and forty are pinned.
    """
    chance = random.Random(1)
    rare = {count // 4, count // 2 + 1, count * 3 // 4}
    made: list[Conversation] = []
    for number in range(count):
        created = START + SPAN * number / count
        longest = lifetime or (timedelta(hours=1) if number % 5 else START + SPAN - created)
        title = f"{chance.choice(('Deploy', 'Fix', 'Review', 'Tests', 'Docs'))} {chance.randrange(count // 4)}"
        if number in rare:
            title += " Quokka"
        made.append(
            Conversation(
                id=UUID(int=chance.getrandbits(128)),
                owner_id=OWNER if number % 50 else "other",
                title=title,
                title_folded=fold(title),
                status="STARTING" if number % 1000 == 1 else chance.choice(("ERROR", "STOPPED", "RUNNING")),
                trigger=chance.choice(("GUI", "API")),
                created_at=created,
                updated_at=created + longest * chance.random(),
                tags=sorted(tags_of(number, count)),
                is_pinned=number % (count // 40) == 3,
                is_archived=number % 11 == 7,
                archived_at=created if number % 11 == 7 else None,
            )
        )
    return made


def tags_of(number: int, count: int) -> set[str]:
    every = {"common": 2, "few": count // 200, "rare": count // 4}
    return {name for name, distance in every.items() if number % distance == 0}


async def fill(url: str, rows: Sequence[Conversation]) -> Database:
    database = Database(database_url(load_config(env_file=None, database_url=url)))
    await migration.upgrade(database)
    async with database.write() as session:
        session.add_all([Owner(id=name, created_at=START) for name in (OWNER, "other")])
        await session.flush()
        connection = await session.connection()
        for begin in range(0, len(rows), 1000):
            batch = [row.model_dump() for row in rows[begin : begin + 1000]]
            await connection.execute(insert(Conversation), batch)
        session.add_all(
            ConversationTag(owner_id=row.owner_id, name_folded=name, conversation_id=row.id)
            for row in rows
            for name in row.tags
        )
    await catch_up(database, batch=len(rows) + 1)
    return database


@pytest.fixture(scope="module")
def connections(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    """Two databases that differ in their number of conversations alone."""
    directory = tmp_path_factory.mktemp("growth")

    async def make(name: str, count: int) -> None:
        await (await fill(f"sqlite:///{directory / name}", conversations(count))).close()

    asyncio.run(make("few.db", FEW))
    asyncio.run(make("many.db", MANY))
    few, many = sqlite3.connect(directory / "few.db"), sqlite3.connect(directory / "many.db")
    yield few, many
    few.close()
    many.close()


def half_way(order: ConversationOrder, wanted: ConversationFilter) -> Position:
    """Half way between the bounds of the filter."""
    if order.field is ConversationOrderField.TITLE:
        return Position("fix 2", UUID(int=1 << 127))
    after = [time for time in (wanted.created_after, wanted.updated_after, wanted.visible_after) if time is not None]
    before = [time for time in (wanted.created_before, wanted.updated_before) if time is not None]
    low, high = max((*after, START)), min((*before, START + SPAN))
    return Position(low + (high - low) / 2, UUID(int=1 << 127))


@pytest.mark.parametrize("name", EVERYWHERE)
@pytest.mark.parametrize("order", ORDERS, ids=ORDER_NAMES)
def test_a_page_costs_no_more_among_ten_times_the_rows(
    connections: tuple[sqlite3.Connection, sqlite3.Connection], order: ConversationOrder, name: str
) -> None:
    wanted = EVERYWHERE[name]
    for after in (None, half_way(order, wanted)):
        query = ConversationQuery(FIRST, after, wanted, order)
        (few, _), (many, _) = (steps(connection, OWNER, query) for connection in connections)
        # A full page, where the smaller database has less than one, takes 30 of these hundreds, and all pins take 15.
        assert many <= 1.2 * max(few, 45 if order.pinned_first else 30), (after, few, many)


@pytest.mark.parametrize("name", AT_THE_EDGE)
@pytest.mark.parametrize("order", ORDERS, ids=ORDER_NAMES)
def test_a_time_that_few_rows_or_none_have_is_not_searched_for(
    connections: tuple[sqlite3.Connection, sqlite3.Connection], order: ConversationOrder, name: str
) -> None:
    wanted = AT_THE_EDGE[name]
    for after in (None, half_way(order, wanted)):
        query = ConversationQuery(FIRST, after, wanted, order)
        found = [steps(connection, OWNER, query)[0] for connection in connections]
        assert max(found) <= (30 if order.pinned_first else 15), (after, found)


@pytest.fixture(scope="module")
def many_lives(database_url: str) -> str:
    """The URL of a database whose rows come in another order by each of their times."""
    asyncio.run(_fill_and_close(database_url, conversations(3 * NARROW_MAX_ROWS, lifetime=SPAN)))
    return database_url


async def _fill_and_close(url: str, rows: Sequence[Conversation]) -> None:
    await (await fill(url, rows)).close()


@pytest.fixture
async def database(many_lives: str) -> AsyncGenerator[Database]:
    """That database, as the server opens it."""
    opened = Database(database_url(load_config(env_file=None, database_url=many_lives)))
    yield opened
    await opened.close()


COMBINED = {
    "window": Filter(created_after=at(0.3), created_before=at(0.9), updated_after=at(0.5), updated_before=at(0.8)),
    "narrow-window": Filter(created_after=at(0.6), created_before=at(0.7)),
    "age-and-update": Filter(visible_after=at(0.2), updated_before=at(0.4)),
    "two-bounds": Filter(visible_after=at(0.2), created_after=at(0.7)),
    "status-and-time": Filter(statuses=("ERROR",), updated_before=at(0.7)),
    "statuses-and-time": Filter(statuses=("ERROR", "STOPPED", "ERROR"), triggers=("API", "GUI"), updated_after=at(0.7)),
    "title": Filter(title_contains="DEPLOY"),
    "title-and-time": Filter(title_contains="fix", created_before=at(0.4)),
    "no-status": Filter(statuses=()),
    "contradiction": Filter(created_after=at(0.7), updated_before=at(0.6)),
}
ALL = {**EVERYWHERE, **AT_THE_EDGE, **COMBINED}


def position(order: ConversationOrder, row: Conversation) -> Position:
    return Position(*key(order, row), row.is_pinned)


def key(order: ConversationOrder, row: Conversation) -> tuple[datetime | str, UUID]:
    keys: dict[ConversationOrderField, datetime | str] = {
        ConversationOrderField.CREATED_AT: row.created_at,
        ConversationOrderField.UPDATED_AT: row.updated_at,
        ConversationOrderField.TITLE: row.title_folded,
    }
    return keys[order.field], row.id


def lets_through(wanted: ConversationFilter, row: Conversation) -> bool:
    """The filter, told once more and without SQL."""
    return (
        row.owner_id == OWNER
        and (wanted.statuses is None or row.status in wanted.statuses)
        and (wanted.triggers is None or row.trigger in wanted.triggers)
        and (wanted.title_contains is None or fold(wanted.title_contains) in row.title_folded)
        and (wanted.created_after is None or row.created_at > wanted.created_after)
        and (wanted.created_before is None or row.created_at < wanted.created_before)
        and (wanted.updated_after is None or row.updated_at > wanted.updated_after)
        and (wanted.updated_before is None or row.updated_at < wanted.updated_before)
        and (wanted.visible_after is None or row.created_at >= wanted.visible_after)
        and (wanted.is_archived is None or row.is_archived == wanted.is_archived)
        and (wanted.is_pinned is None or row.is_pinned == wanted.is_pinned)
        and (wanted.any_tags is None or bool(set(wanted.any_tags) & set(row.tags)))
        and set(wanted.all_tags) <= set(row.tags)
    )


@pytest.mark.parametrize("order", ORDERS, ids=ORDER_NAMES)
async def test_every_path_finds_what_a_plain_look_finds(database: Database, order: ConversationOrder) -> None:
    rows = conversations(3 * NARROW_MAX_ROWS, lifetime=SPAN)
    # A key and an id are compared as a pair.
    ordered = sorted(
        rows, key=lambda row: (key(order, row)[0], row.id.hex), reverse=order.direction is OrderDirection.DESC
    )
    if order.pinned_first:
        ordered.sort(key=lambda row: not row.is_pinned)
    ranks = {row.id: rank for rank, row in enumerate(ordered)}
    async with database.read() as session:
        repository = ConversationSearch(session)
        for name, wanted in ALL.items():
            expected = [row for row in ordered if lets_through(wanted, row)]
            # A count has no order.
            if order == ORDERS[0]:
                assert await repository.count(OWNER, wanted) == len(expected), name
            pinned = expected[2:3] if order.pinned_first else ()
            for start in (None, rows[len(rows) // 3], *pinned, *expected[len(expected) // 2 :][:1]):
                after = position(order, start) if start is not None else None
                behind = [row.id for row in expected if start is None or ranks[row.id] > ranks[start.id]]
                found = await repository.page(OWNER, ConversationQuery(FIRST, after, wanted, order))
                assert [row.id for row in found] == behind[: FIRST + 1], (name, after)


@pytest.mark.parametrize("name", ["shown", "archived", "not-pinned", "status-shown", "tag-common"])
async def test_a_page_is_a_walk_of_the_index_of_its_order(database: Database, name: str) -> None:
    dialect = database.reader.dialect
    wanted = {**ALL, "status-shown": Filter(statuses=("ERROR",), is_archived=False)}[name]
    statement = ConversationQuery(FIRST, None, wanted).statement(select(Conversation), OWNER, dialect.name)
    sql = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    async with database.write() as session:
        connection = await session.connection()
        if not database.is_sqlite:
            await connection.exec_driver_sql("ANALYZE")
        explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        plan = "\n".join(str(row[-1]) for row in await connection.exec_driver_sql(f"{explain} {sql}"))
    index = "ix_conversation_status_created" if name == "status-shown" else "ix_conversation_created"
    assert re.search(rf"USING (COVERING )?INDEX {index}|Index (Only )?Scan (Backward )?using {index}", plan), plan
    # The candidates of a tag are sorted again with their rows; the others come in order.
    assert name == "tag-common" or not re.search("TEMP B-TREE|Sort", plan), plan
    assert "hashed SubPlan" not in plan
