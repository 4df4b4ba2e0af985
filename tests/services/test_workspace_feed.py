"""A workspace that is watched: told of changes with their counts, and not too often."""

import asyncio
import json
from typing import Any, cast
from uuid import UUID

from app.models.conversation import Conversation
from app.services.push.progress import Progress
from app.services.push.wakeups import LocalWakeups, workspace_topic
from app.services.workspace_contents import WorkspaceContents
from app.services.workspace_feed import WorkspaceFeed
from tests.support import documents, steps
from tests.support.client import Client, Subscription
from tests.support.patience import WAIT_SECONDS
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import Call, Reply, ScriptedLLM, text, tools
from tests.support.workspaces import started

JSON = dict[str, Any]


def write(path: str, content: str) -> Reply:
    return tools(Call("write_file", json.dumps({"path": path, "content": content})))


def command(line: str) -> Reply:
    return tools(Call("run_command", json.dumps({"command": line})))


async def changed(watching: Subscription) -> JSON:
    return cast("JSON", (await watching.next())["workspaceChanged"])


def counts(change: JSON) -> tuple[int, int, int]:
    return change["changedFiles"], change["additions"], change["deletions"]


async def until_counts(watching: Subscription, wanted: tuple[int, int, int]) -> None:
    """Wait until the newest counts are these. Raises TimeoutError."""
    async with asyncio.timeout(WAIT_SECONDS):
        while counts(await changed(watching)) != wanted:
            pass


@needs_sandbox
async def test_who_watches_sees_what_is_there_then_what_tools_change(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation_id, path = await started(client)
    (path / "here").write_text("one\n")
    async with client.subscribe(documents.WATCH_WORKSPACE, id=conversation_id) as watching:
        first = await changed(watching)
        assert first == {
            "conversationId": conversation_id,
            "changedFiles": 1,
            "additions": 1,
            "deletions": 0,
            "workspace": {"id": f"workspace:{conversation_id}", "state": "READY", "headCommitSha": None},
        }
        llm.script(write("a.txt", "one\ntwo\n"), text("Done"))
        await steps.send(client, conversation_id, "Write")
        await until_counts(watching, (2, 3, 0))
        await steps.until_waiting(client, conversation_id)

        # Equal counts are a change too.
        llm.script(write("a.txt", "two\none\n"), text("Done"))
        await steps.send(client, conversation_id, "Again")
        assert counts(await changed(watching)) == (2, 3, 0)
        await steps.until_waiting(client, conversation_id)

        await client.execute(documents.DELETE, input={"id": conversation_id})
        assert await watching.until_end() == []


@needs_sandbox
async def test_a_command_is_seen_to_change_files_while_it_runs(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation_id, path = await started(client)
    async with client.subscribe(documents.WATCH_WORKSPACE, id=conversation_id) as watching:
        assert counts(await changed(watching)) == (0, 0, 0)
        llm.script(command("echo a > a; echo written; until [ -e go ]; do sleep 0.02; done"), text("Done"))
        await steps.send(client, conversation_id, "Go")
        await until_counts(watching, (1, 1, 0))
        (path / "go").touch()
        await until_counts(watching, (2, 1, 0))


@needs_sandbox
async def test_what_changes_nothing_is_not_told(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation_id, path = await started(client)
    (path / "a.txt").write_text("one\n")
    async with client.subscribe(documents.WATCH_WORKSPACE, id=conversation_id) as watching:
        await changed(watching)
        for call in (
            Call("read_file", '{"path": "a.txt"}'),
            Call("list_files", "{}"),
            Call("search_files", '{"pattern": "o"}'),
        ):
            llm.script(tools(call), text("Done"))
            await steps.send(client, conversation_id, "Look")
            await steps.until_said(client, conversation_id, "AGENT", "Done")
            await steps.until_waiting(client, conversation_id)
        assert await watching.is_silent(1.5)


@needs_sandbox
async def test_many_changes_are_told_at_most_twice_a_second(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation_id, _ = await started(client)
    loop = asyncio.get_running_loop()
    async with client.subscribe(documents.WATCH_WORKSPACE, id=conversation_id) as watching:
        await changed(watching)
        began = loop.time()
        llm.script(*(write(f"f{number}", "x\n") for number in range(12)), text("Done"))
        await steps.send(client, conversation_id, "Write")
        told = 1
        while counts(await changed(watching)) != (12, 12, 0):
            told += 1
        assert told <= 2 + 2 * (loop.time() - began)


@needs_sandbox
async def test_all_who_watch_are_told_and_may_come_and_go(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation_id, _ = await started(client)
    async with client.subscribe(documents.WATCH_WORKSPACE, id=conversation_id) as first, client.socket() as socket:
        others = [await socket.subscribe(documents.WATCH_WORKSPACE, id=conversation_id) for _ in range(3)]
        for watching in (first, *others):
            assert counts(await changed(watching)) == (0, 0, 0)
        async with client.subscribe(documents.WATCH_WORKSPACE, id=conversation_id) as leaving:
            await changed(leaving)
        llm.script(write("a", "a\n"), text("Done"))
        await steps.send(client, conversation_id, "Write")
        for watching in (first, *others):
            await until_counts(watching, (1, 1, 0))


async def test_before_there_is_a_workspace_there_is_nothing_to_count(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation_id, path = await started(client)
    path.rmdir()
    async with client.subscribe(documents.WATCH_WORKSPACE, id=conversation_id) as watching:
        first = await changed(watching)
        assert (first["workspace"], first["changedFiles"], first["additions"]) == (None, None, None)


class CountedLooks:
    """Contents of a workspace that is not there, with the number of looks at it."""

    def __init__(self) -> None:
        self.looks = 0

    async def summary(self, conversation_id: UUID) -> None:
        self.looks += 1


async def test_a_workspace_is_looked_at_while_somebody_watches_and_something_happens(
    client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    conversation_id, _ = await started(client)
    key, contents, wakeups = UUID(conversation_id), CountedLooks(), LocalWakeups()
    feed = WorkspaceFeed(client.server.parley.database, wakeups, cast("WorkspaceContents", contents))

    async def looks() -> list[int]:
        owner_id = (await owner(client, key)) or ""
        counted = [contents.looks]
        watching = feed.follow(owner_id, key, Progress())
        await anext(watching)
        # It asks the database, not the tree, in the meantime.
        await asyncio.sleep(2.5)
        counted.append(contents.looks)
        wakeups.publish(workspace_topic(key))
        await anext(watching)
        counted.append(contents.looks)
        await watching.aclose()
        for _ in range(10):
            wakeups.publish(workspace_topic(key))
            await asyncio.sleep(0.1)
        return [*counted, contents.looks]

    assert await asyncio.to_thread(client.server.call, looks()) == [0, 1, 2, 2]


async def owner(client: Client, conversation_id: UUID) -> str | None:
    """The owner of a conversation, as the database has it."""
    async with client.server.parley.database.read() as session:
        conversation = await session.get(Conversation, conversation_id)
        return conversation.owner_id if conversation is not None else None
