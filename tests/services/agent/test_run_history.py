"""What the engine keeps of runs that are over, and for how long."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from app.services.agent.engine import RunEngine
from tests.support import steps
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import Gate, ScriptedLLM, hold
from tests.support.server import RunningServer, running_server


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


async def finished(client: Client, engine: RunEngine, server: RunningServer, said: str) -> str:
    """A conversation whose run is over, for the engine as well."""
    conversation = await steps.create(client, said)
    await steps.until_waiting(client, conversation["id"])

    async def over() -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while await engine.is_alive(UUID(conversation["id"]), 1):  # noqa: ASYNC110  DBOS tells nobody.
                await asyncio.sleep(0.02)

    server.call(over())
    return conversation["id"]


async def test_housekeeping_forgets_them_after_a_day_unless_it_is_told_otherwise(
    tmp_path: Path, llm: ScriptedLLM
) -> None:
    for seconds, left in ((None, 1), (0.0, 0)):
        with running_server(tmp_path / str(left), run_history_seconds=seconds) as server:
            async with Client(server) as client:
                await steps.save_settings(client, llm)
                await finished(client, server.parley.engine, server, "Hello")
                assert server.config.run_history_seconds == (86_400.0 if seconds is None else seconds)
                server.call(server.parley.housekeeping.forget_runs())
                assert server.call(server.parley.engine.forget(soon(), 10)) == left


async def test_they_are_forgotten_in_batches_beside_a_run_that_goes_on(
    server: RunningServer, client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    engine = server.parley.engine
    server.call(engine.forget(soon(), 1000))
    for number in range(3):
        await finished(client, engine, server, f"Run {number}")
    gate = Gate()
    llm.script(hold(gate, after=["Not forgotten"]))
    conversation = await steps.create(client, "Hello")
    await gate.reached()
    assert [server.call(engine.forget(soon(), 2)) for _ in range(3)] == [2, 1, 0]
    assert server.call(engine.is_alive(UUID(conversation["id"]), 1))
    gate.release()
    await steps.until_waiting(client, conversation["id"])
    assert await steps.said(client, conversation["id"]) == [("USER", "Hello"), ("AGENT", "Not forgotten")]
