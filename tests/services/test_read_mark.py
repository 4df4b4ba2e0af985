"""Fields of a list that sum up a log: the number of events, the last message, and the unread events."""

from typing import Any, cast

import pytest

from app.models.conversation import AgentState, Conversation
from app.models.database.unit_of_work import made
from app.models.event import EventBody, EventSource, MessageBody, NewEvent, StateChangeBody, count_event
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.scripted_llm import ScriptedLLM
from tests.support.server import RunningServer
from tests.support.statements import counted

JSON = dict[str, Any]
SHOWN = "eventCount unread lastMessage { id text source createdAt }"


async def talk(client: Client, llm: ScriptedLLM, text: str = "Hello") -> str:
    """A conversation in which the agent has answered; its id."""
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, text)
    await steps.until_said(client, conversation["id"], "AGENT", f"answer to {text}")
    await steps.until_waiting(client, conversation["id"])
    return cast("str", conversation["id"])


async def shown(client: Client, conversation_id: str) -> JSON:
    data = await client.execute(f"query ($id: ID!) {{ conversation(id: $id) {{ {SHOWN} }} }}", id=conversation_id)
    return cast("JSON", data["conversation"])


async def mark(client: Client, conversation_id: str, **given: object) -> JSON:
    data = await client.execute(documents.MARK_READ, input={"conversationId": conversation_id, **given})
    return cast("JSON", data["markRead"])


async def test_a_list_shows_what_was_said_last_and_how_much_was_not_read(client: Client, llm: ScriptedLLM) -> None:
    conversation_id = await talk(client, llm)
    log = await steps.events(client, conversation_id)
    answers = [event for event in log if event.get("text") == "answer to Hello"]
    told = await shown(client, conversation_id)
    assert told["lastMessage"] == {key: answers[0][key] for key in ("id", "text", "source", "createdAt")}
    # The user's own message is the first event, and counts as read.
    assert (told["eventCount"], told["unread"]) == (len(log), len(log) - log[0]["sequence"])
    await steps.send(client, conversation_id, "More")
    await steps.until_said(client, conversation_id, "AGENT", "answer to More")
    await steps.until_waiting(client, conversation_id)
    log = await steps.events(client, conversation_id)
    [more] = [event["sequence"] for event in log if event.get("text") == "More"]
    told = await shown(client, conversation_id)
    assert (told["eventCount"], told["unread"]) == (len(log), len(log) - more)
    assert told["lastMessage"]["text"] == "answer to More"


async def test_a_conversation_without_a_message_has_none(client: Client) -> None:
    await steps.save_settings(client)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    told = await shown(client, conversation["id"])
    assert told["lastMessage"] is None
    assert told["unread"] == told["eventCount"] == len(await steps.events(client, conversation["id"]))


async def test_the_mark_moves_forward_and_never_back(client: Client, llm: ScriptedLLM) -> None:
    conversation_id = await talk(client, llm)
    log = await steps.events(client, conversation_id)
    payload = await mark(client, conversation_id, eventId=log[-2]["id"])
    assert (payload["userErrors"], payload["conversation"]["unread"]) == ([], 1)
    assert (await mark(client, conversation_id, eventId=log[0]["id"]))["conversation"]["unread"] == 1
    assert (await mark(client, conversation_id))["conversation"]["unread"] == 0
    assert (await shown(client, conversation_id))["unread"] == 0


async def test_what_is_not_there_is_not_marked(client: Client, stranger: Client, llm: ScriptedLLM) -> None:
    conversation_id = await talk(client, llm)
    foreign = await talk(stranger, llm)
    before = await shown(client, conversation_id)
    cases = [
        (conversation_id, f"{conversation_id}:{before['eventCount'] + 1}", "eventId"),
        (conversation_id, f"{conversation_id}:9999999999", "eventId"),
        (conversation_id, f"{foreign}:1", "eventId"),
        (conversation_id, "nonsense", "eventId"),
        (foreign, f"{foreign}:1", "conversationId"),
        ("nonsense", None, "conversationId"),
    ]
    for conversation, event, path in cases:
        payload = await mark(client, conversation, eventId=event)
        assert [(error["__typename"], error["path"]) for error in payload["userErrors"]] == [("NotFoundError", [path])]
    assert await shown(client, conversation_id) == before
    assert (await shown(stranger, foreign))["unread"] > 0


async def test_subscribers_hear_of_a_new_mark_alone(client: Client, stranger: Client, llm: ScriptedLLM) -> None:
    conversation_id = await talk(client, llm)
    watch = "subscription { conversationStatusChanged { previousStatus conversation { status unread updatedAt } } }"
    async with client.subscribe(watch) as told, stranger.subscribe(watch) as untold:
        before = (await told.next())["conversationStatusChanged"]["conversation"]
        await mark(client, conversation_id)
        change = (await told.next())["conversationStatusChanged"]
        assert change == {"previousStatus": "RUNNING", "conversation": {**before, "unread": 0}}
        await mark(client, conversation_id)
        await client.execute(documents.STOP, input={"id": conversation_id})
        assert (await told.next())["conversationStatusChanged"]["conversation"]["status"] == "STOPPED"
        assert await untold.is_silent()


async def test_a_page_with_last_messages_is_two_statements(
    client: Client, llm: ScriptedLLM, server: RunningServer
) -> None:
    for text in ("one", "two", "three"):
        await talk(client, llm, text)
    for _ in range(3):
        with counted(server) as statements:
            data = await client.execute("{ conversations { nodes { eventCount unread } } }")
        assert len(statements) == 1
        assert all(node["unread"] == node["eventCount"] - 1 > 0 for node in data["conversations"]["nodes"])
        with counted(server) as statements:
            data = await client.execute("{ conversations { nodes { lastMessage { text } } } }")
        assert len(statements) == 2
        texts = [node["lastMessage"]["text"] for node in data["conversations"]["nodes"]]
        assert texts == ["answer to three", "answer to two", "answer to one"]


@pytest.mark.parametrize(
    ("source", "body", "last_message", "read"),
    [
        (EventSource.USER, MessageBody("Hello"), 8, 8),
        (EventSource.AGENT, MessageBody("Hello"), 8, 3),
        (EventSource.ENVIRONMENT, MessageBody("Cloning."), 5, 3),
        (EventSource.ENVIRONMENT, StateChangeBody(AgentState.RUNNING), 5, 3),
    ],
)
def test_an_event_is_counted_in_the_conversations_own_row(
    source: EventSource, body: EventBody, last_message: int, read: int
) -> None:
    row = made(Conversation, {"last_sequence": 7, "last_message_sequence": 5, "read_sequence": 3})
    assert count_event(row, NewEvent(source, body)) == 8
    assert (row.last_sequence, row.last_message_sequence, row.read_sequence) == (8, last_message, read)
