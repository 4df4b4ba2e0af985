"""An empty list in a filter lets nothing through, and costs no statement."""

from typing import Any

import pytest

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.server import RunningServer
from tests.support.statements import counted

COUNT = "query ($filter: ConversationFilter) { conversations(filter: $filter) { totalCount nodes { id } } }"


@pytest.mark.parametrize("wanted", [{"status": []}, {"trigger": []}, {"status": [], "trigger": ["API"]}])
async def test_an_empty_list_of_a_filter_finds_no_conversation(
    client: Client, server: RunningServer, wanted: dict[str, Any]
) -> None:
    await steps.save_settings(client)
    await steps.create(client)
    with counted(server) as statements:
        brief = await client.execute(COUNT, filter=wanted)
        whole = await client.execute(documents.SEARCH, filter=wanted)

    assert brief["conversations"] == {"totalCount": 0, "nodes": []}
    assert whole["conversations"]["nodes"] == []
    assert not whole["conversations"]["pageInfo"]["hasNextPage"]
    assert [statement for statement in statements if "FROM conversation" in statement] == []


async def test_an_empty_list_of_sources_finds_no_event(client: Client, server: RunningServer) -> None:
    await steps.save_settings(client)
    conversation = await steps.create(client, "Hello")
    await steps.until_waiting(client, conversation["id"])
    with counted(server) as statements:
        found = await steps.events(client, conversation["id"], last=10, filter={"source": []})

    assert found == []
    assert [statement for statement in statements if "FROM event" in statement] == []
