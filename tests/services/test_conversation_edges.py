"""The edges of a conversation's life: what goes wrong only now and then, and costs a page, a title or a run."""

import asyncio
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text as sql

from app.models.conversation import Conversation, fold
from app.models.event import EventRepository, EventSource, MessageBody, NewEvent
from app.models.owner import OwnerRepository
from app.services.clock import utc_now
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.scripted_llm import Call, Reply, ScriptedLLM, echo, text, tools
from tests.support.server import RunningServer

JSON = dict[str, Any]
IMAGE = "data:image/png;base64,iVBORw0KGgo="
KEY = "sk-test-key-0123456789"


async def mutate(client: Client, document: str, **given: object) -> JSON:
    """The payload of a mutation."""
    [payload] = (await client.execute(document, input=given)).values()
    return cast("JSON", payload)


async def refusal(client: Client, document: str, **given: object) -> tuple[str, list[str]]:
    """The one error of a mutation that did nothing."""
    payload = await mutate(client, document, **given)
    [error] = payload.pop("userErrors")
    assert not any(payload.values())
    return error["__typename"], error["path"]


async def count(client: Client) -> int:
    """How many conversations the caller has."""
    return cast("int", (await client.execute("{ conversations { totalCount } }"))["conversations"]["totalCount"])


def run_sql(server: RunningServer, statement: str, **values: object) -> None:
    """Carry out a statement past all of the application."""

    async def run() -> None:
        async with server.parley.database.writer.begin() as connection:
            await connection.execute(sql(statement), values)

    server.call(run())


def written(client: Client, messages: int) -> str:
    """A stopped conversation with so many messages of the user, written straight into the tables."""
    conversation_id = uuid4()

    async def write() -> None:
        now = utc_now()
        async with client.server.parley.database.write() as session:
            await OwnerRepository(session).ensure(client.name, now)
            session.add(
                Conversation(
                    id=conversation_id,
                    owner_id=client.name,
                    title="Written",
                    title_folded=fold("Written"),
                    status="STOPPED",
                    trigger="GUI",
                    created_at=now,
                    updated_at=now,
                    last_sequence=messages,
                    last_run=1,
                )
            )
            await session.flush()
            for sequence in range(1, messages + 1):
                said = NewEvent(EventSource.USER, MessageBody(str(sequence)))
                EventRepository(session).add(conversation_id, 1, sequence, said, now)

    client.server.call(write())
    return str(conversation_id)


def is_title_request(body: Any) -> bool:
    """Whether a title is asked for, and not an answer."""
    return str(body["messages"][0]["content"]).startswith("You give a conversation its title.")


def give_titles(llm: ScriptedLLM, reply: Reply) -> None:
    """Answer requests for a title with this, and all others with an echo."""
    agent = echo()
    llm.default = lambda body: reply if is_title_request(body) else agent(body)


async def trajectory(client: Client, conversation: str) -> JSON:
    """The conversation's document."""
    found = await client.execute(documents.TRAJECTORY, id=conversation)
    return cast("JSON", found["conversation"]["trajectory"])


