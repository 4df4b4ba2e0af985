"""The tools by which an agent proposes to commit and to open a pull request: only after the user has agreed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.git_server import TOKEN, GitServer, git, git_server
from tests.support.pull_requests import PullRequests
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import Call, ScriptedLLM, text, tools
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
NAME = "ada/engine"
PUBLISHING = {"commit_changes", "open_pull_request"}

pytestmark = needs_sandbox


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("served")) as started:
        started.add({"README.md": "An engine.\n"}, NAME)
        yield started


@pytest.fixture(scope="module")
def server(data_dir: Path, git_host: GitServer) -> Iterator[RunningServer]:
    with running_server(data_dir, git_private_hosts=git_host.origin) as started:
        yield started


@pytest.fixture
def bare(git_host: GitServer) -> Path:
    """The repository at the host, with its default branch alone, and no pull request."""
    path = git_host.root / f"{NAME}.git"
    for reference in git(path, "for-each-ref", "--format=%(refname)", "refs/heads").split():
        if reference != "refs/heads/main":
            git(path, "update-ref", "-d", reference)
    git_host.pull_requests[NAME] = PullRequests(ProviderType.GITHUB, NAME)
    return path


@pytest.fixture
async def ada(client: Client, llm: ScriptedLLM, git_host: GitServer) -> Client:
    """A caller with settings, by which calls are not confirmed, and a token."""
    await steps.save_settings(client, llm)
    given = {"provider": "GITHUB", "token": TOKEN, "host": git_host.host}
    await client.execute(documents.SET_TOKEN, input=given)
    return client


def call(name: str, **arguments: object) -> Call:
    return Call(name, json.dumps(arguments))


WRITE = call("write_file", path="README.md", content="An engine that moves.\n")
COMMIT = call("commit_changes", message="Say that it moves")
PROPOSE = call("open_pull_request", branch_name="moves", title="It moves", body="See the README.")


async def begin(client: Client) -> str:
    wanted = {"byName": {"provider": "GITHUB", "nameWithOwner": NAME}}
    return cast("str", (await steps.create(client, "Say more.", repository=wanted))["id"])


async def decide(client: Client, conversation_id: str, *, approved: bool) -> str:
    """Answer the call that waits; its tool's name."""
    await steps.until(client, conversation_id, agentState="AWAITING_USER_CONFIRMATION")
    waiting = [each for each in await steps.events(client, conversation_id) if each["__typename"] == "ToolCallEvent"][
        -1
    ]
    given = {"conversationId": conversation_id, "toolCallId": waiting["id"], "approved": approved}
    assert (await client.execute(documents.RESPOND, input=given))["respondToToolCall"]["userErrors"] == []
    return cast("str", waiting["toolName"])


async def results(client: Client, conversation_id: str) -> list[tuple[str, bool]]:
    """Output, and whether it is an error, of each call."""
    events = await steps.events(client, conversation_id)
    return [(each["output"], each["isError"]) for each in events if each["__typename"] == "ToolResultEvent"]


def offered(llm: ScriptedLLM) -> set[str]:
    """The names of the tools in the last request."""
    body = cast("JSON", llm.requests[-1].body)
    return {tool["function"]["name"] for tool in body.get("tools", [])}


async def test_an_agent_s_proposals_wait_for_the_user_and_then_come_about(
    ada: Client, llm: ScriptedLLM, bare: Path, git_host: GitServer
) -> None:
    llm.script(tools(WRITE), tools(COMMIT), tools(PROPOSE), text("Done."))
    conversation_id = await begin(ada)
    path = ada.server.config.data_dir / "workspaces" / conversation_id
    await steps.until(ada, conversation_id, agentState="AWAITING_USER_CONFIRMATION")
    assert git(path, "-c", "safe.directory=*", "rev-list", "--count", "HEAD") == "1\n"
    assert await decide(ada, conversation_id, approved=True) == "commit_changes"
    await steps.until(ada, conversation_id, agentState="AWAITING_USER_CONFIRMATION")
    assert git(bare, "for-each-ref", "--format=%(refname:lstrip=2)") == "main\n"
    assert await decide(ada, conversation_id, approved=True) == "open_pull_request"
    await steps.until_waiting(ada, conversation_id)
    sha = git(bare, "rev-parse", "moves").strip()
    assert (await results(ada, conversation_id))[1:] == [
        (f"Committed {sha} on main.", False),
        (f"Pushed {sha} to moves. The pull request is number 1: {git_host.origin}/{NAME}/pull/1", False),
    ]
    assert git(bare, "log", "-1", "--format=%an, %s", "moves") == "ada, Say that it moves\n"
    [proposed] = git_host.pull_requests[NAME].proposed
    assert (proposed.title, proposed.body, proposed.head, proposed.base) == (
        "It moves",
        "See the README.",
        "moves",
        "main",
    )
    assert TOKEN not in repr([request.body for request in llm.requests])
    assert TOKEN not in repr(await steps.events(ada, conversation_id))


async def test_what_the_user_refuses_does_not_come_about(
    ada: Client, llm: ScriptedLLM, bare: Path, git_host: GitServer
) -> None:
    llm.script(tools(WRITE), tools(COMMIT), tools(PROPOSE), text("A pity."))
    conversation_id = await begin(ada)
    await decide(ada, conversation_id, approved=False)
    await decide(ada, conversation_id, approved=False)
    await steps.until_waiting(ada, conversation_id)
    assert [is_error for _, is_error in await results(ada, conversation_id)] == [False, True, True]
    path = ada.server.config.data_dir / "workspaces" / conversation_id
    assert git(path, "-c", "safe.directory=*", "rev-list", "--count", "HEAD") == "1\n"
    assert git(bare, "for-each-ref", "--format=%(refname:lstrip=2)") == "main\n"
    assert git_host.pull_requests[NAME].proposed == []


@pytest.mark.usefixtures("bare")
async def test_what_can_t_be_done_is_told_to_the_agent(ada: Client, llm: ScriptedLLM) -> None:
    to_default = call("open_pull_request", branch_name="main", title="x")
    llm.script(tools(COMMIT), tools(PROPOSE), tools(WRITE), tools(COMMIT), tools(to_default), text("Well."))
    conversation_id = await begin(ada)
    for _ in range(4):
        await decide(ada, conversation_id, approved=True)
    await steps.until_waiting(ada, conversation_id)
    outputs = await results(ada, conversation_id)
    assert [is_error for _, is_error in outputs] == [True, True, False, False, True]
    assert outputs[0][0] == "NOTHING_TO_COMMIT: Nothing is different from the last commit."
    assert outputs[1][0].startswith("NOTHING_TO_PUSH: ")
    assert outputs[4][0] == "That is the repository's default branch: name another branch."


@pytest.mark.usefixtures("bare")
async def test_the_tools_are_offered_where_there_is_a_repository(ada: Client, llm: ScriptedLLM) -> None:
    conversation_id = await begin(ada)
    await steps.until_waiting(ada, conversation_id)
    assert offered(llm) >= PUBLISHING
    plain = cast("str", (await steps.create(ada, "Hello"))["id"])
    await steps.until_waiting(ada, plain)
    assert not offered(llm) & PUBLISHING
