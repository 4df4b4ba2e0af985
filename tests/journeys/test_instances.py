"""Two servers on one PostgreSQL are one service."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support import documents, steps
from tests.support.client import Client, Subscription
from tests.support.patience import WAIT_SECONDS
from tests.support.postgres import PostgresServer
from tests.support.processes import ForkedServer
from tests.support.scripted_llm import Gate, ScriptedLLM, echo, hold, text
from tests.support.server import RunningServer
from tests.support.tokens import HS256_SECRET
from tests.support.workspaces import absolute, browser, offered

JSON = dict[str, Any]
# A process needs seconds for its start, and again until its first call of the LLM.


@pytest.fixture
async def instances(tmp_path: Path, postgres_url: str) -> AsyncGenerator[tuple[ForkedServer, ForkedServer]]:
    """Two processes that share the database and the key of the secrets in it."""
    settings = {
        "auth": "jwt",
        "jwt_secret": HS256_SECRET.get_secret_value(),
        "llm_private_base_urls": "true",
        "secret_key": "a key that both of them have been given",
    }
    pair = (
        ForkedServer(tmp_path / "one", postgres_url, **settings),
        ForkedServer(tmp_path / "other", postgres_url, **settings),
    )
    try:
        await asyncio.gather(*(server.start() for server in pair))
        yield pair
    finally:
        await asyncio.gather(*(server.close() for server in pair))


def caller(server: ForkedServer, name: str = "ada") -> Client:
    """The same caller on either instance."""
    return Client(cast("RunningServer", server), name)


async def until_text(deltas: Subscription, whole: str) -> list[JSON]:
    """The pieces of an answer, up to its end."""
    pieces = list[JSON]()
    while "".join(piece["text"] for piece in pieces) != whole:
        pieces.append((await deltas.next())["messageDeltas"])
    return pieces


async def test_what_one_writes_is_pushed_to_the_subscribers_of_the_other(
    instances: tuple[ForkedServer, ForkedServer], llm: ScriptedLLM
) -> None:
    answer = "Grüße an alle 🙂, es ist so weit."
    async with caller(instances[0]) as here, caller(instances[1]) as there:
        await steps.save_settings(here, llm)
        # The first call of a model waits for its library, and tells so in the log.
        first = await steps.create(here)
        await steps.send(here, first["id"], "Get ready")
        await steps.until_waiting(here, first["id"])
        await here.execute(documents.DELETE, input={"id": first["id"]})
        conversation = await steps.create(here)
        await steps.until_waiting(here, conversation["id"])
        async with (
            there.subscribe(documents.WATCH_EVENTS, id=conversation["id"], after="") as events,
            there.subscribe(documents.WATCH_STATUS) as statuses,
            there.subscribe(documents.WATCH_DELTAS, id=conversation["id"]) as deltas,
        ):
            assert (await events.next())["conversationEvents"]["node"]["agentState"] == "AWAITING_USER_INPUT"
            assert (await statuses.next())["conversationStatusChanged"]["previousStatus"] is None
            gate = Gate()
            llm.script(hold(gate, *answer[:4], after=list(answer[4:])))
            await steps.send(here, conversation["id"], "Hello")
            await gate.reached()
            gate.release()
            pieces = await until_text(deltas, answer)
            seen = [(await events.next())["conversationEvents"]["node"] for _ in range(4)]
            changes = [(await statuses.next())["conversationStatusChanged"]["conversation"] for _ in range(2)]
        assert len({piece["answerId"] for piece in pieces}) == 1
        assert [event["sequence"] for event in seen] == [2, 3, 4, 5]
        assert [event.get("text") for event in seen] == ["Hello", None, answer, None]
        assert [change["agentState"] for change in changes] == ["RUNNING", "AWAITING_USER_INPUT"]


async def test_a_url_of_one_is_valid_at_the_other(instances: tuple[ForkedServer, ForkedServer], tmp_path: Path) -> None:
    async with caller(instances[0]) as here, browser() as http:
        await steps.save_settings(here)
        conversation_id = (await steps.create(here))["id"]
        await steps.until_waiting(here, conversation_id)
        (tmp_path / "one" / "workspaces" / conversation_id / "a.txt").write_text("a\n")
        log, file = [
            (await offered(here, conversation_id, *wanted))["download"]["url"]
            for wanted in (["TRAJECTORY_JSON"], ["FILE", "a.txt"])
        ]
        for server in instances:
            answer = await http.get(absolute(cast("RunningServer", server), log))
            assert (answer.status_code, answer.json()["conversationId"]) == (200, conversation_id)
        # A workspace is that of one instance.
        found = [(await http.get(absolute(cast("RunningServer", server), file))).status_code for server in instances]
        assert found == [200, 404]


async def test_a_stop_at_one_cancels_the_run_at_the_other(
    instances: tuple[ForkedServer, ForkedServer], llm: ScriptedLLM
) -> None:
    async with caller(instances[0]) as here, caller(instances[1]) as there:
        await steps.save_settings(here, llm)
        llm.script(hold(Gate(), "This is "))
        conversation = await steps.create(here)
        await steps.send_and_read(here, conversation["id"], "Hello")
        stopped = await there.execute(documents.STOP, input={"id": conversation["id"]})
        assert stopped["stopConversation"]["conversation"]["status"] == "STOPPED"
        await llm.requests[0].client_left()
        # What was read of the answer stays, behind the stop, and nothing else is written any more.
        await steps.until_said(there, conversation["id"], "AGENT", "This is ")
        log = await steps.events(there, conversation["id"])
        assert await steps.events(here, conversation["id"]) == log
        assert (log[-2]["agentState"], log[-1]["text"], log[-1]["isPartial"]) == ("PAUSED", "This is ", True)


async def test_the_runs_of_a_killed_one_are_finished_by_the_other(
    instances: tuple[ForkedServer, ForkedServer], llm: ScriptedLLM
) -> None:
    llm.default = echo(pieces=5, pause_seconds=0.05)
    async with caller(instances[0]) as here, caller(instances[1]) as there:
        await steps.save_settings(here, llm)
        gate = Gate()
        llm.script(*(hold(gate, "Never ", after=["said"]) for _ in range(3)))
        texts: dict[str, list[str]] = {}
        for number in range(3):
            conversation = await steps.create(here, f"{number} a")
            await steps.send(here, conversation["id"], f"{number} b")
            texts[conversation["id"]] = [f"{number} a", f"{number} b"]
        async with asyncio.timeout(WAIT_SECONDS):
            while len(llm.requests) < len(texts):  # noqa: ASYNC110  Requests come in another thread.
                await asyncio.sleep(0.01)
        await instances[0].end(signal.SIGKILL)
        for conversation_id, said in texts.items():
            await steps.until_waiting(there, conversation_id)
            log = await steps.events(there, conversation_id)
            assert [event["sequence"] for event in log] == list(range(1, len(log) + 1))
            answers = [(source, text) for source, text in await steps.said(there, conversation_id) if source == "AGENT"]
            assert answers == [("AGENT", f"answer to {text}") for text in said]


async def test_both_go_on_when_their_connections_are_cut(
    instances: tuple[ForkedServer, ForkedServer], llm: ScriptedLLM, postgres_server: PostgresServer, postgres_url: str
) -> None:
    async with caller(instances[0]) as here, caller(instances[1]) as there:
        await steps.save_settings(here, llm)
        llm.script(text("Warm"))
        conversation = await steps.create(here, "Hello")
        await asyncio.wait_for(steps.until_waiting(here, conversation["id"]), WAIT_SECONDS)
        gate = Gate()
        llm.default = lambda _body: hold(gate, after=["Once"])
        await steps.send(here, conversation["id"], "And now?")
        await gate.reached()
        assert postgres_server.end_connections(postgres_url) > 0
        # Time for each of them to take the other one for dead.
        await asyncio.sleep(2.5)
        gate.release()
        await steps.until_waiting(there, conversation["id"])
        assert await steps.said(there, conversation["id"]) == [
            ("USER", "Hello"),
            ("AGENT", "Warm"),
            ("USER", "And now?"),
            ("AGENT", "Once"),
        ]
        assert (await steps.get(here, conversation["id"]))["status"] == "RUNNING"


def workspaces(tmp_path: Path, conversation_id: str) -> list[bool]:
    """Whether each instance has the conversation's workspace."""
    return [(tmp_path / name / "workspaces" / conversation_id).is_dir() for name in ("one", "other")]


