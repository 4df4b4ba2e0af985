"""What was read of an answer outlives the server, on both databases."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import event

from app.config import load_config
from app.models.conversation import Conversation
from app.models.database.database import Database, database_url
from app.models.database.statement import Statement
from app.models.draft import Draft, DraftRepository
from app.models.event import EventUsage
from app.schema.node import conversation_key
from app.services.agent.run_log import RunLog
from app.services.clock import utc_now
from app.services.housekeeping import RECONCILE_AFTER
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.processes import ForkedServer
from tests.support.scripted_llm import Call, Gate, Reply, ScriptedLLM, hold, text
from tests.support.server import RunningServer

JSON = dict[str, Any]
KEY = "sk-drafted-0123456789"


@pytest.fixture
def outside_llm() -> Iterator[ScriptedLLM]:
    """An LLM that outlives the server."""
    with ScriptedLLM() as llm:
        yield llm


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Database]:
    database = Database(database_url(load_config(env_file=None, database_url=url)))
    yield database
    await database.close()


async def drafted(database: Database, conversation_id: str) -> str:
    """All that the database keeps of a conversation's answers that are being written."""
    key = conversation_key(conversation_id)
    assert key is not None
    async with database.read() as session:
        return "".join(draft.text for draft in await DraftRepository(session).of(key))


async def until_drafted(database: Database, conversation_id: str, expected: str) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if await drafted(database, conversation_id) == expected:
                return
            await asyncio.sleep(0.02)


async def messages(server: ForkedServer, conversation_id: str) -> list[tuple[str, bool]]:
    """What the agent said, and whether that is a part; the log has no gap."""
    data = await server.execute(documents.EVENTS, id=conversation_id, first=100)
    log = cast("list[JSON]", data["conversation"]["events"]["nodes"])
    assert [found["sequence"] for found in log] == list(range(1, len(log) + 1))
    return [
        (found["text"], found["isPartial"])
        for found in log
        if found["__typename"] == "MessageEvent" and found["source"] == "AGENT"
    ]


async def until_waiting(server: ForkedServer, conversation_id: str) -> JSON:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            found = (await server.execute(documents.GET, id=conversation_id))["conversation"]
            assert found["status"] in {"STARTING", "RUNNING"}, found["statusReason"]
            if found["agentState"] == "AWAITING_USER_INPUT":
                return cast("JSON", found)
            await asyncio.sleep(0.05)


async def started(server: ForkedServer, llm: ScriptedLLM, said: str) -> str:
    """Settings, and a conversation that begins with this."""
    await server.start()
    settings = {"llmModel": "openai/gpt-4o", "llmBaseUrl": llm.url, "llmApiKey": KEY}
    await server.execute(documents.UPDATE_SETTINGS, input=settings)
    given = {"title": "T", "initialMessage": {"text": said}}
    created = (await server.execute(documents.CREATE, input=given))["createConversation"]
    assert created["userErrors"] == []
    return cast("str", created["conversation"]["id"])


async def test_what_was_read_before_a_kill_is_there_once_and_marked(
    tmp_path: Path, fresh_database_url: str, outside_llm: ScriptedLLM
) -> None:
    first, second = Gate(), Gate()
    half = [f"The first half. {KEY[:9]}", f"{KEY[9:]} is hidden.", " So far, so good."]
    outside_llm.script(hold(first, *half), hold(second))
    server = ForkedServer(tmp_path / "data", fresh_database_url)
    try:
        conversation_id = await started(server, outside_llm, "Hello")
        kept = "The first half. <secret hidden> is hidden. So far, so good."
        async with opened(fresh_database_url) as database:
            await until_drafted(database, conversation_id, kept)
            await server.end(signal.SIGKILL)
            await server.start()
            # Killed once more, before anything has come of the second answer.
            await second.reached()
            await server.end(signal.SIGKILL)
            await server.start()
            found = await until_waiting(server, conversation_id)
            assert await messages(server, conversation_id) == [(kept, True), ("answer to Hello", False)]
            assert await drafted(database, conversation_id) == ""
        # The provider told of the second answer alone: 7 tokens.
        assert 7 + 10 < found["usage"]["completionTokens"] < 7 + 30
        assert found["usage"]["costUsd"] > 0
        given = {"conversationId": conversation_id, "message": {"text": "Go on"}}
        await server.execute(documents.SEND, input=given)
        await until_waiting(server, conversation_id)
        assert (await messages(server, conversation_id))[2:] == [("answer to Go on", False)]
        told = cast("Sequence[JSON]", outside_llm.requests[-1].body["messages"])
        said = [message["content"] for message in told if message["role"] == "assistant"]
        assert said == [f"{kept}\n\nanswer to Hello"]
        assert outside_llm.faults == []
    finally:
        await server.close()


