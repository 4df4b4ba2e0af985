"""Long trajectories: what playing one costs, and what a stop in the middle of one leaves."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.scripted_llm import ScriptedLLM
from tests.support.server import RunningServer

JSON = dict[str, Any]


def said(count: int) -> JSON:
    """The trajectory of a user and an agent who take turns."""
    head = {"type": "MessageEvent", "run": 1, "createdAt": "2026-01-01T00:00:00+00:00"}
    numbers = range(1, count + 1)
    sources = {number: "USER" if number % 2 else "AGENT" for number in numbers}
    events = [{**head, "sequence": number, "source": sources[number], "text": str(number)} for number in numbers]
    return {"version": 1, "events": events}


@contextmanager
def reads(server: RunningServer) -> Generator[list[str]]:
    """The statements meanwhile that read a trajectory's or a log's events."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "replay.events" in statement.partition("FROM")[0] or "FROM event" in statement:
            statements.append(statement)

    engines = {server.parley.database.reader.sync_engine, server.parley.database.writer.sync_engine}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


async def last_sequence(client: Client, conversation_id: str) -> int:
    """How long the log is."""
    found = await steps.events(client, conversation_id, last=1)
    return int(found[0]["sequence"]) if found else 0


async def test_a_trajectory_is_read_once_however_long_it_is(client: Client, server: RunningServer) -> None:
    await steps.save_settings(client)
    read: list[int] = []
    for length in (150, 950):
        with reads(server) as statements:
            played = await steps.create(client, replay=said(length))
            await steps.until_waiting(client, played["id"])
        read.append(len(statements))
        assert await last_sequence(client, played["id"]) == length + 1
    assert read[0] == read[1]


async def test_a_stop_in_the_middle_ends_the_replay_and_the_next_message_is_answered(
    client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    played = await steps.create(client, replay=said(5000))
    async with client.subscribe(documents.WATCH_EVENTS, id=played["id"], after="") as watching:
        await watching.next()
        await client.execute(documents.STOP, input={"id": played["id"]})
    length = await last_sequence(client, played["id"])
    assert length < 5000
    await steps.send(client, played["id"], "Where were we?")
    await steps.until_waiting(client, played["id"])
    found = [event for event in await steps.events(client, played["id"], last=6) if event["sequence"] >= length]
    assert [(event["source"], event.get("text"), event.get("agentState")) for event in found] == [
        ("ENVIRONMENT", None, "PAUSED"),
        ("USER", "Where were we?", None),
        ("ENVIRONMENT", None, "RUNNING"),
        ("AGENT", "answer to Where were we?", None),
        ("ENVIRONMENT", None, "AWAITING_USER_INPUT"),
    ]
