"""Finding conversations: pages, filters, orders, and what a page costs."""

from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import update
from sqlmodel import col

from app.models.conversation import Conversation
from tests.support import documents, steps
from tests.support.client import Client, RequestFailed
from tests.support.scripted_llm import ScriptedLLM
from tests.support.server import RunningServer
from tests.support.statements import counted

JSON = dict[str, Any]
TITLES = ["Straße", "alpha", "Beta", "100%", "under_score", "ÄRGER", "gamma"]


async def search(client: Client, **arguments: object) -> JSON:
    return cast("JSON", (await client.execute(documents.SEARCH, **arguments))["conversations"])


async def fill(client: Client) -> list[str]:
    """Seven conversations, oldest first; their ids."""
    await steps.save_settings(client)
    made: list[str] = []
    for title in TITLES:
        made.append((await steps.create(client, title=title))["id"])
        await steps.until_waiting(client, made[-1])
    return made


@pytest.mark.parametrize("field", ["CREATED_AT", "UPDATED_AT", "TITLE"])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_pages_have_everything_once_and_in_order(client: Client, field: str, direction: str) -> None:
    made = await fill(client)
    order = {"field": field, "direction": direction}
    found: list[JSON] = []
    after = None
    while True:
        page = await search(client, first=3, after=after, orderBy=order)
        found += page["nodes"]
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        assert page["pageInfo"]["endCursor"] == page["edges"][-1]["cursor"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert sorted(node["id"] for node in found) == sorted(made)
    key = {"CREATED_AT": "createdAt", "UPDATED_AT": "updatedAt", "TITLE": "title"}[field]
    keys = [node[key].casefold() for node in found]
    assert keys == sorted(keys, reverse=direction == "DESC")


async def test_filters_hold_together(client: Client) -> None:
    made = await fill(client)
    oldest = await steps.get(client, made[0])
    newest = await steps.get(client, made[-1])

    async def ids(**wanted: object) -> list[str]:
        return [node["id"] for node in (await search(client, filter=wanted))["nodes"]]

    assert await ids(titleContains="STRASSE") == [made[0]]
    assert await ids(titleContains="ärger") == [made[5]]
    assert await ids(titleContains="%") == [made[3]]
    assert await ids(titleContains="_") == [made[4]]
    assert len(await ids(status=["STOPPED"])) == 4
    assert len(await ids(status=["RUNNING", "STOPPED"])) == 7
    assert await ids(status=["ERROR"]) == []
    assert await ids(trigger=["API", "RESOLVER"]) == []
    assert len(await ids(trigger=["GUI"], titleContains="a")) == 4
    assert await ids(createdBefore=oldest["createdAt"]) == []
    assert len(await ids(createdAfter=oldest["createdAt"])) == 6
    assert await ids(updatedAfter=newest["updatedAt"]) == []


async def test_what_is_out_of_bounds_is_refused(client: Client) -> None:
    await steps.save_settings(client)
    for arguments in (
        {"first": 0},
        {"first": 101},
        {"first": -1},
        {"after": "nonsense"},
        {"filter": {"titleContains": "x" * 201}},
    ):
        with pytest.raises(RequestFailed) as raised:
            await search(client, **arguments)
        assert raised.value.errors[0]["extensions"]["code"] == "INVALID_INPUT"
    await steps.create(client)
    cursor = (await search(client))["edges"][0]["cursor"]
    with pytest.raises(RequestFailed):
        await search(client, after=cursor, orderBy={"field": "TITLE", "direction": "ASC"})


async def test_a_page_is_one_statement_two_with_the_count_and_one_more_with_events(
    client: Client, server: RunningServer
) -> None:
    await fill(client)
    with counted(server) as statements:
        await client.execute("{ conversations { nodes { id title usage { costUsd } } } }")
    assert len(statements) == 1
    with counted(server) as statements:
        await client.execute("{ conversations { totalCount nodes { id } } }")
    assert len(statements) == 2
    with counted(server) as statements:
        data = await client.execute("{ conversations { nodes { events(last: 2) { nodes { sequence } } } } }")
    assert len(data["conversations"]["nodes"]) == 7
    assert len(statements) == 2


async def test_nodes_are_fetched_together_and_keep_their_order(client: Client, server: RunningServer) -> None:
    made = await fill(client)
    settings = (await client.execute("{ settings { id } }"))["settings"]["id"]
    ids = [made[2], "nonsense", settings, f"{made[0]}:1", made[0], f"{made[0]}:99"]
    with counted(server) as statements:
        data = await client.execute("query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }", ids=ids)
    assert [node and node["id"] for node in data["nodes"]] == [made[2], None, settings, f"{made[0]}:1", made[0], None]
    assert len(statements) == 3


async def test_a_row_that_a_newer_release_wrote_hides_nothing(client: Client, server: RunningServer) -> None:
    made = await fill(client)

    async def spoil() -> None:
        async with server.parley.database.write() as session:
            values = {"status": "FUTURE", "trigger": "FUTURE", "reason_code": "FUTURE", "agent_state": "FUTURE"}
            await session.exec(update(Conversation).where(col(Conversation.id) == UUID(made[3])).values(values))

    server.call(spoil())
    nodes = (await search(client))["nodes"]
    assert len(nodes) == 7
    [spoilt] = [node for node in nodes if node["id"] == made[3]]
    assert (spoilt["status"], spoilt["trigger"], spoilt["agentState"]) == ("ERROR", "API", None)


async def test_another_caller_finds_nothing(client: Client, stranger: Client, llm: ScriptedLLM) -> None:
    await fill(client)
    assert (await search(stranger))["nodes"] == []
