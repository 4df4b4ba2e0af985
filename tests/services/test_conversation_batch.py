"""Many conversations at once: tags, pins, the archive, and deletion, with a result for each."""

from typing import Any, cast
from uuid import uuid4

import pytest

from app.models.conversation import Conversation
from app.services.clock import utc_now
from app.services.conversation_batch import MAX_PINNED
from tests.support import documents, steps
from tests.support.client import Client, RequestFailed
from tests.support.scripted_llm import Gate, ScriptedLLM, hold
from tests.support.server import RunningServer
from tests.support.statements import counted

JSON = dict[str, Any]
MISSING = "00000000-0000-4000-8000-000000000000"


async def make(client: Client, *titles: str) -> list[str]:
    """Conversations of these titles that are stopped."""
    await steps.save_settings(client)
    made: list[str] = []
    for title in titles:
        made.append((await steps.create(client, title=title))["id"])
        await steps.until_waiting(client, made[-1])
        await client.execute(documents.STOP, input={"id": made[-1]})
    return made


async def update(client: Client, ids: object, **changes: object) -> JSON:
    data = await client.execute(documents.UPDATE_MANY, input={"ids": ids, **changes})
    return cast("JSON", data["updateConversations"])


async def updated(client: Client, ids: list[str], **changes: object) -> list[JSON]:
    """The changed conversations; none of them may be refused."""
    payload = await update(client, ids, **changes)
    assert payload["userErrors"] == []
    assert [result["userErrors"] for result in payload["results"]] == [[] for _ in ids]
    return [result["conversation"] for result in payload["results"]]


async def found(client: Client, order: JSON | None = None, **wanted: object) -> list[str]:
    """The titles of a search, the newest first, and that the count agrees."""
    query = """query ($filter: ConversationFilter, $order: ConversationOrder) {
        conversations(filter: $filter, orderBy: $order) { totalCount nodes { title } } }"""
    page = (await client.execute(query, filter=wanted or None, order=order or {}))["conversations"]
    assert page["totalCount"] == len(page["nodes"])
    return [node["title"] for node in page["nodes"]]


def refusals(payload: JSON) -> list[tuple[str, list[str]] | None]:
    """Type and path of each result's error."""
    errors = [result["userErrors"] for result in payload["results"]]
    return [(error[0]["__typename"], error[0]["path"]) if error else None for error in errors]


async def test_tags_are_added_and_removed_whatever_their_case(client: Client) -> None:
    ids = await make(client, "one", "two")
    [one, two] = await updated(client, ids, addTags=[" Bug ", "café", "bug", "Straße"])
    assert one["tags"] == two["tags"] == ["Bug", "café", "Straße"]
    [one] = await updated(client, ids[:1], addTags=["BUG", "urgent"], removeTags=["CAFE\u0301", "absent"])
    assert one["tags"] == ["Bug", "Straße", "urgent"]
    assert await found(client, tags=["bUg"]) == ["two", "one"]
    assert await found(client, tags=["CAFÉ", "urgent"]) == ["two", "one"]
    assert await found(client, allTags=["STRASSE", "urgent"]) == ["one"]
    assert await found(client, allTags=["bug", "urgent"], titleContains="two") == []
    assert await found(client, tags=[]) == []
    assert await found(client, tags=["absent"]) == []


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"addTags": ["t" * 51]}, ["addTags", "0"]),
        ({"addTags": ["good", "  "]}, ["addTags", "1"]),
        ({"addTags": ["nul\x00"]}, ["addTags", "0"]),
        ({"addTags": ["sur\ud800"]}, ["addTags", "0"]),
        ({"addTags": ["two\nlines"]}, ["addTags", "0"]),
        ({"addTags": ["hidden\u202e"]}, ["addTags", "0"]),
        ({"addTags": [f"t{number}" for number in range(21)]}, ["addTags"]),
        ({"removeTags": ["t" * 100_000]}, ["removeTags", "0"]),
        ({"addTags": ["Same"], "removeTags": ["same"]}, ["removeTags"]),
        ({"ids": []}, ["ids"]),
        ({"ids": [MISSING] * 101}, ["ids"]),
    ],
)
async def test_what_is_out_of_bounds_changes_nothing(client: Client, changes: JSON, path: list[str]) -> None:
    ids = await make(client, "one")
    payload = await update(client, **{"ids": ids, "isPinned": True, **changes})
    assert payload["results"] == []
    assert [(error["__typename"], error["path"]) for error in payload["userErrors"]] == [("InvalidInputError", path)]
    assert await found(client, isPinned=True) == []
    assert (await updated(client, ids))[0]["tags"] == []