async def test_images_alone_leave_the_title_to_the_first_words(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    give_titles(llm, text("Blue skies"))
    created = await steps.create(client, title=None, initialMessage={"text": "", "imageUrls": [IMAGE]})
    waiting = await steps.until_waiting(client, created["id"])
    assert waiting["title"] == f"Conversation {created['id'][:5]}"
    await steps.send(client, created["id"], "What is on it?")
    await steps.until(client, created["id"], title="Blue skies")
    asked = [
        cast("JSON", request.body)["messages"][1]["content"]
        for request in llm.requests
        if is_title_request(request.body)
    ]
    assert asked == ["What is on it?"]


async def test_the_bound_of_a_message_counts_the_id_that_was_put_into_it(client: Client) -> None:
    await steps.save_settings(client)
    message = {"text": "{conversation_id}" * 5000}
    refused = await refusal(client, documents.CREATE, initialMessage=message, attachConversationId=True)
    assert refused == ("InvalidInputError", ["initialMessage", "text"])
    assert await count(client) == 0


async def test_30_creations_with_one_key_at_once_make_one_conversation(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    created = await asyncio.gather(*(steps.create(client, "Hello", idempotencyKey="k") for _ in range(30)))
    assert len({conversation["id"] for conversation in created}) == 1
    await steps.until_waiting(client, created[0]["id"])
    sent = await asyncio.gather(*(steps.send(client, created[0]["id"], "More", idempotencyKey="k") for _ in range(30)))
    assert {payload["eventEdge"]["node"]["sequence"] for payload in sent} == {5}
    await steps.until_waiting(client, created[0]["id"])
    assert await count(client) == 1
    assert await steps.said(client, created[0]["id"]) == [
        ("USER", "Hello"),
        ("AGENT", "answer to Hello"),
        ("USER", "More"),
        ("AGENT", "answer to More"),
    ]


async def test_the_key_of_what_was_deleted_makes_nothing_new(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    created = await steps.create(client, idempotencyKey="k")
    await steps.send(client, created["id"], "One", idempotencyKey="k")
    await mutate(client, documents.DELETE, id=created["id"])
    assert await refusal(client, documents.CREATE, idempotencyKey="k") == ("NotFoundError", ["idempotencyKey"])
    given = {"conversationId": created["id"], "message": {"text": "One"}, "idempotencyKey": "k"}
    assert await refusal(client, documents.SEND, **given) == ("NotFoundError", ["conversationId"])
    assert await count(client) == 0


async def test_a_dangling_link_in_place_of_a_workspace_is_not_forgotten(
    client: Client, llm: ScriptedLLM, tmp_path: Path
) -> None:
    await steps.save_settings(client, llm)
    created = await steps.create(client)
    await steps.until_waiting(client, created["id"])
    workspace = client.server.config.data_dir / "workspaces" / created["id"]
    workspace.rmdir()
    workspace.symlink_to(tmp_path / "absent")
    await mutate(client, documents.DELETE, id=created["id"])
    assert await steps.get(client, created["id"]) is None
    workspace.unlink()
    assert client.server.call(client.server.parley.workspace.remove(UUID(created["id"])))


async def test_a_document_shows_no_secret_in_its_title_either(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.script(tools(Call("look", f'{{"{KEY}": "{KEY}"}}'), said=(f"With {KEY}",)), text(f"It is {KEY}."))
    created = await steps.create(client, f"My key is {KEY}", title=f"Key {KEY}")
    await steps.until_waiting(client, created["id"])
    document = await trajectory(client, created["id"])
    assert KEY not in str(document)
    assert document["title"] == "Key <secret hidden>"
    assert document["events"][0]["text"] == "My key is <secret hidden>"


async def test_a_log_of_several_batches_comes_back_whole(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    document = await trajectory(client, written(client, 1050))
    assert [event["sequence"] for event in document["events"]] == list(range(1, 1051))
    payload = await mutate(client, documents.CREATE, replay=document)
    assert payload["userErrors"] == []
    await steps.until_waiting(client, payload["conversation"]["id"])
    *played, last = (await trajectory(client, payload["conversation"]["id"]))["events"]
    assert played == document["events"]
    assert (last["sequence"], last["agentState"]) == (1051, "AWAITING_USER_INPUT")
    assert len(llm.requests) == 0


@pytest.mark.parametrize("body", ["{", "null", "[]", '{"text": 5}', '"text"', '{"text": "x", "image_urls": 1}'])
async def test_a_body_that_cannot_be_read_hides_no_other_event(client: Client, llm: ScriptedLLM, body: str) -> None:
    server = client.server
    if body == "{" and not server.parley.database.is_sqlite:
        pytest.skip("PostgreSQL stores no malformed JSON")
    await steps.save_settings(client, llm)
    conversation = written(client, 3)
    key = UUID(conversation).hex if server.parley.database.is_sqlite else conversation
    run_sql(server, "UPDATE event SET body = :body WHERE conversation_id = :key AND sequence = 2", body=body, key=key)
    found = await steps.events(client, conversation, first=3)
    assert [(event["sequence"], event["text"]) for event in found] == [
        (1, "1"),
        (2, "This event can't be read by this release of the server."),
        (3, "3"),
    ]
    assert [event["sequence"] for event in (await trajectory(client, conversation))["events"]] == [1, 3]
    await steps.send(client, conversation, "Go on")
    await steps.until_waiting(client, conversation)
    assert (await steps.said(client, conversation))[-1] == ("AGENT", "answer to Go on")


async def test_messages_of_an_earlier_release_have_no_images_and_attachments(client: Client) -> None:
    conversation, server = written(client, 1), client.server
    key = UUID(conversation).hex if server.parley.database.is_sqlite else conversation
    run_sql(server, "UPDATE event SET body = :body WHERE conversation_id = :key", body='{"text": "Old"}', key=key)
    query = """query ($id: ID!) { conversation(id: $id) { events { nodes {
        ... on MessageEvent { text imageUrls isPartial attachments { name } }
    } } } }"""
    [event] = (await client.execute(query, id=conversation))["conversation"]["events"]["nodes"]
    assert event == {"text": "Old", "imageUrls": [], "isPartial": False, "attachments": []}


async def test_names_of_a_newer_release_hide_no_other_row(client: Client) -> None:
    ids = [written(client, 2) for _ in range(5)]
    server = client.server
    is_sqlite = server.parley.database.is_sqlite
    keys = [UUID(given).hex if is_sqlite else given for given in ids]
    run_sql(
        server,
        "UPDATE conversation SET status = 'ASLEEP', trigger = 'DREAM', agent_state = 'SNORING', reason_code = 'TIRED', "
        "reason_message = 'Yawn' WHERE id = :key",
        key=keys[2],
    )
    run_sql(server, "UPDATE event SET kind = 'DreamEvent', source = 'MOON' WHERE conversation_id = :key", key=keys[2])
    listed = (await client.execute(documents.SEARCH, first=2))["conversations"]
    assert [node["id"] for node in listed["nodes"]] == [ids[4], ids[3]]
    after = listed["pageInfo"]["endCursor"]
    listed = (await client.execute(documents.SEARCH, first=2, after=after))["conversations"]
    assert [node["id"] for node in listed["nodes"]] == [ids[2], ids[1]]
    strange = listed["nodes"][0]
    assert (strange["status"], strange["trigger"], strange["agentState"]) == ("ERROR", "API", None)
    assert strange["statusReason"]["message"] == "Yawn"
    assert [event["source"] for event in await steps.events(client, ids[2])] == ["ENVIRONMENT", "ENVIRONMENT"]


def spoilt(*path: str | int, to: object) -> Callable[[], JSON]:
    """A good document that is bad in one place."""

    def make() -> JSON:
        document = copy.deepcopy(GOOD)
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to
        return document

    return make


def nested(depth: int) -> JSON:
    """JSON so deep."""
    value: JSON = {}
    for _ in range(depth):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (spoilt("version", to=2), ["version"]),
        (spoilt("surprise", to=1), ["surprise"]),
        (spoilt("events", to=[]), ["events"]),
        (spoilt("events", 0, "type", to="OtherEvent"), ["events", "0"]),
        (spoilt("events", 0, "text", to="\x00"), ["events", "0", "text"]),
        (spoilt("events", 0, "text", to="x" * 4_000_001), ["events", "0", "text"]),
        (spoilt("events", 0, "imageUrls", to=["http://example.com/a.png"]), ["events", "0", "imageUrls", "0"]),
        (spoilt("events", 0, "createdAt", to="2026-01-01T00:00:00"), ["events", "0", "createdAt"]),
        (spoilt("events", 0, "createdAt", to="0001-01-01T00:00:00+14:00"), ["events", "0", "createdAt"]),
        (spoilt("events", 1, "sequence", to=1), ["events", "1", "sequence"]),
        (spoilt("events", 1, "problem", to={"code": "NO_CODE", "message": ""}), ["events", "1", "problem", "code"]),
        (spoilt("events", 2, "arguments", to={"a": ["\x00"]}), ["events", "2", "arguments", "a", "0"]),
        (spoilt("events", 2, "arguments", to=nested(51)), ["events", "2", "arguments", *["x"] * 51]),
        (spoilt("events", 2, "toolName", to="a\x00b"), ["events", "2", "toolName"]),
        (spoilt("events", 2, "usage", "llmModel", to="a\x00b"), ["events", "2", "usage", "llmModel"]),
        (spoilt("events", 3, "toolCall", to=1), ["events", "3", "toolCall"]),
        (spoilt("events", 3, "output", to="a\x00b"), ["events", "3", "output"]),
    ],
)
async def test_a_bad_document_is_refused_before_anything_is_written(
    client: Client, make: Callable[[], JSON], path: list[str]
) -> None:
    await steps.save_settings(client)
    assert await refusal(client, documents.CREATE, replay=make()) == ("InvalidInputError", ["replay", *path])
    assert await count(client) == 0


async def test_the_document_that_is_spoilt_above_is_good(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    created = (await mutate(client, documents.CREATE, replay=GOOD))["conversation"]
    await steps.until_waiting(client, created["id"])
    assert [event["sequence"] for event in await steps.events(client, created["id"])] == [1, 2, 3, 4, 5]


def _event(sequence: int, kind: str, source: str, **fields: object) -> JSON:
    head = {"sequence": sequence, "run": 1, "type": kind, "source": source, "createdAt": "2026-01-01T00:00:00+00:00"}
    return {**head, **fields}


_USAGE = {"llmModel": "openai/scripted", "promptTokens": 1, "completionTokens": 2}
GOOD: JSON = {
    "version": 1,
    "events": [
        _event(1, "MessageEvent", "USER", text="Hello"),
        _event(2, "StateChangeEvent", "ENVIRONMENT", agentState="RUNNING"),
        _event(3, "ToolCallEvent", "AGENT", callId="c", toolName="look", arguments={"x": 1}, usage=_USAGE),
        _event(4, "ToolResultEvent", "ENVIRONMENT", toolCall=3, output="nothing"),
    ],
}
