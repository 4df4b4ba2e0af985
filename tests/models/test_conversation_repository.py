"""A conversation about a repository: what is checked first, what is kept, and how it is found by it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import FakeGitProvider, repository
from tests.support.git_server import GitServer, git_server
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
NAME = {"byName": {"provider": "GITHUB", "nameWithOwner": "ada/engine"}}
FOUND = """query ($id: ID!) {
  conversation(id: $id) { branchName repository { id nameWithOwner defaultBranch { name } } }
}"""


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("served")) as started:
        started.is_public = True
        started.add({"README.md": "An engine.\n"}, branches=("main", "next"))
        yield started


@pytest.fixture(scope="module")
def provider(git_host: GitServer) -> FakeGitProvider:
    return FakeGitProvider(found=[repository(1, "ada/engine")], clone_url=git_host.url())


@pytest.fixture(scope="module")
def server(
    data_dir: Path, database_url: str, provider: FakeGitProvider, git_host: GitServer
) -> Iterator[RunningServer]:
    with running_server(
        data_dir,
        database_url=database_url,
        git_providers={ProviderType.GITHUB: provider},
        git_private_hosts=git_host.origin,
    ) as started:
        yield started


@pytest.fixture(autouse=True)
def provider_at_work(provider: FakeGitProvider) -> None:
    provider.is_down = False
    provider.calls.clear()


async def refused(client: Client, **given: object) -> JSON:
    """The one user error; nothing was created."""
    answer = (await client.execute(documents.CREATE, input=given))["createConversation"]
    [error] = answer["userErrors"]
    assert answer["conversation"] is None
    count = await client.execute("{ conversations { totalCount } }")
    assert count == {"conversations": {"totalCount": 0}}
    return cast("JSON", error)


@pytest.mark.parametrize(("given", "branch"), [(None, "main"), ("main", "main"), ("next", "next")])
async def test_it_keeps_its_repository_and_branch(client: Client, given: str | None, branch: str) -> None:
    await steps.save_settings(client)
    conversation = await steps.create(client, repository=NAME, branchName=given)
    found = (await client.execute(FOUND, id=conversation["id"]))["conversation"]
    assert found["branchName"] == branch
    assert found["repository"]["nameWithOwner"] == "ada/engine"
    assert found["repository"]["defaultBranch"] == {"name": "main"}
    await steps.until_waiting(client, conversation["id"])


async def test_a_repository_that_was_seen_is_named_by_its_id(client: Client, provider: FakeGitProvider) -> None:
    await steps.save_settings(client)
    query = '{ repository(provider: GITHUB, nameWithOwner: "ada/engine") { id } }'
    repository_id = (await client.execute(query))["repository"]["id"]
    provider.calls.clear()
    conversation = await steps.create(client, repository={"id": repository_id})
    found = (await client.execute(FOUND, id=conversation["id"]))["conversation"]
    assert (found["repository"]["id"], found["branchName"]) == (repository_id, "main")
    assert provider.calls == []


@pytest.mark.parametrize(
    ("given", "typename", "path"),
    [
        ({"repository": {"id": "nonsense"}}, "NotFoundError", ["repository"]),
        ({"repository": {"id": f"repository:{uuid4()}"}}, "NotFoundError", ["repository"]),
        (
            {"repository": {"byName": {"provider": "GITHUB", "nameWithOwner": "ada/absent"}}},
            "NotFoundError",
            ["repository"],
        ),
        (
            {"repository": {"byName": {"provider": "GITHUB", "nameWithOwner": "nonsense"}}},
            "InvalidInputError",
            ["repository"],
        ),
        ({"repository": NAME, "branchName": "absent"}, "InvalidInputError", ["branchName"]),
        ({"repository": NAME, "branchName": ""}, "InvalidInputError", ["branchName"]),
        ({"repository": NAME, "branchName": "x" * 256}, "InvalidInputError", ["branchName"]),
        ({"branchName": "main"}, "InvalidInputError", ["branchName"]),
    ],
)
async def test_what_is_not_there_is_refused_before_anything_is_written(
    client: Client, given: JSON, typename: str, path: list[str]
) -> None:
    await steps.save_settings(client)
    error = await refused(client, **given)
    assert (error["__typename"], error["path"]) == (typename, path)


async def test_another_callers_repository_is_not_there(client: Client, stranger: Client) -> None:
    await steps.save_settings(client)
    await steps.save_settings(stranger)
    conversation = await steps.create(client, repository=NAME)
    owned = (await client.execute(FOUND, id=conversation["id"]))["conversation"]["repository"]["id"]
    assert (await refused(stranger, repository={"id": owned}))["__typename"] == "NotFoundError"


async def test_a_provider_that_is_down_is_said_and_nothing_is_created(
    client: Client, provider: FakeGitProvider
) -> None:
    await steps.save_settings(client)
    provider.is_down = True
    assert (await refused(client, repository=NAME))["code"] == "GIT_PROVIDER_UNAVAILABLE"


async def test_conversations_are_found_by_their_repository(client: Client, provider: FakeGitProvider) -> None:
    await steps.save_settings(client)
    await steps.create(client)
    about = await steps.create(client, repository=NAME)
    owned = (await client.execute(FOUND, id=about["id"]))["conversation"]["repository"]["id"]
    provider.calls.clear()
    query = """query ($filter: ConversationFilter) {
      conversations(filter: $filter) { totalCount nodes { id repository { nameWithOwner } } }
    }"""
    everything = (await client.execute(query))["conversations"]
    assert [node["repository"] for node in everything["nodes"]] == [{"nameWithOwner": "ada/engine"}, None]
    found = (await client.execute(query, filter={"repositoryId": owned}))["conversations"]
    assert (found["totalCount"], [node["id"] for node in found["nodes"]]) == (1, [about["id"]])
    for other in ("nonsense", f"repository:{uuid4()}", about["id"]):
        assert (await client.execute(query, filter={"repositoryId": other}))["conversations"]["totalCount"] == 0
    assert provider.calls == []
