"""What the agent is told about its place."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from app.models.provider_account import ProviderType
from tests.support import steps
from tests.support.client import Client
from tests.support.fake_git import FakeGitProvider, repository
from tests.support.git_server import GitServer, git_server
from tests.support.scripted_llm import ScriptedLLM
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
GUIDE = "Run `sh test.sh` before you commit."


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("served")) as started:
        started.is_public = True
        started.add({"AGENTS.md": GUIDE}, branches=("main", "next"))
        started.add({"README.md": "Nothing for agents."}, "ada/plain")
        started.add({"AGENTS.md": "x" * 30_000}, "ada/long")
        yield started


@pytest.fixture(scope="module")
def provider() -> FakeGitProvider:
    return FakeGitProvider()


@pytest.fixture(scope="module")
def server(data_dir: Path, provider: FakeGitProvider, git_host: GitServer) -> Iterator[RunningServer]:
    with running_server(
        data_dir, git_providers={ProviderType.GITHUB: provider}, git_private_hosts=git_host.origin
    ) as started:
        yield started


def system_message(llm: ScriptedLLM) -> str:
    return cast("list[dict[str, str]]", llm.requests[-1].body["messages"])[0]["content"]


async def instructions(
    client: Client,
    llm: ScriptedLLM,
    provider: FakeGitProvider,
    git_host: GitServer,
    name: str,
    branch: str | None = None,
) -> str:
    """The system message of a conversation about a repository."""
    provider.found, provider.clone_url = [repository(1, name)], git_host.url(name)
    await steps.save_settings(client, llm)
    ref = {"byName": {"provider": "GITHUB", "nameWithOwner": name}}
    conversation = await steps.create(client, "Hello", repository=ref, branchName=branch)
    await steps.until_waiting(client, conversation["id"])
    return system_message(llm)


async def test_it_is_told_its_repository_branch_tools_and_limits(
    client: Client, llm: ScriptedLLM, provider: FakeGitProvider, git_host: GitServer
) -> None:
    told = await instructions(client, llm, provider, git_host, "ada/engine", "next")
    assert "/workspace: a clone of the git repository ada/engine, its branch next" in told
    assert "There is no network" in told
    assert "100 of your turns" in told
    for tool in ("read_file", "write_file", "edit_file", "list_files"):
        assert tool in told
    offered = {tool["function"]["name"] for tool in cast("list[JSON]", llm.requests[-1].body["tools"])}
    assert offered >= {"read_file", "write_file", "edit_file", "list_files"}


async def test_the_repositorys_guide_is_given_as_its_own_words(
    client: Client, llm: ScriptedLLM, provider: FakeGitProvider, git_host: GitServer
) -> None:
    told = await instructions(client, llm, provider, git_host, "ada/engine")
    assert told.endswith(f"<AGENTS.md>\n{GUIDE}\n</AGENTS.md>")
    assert "AGENTS.md" not in await instructions(client, llm, provider, git_host, "ada/plain")


async def test_a_long_guide_is_shortened(
    client: Client, llm: ScriptedLLM, provider: FakeGitProvider, git_host: GitServer
) -> None:
    told = await instructions(client, llm, provider, git_host, "ada/long")
    assert told.count("x" * 1000) == 20
    assert "[… shortened: the file has 30000 characters]" in told


async def test_a_guide_that_leads_out_of_the_workspace_is_not_read(
    client: Client, llm: ScriptedLLM, provider: FakeGitProvider, git_host: GitServer, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not for agents")
    git_host.add({"AGENTS.md": secret}, "ada/linked")
    told = await instructions(client, llm, provider, git_host, "ada/linked")
    assert "not for agents" not in told


async def test_without_a_repository_the_workspace_is_its_own(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    conversation = await steps.create(client, "Hello")
    await steps.until_waiting(client, conversation["id"])
    told = system_message(llm)
    assert "/workspace: a directory of this conversation's own" in told
    assert "git repository" not in told
