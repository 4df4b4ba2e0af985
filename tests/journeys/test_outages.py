"""A database that goes away while everybody is at work, and comes back."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.services.agent.tools import Tool, Toolbox, ToolContext, ToolOutput
from app.services.llm.base import ToolSpec
from tests.support import documents, steps
from tests.support.client import Client, Subscription
from tests.support.postgres import PostgresServer
from tests.support.scripted_llm import Call, Gate, ScriptedLLM, hold, tools
from tests.support.server import running_server

CONVERSATIONS = 4
OUTAGE_SECONDS = 4.0
# It takes 3 s at the most; the rest is for a busy machine. A run that nobody notices waits for 30.
RETURN_SECONDS = 25.0


class SlowTool:
    """A tool that ends when the test says so, and counts how often it was run."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.runs = 0

    def toolbox(self) -> Toolbox:
        """The toolbox that has this tool alone."""

        async def run(_context: ToolContext, _arguments: Mapping[str, Any]) -> ToolOutput:
            self.runs += 1
            await self.gate.pass_through()
            return ToolOutput("what was found")

        return Toolbox([Tool(ToolSpec("look", "Looks.", {"type": "object", "properties": {}}), run)])


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server of this test alone, which others do not miss."""
    with PostgresServer() as server:
        yield server


@asynccontextmanager
async def watched(client: Client, ids: list[str]) -> AsyncGenerator[list[Subscription]]:
    """Each conversation's events from the beginning."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(client.subscribe(documents.WATCH_EVENTS, id=key, after="")) for key in ids
        ]


async def until_waits(subscription: Subscription) -> list[dict[str, Any]]:
    """The events up to the one that says that the agent waits for its user again."""
    events: list[dict[str, Any]] = []
    while not events or events[-1].get("agentState") != "AWAITING_USER_INPUT":
        events.append((await subscription.next(OUTAGE_SECONDS + RETURN_SECONDS))["conversationEvents"]["node"])
    return events


@pytest.mark.parametrize("at_once", [False, True], ids=["restart", "crash"])
async def test_runs_and_subscriptions_outlive_the_databases_outage_and_nothing_is_lost_or_doubled(
    tmp_path: Path, postgres: PostgresServer, llm: ScriptedLLM, at_once: bool
) -> None:
    slow, gates = SlowTool(), [Gate() for _ in range(CONVERSATIONS - 1)]
    url = postgres.create_database()
    with running_server(tmp_path, database_url=url, toolbox=slow.toolbox(), max_concurrent_conversations=10) as server:
        async with Client(server) as client:
            await steps.save_settings(client, llm)
            llm.script(tools(Call("look", "{}")), *(hold(gate, after=["What ", "I think"]) for gate in gates))
            ids = [(await steps.create(client, "Look"))["id"]]
            await slow.gate.reached()
            for number in range(1, CONVERSATIONS):
                ids.append((await steps.create(client, f"Think {number}"))["id"])
                await gates[number - 1].reached()
            async with watched(client, ids) as subscriptions, client.subscribe(documents.WATCH_STATUS) as statuses:
                await statuses.next()
                postgres.stop(at_once=at_once)
                # Everything comes to its end while nobody can write it down.
                slow.gate.release()
                for gate in gates:
                    gate.release()
                await asyncio.sleep(OUTAGE_SECONDS)
                postgres.start()
                back = time.monotonic()
                logs = [await until_waits(subscription) for subscription in subscriptions]
                took = time.monotonic() - back
                after = await steps.create(client, "And now?")
                for subscription in subscriptions:
                    assert await subscription.is_silent()
            await steps.until_waiting(client, after["id"])
            stored = [await steps.events(client, key) for key in ids]
    print(f"runs went on {took:.1f} s after the database")
    assert took < RETURN_SECONDS
    for log, kept in zip(logs, stored, strict=True):
        assert [event["sequence"] for event in log] == list(range(1, len(log) + 1))
        assert [event["sequence"] for event in kept] == list(range(1, len(kept) + 1))
        assert len(log) == len(kept)
    results = [event for event in logs[0] if event["__typename"] == "ToolResultEvent"]
    assert [(event["output"], event["isError"]) for event in results] == [("what was found", False)]
    assert slow.runs == 1
    for log in logs[1:]:
        said = [(event["source"], event["text"]) for event in log if event["__typename"] == "MessageEvent"]
        assert said[1:] == [("AGENT", "What I think")]
    # No answer was asked for twice: one for each conversation, one after the tool, and the last conversation's.
    assert len(llm.requests) == CONVERSATIONS + 2
