"""An agent edits a clone, its changes are watched, and they are taken away as a patch that fits the origin."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import TOKEN, FakeGitProvider, repository
from tests.support.git_server import GitServer, git, git_server
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import Call, Reply, ScriptedLLM, text, tools
from tests.support.server import RunningServer, running_server
from tests.support.workspaces import browser, fetched, upload_url

JSON = dict[str, Any]
FILES = {"README.md": "An engine.\n", "src/main.py": "print('hello')\n"}
CHANGES = """
query ($id: ID!) { conversation(id: $id) { workspace {
  changes { nodes { path status additions deletions } }
  commits { nodes { messageHeadline authorName } }
} } }
"""


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("served")) as served:
        served.token = TOKEN
        served.add(FILES)
        yield served


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str, git_host: GitServer) -> Iterator[RunningServer]:
    provider = FakeGitProvider(found=[repository(1, "ada/engine")], clone_url=git_host.url())
    with running_server(
        data_dir,
        database_url=database_url,
        git_providers={ProviderType.GITHUB: provider},
        git_private_hosts=git_host.origin,
    ) as running:
        yield running


def call(name: str, **arguments: str) -> Reply:
    return tools(Call(name, json.dumps(arguments)))


@needs_sandbox
async def test_what_an_agent_made_is_watched_and_taken_away(
    client: Client, llm: ScriptedLLM, git_host: GitServer, tmp_path: Path
) -> None:
    await steps.save_settings(client, llm)
    await client.execute(documents.SET_TOKEN, input={"provider": "GITHUB", "token": TOKEN})
    named = {"byName": {"provider": "GITHUB", "nameWithOwner": "ada/engine"}}
    conversation_id = (await steps.create(client, repository=named))["id"]
    await steps.until_waiting(client, conversation_id)
    async with browser() as http:
        sent = await http.put(await upload_url(client, conversation_id, "notes.txt", 6), content=b"Faster")
    assert sent.status_code == 201
    commit = "git -c user.name=Agent -c user.email=agent@example.com commit -qm 'Say more'"
    llm.script(
        call("edit_file", path="README.md", old_text="An engine.", new_text="A better engine."),
        call("run_command", command=f"git add README.md && {commit}"),
        call("run_command", command="cp uploads/notes.txt plan.txt && rm -r uploads && chmod +x src/main.py"),
        text("Done"),
    )
    async with client.subscribe(documents.WATCH_WORKSPACE, id=conversation_id) as watching:
        await steps.send(client, conversation_id, "Improve it")
        seen = [(await watching.next())["workspaceChanged"]]
        while seen[-1]["changedFiles"] != 3:
            seen.append((await watching.next())["workspaceChanged"])
    await steps.until_waiting(client, conversation_id)
    assert (seen[-1]["additions"], seen[-1]["deletions"]) == (2, 1)

    workspace = (await client.execute(CHANGES, id=conversation_id))["conversation"]["workspace"]
    assert [(node["status"], node["path"]) for node in workspace["changes"]["nodes"]] == [
        ("MODIFIED", "README.md"),
        ("ADDED", "plan.txt"),
        ("MODIFIED", "src/main.py"),
    ]
    assert workspace["commits"]["nodes"][0] == {"messageHeadline": "Say more", "authorName": "Agent"}

    await client.execute(documents.STOP, input={"id": conversation_id})
    assert (await client.execute(CHANGES, id=conversation_id))["conversation"]["workspace"] == workspace
    patch = await fetched(client, conversation_id, "PATCH")
    git(tmp_path, "clone", "--quiet", str(git_host.root / "ada/engine.git"), "origin")
    origin = tmp_path / "origin"
    (tmp_path / "patch").write_bytes(patch.content)
    git(origin, "apply", "../patch")
    assert (origin / "README.md").read_text() == "A better engine.\n"
    assert (origin / "plan.txt").read_text() == "Faster"
    assert (origin / "src/main.py").stat().st_mode & 0o100

    log = await fetched(client, conversation_id, "TRAJECTORY_MARKDOWN")
    assert "## Tool: edit_file" in log.text
    assert TOKEN not in log.text
