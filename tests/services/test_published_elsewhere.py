"""Commits, pushes and pull requests at GitLab and Bitbucket, as with GitHub (``test_pull_requests.py``)."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.git_server import TOKEN, GitServer, git, git_server
from tests.support.sandboxes import needs_sandbox
from tests.support.server import RunningServer, running_server

OTHERS = (ProviderType.GITLAB, ProviderType.BITBUCKET)
BRANCH_PAGES = {ProviderType.GITLAB: "/-/tree/fix/typo", ProviderType.BITBUCKET: "/branch/fix/typo"}
PAGES = {ProviderType.GITLAB: "/-/merge_requests/1", ProviderType.BITBUCKET: "/pull-requests/1"}
PUSH_SCOPES = {
    ProviderType.GITLAB: ["write_repository", "api"],
    ProviderType.BITBUCKET: ["repository:write", "write:repository:bitbucket"],
}

pytestmark = needs_sandbox


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[ProviderType, GitServer]]:
    root = tmp_path_factory.mktemp("hosted")
    with ExitStack() as stack:
        started = {each: stack.enter_context(git_server(root / each.name, each)) for each in OTHERS}
        for host in started.values():
            host.add({"README.md": "An engine.\n"})
        yield started


@pytest.fixture(scope="module")
def server(data_dir: Path, hosts: dict[ProviderType, GitServer]) -> Iterator[RunningServer]:
    origins = ",".join(host.origin for host in hosts.values())
    with running_server(data_dir, git_private_hosts=origins) as started:
        yield started


@pytest.mark.parametrize("provider", OTHERS)
async def test_work_is_published_as_at_github(
    client: Client, hosts: dict[ProviderType, GitServer], provider: ProviderType
) -> None:
    host = hosts[provider]
    await steps.save_settings(client)
    given = {"provider": provider.name, "token": TOKEN, "host": host.host}
    assert (await client.execute(documents.SET_TOKEN, input=given))["setProviderToken"]["userErrors"] == []
    wanted = {"byName": {"provider": provider.name, "nameWithOwner": "ada/engine"}}
    conversation_id = (await steps.create(client, repository=wanted))["id"]
    await steps.until_waiting(client, conversation_id)
    workspace = client.server.config.data_dir / "workspaces" / conversation_id
    (workspace / "README.md").write_text("An engine that moves.\n")
    which = {"conversationId": conversation_id}
    committed = (await client.execute(documents.COMMIT, input={**which, "message": "Move"}))["commitWorkspace"]
    assert committed["userErrors"] == []
    assert committed["commit"]["authorEmail"] == "ada@users.noreply.127.0.0.1"

    host.push_faults["ada/engine"] = (403, "No.")
    push = {**which, "branchName": "fix/typo"}
    [fault] = (await client.execute(documents.PUSH, input=push))["pushBranch"]["userErrors"]
    assert (fault["code"], fault["provider"], fault["scopes"]) == (
        "GIT_SCOPE_MISSING",
        provider.name,
        PUSH_SCOPES[provider],
    )
    del host.push_faults["ada/engine"]
    pushed = (await client.execute(documents.PUSH, input=push))["pushBranch"]
    assert pushed["userErrors"] == []
    assert pushed["pushedBranch"]["url"] == f"{host.origin}/ada/engine{BRANCH_PAGES[provider]}"
    assert git(host.root / "ada/engine.git", "log", "-1", "--format=%s", "fix/typo") == "Move\n"

    wanted_request = {**which, "title": "It moves", "body": "See.", "isDraft": True}
    for _ in range(2):
        proposed = (await client.execute(documents.CREATE_PULL_REQUEST, input=wanted_request))["createPullRequest"]
        assert proposed["userErrors"] == []
        assert proposed["pullRequest"]["url"] == f"{host.origin}/ada/engine{PAGES[provider]}"
        assert (proposed["pullRequest"]["baseBranchName"], proposed["pullRequest"]["isDraft"]) == ("main", True)
    assert len(host.pull_requests["ada/engine"].proposed) == 1
