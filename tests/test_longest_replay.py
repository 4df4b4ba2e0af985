"""The longest trajectory that is accepted, and one that is longer."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.services.trajectory import MAX_EVENTS
from tests import documents, steps
from tests.client import NO_TLS, Client
from tests.server import RunningServer, running_server

JSON = dict[str, Any]
# On a machine that does other things too.
WAIT_SECONDS = 50.0
HEAD = {"createdAt": "2026-11-29T06:00:00Z"}
PROMPT = {"llmModel": "demo/assistant", "promptTokens": 120, "completionTokens": 60, "costUsd": 0.0}
ARGUMENTS = {"path": "notes.txt", "lines": [1, 2, 3], "options": {"all": True, "limit": None}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """What a long trajectory costs is mostly the same on every database, so one will do."""
    with running_server(tmp_path_factory.mktemp("data"), max_body_bytes=64 * 1024 * 1024) as started:
        yield started


def longest() -> list[JSON]:
    """As many events as there may be, with more entries of lists and objects than most have."""
    events: list[JSON] = []
    while len(events) < MAX_EVENTS - 1:
        number = len(events) + 1
        head = {**HEAD, "run": number // 3 + 1}
        call = {"callId": f"c{number}", "toolName": "read_file", "arguments": ARGUMENTS, "thought": "Reading"}
        events += [
            {"sequence": number, **head, "source": "USER", "type": "MessageEvent", "text": f"Message {number}"},
            {"sequence": number + 1, **head, "source": "AGENT", "usage": PROMPT, "type": "ToolCallEvent", **call},
            {
                "sequence": number + 2,
                **head,
                "source": "ENVIRONMENT",
                "type": "ToolResultEvent",
                "toolCall": number + 1,
                "output": "nothing",
                "truncated": False,
                "isError": False,
            },
        ]
    last = {"sequence": MAX_EVENTS, **HEAD, "run": MAX_EVENTS // 3, "source": "ENVIRONMENT"}
    return [*events[: MAX_EVENTS - 1], {**last, "type": "StateChangeEvent", "agentState": "AWAITING_USER_INPUT"}]


async def asked(server: RunningServer, client: Client, query: str, variables: JSON) -> JSON:
    """The data of an answer that takes long."""
    headers = {"Authorization": f"Bearer {client.token}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, verify=NO_TLS, timeout=WAIT_SECONDS) as http:
        response = await http.post("/graphql", json={"query": query, "variables": variables})
    body = response.json()
    assert "errors" not in body, response.text[:1000]
    return body["data"]


async def test_a_trajectory_of_the_greatest_length_is_accepted_and_begun(client: Client, server: RunningServer) -> None:
    await steps.save_settings(client)
    document: JSON = {"version": 1, "events": longest()}
    assert len(document["events"]) == MAX_EVENTS
    assert json.dumps(document).count(",") > 500_000
    created = (await asked(server, client, documents.CREATE, {"input": {"replay": document}}))["createConversation"]
    assert created["userErrors"] == []
    conversation_id = created["conversation"]["id"]
    # To play all of it takes minutes.
    async with client.subscribe(documents.WATCH_EVENTS, id=conversation_id, after="") as watching:
        for _ in range(300):
            await watching.next()
    await client.execute(documents.STOP, input={"id": conversation_id})
    found = await steps.events(client, conversation_id, first=3)
    assert [(event["sequence"], event["source"]) for event in found] == [(1, "USER"), (2, "AGENT"), (3, "ENVIRONMENT")]


async def test_a_trajectory_that_is_longer_is_refused(client: Client, server: RunningServer) -> None:
    await steps.save_settings(client)
    events = [
        *longest(),
        {**HEAD, "sequence": MAX_EVENTS + 1, "run": 1, "source": "AGENT", "type": "MessageEvent", "text": ""},
    ]
    given = {"input": {"replay": {"version": 1, "events": events}}}
    created = (await asked(server, client, documents.CREATE, given))["createConversation"]
    assert [(error["code"], error["path"]) for error in created["userErrors"]] == [
        ("INVALID_INPUT", ["replay", "events"])
    ]
