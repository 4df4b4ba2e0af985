"""Tool calls across restarts: what waits goes on waiting, and what was begun is not repeated."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.services.agent.tools import Tool, Toolbox, ToolContext, ToolOutput
from app.services.llm.base import ToolSpec
from tests.services.agent.test_confirmation import Counter, do, respond, results, waiting
from tests.support import steps
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import ScriptedLLM, text, tools
from tests.support.server import running_server

JSON = dict[str, Any]


async def test_the_wait_survives_restarts(tmp_path: Path, database_url: str, llm: ScriptedLLM) -> None:
    counter = Counter()
    settings: JSON = {"database_url": database_url, "toolbox": counter.toolbox()}
    with running_server(tmp_path, **settings) as before:
        async with Client(before, "ada-restarts") as client:
            conversation_id, [call] = await waiting(client, llm, "one")
    for _ in range(2):
        with running_server(tmp_path, **settings) as again:
            async with Client(again, "ada-restarts") as client:
                assert (await steps.get(client, conversation_id))["agentState"] == "AWAITING_USER_CONFIRMATION"
    with running_server(tmp_path, **settings) as after:
        async with Client(after, "ada-restarts") as client:
            await respond(client, conversation_id, call, approved=True)
            await steps.until_waiting(client, conversation_id)
            assert await results(client, conversation_id) == [("did one", False)]
    assert counter.done == ["one"]


async def test_a_call_that_a_restart_cut_off_is_not_repeated(
    tmp_path: Path, database_url: str, llm: ScriptedLLM
) -> None:
    begun = threading.Event()
    times: list[str] = []

    async def stall(_context: ToolContext, _arguments: Mapping[str, Any]) -> ToolOutput:
        times.append("begun")
        begun.set()
        await asyncio.sleep(3600)
        return ToolOutput("never")

    toolbox = Toolbox([Tool(ToolSpec("do", "Stall.", {"type": "object"}), stall)])
    settings: JSON = {"database_url": database_url, "toolbox": toolbox}
    with running_server(tmp_path, **settings) as before:
        async with Client(before, "ada-cut-off") as client:
            await steps.save_settings(client, llm)
            llm.script(tools(do("one")), text("I looked"))
            conversation_id = (await steps.create(client, "Do it"))["id"]
            async with asyncio.timeout(WAIT_SECONDS):
                await asyncio.to_thread(begun.wait)
    with running_server(tmp_path, **settings) as after:
        async with Client(after, "ada-cut-off") as client:
            await steps.until_waiting(client, conversation_id)
            [(output, is_error)] = await results(client, conversation_id)
            assert output.startswith("This call was cut off by a restart of the server")
            assert is_error
            assert (await steps.said(client, conversation_id))[-1] == ("AGENT", "I looked")
    assert times == ["begun"]
