"""The longest trajectory that is accepted, and one that is longer."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.services.trajectory import MAX_EVENTS, MAX_TEXT
from tests.support import documents, steps
from tests.support.client import NO_TLS, Client, RequestFailed
from tests.support.patience import WAIT_SECONDS
from tests.support.server import RunningServer, running_server
from tests.support.workspaces import fetched

JSON = dict[str, Any]
# On a machine that does other things too.
PLAY_SECONDS = 100.0
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


async def until_played(client: Client, conversation_id: str) -> None:
    """Return once the agent waits for the user."""
    async with asyncio.timeout(PLAY_SECONDS):
        while True:
            found = await steps.get(client, conversation_id)
            assert found["status"] in {"STARTING", "RUNNING"}, found["statusReason"]
            if found["agentState"] == "AWAITING_USER_INPUT":
                return
            await asyncio.sleep(0.1)


async def test_a_trajectory_of_the_greatest_length_is_accepted_and_played_to_its_end(
    client: Client, server: RunningServer
) -> None:
    await steps.save_settings(client)
    document: JSON = {"version": 1, "events": longest()}
    assert len(document["events"]) == MAX_EVENTS
    assert json.dumps(document).count(",") > 500_000
    created = (await asked(server, client, documents.CREATE, {"input": {"replay": document}}))["createConversation"]
    assert created["userErrors"] == []
    conversation_id = created["conversation"]["id"]
    await until_played(client, conversation_id)
    found = await steps.events(client, conversation_id, first=3)
    assert [(event["sequence"], event["source"]) for event in found] == [(1, "USER"), (2, "AGENT"), (3, "ENVIRONMENT")]
    call, result, said, last = await steps.events(client, conversation_id, last=4)
    assert [event["sequence"] for event in (call, result, said, last)] == list(range(MAX_EVENTS - 3, MAX_EVENTS + 1))
    assert (call["toolName"], result["toolCall"]["id"]) == ("read_file", call["id"])
    assert (said["text"], last["agentState"]) == (f"Message {MAX_EVENTS - 1}", "AWAITING_USER_INPUT")


def bytes_written() -> int:
    """What this process, with the server and its SQLite in it, has given the system to write."""
    return int(Path("/proc/self/io").read_text().partition("wchar: ")[2].split(maxsplit=1)[0])


async def test_four_times_the_events_write_about_four_times_the_bytes(client: Client, server: RunningServer) -> None:
    await steps.save_settings(client)
    written: list[int] = []
    for count in (3_000, 12_000):
        document: JSON = {"version": 1, "events": longest()[:count]}
        given = {"input": {"title": "Long", "replay": document}}
        before = bytes_written()
        created = (await asked(server, client, documents.CREATE, given))["createConversation"]
        assert created["userErrors"] == []
        await until_played(client, created["conversation"]["id"])
        written.append(bytes_written() - before)
    # A row that has the events and how far it is would be written whole by each batch: sixteen times the bytes.
    assert written[1] < 6 * written[0]


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


async def test_a_log_that_is_too_long_for_a_field_can_be_downloaded(client: Client, server: RunningServer) -> None:
    await steps.save_settings(client)
    said = "x" * MAX_TEXT
    events: list[JSON] = [
        {**HEAD, "sequence": number, "run": 1, "source": "AGENT", "type": "MessageEvent", "text": said}
        for number in range(1, 10)
    ]
    given = {"input": {"title": "Long", "replay": {"version": 1, "events": events}}}
    created = (await asked(server, client, documents.CREATE, given))["createConversation"]
    assert created["userErrors"] == []
    conversation_id = created["conversation"]["id"]
    await until_played(client, conversation_id)
    with pytest.raises(RequestFailed) as failure:
        await client.execute(documents.TRAJECTORY, id=conversation_id)
    [error] = failure.value.errors
    assert error["extensions"]["code"] == "TRAJECTORY_TOO_LONG"
    assert "TRAJECTORY_JSON" in error["message"]
    downloaded = json.loads((await fetched(client, conversation_id, "TRAJECTORY_JSON")).content)
    texts = [event["text"] for event in downloaded["events"] if event["type"] == "MessageEvent"]
    assert [text == said for text in texts] == [True] * 9
