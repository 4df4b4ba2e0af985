"""What finding conversations costs: indexes, and the work of a page among 30,000 rows of one owner."""

import asyncio
import random
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy.engine import make_url

from app.models import migration
from app.models.database.database import Database
from app.models.search.filter import SHOWN, ConversationFilter
from app.models.search.order import ConversationOrder, ConversationOrderField, OrderDirection
from app.models.search.query import ConversationQuery, Position
from tests.support.search_costs import plan, steps

ROWS = 30_000
OWNER = "owner"
START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=365)
ORDERS = [ConversationOrder(field, direction) for field in ConversationOrderField for direction in OrderDirection]


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A database whose owner has 30,000 conversations, and 1,000 of another."""
    path = tmp_path_factory.mktemp("models") / "parley.db"

    async def migrate() -> None:
        database = Database(make_url(f"sqlite+aiosqlite:///{path}"))
        await migration.upgrade(database)
        await database.close()

    asyncio.run(migrate())
    chance = random.Random(1)
    moments = [(START + timedelta(seconds=number)).strftime("%Y-%m-%d %H:%M:%S.000000") for number in range(ROWS)]
    columns = (
        "id, owner_id, title, title_folded, title_is_auto_generated, title_revision, status, status_sequence, trigger, "
        "prompt_tokens, completion_tokens, cost_usd, is_cost_known, budget_from_usd, last_sequence, last_run, "
        "run_attempts, created_at, updated_at"
    )
    values = "?, ?, ?, ?, 1, 0, ?, 0, ?, 0, 0, 0, 1, 0, 0, 0, 0, ?, ?"
    with sqlite3.connect(path) as opened:
        opened.executemany("INSERT INTO owner VALUES (?, 0, ?)", [(OWNER, moments[0]), ("other", moments[0])])
        opened.executemany(
            f"INSERT INTO conversation ({columns}) VALUES ({values})",  # noqa: S608  Constants.
            (
                (
                    UUID(int=chance.getrandbits(128)).hex,
                    OWNER if number % 101 else "other",
                    f"T{number}",
                    f"t{chance.randrange(ROWS)}",
                    ("STOPPED", "ERROR", "RUNNING", "STARTING", "FUTURE")[number % 5],
                    ("GUI", "API", "SUGGESTED_TASK", "RESOLVER")[number % 4],
                    moments[number],
                    moments[chance.randrange(ROWS)],
                )
                for number in range(ROWS)
            ),
        )
    opened.close()
    opened = sqlite3.connect(path)
    yield opened
    opened.close()


def middle(connection: sqlite3.Connection, order: ConversationOrder, where: str = "1") -> Position:
    """The sort key and id half way through the owner's rows."""
    column = {"CREATED_AT": "created_at", "UPDATED_AT": "updated_at", "TITLE": "title_folded"}[order.field]
    counting = f"SELECT count(*) FROM conversation WHERE owner_id = ? AND {where}"  # noqa: S608  Constants.
    [count] = connection.execute(counting, (OWNER,)).fetchone()
    found = connection.execute(
        f"SELECT {column}, id FROM conversation WHERE owner_id = ? AND {where} "  # noqa: S608  Constants.
        f"ORDER BY {column} {order.direction}, id {order.direction} LIMIT 1 OFFSET ?",
        (OWNER, count // 2),
    ).fetchone()
    key = found[0] if column == "title_folded" else datetime.fromisoformat(found[0]).replace(tzinfo=UTC)
    return Position(key, UUID(found[1]))


SELECTIVE = [
    (SHOWN, "1"),
    (ConversationFilter(is_archived=False, statuses=("ERROR",)), "status = 'ERROR'"),
    (ConversationFilter(is_archived=False, triggers=("API",)), "trigger = 'API'"),
    (ConversationFilter(is_archived=False, statuses=("ERROR", "STOPPED")), "status IN ('ERROR', 'STOPPED')"),
    (ConversationFilter(is_archived=False, triggers=("API", "GUI")), "trigger IN ('API', 'GUI')"),
    (
        ConversationFilter(is_archived=False, statuses=("ERROR",), triggers=("GUI",)),
        "status = 'ERROR' AND trigger = 'GUI'",
    ),
    (ConversationFilter(is_archived=False, visible_after=START), "1"),
    (ConversationFilter(is_archived=False, visible_after=START, statuses=("ERROR",)), "status = 'ERROR'"),
]
NAMES = ["all", "status", "trigger", "statuses", "triggers", "status-trigger", "age", "age-status"]


@pytest.mark.parametrize(("wanted", "where"), SELECTIVE, ids=NAMES)
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: f"{order.field}-{order.direction}")
def test_a_page_deep_inside_costs_what_the_first_one_costs(
    connection: sqlite3.Connection, order: ConversationOrder, wanted: ConversationFilter, where: str
) -> None:
    query = ConversationQuery(20, None, wanted, order)
    deep = replace(query, after=middle(connection, order, where))
    (first_steps, first_ids), (deep_steps, deep_ids) = steps(connection, OWNER, query), steps(connection, OWNER, deep)
    assert (len(first_ids), len(deep_ids)) == (21, 21)
    assert set(first_ids).isdisjoint(deep_ids)
    # A hundred instructions a row at most; reading all rows would take 10,000 of these ticks.
    assert first_steps <= 200
    assert deep_steps <= 200


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (ConversationFilter(is_archived=False, created_after=START), ConversationOrderField.CREATED_AT),
        (ConversationFilter(is_archived=False, created_before=END), ConversationOrderField.CREATED_AT),
        (ConversationFilter(is_archived=False, updated_after=START), ConversationOrderField.UPDATED_AT),
        (ConversationFilter(is_archived=False, updated_before=END), ConversationOrderField.UPDATED_AT),
    ],
    ids=["created-after", "created-before", "updated-after", "updated-before"],
)
@pytest.mark.parametrize("direction", list(OrderDirection))
def test_a_time_that_is_also_the_order_costs_no_more_deep_inside(
    connection: sqlite3.Connection,
    wanted: ConversationFilter,
    field: ConversationOrderField,
    direction: OrderDirection,
) -> None:
    query = ConversationQuery(20, None, wanted, ConversationOrder(field, direction))
    deep = replace(query, after=middle(connection, query.order))
    assert steps(connection, OWNER, query)[0] <= 200
    assert steps(connection, OWNER, deep)[0] <= 200


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: f"{order.field}-{order.direction}")
def test_an_index_gives_every_order(connection: sqlite3.Connection, order: ConversationOrder) -> None:
    for wanted, where in SELECTIVE:
        for after in (None, middle(connection, order, where)):
            found = plan(connection, OWNER, ConversationQuery(20, after, wanted, order))
            branches = len(wanted.statuses or "1") * len(wanted.triggers or "1")
            is_passed = wanted.visible_after is not None and order.field is not ConversationOrderField.CREATED_AT
            assert re.search("USING (COVERING )?INDEX ix_conversation_", found)
            # Nothing longer than a page is sorted: that of each branch, and the ids of all when their rows are read.
            assert found.count("TEMP B-TREE") == (branches + 1 if branches > 1 else is_passed), (wanted, found)


@pytest.mark.parametrize(
    "wanted",
    [
        ConversationFilter(is_archived=False, title_contains="x"),
        ConversationFilter(is_archived=False, created_after=START),
        ConversationFilter(is_archived=False, created_before=START),
        ConversationFilter(is_archived=False, updated_after=START),
        ConversationFilter(is_archived=False, updated_before=START),
    ],
    ids=["title", "created-after", "created-before", "updated-after", "updated-before"],
)
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: f"{order.field}-{order.direction}")
def test_every_filter_looks_at_the_owners_rows_only(
    connection: sqlite3.Connection, order: ConversationOrder, wanted: ConversationFilter
) -> None:
    found = plan(connection, OWNER, ConversationQuery(20, None, wanted, order))
    assert re.search("SEARCH conversation USING (COVERING )?INDEX ix_conversation_", found)
    assert "SCAN conversation" not in found
    assert "owner_id=?" in found
