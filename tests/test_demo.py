"""``serve --demo``: what a front end is built against."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.models.conversation import AgentState, ConversationStatus
from tests.support.client import NO_TLS
from tests.support.forked import ForkedProcess
from tests.support.patience import WAIT_SECONDS
from tests.support.processes import printed

JSON = dict[str, Any]
LIST = """
query ($first: Int, $after: String, $filter: ConversationFilter) {
  conversations(first: $first, after: $after, filter: $filter) {
    totalCount
    pageInfo { hasNextPage endCursor }
    nodes { id title status agentState trigger statusReason { code } repository { nameWithOwner } }
  }
}
"""
WAITING = """
{ conversations(first: 100) { nodes {
  id agentState events { nodes { id __typename } }
} } }
"""


@asynccontextmanager
async def demonstration(directory: Path, **settings: str) -> AsyncGenerator[tuple[httpx.AsyncClient, ForkedProcess]]:
    """A client of the command's server, whose temporary files are in this directory."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    process = await ForkedProcess.start(
        ["serve", "--demo", "--port", "0"], {**environment, "TMPDIR": str(directory), **settings}, Path(os.devnull)
    )
    try:
        url = (await printed(process, "Parley ready at ")).rstrip("/")
        async with httpx.AsyncClient(base_url=url, verify=NO_TLS, timeout=WAIT_SECONDS) as http:
            yield http, process
    finally:
        process.kill()
        await process.communicate()


async def ask(http: httpx.AsyncClient, query: str, **variables: object) -> JSON:
    answer = (await http.post("/graphql", json={"query": query, "variables": variables})).json()
    assert "errors" not in answer, answer
    data: JSON = answer["data"]
    return data


async def test_every_status_is_there_on_more_than_one_page(tmp_path: Path) -> None:
    async with demonstration(tmp_path) as (http, _):
        first = (await ask(http, LIST, first=20))["conversations"]
        assert (len(first["nodes"]), first["pageInfo"]["hasNextPage"], first["totalCount"]) == (20, True, 43)
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                everything = (await ask(http, LIST, first=100))["conversations"]["nodes"]
                # A conversation in error has no state; the one whose call waits gets there once it is served.
                if {found["agentState"] for found in everything} == {*AgentState, None} - {AgentState.ERROR}:
                    break
                await asyncio.sleep(0.05)
        assert {found["status"] for found in everything} == set(ConversationStatus)
        assert {found["trigger"] for found in everything} == {"GUI", "API", "SUGGESTED_TASK", "RESOLVER"}
        names = {found["repository"]["nameWithOwner"] for found in everything if found["repository"]}
        assert names == {"ada/analytical-engine"}
        reasons = {found["statusReason"]["code"] for found in everything if found["statusReason"]}
        assert reasons == {"STATUS_ERROR_LLM_AUTHENTICATION", "WORKSPACE_ERROR", "LIMIT_REACHED"}
        titles = [found["title"] for found in (await ask(http, LIST, first=5))["conversations"]["nodes"]]
        assert titles[0] == "Say hello"


async def test_it_is_alive(tmp_path: Path) -> None:
    async with demonstration(tmp_path) as (http, _):
        nodes = (await ask(http, LIST, first=1))["conversations"]["nodes"]
        sent = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { userErrors { __typename } } }"
        message = {"conversationId": nodes[0]["id"], "message": {"text": "How do I search?"}}
        assert (await ask(http, sent, input=message))["sendMessage"]["userErrors"] == []
        said = "query ($id: ID!) { conversation(id: $id) { agentState events { nodes { __typename source } } } }"
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                found = (await ask(http, said, id=nodes[0]["id"]))["conversation"]
                messages = [event for event in found["events"]["nodes"] if event["__typename"] == "MessageEvent"]
                if len(messages) == 4 and found["agentState"] == "AWAITING_USER_INPUT":
                    break
                await asyncio.sleep(0.05)


async def test_a_tool_call_waits_for_an_answer_and_gets_one(tmp_path: Path) -> None:
    async with demonstration(tmp_path) as (http, _):
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                nodes = (await ask(http, WAITING))["conversations"]["nodes"]
                asked = [found for found in nodes if found["agentState"] == "AWAITING_USER_CONFIRMATION"]
                if asked:
                    break
                await asyncio.sleep(0.05)
        call = next(event for event in reversed(asked[0]["events"]["nodes"]) if event["__typename"] == "ToolCallEvent")
        respond = """
        mutation ($input: RespondToToolCallInput!) {
          respondToToolCall(input: $input) { userErrors { __typename } }
        }
        """
        answer = {"conversationId": asked[0]["id"], "toolCallId": call["id"], "approved": False}
        assert (await ask(http, respond, input=answer))["respondToToolCall"]["userErrors"] == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_nothing_is_left_of_it(tmp_path: Path, how: signal.Signals) -> None:
    home = tmp_path / "home"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    # What the operator has set up for the real server is left alone.
    settings = {"PARLEY_DATA_DIR": str(home), "PARLEY_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}
    async with demonstration(temporary, **settings) as (http, process):
        assert (await ask(http, "{ settings { llmModel confirmationMode } }"))["settings"] == {
            "llmModel": "demo/assistant",
            "confirmationMode": True,
        }
        assert [path.name.startswith("parley-demo-") for path in temporary.iterdir()] == [True]
        process.send_signal(how)
        async with asyncio.timeout(WAIT_SECONDS):
            await process.communicate()
    assert (list(temporary.iterdir()), home.exists()) == ([], False)


async def test_nothing_is_left_of_one_that_ends_before_it_began(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app",
        "serve",
        "--demo",
        "--port",
        "0",
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(WAIT_SECONDS):
        # Python tries out with a file of its own whether it may write there.
        while not any(name.startswith("parley-demo-") for name in left(tmp_path)):  # noqa: ASYNC110  Another process makes it.
            await asyncio.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        await process.wait()
    assert left(tmp_path) == []


def left(directory: Path) -> list[str]:
    """What is in it."""
    return [path.name for path in directory.iterdir()]
