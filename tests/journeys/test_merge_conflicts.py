"""A suggested task about merge conflicts: the agent merges the base branch, which the server has fetched for it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support import documents, steps
from tests.support.client import Client
from tests.support.git_server import TOKEN, GitServer, git, git_server
from tests.support.hosted_tasks import HostedTask
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import Call, ScriptedLLM, text, tools
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
TASKS = "{ viewer { suggestedTasks(provider: GITHUB) { nodes { id kind } } } }"
RESOLVE = (
    "git merge {base} || true; grep -c '<<<<<<<' README.md; printf 'An engine that moves fast.\\n' > README.md && "
    "git add README.md && git -c user.name=Agent -c user.email=agent@parley.invalid commit -q -m 'Merge main'"
)

pytestmark = needs_sandbox


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("served")) as started:
        yield started


@pytest.fixture(scope="module")
def server(data_dir: Path, git_host: GitServer) -> Iterator[RunningServer]:
    with running_server(data_dir, git_private_hosts=git_host.origin) as started:
        yield started


@pytest.fixture
async def ada(client: Client, llm: ScriptedLLM, git_host: GitServer) -> Client:
    """A caller with settings and a token."""
    await steps.save_settings(client, llm)
    given = {"provider": "GITHUB", "token": TOKEN, "host": git_host.host}
    await client.execute(documents.SET_TOKEN, input=given)
    return client


def add_conflict(git_host: GitServer, name: str, fork: str | None = None) -> Path:
    """Add a repository whose branches ``main`` and ``topic`` change one line; ``topic`` is in ``fork`` if there is one.

    Returns the repository of ``topic``.
    """
    bare = git_host.add({"README.md": "An engine.\n"}, name)
    head = git_host.add({}, fork) if fork is not None else bare
    work = git_host.root / "work" / name
    for branch, words, target in (("topic", "that moves", head), ("main", "that is fast", bare)):
        git(work, "checkout", "--quiet", "-B", branch, "origin-main" if branch == "main" else "HEAD")
        if branch == "topic":
            git(work, "branch", "origin-main")
        (work / "README.md").write_text(f"An engine {words}.\n")
        git(work, "commit", "--quiet", "--all", "--message", f"Say {words}")
        git(work, "push", "--quiet", os.fspath(target), f"HEAD:refs/heads/{branch}")
    task = HostedTask(7, title="Move", has_conflicts=True, repository=name, head=fork or name)
    git_host.tasks = [task]
    return head


async def begin(client: Client, llm: ScriptedLLM, base: str) -> str:
    """Create the conversation of the one task, whose agent merges ``base``, and wait for its answer."""
    [task] = (await client.execute(TASKS))["viewer"]["suggestedTasks"]["nodes"]
    assert task["kind"] == "MERGE_CONFLICTS"
    command = Call("run_command", json.dumps({"command": RESOLVE.format(base=base)}))
    llm.script(tools(command), text("Merged."))
    created = await client.execute(documents.CREATE, input={"title": "A title", "suggestedTaskId": task["id"]})
    assert created["createConversation"]["userErrors"] == []
    conversation_id = cast("str", created["createConversation"]["conversation"]["id"])
    await steps.until_waiting(client, conversation_id)
    return conversation_id


async def pushed(client: Client, conversation_id: str) -> JSON:
    given = {"conversationId": conversation_id, "branchName": "topic"}
    payload = (await client.execute(documents.PUSH, input=given))["pushBranch"]
    assert payload["userErrors"] == []
    return cast("JSON", payload["pushedBranch"])


@pytest.mark.parametrize("fork", [None, "bob/engine"])
async def test_an_agent_merges_the_base_branch_without_a_token(
    ada: Client, llm: ScriptedLLM, git_host: GitServer, fork: str | None
) -> None:
    name = "ada/forked" if fork else "ada/engine"
    head = add_conflict(git_host, name, fork)
    theirs = git(git_host.root / f"{name}.git", "rev-parse", "main").strip()
    ours = git(head, "rev-parse", "topic").strip()
    base = "upstream/main" if fork else "origin/main"
    conversation_id = await begin(ada, llm, base)

    said = [words for _, words in await steps.said(ada, conversation_id)]
    assert f"The base branch is there as {base}, with the history of both." in said
    assert any(f"The base branch is there as {base}; commit the merge with git." in words for words in said)
    [result] = [each for each in await steps.events(ada, conversation_id) if each["__typename"] == "ToolResultEvent"]
    assert "CONFLICT (content)" in result["output"]
    assert not result["isError"]
    sha = (await pushed(ada, conversation_id))["commitSha"]
    assert git(head, "log", "-1", "--format=%P", "topic").split() == [ours, theirs]
    assert git(head, "rev-parse", "topic").strip() == sha
    assert git(head, "show", "topic:README.md") == "An engine that moves fast.\n"
    assert git(head, "rev-list", "--count", "topic") == "4\n"
    assert git(head, "fsck", "--strict", "--no-dangling") == ""
    workspace = ada.server.config.data_dir / "workspaces" / conversation_id
    assert [path for path in workspace.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()] == []


async def test_a_base_branch_that_can_t_be_fetched_is_told_and_keeps_nothing_up(
    ada: Client, llm: ScriptedLLM, git_host: GitServer
) -> None:
    head = add_conflict(git_host, "ada/gone")
    git(head, "branch", "trunk", "topic")
    git(head, "symbolic-ref", "HEAD", "refs/heads/trunk")
    git(head, "update-ref", "-d", "refs/heads/main")
    conversation_id = await begin(ada, llm, "origin/main")
    said = [words for _, words in await steps.said(ada, conversation_id)]
    assert any(words.startswith("The base branch main can't be fetched: ") for words in said)
    assert said[-1] == "Merged."