async def test_a_call_of_which_the_words_were_read_is_asked_for_again_after_a_kill(
    tmp_path: Path, fresh_database_url: str, outside_llm: ScriptedLLM
) -> None:
    gate = Gate()
    called = Reply(
        ("I will look", " there."), (Call("look", "{}"),), gate=gate, gate_after=2, finish_reason="tool_calls"
    )
    outside_llm.script(called, Reply(calls=(Call("look", "{}"),), finish_reason="tool_calls"))
    server = ForkedServer(tmp_path / "data", fresh_database_url)
    try:
        conversation_id = await started(server, outside_llm, "Look")
        async with opened(fresh_database_url) as database:
            await until_drafted(database, conversation_id, "I will look there.")
            await server.end(signal.SIGKILL)
        await server.start()
        await until_waiting(server, conversation_id)
        assert await messages(server, conversation_id) == [("I will look there.", True), ("answer to Look", False)]
        assert outside_llm.faults == []
    finally:
        await server.close()


@pytest.mark.parametrize("end", ["whole", "stop", "cut"])
async def test_however_an_answer_ends_its_draft_goes_with_it(
    server: RunningServer, client: Client, llm: ScriptedLLM, end: str
) -> None:
    await steps.save_settings(client, llm)
    gate = Gate()
    llm.script(Reply(("This is ", "half", " of it."), gate=gate, gate_after=2, is_cut=end == "cut"))
    conversation = await steps.create(client, "Hello")
    database, conversation_id = server.parley.database, conversation["id"]
    await asyncio.to_thread(server.call, until_drafted(database, conversation_id, "This is half"))
    if end == "stop":
        await client.execute(documents.STOP, input={"id": conversation_id})
    else:
        gate.release()
    said = "This is half" if end == "stop" else "This is half of it."
    await steps.until_said(client, conversation_id, "AGENT", said)
    await steps.until(client, conversation_id, status={"whole": "RUNNING", "stop": "STOPPED", "cut": "ERROR"}[end])

    log = await steps.events(client, conversation_id)
    answers = [
        (found["text"], found["isPartial"]) for found in log if found.get("source") == "AGENT" and "text" in found
    ]
    assert answers == [(said, end != "whole")]
    assert server.call(drafted(database, conversation_id)) == ""


