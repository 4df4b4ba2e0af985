"""A server that is killed while it clones: the next one finishes, as if nothing had happened."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support import documents
from tests.support.git_server import TOKEN, GitServer, git_server
from tests.support.patience import WAIT_SECONDS
from tests.support.processes import ForkedServer

JSON = dict[str, Any]
STAGES = ["Preparing the sandbox.", "Cloning ada/engine, branch main.", "The workspace is ready."]
NAME = {"byName": {"provider": "GITHUB", "nameWithOwner": "ada/engine"}}


@pytest.fixture
def git_host(tmp_path: Path) -> Iterator[GitServer]:
    with git_server(tmp_path / "served") as started:
        started.add({"README.md": "An engine.\n"})
        yield started


async def said(server: ForkedServer, conversation_id: str) -> list[tuple[str, str]]:
    data = await server.execute(documents.EVENTS, id=conversation_id, first=100)
    log = cast("list[JSON]", data["conversation"]["events"]["nodes"])
    assert [event["sequence"] for event in log] == list(range(1, len(log) + 1))
    return [(event["source"], event["text"]) for event in log if event["__typename"] == "MessageEvent"]


async def cloning(git_host: GitServer, requests: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while len(git_host.requests) <= requests:  # noqa: ASYNC110  The host is in another thread.
            await asyncio.sleep(0.02)


async def test_a_kill_during_the_clone_loses_and_doubles_nothing(tmp_path: Path, git_host: GitServer) -> None:
    server = ForkedServer(tmp_path / "data", git_private_hosts=git_host.origin)
    try:
        await server.start()
        await server.execute(documents.UPDATE_SETTINGS, input={"llmModel": "demo/assistant"})
        given = {"provider": "GITHUB", "token": TOKEN, "host": git_host.host}
        account = (await server.execute(documents.SET_TOKEN, input=given))["setProviderToken"]["providerAccount"]
        assert (account["login"], account["host"]) == ("ada", git_host.host)
        git_host.gate.clear()
        wanted = {"title": "T", "repository": NAME, "initialMessage": {"text": "Hello"}}
        created = (await server.execute(documents.CREATE, input=wanted))["createConversation"]
        assert created["userErrors"] == []
        conversation_id = created["conversation"]["id"]
        for _ in range(2):
            await cloning(git_host, len(git_host.requests))
            await server.end(signal.SIGKILL)
            await server.start()
        git_host.gate.set()
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                found = (await server.execute(documents.GET, id=conversation_id))["conversation"]
                if found["agentState"] == "AWAITING_USER_INPUT":
                    break
                await asyncio.sleep(0.05)
        told = await said(server, conversation_id)
        assert told[:4] == [("USER", "Hello"), *(("ENVIRONMENT", stage) for stage in STAGES)]
        assert [source for source, _ in told[4:]] == ["AGENT"]
        workspaces = tmp_path / "data" / "workspaces"
        assert names(workspaces) == [conversation_id]
        assert (workspaces / conversation_id / "README.md").read_text() == "An engine.\n"
    finally:
        await server.close()


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]