async def until_removed(tmp_path: Path, conversation_id: str) -> None:
    """Return once no instance has the workspace, long before the round of half a minute would remove it."""
    async with asyncio.timeout(25):
        while any(workspaces(tmp_path, conversation_id)):  # noqa: ASYNC110  The file system has no event for it.
            await asyncio.sleep(0.05)


async def used_on_both(here: Client, there: Client, tmp_path: Path) -> str:
    """A conversation whose runs have been on either instance."""
    conversation_id: str = (await steps.create(here, "Hello"))["id"]
    await asyncio.wait_for(steps.until_waiting(here, conversation_id), WAIT_SECONDS)
    await here.execute(documents.STOP, input={"id": conversation_id})
    await there.execute(documents.START, input={"id": conversation_id})
    await asyncio.wait_for(steps.until_waiting(there, conversation_id), WAIT_SECONDS)
    assert workspaces(tmp_path, conversation_id) == [True, True]
    for name in ("one", "other"):
        (tmp_path / name / "workspaces" / conversation_id / "file.txt").write_text("left")
    return conversation_id


async def test_a_deletion_at_one_removes_the_workspace_at_the_other(
    instances: tuple[ForkedServer, ForkedServer], llm: ScriptedLLM, tmp_path: Path
) -> None:
    async with caller(instances[0]) as here, caller(instances[1]) as there:
        await steps.save_settings(here, llm)
        deleted = await used_on_both(here, there, tmp_path)
        kept = await used_on_both(here, there, tmp_path)
        # What a clone left that was killed.
        partial = tmp_path / "other" / "workspaces" / f"{deleted}.partial"
        partial.mkdir()
        await here.execute(documents.DELETE, input={"id": deleted})
        await until_removed(tmp_path, deleted)
        assert not partial.exists()
        assert workspaces(tmp_path, kept) == [True, True]


async def test_an_instance_that_was_down_removes_the_workspace_when_it_comes_back(
    instances: tuple[ForkedServer, ForkedServer], llm: ScriptedLLM, tmp_path: Path
) -> None:
    async with caller(instances[0]) as here:
        await steps.save_settings(here, llm)
        async with caller(instances[1]) as there:
            deleted = await used_on_both(here, there, tmp_path)
            kept = await used_on_both(here, there, tmp_path)
        await instances[1].end(signal.SIGKILL)
        await here.execute(documents.DELETE, input={"id": deleted})
        # The one that is there goes round meanwhile, also after a start.
        await instances[0].end(signal.SIGTERM)
        await instances[0].start()
        await asyncio.sleep(2)
        assert workspaces(tmp_path, deleted) == [False, True]
        await instances[1].start()
        await until_removed(tmp_path, deleted)
        assert workspaces(tmp_path, kept) == [True, True]
