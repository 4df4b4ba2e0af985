"""Talking, stopping, starting and deleting."""

import shutil
from typing import Any, cast

import pytest

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.scripted_llm import Gate, ScriptedLLM, hold
from tests.support.server import RunningServer

JSON = dict[str, Any]
ABSENT = "11111111-1111-4111-8111-111111111111"


async def act(client: Client, document: str, **given: object) -> JSON:
    """A mutation's payload."""
    data = await client.execute(document, input=given)
    return cast("JSON", next(iter(data.values())))


def kinds(payload: JSON) -> list[str]:
    """The types of its user errors."""
    return [error["__typename"] for error in payload["userErrors"]]


async def test_a_stop_in_mid_answer_is_effective_at_once_and_final(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    gate = Gate()
    llm.script(hold(gate, "beginning", after=["end"]))
    conversation = await steps.create(client)
    await steps.send_and_read(client, conversation["id"], "Hello")
    stopped = (await act(client, documents.STOP, id=conversation["id"]))["conversation"]
    assert (stopped["status"], stopped["agentState"], stopped["statusReason"]) == ("STOPPED", None, None)
    log = await steps.events(client, conversation["id"])
    await llm.requests[0].client_left()
    gate.release()
    # What was read of the answer stays, marked as a part.
    await steps.until_said(client, conversation["id"], "AGENT", "beginning")
    await steps.send(client, conversation["id"], "Again")
    await steps.until_waiting(client, conversation["id"])
    after = await steps.events(client, conversation["id"])
    assert after[: len(log)] == log
    assert await steps.said(client, conversation["id"]) == [
        ("USER", "Hello"),
        ("AGENT", "beginning"),
        ("USER", "Again"),
        ("AGENT", "answer to Again"),
    ]


async def test_a_stopped_conversation_starts_again_and_waits(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, "Hello")
    await steps.until_waiting(client, conversation["id"])
    await act(client, documents.STOP, id=conversation["id"])
    started = (await act(client, documents.START, id=conversation["id"]))["conversation"]
    assert started["status"] == "STARTING"
    await steps.until_waiting(client, conversation["id"])
    assert len(llm.requests) == 1


async def test_a_status_that_does_not_allow_it_is_named(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, "Hello")
    await steps.until_waiting(client, conversation["id"])
    assert kinds(await act(client, documents.START, id=conversation["id"])) == ["InvalidStateError"]
    await act(client, documents.STOP, id=conversation["id"])
    log = await steps.events(client, conversation["id"])
    assert kinds(await act(client, documents.STOP, id=conversation["id"])) == ["InvalidStateError"]
    assert await steps.events(client, conversation["id"]) == log


async def test_messages_during_a_run_are_answered_in_order(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    gate = Gate()
    llm.script(hold(gate, "one", after=["!"]))
    conversation = await steps.create(client, "1")
    await gate.reached()
    await steps.send(client, conversation["id"], "2")
    await steps.send(client, conversation["id"], "3")
    gate.release()
    await steps.until_waiting(client, conversation["id"])
    said = await steps.said(client, conversation["id"])
    assert [found for found in said if found[0] == "AGENT"] == [
        ("AGENT", "one!"),
        ("AGENT", "answer to 2"),
        ("AGENT", "answer to 3"),
    ]
    last = cast("list[JSON]", llm.requests[-1].body["messages"])
    assert [found["content"] for found in last[1:]] == ["1", "one!", "2", "answer to 2", "3"]


async def test_the_same_key_sends_once(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, "Hello")
    await steps.until_waiting(client, conversation["id"])
    first = await steps.send(client, conversation["id"], "Once", idempotencyKey="k")
    again = await steps.send(client, conversation["id"], "Twice", idempotencyKey="k")
    assert again["eventEdge"] == first["eventEdge"]
    await steps.until_waiting(client, conversation["id"])
    assert ("USER", "Twice") not in await steps.said(client, conversation["id"])


async def test_a_bad_message_changes_nothing(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, "Hello")
    before = await steps.until_waiting(client, conversation["id"])
    payload = await steps.send(client, conversation["id"], " ")
    assert kinds(payload) == ["InvalidInputError"]
    assert payload["userErrors"][0]["path"] == ["message", "text"]
    assert await steps.get(client, conversation["id"]) == before


async def test_deleting_ends_everything_and_deleting_twice_finds_nothing(
    client: Client, llm: ScriptedLLM, server: RunningServer
) -> None:
    await steps.save_settings(client, llm)
    gate = Gate()
    llm.script(hold(gate, "begin", after=["end"]))
    conversation = await steps.create(client, "Hello")
    await gate.reached()
    workspace = server.config.data_dir / "workspaces" / conversation["id"]
    assert workspace.is_dir()
    async with (
        client.subscribe(documents.WATCH_STATUS, ids=[conversation["id"]]) as statuses,
        client.subscribe(documents.WATCH_EVENTS, id=conversation["id"], after="") as log,
        client.subscribe(documents.WATCH_DELTAS, id=conversation["id"]) as answer,
    ):
        await statuses.next()
        await log.next()
        deleted = await act(client, documents.DELETE, id=conversation["id"])
        assert deleted["deletedConversationId"] == conversation["id"]
        change = (await statuses.next())["conversationStatusChanged"]
        assert (change["conversation"], change["deletedConversationId"]) == (None, conversation["id"])
        await log.until_end()
        await answer.until_end()
    gate.release()
    assert not workspace.exists()
    assert (await client.execute(documents.GET, id=conversation["id"]))["conversation"] is None
    assert kinds(await act(client, documents.DELETE, id=conversation["id"])) == ["NotFoundError"]


async def test_a_workspace_that_cannot_be_removed_is_tried_again_later(
    client: Client, llm: ScriptedLLM, server: RunningServer
) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    workspace = server.config.data_dir / "workspaces" / conversation["id"]
    workspace.rmdir()
    elsewhere = server.config.data_dir / f"elsewhere-{conversation['id']}"
    elsewhere.mkdir()
    # A symbolic link in its place is not followed: removing it fails until it is a directory again.
    workspace.symlink_to(elsewhere)
    assert (await act(client, documents.DELETE, id=conversation["id"]))["userErrors"] == []
    assert workspace.is_symlink()
    assert elsewhere.is_dir()
    workspace.unlink()
    shutil.copytree(elsewhere, workspace)
    server.call(server.parley.workspace.retry_removals(at_once=True))
    assert not workspace.exists()


@pytest.mark.parametrize("document", [documents.STOP, documents.START, documents.DELETE, documents.RENAME])
@pytest.mark.parametrize("conversation_id", [ABSENT, "nonsense", ""])
async def test_what_does_not_exist_is_not_found(client: Client, document: str, conversation_id: str) -> None:
    await steps.save_settings(client)
    assert kinds(await act(client, document, id=conversation_id)) == ["NotFoundError"]
