"""Ids and cursors are opaque, so anything may be sent in their place: nothing of it is an unexpected error."""

import base64
import json
import random
from typing import Any, cast
from uuid import uuid4

import pytest

from tests.support import documents, steps
from tests.support.client import Client

JSON = dict[str, Any]
KNOWN = "c0ffee00-0000-4000-8000-000000000001"

MALFORMED_IDS = [
    "",
    " ",
    "0",
    "-1",
    "null",
    "x" * 100_000,
    "\x00",
    f"{KNOWN}\x00",
    f"\x00{KNOWN}",
    f"{KNOWN}\n",
    f" {KNOWN}",
    KNOWN.upper(),
    KNOWN.replace("-", ""),
    f"{{{KNOWN}}}",
    f"urn:uuid:{KNOWN}",
    f"{KNOWN}:",
    f"{KNOWN}:0",
    f"{KNOWN}:-1",
    f"{KNOWN}:01",
    f"{KNOWN}:1.0",
    f"{KNOWN}:１",
    f"{KNOWN}:1:1",
    f"{KNOWN}:99999999999",
    f"settings:{KNOWN}:1",
    "settings:",
    f"Settings:{KNOWN}",
    "\ud800",
    f"{KNOWN}\udfff",
    "١٢٣",
    "🙂",
    "' OR 1=1 --",
    "../../etc/passwd",
]
NOTHINGS = [*MALFORMED_IDS, KNOWN, f"{KNOWN}:1", f"{KNOWN}:9999999999", f"settings:{KNOWN}", f"branch:{KNOWN}"]