@contextmanager
def statements_about_drafts(server: RunningServer) -> Generator[list[str]]:
    """What is asked of the database about drafts meanwhile."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "draft" in statement:
            found.append(statement.split(maxsplit=1)[0])

    direct = server.parley.database.direct
    write = direct.write

    async def noted(statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Any]:
        note(None, None, statement.sql)
        return await write(statement, parameters)

    both = (server.parley.database.writer.sync_engine, server.parley.database.reader.sync_engine)
    # On PostgreSQL they are one, which tells each statement once for each of its names.
    engines = list({id(engine.pool): engine for engine in both}.values())
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    direct.write = noted
    try:
        yield found
    finally:
        direct.write = write
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


async def test_a_short_answer_costs_no_statement_and_a_long_one_a_few(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    with statements_about_drafts(server) as found:
        conversation = await steps.create(client, "Short")
        await steps.until_waiting(client, conversation["id"])
        assert found == []
        # About two seconds in 100 pieces.
        llm.script(text(*("piece " for _ in range(100)), pause_seconds=0.02))
        await steps.send(client, conversation["id"], "Long")
        await steps.until_waiting(client, conversation["id"])
        await steps.until_said(client, conversation["id"], "AGENT", "piece " * 100)
    assert found[-1] == "DELETE"
    assert set(found[:-1]) == {"INSERT"}
    assert 2 <= len(found) <= 12


async def test_an_attempt_that_was_taken_over_keeps_no_draft(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    gate = Gate()
    llm.script(hold(gate))
    conversation = await steps.create(client, "Hello")
    await gate.reached()
    key = conversation_key(conversation["id"])
    assert key is not None
    # The run has been begun once.
    late, current = (
        RunLog(server.parley.database, server.parley.wakeups, utc_now, key, 1, attempt) for attempt in (2, 1)
    )
    used = EventUsage("openai/scripted", 1, 1, None)
    server.call(late.keep_draft(0, "late", used))
    assert server.call(drafted(server.parley.database, conversation["id"])) == ""
    server.call(current.keep_draft(0, "current", used))
    assert server.call(drafted(server.parley.database, conversation["id"])) == "current"
    await client.execute(documents.DELETE, input={"id": conversation["id"]})
    assert server.call(drafted(server.parley.database, conversation["id"])) == ""


async def left_behind(url: str, conversation_id: str, run: int, attempt: int, *pieces: str) -> None:
    """Put back what an attempt had drafted, as a server leaves it that dies before it has written the part."""
    key = conversation_key(conversation_id)
    assert key is not None
    async with opened(url) as database, database.write() as session:
        for number, piece in enumerate(pieces):
            session.add(
                Draft(
                    conversation_id=key,
                    run=run,
                    attempt=attempt,
                    number=number,
                    text=piece,
                    llm_model="openai/scripted",
                    prompt_tokens=5,
                    completion_tokens=number + 1,
                )
            )


@pytest.mark.parametrize("goes_on", [False, True])
async def test_what_was_read_before_a_stop_and_a_kill_at_once_is_there_after_the_start(
    tmp_path: Path, outside_llm: ScriptedLLM, goes_on: bool
) -> None:
    url = f"sqlite:///{tmp_path / 'parley.db'}"
    answering = Gate()
    server = ForkedServer(tmp_path / "data", url)
    try:
        conversation_id = await started(server, outside_llm, "Hello")
        await until_waiting(server, conversation_id)
        given = {"id": conversation_id}
        assert (await server.execute(documents.STOP, input=given))["stopConversation"]["userErrors"] == []
        if goes_on:
            outside_llm.script(hold(answering, "Another answer"))
            sent = {"conversationId": conversation_id, "message": {"text": "Go on"}}
            await server.execute(documents.SEND, input=sent)
            await answering.reached()
        await server.end(signal.SIGKILL)
        await left_behind(url, conversation_id, 1, 1, "Half of ", "it")
        await server.start()
        kept = [("answer to Hello", False), ("Half of it", True)]
        assert [found for found in await messages(server, conversation_id) if found in kept] == kept
        if goes_on:
            await until_waiting(server, conversation_id)
            assert ("answer to Go on", False) in await messages(server, conversation_id)
        async with opened(url) as database:
            assert await drafted(database, conversation_id) == ""
        found = (await server.execute(documents.GET, id=conversation_id))["conversation"]
        assert found["status"] == ("RUNNING" if goes_on else "STOPPED")
    finally:
        await server.close()


async def fall_silent(database: Database, *ids: str) -> None:
    """As if nothing had happened in the conversations for a while."""
    async with database.write() as session:
        for key in map(conversation_key, ids):
            found = await session.get(Conversation, key)
            assert found is not None
            found.updated_at = found.created_at = utc_now() - 2 * RECONCILE_AFTER


async def test_only_a_draft_that_nobody_writes_is_shown_and_where_others_may_be_at_it_after_a_while(
    server: RunningServer, database_url: str, client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    stopped = (await steps.create(client, "Hello"))["id"]
    await steps.until_waiting(client, stopped)
    await client.execute(documents.STOP, input={"id": stopped})
    gate = Gate()
    llm.script(Reply(("Under way", " and done"), gate=gate, gate_after=1))
    busy = (await steps.create(client, "Write"))["id"]
    database, housekeeping = server.parley.database, server.parley.housekeeping
    await asyncio.to_thread(server.call, until_drafted(database, busy, "Under way"))
    for conversation_id in (stopped, busy):
        await left_behind(database_url, conversation_id, 1, 7, f"Left of {conversation_id}")

    server.call(housekeeping.keep_drafts())
    assert await steps.said(client, stopped) == [("USER", "Hello"), ("AGENT", "answer to Hello")]
    server.call(fall_silent(database, stopped, busy))
    for _ in range(2):
        server.call(housekeeping.keep_drafts())
    for conversation_id in (stopped, busy):
        parts = [event for event in await steps.events(client, conversation_id) if event.get("isPartial")]
        assert [part["text"] for part in parts] == [f"Left of {conversation_id}"]
    assert server.call(drafted(database, stopped)) == ""
    assert server.call(drafted(database, busy)) == "Under way"
    gate.release()
    await steps.until_said(client, busy, "AGENT", "Under way and done")
    await steps.until_waiting(client, busy)
    assert server.call(drafted(database, busy)) == ""
