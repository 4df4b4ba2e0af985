"""Commands of a conversation while they run: watched, stopped, and gone with their server."""

import asyncio
import json
import signal
from pathlib import Path
from uuid import uuid4

import pytest

from app.services.agent.tool_stream import MAX_STREAMED_LENGTH
from tests.support import documents, steps
from tests.support.client import Client, RequestFailed
from tests.support.patience import WAIT_SECONDS
from tests.support.processes import ForkedServer
from tests.support.sandboxes import needs_sandbox, until_gone, until_there
from tests.support.scripted_llm import Call, Reply, ScriptedLLM, text, tools

KEY = "sk-test-key-0123456789"


def command(line: str) -> Reply:
    """Ask for a command."""
    return tools(Call("run_command", json.dumps({"command": line})))


@needs_sandbox
async def test_a_command_of_the_agents_runs_and_its_result_is_told(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.script(command("echo hello > a.txt; cat a.txt; false"), text("Done"))
    conversation = await steps.create(client, "Say hello")
    await steps.until_waiting(client, conversation["id"])
    call, result = (await steps.events(client, conversation["id"]))[2:4]
    assert (call["toolName"], result["toolCall"]["id"]) == ("run_command", call["id"])
    assert result["output"] == "hello\n[exit code 1; working directory /workspace]"
    assert (result["isError"], result["truncated"]) == (True, False)
    names = [tool["function"]["name"] for tool in llm.requests[0].body["tools"]]  # type: ignore[attr-defined]
    assert names == ["run_command", "search_files", "read_file", "write_file", "edit_file", "list_files"]


@needs_sandbox
async def test_output_is_watched_while_the_command_runs_without_the_callers_secrets(
    client: Client, llm: ScriptedLLM, stranger: Client
) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    half = len(KEY) // 2
    line = (
        f"echo begun; printf {KEY[:half]}; sleep 0.3; echo {KEY[half:]}; until [ -e go ]; do sleep 0.02; done; echo end"
    )
    # The model knows the key in two halves only, or its call would hide it.
    llm.script(command(line.replace(KEY, "")), text("Done"))
    async with (
        client.subscribe(documents.WATCH_TOOL_OUTPUT, id=conversation["id"]) as watching,
        stranger.subscribe(documents.WATCH_TOOL_OUTPUT, id=conversation["id"]) as prying,
    ):
        with pytest.raises(RequestFailed):
            await prying.next()
        await steps.send(client, conversation["id"], "Go")
        pieces, calls = "", set[str]()
        while "hidden>\n" not in pieces:
            delta = (await watching.next())["toolOutputDeltas"]
            pieces += delta["text"]
            calls.add(delta["toolCallId"])
        # It still runs: nothing but this lets it end.
        assert (await steps.get(client, conversation["id"]))["agentState"] == "RUNNING"
        (client.server.config.data_dir / "workspaces" / conversation["id"] / "go").touch()
        while not pieces.endswith("end\n"):
            pieces += (await watching.next())["toolOutputDeltas"]["text"]
        await steps.until_waiting(client, conversation["id"])
    log = await steps.events(client, conversation["id"])
    [call] = [event for event in log if event["__typename"] == "ToolCallEvent"]
    [result] = [event for event in log if event["__typename"] == "ToolResultEvent"]
    assert calls == {call["id"]}
    assert pieces == "begun\n<secret hidden>\nend\n"
    assert result["output"].startswith(pieces)


@needs_sandbox
async def test_more_output_than_anybody_reads_is_streamed_in_part(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    llm.script(command("seq 1 1000000; sleep 0.2; echo end"), text("Done"))
    async with client.subscribe(documents.WATCH_TOOL_OUTPUT, id=conversation["id"]) as watching:
        await steps.send(client, conversation["id"], "Go")
        pieces = ""
        while not pieces.endswith("end\n"):
            pieces += (await watching.next())["toolOutputDeltas"]["text"]
        await steps.until_waiting(client, conversation["id"])
    assert pieces.startswith("1\n2\n3\n")
    assert "characters not streamed …]" in pieces
    assert len(pieces) < MAX_STREAMED_LENGTH


@needs_sandbox
@pytest.mark.parametrize("document", [documents.STOP, documents.DELETE])
async def test_stopping_and_deleting_kill_the_whole_tree(client: Client, llm: ScriptedLLM, document: str) -> None:
    mark = uuid4().hex
    await steps.save_settings(client, llm)
    llm.script(command(f"trap '' TERM; (exec -a {mark} sleep 1000) & (exec -a {mark} sleep 1000)"))
    conversation = await steps.create(client, "Wait")
    await until_there(mark)
    await client.execute(document, input={"id": conversation["id"]})
    await until_gone(mark)


@needs_sandbox
async def test_deleting_removes_what_a_command_has_locked(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    llm.script(command("mkdir -p a/b && touch a/b/c && chmod 0 a/b a"), text("Done"))
    conversation = await steps.create(client, "Lock it")
    await steps.until_waiting(client, conversation["id"])
    workspace = client.server.config.data_dir / "workspaces" / conversation["id"]
    assert workspace.is_dir()
    await client.execute(documents.DELETE, input={"id": conversation["id"]})
    async with asyncio.timeout(WAIT_SECONDS):
        while workspace.exists():  # noqa: ASYNC110  The file system has no event for it.
            await asyncio.sleep(0.02)


@needs_sandbox
async def test_a_killed_server_leaves_nothing_running_and_the_next_one_goes_on(
    tmp_path: Path, llm: ScriptedLLM
) -> None:
    mark = uuid4().hex
    server = ForkedServer(tmp_path)
    try:
        await server.start()
        settings = {"llmModel": "openai/scripted", "llmBaseUrl": llm.url, "llmApiKey": KEY}
        await server.execute(documents.UPDATE_SETTINGS, input=settings)
        line = f"(exec -a {mark} sleep 1000) & exec -a {mark} sleep 1000"
        llm.script(command(line), text("Done"))
        given = {"title": "T", "initialMessage": {"text": "Wait"}}
        created = await server.execute(documents.CREATE, input=given)
        conversation_id = created["createConversation"]["conversation"]["id"]
        await until_there(mark)
        await server.end(signal.SIGKILL)
        await until_gone(mark)
        await server.start()
        found = None
        async with asyncio.timeout(WAIT_SECONDS):
            while found is None or found["agentState"] != "AWAITING_USER_INPUT":
                found = (await server.execute(documents.GET, id=conversation_id))["conversation"]
                await asyncio.sleep(0.05)
        data = await server.execute(documents.EVENTS, id=conversation_id, first=100)
        log = data["conversation"]["events"]["nodes"]
        [result] = [event for event in log if event["__typename"] == "ToolResultEvent"]
        # It is not run again: what it did before is done.
        assert result["output"].startswith("This call was cut off by a restart of the server")
    finally:
        await server.close()