def encoded(value: object) -> str:
    """A cursor as the server would write it."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


MALFORMED_CURSORS = [
    "x",
    "=",
    "====",
    " ",
    "\x00",
    "\ud800",
    "🙂",
    "é",
    "A" * 40_001,
    "A" * 100_000,
    KNOWN,
    encoded(None),
    encoded(5),
    encoded([]),
    encoded({}),
    encoded("text"),
    encoded([None]),
    encoded([True]),
    encoded([-1]),
    encoded([1.5]),
    encoded(["1"]),
    encoded([2**31]),
    encoded([10**30]),
    encoded([1, 2]),
    encoded(["CREATED_AT"]),
    encoded(["CREATED_AT", "not a date", "0" * 32]),
    encoded(["CREATED_AT", "2026-01-01T00:00:00", "0" * 32]),
    encoded(["CREATED_AT", "0001-01-01T00:00:00+14:00", "0" * 32]),
    encoded(["CREATED_AT", "9999-12-31T23:59:59-12:00", "0" * 32]),
    encoded(["CREATED_AT", "2026-01-01T00:00:00+00:00", "x"]),
    encoded(["CREATED_AT", "2026-01-01T00:00:00+00:00", None]),
    encoded(["CREATED_AT", None, "0" * 32]),
    encoded(["NOTHING", "2026-01-01T00:00:00+00:00", "0" * 32]),
    encoded(["TITLE", "\x00", "0" * 32]),
    encoded(["TITLE", "\ud800", "0" * 32]),
    base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    base64.urlsafe_b64encode(b"[" * 2900).decode(),
]


def errors_of(body: JSON) -> list[str]:
    """The codes of the errors; an error without one comes as its message."""
    return [error.get("extensions", {}).get("code", error["message"]) for error in body.get("errors", [])]


async def test_an_id_that_names_nothing_gets_null(client: Client) -> None:
    query = """query ($id: ID!, $ids: [ID!]!) {
      node(id: $id) { id } nodes(ids: $ids) { id } conversation(id: $id) { id }
    }"""
    nothing = {"data": {"node": None, "nodes": [None, None, None], "conversation": None}}
    for given_id in NOTHINGS:
        answer = await client.post(query, {"id": given_id, "ids": [given_id, KNOWN, given_id]})
        assert (answer.status, answer.body) == (200, nothing), repr(given_id[:50])


@pytest.mark.parametrize(
    ("document", "name", "path", "rest"),
    [
        (documents.RENAME, "renameConversation", "id", {"title": "New"}),
        (documents.DELETE, "deleteConversation", "id", {}),
        (documents.START, "startConversation", "id", {}),
        (documents.STOP, "stopConversation", "id", {}),
        (documents.SEND, "sendMessage", "conversationId", {"message": {"text": "Hello"}}),
    ],
)
async def test_a_mutation_of_nothing_is_not_found(
    client: Client, document: str, name: str, path: str, rest: JSON
) -> None:
    await steps.save_settings(client)
    for given_id in NOTHINGS:
        answer = await client.post(document, {"input": {path: given_id, **rest}})
        assert errors_of(answer.body) == [], repr(given_id[:50])
        (error,) = answer.body["data"][name]["userErrors"]
        assert (error["__typename"], error["code"], error["path"]) == ("NotFoundError", "NOT_FOUND", [path])


async def test_a_subscription_to_nothing_is_not_found_or_silent(client: Client) -> None:
    async with client.socket() as socket:
        for given_id in NOTHINGS:
            for document in (documents.WATCH_EVENTS, documents.WATCH_DELTAS):
                watching = await socket.subscribe(document, id=given_id)
                payload = (await watching.message())["payload"]
                (error,) = cast("list[JSON]", payload if isinstance(payload, list) else payload["errors"])
                assert error["extensions"]["code"] == "NOT_FOUND", repr(given_id[:50])
        statuses = await socket.subscribe(documents.WATCH_STATUS, ids=NOTHINGS)
        assert await statuses.is_silent(0.2)


async def test_only_so_many_ids_may_be_asked_for(client: Client) -> None:
    query = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    assert (await client.execute(query, ids=[KNOWN] * 100))["nodes"] == [None] * 100
    answer = await client.post(query, {"ids": [KNOWN] * 101})
    assert errors_of(answer.body) == ["INVALID_INPUT"]
    async with client.subscribe(documents.WATCH_STATUS, ids=[KNOWN] * 101) as watching:
        assert "INVALID_INPUT" in json.dumps(await watching.message())


async def test_a_malformed_cursor_is_said_to_be_one(client: Client) -> None:
    await steps.save_settings(client)
    conversation = await steps.create(client)
    async with client.socket() as socket:
        for cursor in MALFORMED_CURSORS:
            for field in ("CREATED_AT", "UPDATED_AT", "TITLE"):
                answer = await client.post(documents.SEARCH, {"after": cursor, "orderBy": {"field": field}})
                assert errors_of(answer.body) == ["INVALID_INPUT"], repr(cursor[:50])
            for argument in ("after", "before"):
                answer = await client.post(documents.EVENTS, {"id": conversation["id"], argument: cursor})
                assert errors_of(answer.body) == ["INVALID_INPUT"], repr(cursor[:50])
            watching = await socket.subscribe(documents.WATCH_EVENTS, id=conversation["id"], after=cursor)
            assert "INVALID_INPUT" in json.dumps(await watching.message()), repr(cursor[:50])


async def test_a_cursor_of_another_order_is_refused(client: Client) -> None:
    await steps.save_settings(client)
    await steps.create(client)
    cursors: dict[str, str] = {}
    for field in ("CREATED_AT", "UPDATED_AT", "TITLE"):
        page = await client.execute(documents.SEARCH, orderBy={"field": field})
        cursors[field] = page["conversations"]["edges"][0]["cursor"]
    for field in cursors:
        for made_for, cursor in cursors.items():
            answer = await client.post(documents.SEARCH, {"after": cursor, "orderBy": {"field": field}})
            assert errors_of(answer.body) == ([] if field == made_for else ["INVALID_INPUT"])


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"])
async def test_a_cursor_at_the_end_of_time_is_only_a_place(client: Client, moment: str) -> None:
    for direction in ("ASC", "DESC"):
        order = {"field": "CREATED_AT", "direction": direction}
        await client.execute(documents.SEARCH, after=encoded(["CREATED_AT", moment, "f" * 32]), orderBy=order)


@pytest.mark.parametrize("cursor", [encoded([0]), encoded([2**31 - 1])])
async def test_an_event_cursor_at_either_end_is_only_a_place(client: Client, cursor: str) -> None:
    await steps.save_settings(client)
    conversation = await steps.create(client)
    for argument in ("after", "before"):
        await client.execute(documents.EVENTS, id=conversation["id"], **{argument: cursor})


async def test_an_id_of_one_kind_is_none_of_another(client: Client) -> None:
    await steps.save_settings(client)
    conversation = await steps.create(client)
    settings_node = (await client.execute("{ settings { id } }"))["settings"]["id"]
    for other in (f"{conversation['id']}:1", settings_node, f"settings:{conversation['id']}", str(uuid4())):
        found = await client.execute("query ($id: ID!) { conversation(id: $id) { id } }", id=other)
        assert found == {"conversation": None}


async def test_no_id_and_no_cursor_is_an_unexpected_error(client: Client) -> None:
    query = """query ($id: ID!, $cursor: String, $title: String) {
      node(id: $id) { id }
      conversations(after: $cursor, orderBy: {field: TITLE}, filter: {titleContains: $title}) { nodes { id } }
    }"""
    chance = random.Random(7)

    def any_text() -> str:
        return "".join(chr(chance.choice((0, 0xD800, 0x10FFFF, chance.randrange(0x110000)))) for _ in range(8))

    for _ in range(60):
        cursor = chance.choice((any_text(), encoded(["TITLE", any_text(), uuid4().hex])))
        answer = await client.post(query, {"id": any_text(), "cursor": cursor, "title": any_text()})
        assert answer.status == 200
        assert set(errors_of(answer.body)) <= {"INVALID_INPUT"}, repr(answer.body)
