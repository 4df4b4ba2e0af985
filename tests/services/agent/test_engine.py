"""The engine and its runs: carried out once, found again, given up."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.models.conversation import Conversation, ConversationRepository
from app.models.event import EventSource, MessageBody, NewEvent
from app.services.agent.engine import RunEngine
from app.services.agent.loop import MAX_ATTEMPTS
from app.services.event import append
from tests.support import steps
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import Call, Gate, ScriptedLLM, hold, text, tools
from tests.support.server import RunningServer


async def states(client: Client, conversation_id: str) -> list[str]:
    """The agent's states, in the order of the log."""
    log = await steps.events(client, conversation_id)
    return [event["agentState"] for event in log if event["__typename"] == "StateChangeEvent"]


def row(server: RunningServer, conversation_id: str) -> Conversation:
    """The conversation's row."""

    async def read() -> Conversation:
        async with server.parley.database.read() as session:
            found = await ConversationRepository(session).get_for_run(UUID(conversation_id))
        assert found is not None
        return found

    return server.call(read())


def leave_unsubmitted(server: RunningServer, conversation_id: str, said: str, attempts: int = 0) -> None:
    """Write what sending a message writes, as a process does that dies before it tells the engine."""

    async def write() -> None:
        parley = server.parley
        # A workflow that is still to end would submit the run itself.
        async with asyncio.timeout(WAIT_SECONDS):
            while await parley.engine.is_alive(UUID(conversation_id), 1):  # noqa: ASYNC110  DBOS tells nobody.
                await asyncio.sleep(0.02)
        async with parley.database.write() as session:
            found = await ConversationRepository(session).get_for_run(UUID(conversation_id))
            assert found is not None
            found.last_run += 1
            found.active_run = found.last_run
            found.run_attempts = attempts
            message = NewEvent(EventSource.USER, MessageBody(said))
            append(session, found, found.last_run, [message], found.updated_at)

    server.call(write())


async def test_a_run_that_is_submitted_again_is_carried_out_once(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    gate = Gate()
    llm.script(hold(gate, after=["Once"]))
    conversation = await steps.create(client, "Hello")
    await gate.reached()
    for _ in range(3):
        server.call(server.parley.engine.submit(UUID(conversation["id"]), 1))
        server.call(server.parley.housekeeping.reconcile(at_start=True))
    gate.release()
    await steps.until_waiting(client, conversation["id"])
    assert await steps.said(client, conversation["id"]) == [("USER", "Hello"), ("AGENT", "Once")]
    assert (len(llm.requests), row(server, conversation["id"]).run_attempts) == (1, 1)


async def test_only_the_latest_attempt_at_a_run_writes(server: RunningServer, client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    gate = Gate()
    llm.script(hold(gate, after=["Of the first attempt"]), text("Of the second"))
    conversation = await steps.create(client, "Hello")
    await gate.reached()
    server.call(server.parley.engine.submit(UUID(conversation["id"]), 1, 1))
    await steps.until_waiting(client, conversation["id"])
    gate.release()
    # Time for the first answer to arrive, were it still waited for.
    await asyncio.sleep(0.3)
    assert await steps.said(client, conversation["id"]) == [("USER", "Hello"), ("AGENT", "Of the second")]
    assert (await states(client, conversation["id"])) == ["RUNNING", "AWAITING_USER_INPUT"]


async def test_tool_calls_of_an_earlier_attempt_are_not_doubled(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    gate = Gate()
    llm.script(tools(Call("first", "{}")), hold(gate, after=["Never"]), text("Done"))
    conversation = await steps.create(client, "Hello")
    await gate.reached()
    server.call(server.parley.engine.submit(UUID(conversation["id"]), 1, 1))
    await steps.until_waiting(client, conversation["id"])
    await llm.requests[1].client_left()
    log = await steps.events(client, conversation["id"])
    kinds = [event["__typename"] for event in log if event["__typename"] != "StateChangeEvent"]
    assert kinds == ["MessageEvent", "ToolCallEvent", "ToolResultEvent", "MessageEvent"]
    assert [event["sequence"] for event in log] == list(range(1, len(log) + 1))


async def test_a_run_that_was_never_submitted_is_found(server: RunningServer, client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, "Hello")
    await steps.until_waiting(client, conversation["id"])
    leave_unsubmitted(server, conversation["id"], "Are you there?")
    server.call(server.parley.housekeeping.reconcile())
    await asyncio.sleep(0.2)
    assert len(llm.requests) == 1
    server.call(server.parley.housekeeping.reconcile(at_start=True))
    async with asyncio.timeout(WAIT_SECONDS):
        while row(server, conversation["id"]).active_run is not None:  # noqa: ASYNC110  It is another thread's.
            await asyncio.sleep(0.02)
    assert (await steps.said(client, conversation["id"]))[2:] == [
        ("USER", "Are you there?"),
        ("AGENT", "answer to Are you there?"),
    ]


async def test_a_run_that_never_comes_to_an_end_is_given_up(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, "Hello")
    await steps.until_waiting(client, conversation["id"])
    leave_unsubmitted(server, conversation["id"], "Again", attempts=MAX_ATTEMPTS)
    server.call(server.parley.housekeeping.reconcile(at_start=True))
    failed = await steps.until(client, conversation["id"], status="ERROR")
    assert failed["statusReason"] == {
        "code": "STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR",
        "messageId": "STATUS$ERROR_LLM_INTERNAL_SERVER_ERROR",
        "message": "The run was begun 21 times and never came to an end.",
    }
    assert len(llm.requests) == 1
    await steps.send(client, conversation["id"], "Better now?")
    await steps.until_waiting(client, conversation["id"])
    assert (await steps.said(client, conversation["id"]))[-1] == ("AGENT", "answer to Better now?")


async def test_runs_that_are_over_are_forgotten_some_at_a_time_and_others_go_on(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    engine, gate = server.parley.engine, Gate()
    # What other tests have left.
    while server.call(engine.forget(datetime.now(UTC) + timedelta(hours=1), 100)):
        pass
    ids: list[str] = []
    for number in range(2):
        ids.append((await steps.create(client, f"Message {number}"))["id"])
        await steps.until_waiting(client, ids[-1])
        server.call(until_forgettable(engine, UUID(ids[-1])))
    llm.script(hold(gate, after=["Late"]))
    going_on = await steps.create(client, "Hello")
    await gate.reached()
    logs = [await steps.events(client, each) for each in ids]

    assert server.call(engine.forget(datetime.now(UTC) - timedelta(minutes=5), 10)) == 0
    assert [server.call(engine.forget(datetime.now(UTC) + timedelta(hours=1), 1)) for _ in range(3)] == [1, 1, 0]
    assert server.call(engine.is_alive(UUID(going_on["id"]), 1))

    # What was forgotten is not done again.
    for each in ids:
        server.call(engine.submit(UUID(each), 1))
    gate.release()
    await steps.until_waiting(client, going_on["id"])
    assert await steps.said(client, going_on["id"]) == [("USER", "Hello"), ("AGENT", "Late")]
    assert [await steps.events(client, each) for each in ids] == logs
    assert len(llm.requests) == 3


async def until_forgettable(engine: RunEngine, conversation_id: UUID) -> None:
    """Return once the engine has noted the end of the first run."""
    async with asyncio.timeout(WAIT_SECONDS):
        while await engine.is_alive(conversation_id, 1):  # noqa: ASYNC110  DBOS tells nobody.
            await asyncio.sleep(0.02)
