"""What was created longer ago than the operator allows is hidden from lists, and nothing else is done to it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from app.services.clock import utc_now
from tests.support import documents, steps
from tests.support.client import Client, Subscription
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
AGE = timedelta(seconds=100)


class Calendar:
    """A clock that a test sets back."""

    def __init__(self) -> None:
        self.ago = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() - self.ago


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    """The server's clock."""
    return Calendar()


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str, calendar: Calendar) -> Iterator[RunningServer]:
    """A server that hides what is older than 100 s."""
    age = int(AGE.total_seconds())
    with running_server(
        data_dir,
        database_url=database_url,
        clock=calendar,
        conversation_max_age_seconds=age,
        max_concurrent_conversations=10,
    ) as started:
        yield started


async def make(client: Client, calendar: Calendar) -> tuple[list[str], list[str]]:
    """The ids of three old and two new conversations, which wait for their user."""
    await steps.save_settings(client)
    made: list[str] = []
    for number in range(5):
        calendar.ago = AGE * 2 if number in {0, 2, 4} else timedelta(0)
        made.append((await steps.create(client, title=str(number)))["id"])
        await steps.until_waiting(client, made[-1])
    calendar.ago = timedelta(0)
    return made[::2], made[1::2]


async def test_old_conversations_are_in_no_list_and_no_count(client: Client, calendar: Calendar) -> None:
    _, new = await make(client, calendar)
    for field in ("CREATED_AT", "UPDATED_AT", "TITLE"):
        order = {"field": field, "direction": "ASC"}
        first = (await client.execute(documents.SEARCH, first=1, orderBy=order))["conversations"]
        after = first["pageInfo"]["endCursor"]
        second = (await client.execute(documents.SEARCH, first=1, after=after, orderBy=order))["conversations"]
        assert [node["id"] for node in first["nodes"] + second["nodes"]] == new
        assert (first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]) == (True, False)
    assert await client.execute("{ conversations { totalCount } }") == {"conversations": {"totalCount": 2}}


async def test_old_conversations_are_there_by_their_ids(client: Client, calendar: Calendar) -> None:
    old, _ = await make(client, calendar)
    assert (await steps.get(client, old[0]))["title"] == "0"
    assert (await client.execute("query ($id: ID!) { node(id: $id) { id } }", id=old[0]))["node"] == {"id": old[0]}
    assert (await steps.send(client, old[0], "Still there?"))["userErrors"] == []
    await steps.until_waiting(client, old[0])


async def test_a_status_stream_begins_without_old_conversations_and_tells_their_changes(
    client: Client, calendar: Calendar
) -> None:
    old, new = await make(client, calendar)
    async with client.subscribe(documents.WATCH_STATUS) as watching:
        shown = [(await told(watching))["conversation"]["id"] for _ in new]
        assert sorted(shown) == sorted(new)
        assert await watching.is_silent()
        await client.execute(documents.STOP, input={"id": old[0]})
        change = await told(watching)
        assert (change["conversation"]["id"], change["conversation"]["status"]) == (old[0], "STOPPED")
        await client.execute(documents.DELETE, input={"id": old[1]})
        assert (await told(watching))["deletedConversationId"] == old[1]
    async with client.subscribe(documents.WATCH_STATUS, ids=[old[2]]) as watching:
        assert (await told(watching))["conversation"]["id"] == old[2]


async def told(watching: Subscription) -> JSON:
    """The next change."""
    return cast("JSON", (await watching.next())["conversationStatusChanged"])
