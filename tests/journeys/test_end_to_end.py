"""The whole way: an agent clones a repository, finds its failing test, mends it, and commits on a branch of its own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from app.models.provider_account import ProviderType
from tests.support import steps
from tests.support.client import Client
from tests.support.fake_git import FakeGitProvider, repository
from tests.support.git_server import GitServer, git, git_server
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import Call, ScriptedLLM, text, tools
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
NAME = {"byName": {"provider": "GITHUB", "nameWithOwner": "ada/engine"}}
ADD = "add() { echo $(($1 - $2)); }\n"
TEST = """. ./add.sh
result=$(add 2 3)
[ "$result" = 5 ] || { echo "add 2 3 gave $result"; exit 1; }
echo passed
"""
COMMIT = (
    "git switch -q -c mend-add && "
    "git -c user.name=Agent -c user.email=agent@example.com commit -qam 'Add, not subtract' && "
    "git log --oneline --format='%s'"
)

pytestmark = needs_sandbox


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("served")) as started:
        started.is_public = True
        started.add({"add.sh": ADD, "test.sh": TEST, "AGENTS.md": "Run `sh test.sh`."})
        yield started


@pytest.fixture(scope="module")
def server(data_dir: Path, git_host: GitServer) -> Iterator[RunningServer]:
    provider = FakeGitProvider(found=[repository(1, "ada/engine")], clone_url=git_host.url())
    with running_server(
        data_dir, git_providers={ProviderType.GITHUB: provider}, git_private_hosts=git_host.origin
    ) as started:
        yield started


def call(name: str, **arguments: object) -> Call:
    return Call(name, json.dumps(arguments))


def told(event: JSON) -> str:
    """What an event adds to the story."""
    fields = {"MessageEvent": "text", "ToolCallEvent": "toolName", "ToolResultEvent": "output"}
    return cast("str", event[fields[event["__typename"]]])


async def test_an_agent_mends_a_failing_test_and_commits_it(
    client: Client, llm: ScriptedLLM, server: RunningServer
) -> None:
    await steps.save_settings(client, llm)
    llm.script(
        tools(call("run_command", command="sh test.sh"), said=["I run the tests."]),
        tools(call("read_file", path="add.sh"), call("list_files", path="/workspace")),
        tools(call("edit_file", path="add.sh", old_text="$1 - $2", new_text="$1 + $2")),
        tools(call("run_command", command="sh test.sh")),
        tools(call("run_command", command=COMMIT)),
        text("`add` subtracted. It adds now, on the branch `mend-add`."),
    )
    conversation = await steps.create(client, "Mend the failing test.", repository=NAME)
    await steps.until_waiting(client, conversation["id"])
    log = await steps.events(client, conversation["id"])
    story = [told(event) for event in log if event["__typename"] != "StateChangeEvent"]
    content, listing, edited = (story.pop(number) for number in (8, 8, 9))
    assert story == [
        "Mend the failing test.",
        "Preparing the sandbox.",
        "Cloning ada/engine, branch main.",
        "The workspace is ready.",
        "run_command",
        "add 2 3 gave -1\n[exit code 1; working directory /workspace]",
        "read_file",
        "list_files",
        "edit_file",
        "run_command",
        "passed\n[exit code 0; working directory /workspace]",
        "run_command",
        "Add, not subtract\nBegin\n[exit code 0; working directory /workspace]",
        "`add` subtracted. It adds now, on the branch `mend-add`.",
    ]
    assert "$1 - $2" in content
    assert all(name in listing for name in ("add.sh", "test.sh", "AGENTS.md"))
    assert "add.sh" in edited
    failed = [event["isError"] for event in log if event["__typename"] == "ToolResultEvent"]
    assert failed == [True, False, False, False, False, False]
    path = server.config.data_dir / "workspaces" / conversation["id"]
    owned = ("-c", f"safe.directory={path}")
    assert git(path, *owned, "log", "--format=%an: %s", "mend-add") == "Agent: Add, not subtract\nAda: Begin\n"
    assert git(path, *owned, "show", "mend-add:add.sh") == "add() { echo $(($1 + $2)); }\n"
    assert git(path, *owned, "status", "--porcelain") == ""