async def test_a_conversation_has_twenty_tags_at_most(client: Client) -> None:
    ids = await make(client, "full", "empty")
    names = [f"t{number:02}" for number in range(20)]
    await updated(client, ids[:1], addTags=names)
    payload = await update(client, ids, addTags=["more"], isPinned=True)
    assert refusals(payload) == [("InvalidInputError", ["addTags"]), None]
    assert await found(client, isPinned=True) == ["empty"]
    [full] = await updated(client, ids[:1], addTags=["more"], removeTags=["T00"])
    assert full["tags"] == ["more", *names[1:]]


async def test_each_id_has_a_result_in_its_place(client: Client, stranger: Client) -> None:
    [one] = await make(client, "one")
    [foreign] = await make(stranger, "foreign")
    ids = [MISSING, one, foreign, "nonsense", one]
    payload = await update(client, ids, addTags=["x"])
    nothing = [("NotFoundError", ["ids", str(place)]) for place in range(5)]
    assert refusals(payload) == [nothing[0], None, nothing[2], nothing[3], None]
    assert payload["results"][1] == payload["results"][4]
    [message, *others] = [payload["results"][place]["userErrors"][0]["message"] for place in (0, 2, 3)]
    assert others == [message, message]
    assert await found(stranger, tags=["x"]) == []

    removed = (await client.execute(documents.DELETE_MANY, input={"ids": ids}))["deleteConversations"]
    assert refusals(removed) == [nothing[0], None, nothing[2], nothing[3], None]
    assert [result["deletedConversationId"] for result in removed["results"]] == [None, one, None, None, one]
    assert (await found(client), await found(stranger)) == ([], ["foreign"])
    again = (await client.execute(documents.DELETE_MANY, input={"ids": [one]}))["deleteConversations"]
    assert refusals(again) == [nothing[0]]
    empty = (await client.execute(documents.DELETE_MANY, input={"ids": []}))["deleteConversations"]
    assert [error["path"] for error in empty["userErrors"]] == [["ids"]]


async def test_archived_conversations_are_left_out_unless_they_are_asked_for(client: Client) -> None:
    ids = await make(client, "kept", "away")
    before = (await updated(client, ids[1:]))[0]
    [away] = await updated(client, ids[1:], isArchived=True)
    assert before["archivedAt"] is None
    assert away["archivedAt"] is not None
    assert {**away, "archivedAt": None} == before
    assert await updated(client, ids[1:], isArchived=True, isPinned=None) == [away]
    assert await found(client) == ["kept"]
    assert await found(client, isArchived=True) == ["away"]
    assert await found(client, isArchived=None) == ["away", "kept"]
    assert await found(client, isArchived=None, status=["STOPPED", "ERROR"]) == ["away", "kept"]
    assert (await updated(client, ids[1:], isArchived=False))[0] == before
    assert await found(client) == ["away", "kept"]


