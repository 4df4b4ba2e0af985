"""From a message to a pull request: an agent edits a clone, and its user or it itself commits and proposes that."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.git_server import TOKEN, GitServer, git, git_server
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import Call, ScriptedLLM, text, tools
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
NAME = "ada/engine"
CHANGES = """
query ($id: ID!) { conversation(id: $id) { workspace { headCommitSha changes { nodes { path status diff } } } } }
"""
PULL_REQUESTS = """
query ($id: ID!) { conversation(id: $id) { pullRequests { nodes {
  number title state headBranchName baseBranchName
} } } }
"""
# What an agent may try for the sake of the token.
SNOOP = (
    "env; cat .git/config; cat /proc/*/environ /proc/*/cmdline 2>/dev/null; find / -name '*.key' 2>/dev/null; "
    "git push origin HEAD:stolen; true"
)

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


def call(name: str, **arguments: object) -> Call:
    return Call(name, json.dumps(arguments))


async def test_an_agent_s_work_becomes_a_pull_request_without_its_seeing_the_token(
    client: Client, llm: ScriptedLLM, git_host: GitServer, capfd: pytest.CaptureFixture[str]
) -> None:
    await steps.save_settings(client, llm, gitAuthorName="Ada", gitAuthorEmail="ada@example.com")
    given = {"provider": "GITHUB", "token": TOKEN, "host": git_host.host}
    await client.execute(documents.SET_TOKEN, input=given)
    llm.script(
        tools(call("run_command", command=SNOOP)),
        tools(call("edit_file", path="README.md", old_text="An engine.", new_text="An engine that moves.")),
        text("It says more now."),
    )
    wanted = {"byName": {"provider": "GITHUB", "nameWithOwner": NAME}}
    conversation_id = (await steps.create(client, "Say more in the README.", repository=wanted))["id"]
    await steps.until_waiting(client, conversation_id)

    workspace = (await client.execute(CHANGES, id=conversation_id))["conversation"]["workspace"]
    [change] = workspace["changes"]["nodes"]
    assert (change["path"], change["status"]) == ("README.md", "MODIFIED")
    assert "+An engine that moves." in change["diff"]

    llm.script(text("Say that the engine moves"))
    async with client.subscribe(documents.WATCH_WORKSPACE, id=conversation_id) as watching:
        before = (await watching.next())["workspaceChanged"]
        assert (before["changedFiles"], before["workspace"]["headCommitSha"]) == (1, workspace["headCommitSha"])
        payload = await client.execute(documents.COMMIT, input={"conversationId": conversation_id})
        committed = payload["commitWorkspace"]
        assert committed["userErrors"] == []
        sha = committed["commit"]["sha"]
        after = (await watching.next())["workspaceChanged"]
        assert (after["changedFiles"], after["workspace"]["headCommitSha"]) == (1, sha)
    wanted_push = {"conversationId": conversation_id, "branchName": "docs/moves", "expectedHeadSha": sha}
    pushed = (await client.execute(documents.PUSH, input=wanted_push))["pushBranch"]
    assert pushed["userErrors"] == []

    llm.default = lambda body: text("The engine moves" if "its title" in str(body) else "The README says so.")
    proposed = await client.execute(documents.CREATE_PULL_REQUEST, input={"conversationId": conversation_id})
    assert proposed["createPullRequest"]["userErrors"] == []
    url = f"{git_host.origin}/{NAME}/pull/1"
    assert proposed["createPullRequest"]["pullRequest"]["url"] == url

    bare = git_host.root / f"{NAME}.git"
    assert git(bare, "log", "--format=%an <%ae> %s", "docs/moves").splitlines() == [
        "Ada <ada@example.com> Say that the engine moves",
        "Ada <ada@example.com> Begin",
    ]
    assert git(bare, "log", "-1", "--format=%(trailers:key=Co-authored-by,valueonly)", "docs/moves").strip() == (
        "Parley Agent <agent@parley.invalid>"
    )
    assert git(bare, "show", "docs/moves:README.md") == "An engine that moves.\n"
    assert git(bare, "for-each-ref", "--format=%(refname:lstrip=2)").split() == ["docs/moves", "main"]
    [at_host] = git_host.pull_requests[NAME].proposed
    assert (at_host.title, at_host.body, at_host.head, at_host.base) == (
        "The engine moves",
        "The README says so.",
        "docs/moves",
        "main",
    )

    log = "".join(capfd.readouterr())
    assert "branch.pushed" in log
    shown = [
        log,
        repr(await steps.events(client, conversation_id)),
        repr(await client.execute(documents.TRAJECTORY, id=conversation_id)),
        repr([request.body for request in llm.requests]),
    ]
    assert [each[:200] for each in shown if TOKEN in each] == []
    files = [path for path in client.server.config.data_dir.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []


async def test_an_agent_publishes_by_itself_as_long_as_its_user_lets_it(
    client: Client, llm: ScriptedLLM, git_host: GitServer
) -> None:
    name = "ada/rocket"
    bare = git_host.add({"README.md": "A rocket.\n"}, name)
    main = git(bare, "rev-parse", "main")
    given = {"provider": "GITHUB", "token": TOKEN, "host": git_host.host}
    await client.execute(documents.SET_TOKEN, input=given)
    saved = await steps.save_settings(client, llm, publishPolicy="ALLOW_PULL_REQUESTS")
    assert saved["publishPolicy"] == "ALLOW_PULL_REQUESTS"
    llm.script(
        tools(call("write_file", path="README.md", content="A rocket that flies.\n")),
        tools(call("commit_changes", message="Say that it flies")),
        tools(call("open_pull_request", branch_name="flies", title="It flies", body="See the README.")),
        text("Proposed."),
    )
    wanted = {"byName": {"provider": "GITHUB", "nameWithOwner": name}}
    conversation_id = (await steps.create(client, "Say more in the README.", repository=wanted))["id"]
    await steps.until_waiting(client, conversation_id)

    events = await steps.events(client, conversation_id)
    assert [event["isError"] for event in events if event["__typename"] == "ToolResultEvent"] == [False] * 3
    assert "AWAITING_USER_CONFIRMATION" not in {event.get("agentState") for event in events}
    assert git(bare, "show", "flies:README.md") == "A rocket that flies.\n"
    assert await pull_requests(client, conversation_id) == [(1, "It flies", "OPEN", "flies", "main")]

    await steps.save_settings(client, llm, publishPolicy=None)
    llm.script(
        tools(call("write_file", path="README.md", content="A rocket that lands.\n")),
        tools(call("commit_changes", message="Say that it lands")),
        text("A pity."),
    )
    await steps.send(client, conversation_id, "Say that it lands.")
    await steps.until(client, conversation_id, agentState="AWAITING_USER_CONFIRMATION")
    waiting = [event for event in await steps.events(client, conversation_id) if event["__typename"] == "ToolCallEvent"]
    decision = {"conversationId": conversation_id, "toolCallId": waiting[-1]["id"], "approved": False}
    assert (await client.execute(documents.RESPOND, input=decision))["respondToToolCall"]["userErrors"] == []
    await steps.until_waiting(client, conversation_id)
    workspace = (await client.execute(CHANGES, id=conversation_id))["conversation"]["workspace"]
    assert workspace["headCommitSha"] == git(bare, "rev-parse", "flies").strip()
    assert git(bare, "rev-parse", "main") == main


async def pull_requests(client: Client, conversation_id: str) -> list[tuple[object, ...]]:
    data = await client.execute(PULL_REQUESTS, id=conversation_id)
    nodes = cast("list[JSON]", data["conversation"]["pullRequests"]["nodes"])
    fields = ("number", "title", "state", "headBranchName", "baseBranchName")
    return [tuple(node[field] for field in fields) for node in nodes]
