"""A server without a sandbox: its agents have no shell, and say so."""

import json
from pathlib import Path

from tests.support import steps
from tests.support.client import Client
from tests.support.scripted_llm import Call, ScriptedLLM, text, tools
from tests.support.server import running_server


async def test_a_conversation_without_a_shell_says_so(tmp_path: Path, llm: ScriptedLLM) -> None:
    reason = "The agent has no shell: the operator has turned it off (PARLEY_SANDBOX=none)."
    with running_server(tmp_path, sandbox="none") as server:
        async with Client(server) as client:
            await steps.save_settings(client, llm)
            llm.script(tools(Call("run_command", json.dumps({"command": "touch a"}))), text("I can't"))
            conversation = await steps.create(client, "Run something")
            await steps.until_waiting(client, conversation["id"])
            log = await steps.events(client, conversation["id"])
            assert log[1]["problem"] == {
                "code": "WORKSPACE_ERROR",
                "messageId": "WORKSPACE_ERROR",
                "message": reason,
            }
            [result] = [event for event in log if event["__typename"] == "ToolResultEvent"]
            assert result["isError"]
            assert result["output"].startswith("There is no tool named 'run_command'.")
            silent = await steps.create(client)
            await steps.until_waiting(client, silent["id"])
            assert (await steps.events(client, silent["id"]))[0]["problem"]["message"] == reason