async def test_what_is_archived_stops_and_a_message_brings_it_back(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    gate = Gate()
    llm.script(hold(gate, "Never", after=[" told"]))
    await steps.send(client, conversation["id"], "Begin")
    await gate.reached()
    [away] = await updated(client, [conversation["id"]], isArchived=True)
    assert (away["status"], await found(client)) == ("STOPPED", [])
    assert (await updated(client, [conversation["id"]], isArchived=False))[0]["status"] == "STOPPED"
    await updated(client, [conversation["id"]], isArchived=True)
    assert (await steps.send(client, conversation["id"], "Again"))["userErrors"] == []
    await steps.until_said(client, conversation["id"], "AGENT", "answer to Again")
    assert await found(client) == ["A title"]
    gate.release()


async def test_pinned_conversations_come_first_where_it_is_asked_for(client: Client) -> None:
    ids = await make(client, "a", "b", "c", "d", "e")
    await updated(client, [ids[0], ids[3]], isPinned=True)
    assert await found(client) == ["e", "d", "c", "b", "a"]
    order: JSON = {"pinnedFirst": True}
    assert await found(client, order) == ["d", "a", "e", "c", "b"]
    assert await found(client, {"field": "TITLE", "direction": "ASC", **order}) == ["a", "d", "b", "c", "e"]
    assert await found(client, isPinned=True) == ["d", "a"]
    assert await found(client, order, isPinned=False) == ["e", "c", "b"]
    for first in (1, 2, 3):
        titles: list[str] = []
        after: str | None = None
        while True:
            arguments: JSON = {"first": first, "after": after, "orderBy": order}
            page = (await client.execute(documents.SEARCH, **arguments))["conversations"]
            titles += [node["title"] for node in page["nodes"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert titles == ["d", "a", "e", "c", "b"]
    with pytest.raises(RequestFailed):
        await client.execute(documents.SEARCH, after=after)
    await updated(client, ids[:1], isPinned=False)
    assert await found(client, order) == ["d", "e", "c", "b", "a"]


def pin(client: Client, count: int) -> None:
    """Write pinned conversations straight into the table."""
    now = utc_now()
    rows = [
        Conversation(
            id=uuid4(),
            owner_id=client.name,
            title="Pinned",
            title_folded="pinned",
            status="STOPPED",
            trigger="GUI",
            is_pinned=True,
            created_at=now,
            updated_at=now,
        )
        for _ in range(count)
    ]

    async def write() -> None:
        async with client.server.parley.database.write() as session:
            session.add_all(rows)

    client.server.call(write())


async def test_so_many_are_pinned_and_no_more(client: Client) -> None:
    ids = await make(client, "a", "b", "c")
    pin(client, MAX_PINNED - 2)
    payload = await update(client, ids, isPinned=True, addTags=["x"])
    assert sorted(map(str, refusals(payload))) == [str(("InvalidInputError", ["isPinned"])), "None", "None"]
    assert len(await found(client, tags=["x"], isPinned=True)) == 2
    assert len(await found(client, tags=["x"])) == 2


async def test_changes_are_told_to_subscribers_and_only_once(client: Client, stranger: Client) -> None:
    [one] = await make(client, "one")
    watch = """subscription { conversationStatusChanged { previousStatus deletedConversationId
        conversation { status updatedAt tags isPinned archivedAt } } }"""
    async with client.subscribe(watch) as told, stranger.subscribe(watch) as untold:
        [before] = [(await told.next())["conversationStatusChanged"]["conversation"]]
        await updated(client, [one], addTags=["x"], isPinned=True)
        change = (await told.next())["conversationStatusChanged"]
        assert change["conversation"] == {**before, "tags": ["x"], "isPinned": True}
        assert change["previousStatus"] == "STOPPED"
        await updated(client, [one, one], addTags=["X"], isPinned=True)
        await updated(client, [one], isArchived=True)
        assert (await told.next())["conversationStatusChanged"]["conversation"]["archivedAt"] is not None
        await client.execute(documents.DELETE_MANY, input={"ids": [one]})
        assert (await told.next())["conversationStatusChanged"]["deletedConversationId"] == one
        assert await untold.is_silent()


async def test_a_page_with_tags_is_one_statement(client: Client, server: RunningServer) -> None:
    ids = await make(client, "a", "b")
    await updated(client, ids, addTags=["x", "y"], isPinned=True)
    query = '{ conversations(filter: {tags: ["x"]}) { nodes { tags isPinned archivedAt } } }'
    for _ in range(3):
        with counted(server) as statements:
            nodes = (await client.execute(query))["conversations"]["nodes"]
        assert nodes == [{"tags": ["x", "y"], "isPinned": True, "archivedAt": None}] * 2
        assert len(statements) == 1


@pytest.mark.parametrize("wanted", [{"tags": ["x" * 51]}, {"allTags": ["\x00"]}, {"tags": ["x"] * 11}])
async def test_a_filter_out_of_bounds_is_refused(client: Client, wanted: JSON) -> None:
    with pytest.raises(RequestFailed) as raised:
        await found(client, **wanted)
    assert raised.value.errors[0]["extensions"]["code"] == "INVALID_INPUT"
