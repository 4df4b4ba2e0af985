"""Repositories and branches: asked of their provider, kept as it told of them."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import OTHER_HOST, TOKEN, FakeGitProvider, repository
from tests.support.server import RunningServer, running_server
from tests.support.statements import counted

JSON = dict[str, Any]
MAX_CALLS = 8
LIST = """
query ($query: String, $sort: RepositorySort! = PUSHED, $first: Int, $after: String) {
  repositories(provider: GITHUB, query: $query, sort: $sort, first: $first, after: $after) {
    nodes { id provider nameWithOwner url isPrivate defaultBranch { name } }
    edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
NODE = """
query ($id: ID!) { node(id: $id) { __typename id
  ... on Repository { nameWithOwner defaultBranch { name } }
  ... on Branch { name commitSha isProtected }
} }
"""


class Time:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.offset


@pytest.fixture(scope="module")
def provider() -> FakeGitProvider:
    return FakeGitProvider()


@pytest.fixture(scope="module")
def time() -> Time:
    return Time()


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str, provider: FakeGitProvider, time: Time) -> Iterator[RunningServer]:
    with running_server(
        data_dir,
        database_url=database_url,
        clock=time,
        git_providers={ProviderType.GITHUB: provider},
        git_max_calls_per_request=MAX_CALLS,
    ) as started:
        yield started


@pytest.fixture(autouse=True)
def provider_at_work(provider: FakeGitProvider, time: Time) -> None:
    provider.found = [repository(number) for number in range(5)]
    provider.names = ["main", "next"]
    provider.is_down = False
    provider.calls.clear()
    provider.accesses.clear()
    time.offset = timedelta()


@pytest.fixture
async def ada(client: Client, provider: FakeGitProvider) -> Client:
    """A caller who stored a token."""
    given = {"provider": "GITHUB", "token": TOKEN}
    await client.execute(documents.SET_TOKEN, input=given)
    provider.calls.clear()
    return client


async def search(client: Client, **arguments: object) -> JSON:
    return cast("JSON", (await client.execute(LIST, **arguments))["repositories"])


async def refused(client: Client, document: str, /, **arguments: object) -> tuple[JSON, JSON]:
    """The data and the one error."""
    answer = await client.post(document, arguments)
    [error] = answer.body["errors"]
    return answer.body["data"], error


async def test_a_page_of_ones_own_costs_one_call_and_the_next_goes_on(ada: Client, provider: FakeGitProvider) -> None:
    first = await search(ada, first=3)
    assert [node["nameWithOwner"] for node in first["nodes"]] == ["ada/engine-0", "ada/engine-1", "ada/engine-2"]
    assert first["nodes"][0]["url"] == "https://git.example.com/ada/engine-0"
    assert (first["nodes"][0]["isPrivate"], first["nodes"][0]["defaultBranch"]) == (True, {"name": "main"})
    assert first["pageInfo"] == {"hasNextPage": True, "hasPreviousPage": False, "startCursor": "1", "endCursor": "3"}
    second = await search(ada, first=100, after=first["pageInfo"]["endCursor"])
    assert [node["nameWithOwner"] for node in second["nodes"]] == ["ada/engine-3", "ada/engine-4"]
    assert (second["pageInfo"]["hasNextPage"], second["pageInfo"]["hasPreviousPage"]) == (False, True)
    assert provider.calls == ["repositories", "repositories"]
    assert provider.accesses[-1].token is not None


async def test_a_repository_keeps_its_id_when_it_is_seen_again_and_renamed(
    ada: Client, provider: FakeGitProvider
) -> None:
    before = (await search(ada))["nodes"]
    provider.found = [repository(2, "ada/renamed"), *provider.found[:2]]
    after = (await search(ada))["nodes"]
    assert after[0]["id"] == before[2]["id"]
    assert [node["id"] for node in after[1:]] == [node["id"] for node in before[:2]]
    assert (await ada.execute(NODE, id=before[2]["id"]))["node"]["nameWithOwner"] == "ada/renamed"


async def test_a_stranger_searches_but_has_no_list_of_its_own(client: Client, provider: FakeGitProvider) -> None:
    found = await search(client, query="engine-3")
    assert [node["nameWithOwner"] for node in found["nodes"]] == ["ada/engine-3"]
    assert provider.accesses[-1].token is None
    data, error = await refused(client, LIST)
    assert data == {"repositories": None}
    assert error["extensions"]["code"] == "STATUS_GIT_PROVIDER_AUTHENTICATION_ERROR"


@pytest.mark.parametrize("arguments", [{"first": 0}, {"first": 101}, {"query": "x" * 201}])
async def test_bad_arguments_ask_nobody(ada: Client, provider: FakeGitProvider, arguments: JSON) -> None:
    _, error = await refused(ada, LIST, **arguments)
    assert error["extensions"]["code"] == "INVALID_INPUT"
    assert provider.calls == []


async def test_one_by_name_or_null(ada: Client, provider: FakeGitProvider) -> None:
    query = "query ($name: String!) { repository(provider: GITHUB, nameWithOwner: $name) { id nameWithOwner } }"
    found = (await ada.execute(query, name="ada/engine-1"))["repository"]
    assert found["nameWithOwner"] == "ada/engine-1"
    assert (await ada.execute(query, name="ada/absent"))["repository"] is None
    _, error = await refused(ada, query, name="nonsense")
    assert error["extensions"]["code"] == "INVALID_INPUT"


async def test_what_was_seen_is_refetched_without_asking(
    ada: Client, stranger: Client, provider: FakeGitProvider
) -> None:
    seen = (await search(ada, first=1))["nodes"][0]
    query = "query ($id: ID!) { node(id: $id) { ... on Repository { defaultBranch { id commitSha } } } }"
    branch = (await ada.execute(query, id=seen["id"]))["node"]["defaultBranch"]
    provider.is_down = True
    provider.calls.clear()
    node = (await ada.execute(NODE, id=seen["id"]))["node"]
    assert node == {
        "__typename": "Repository",
        "id": seen["id"],
        "nameWithOwner": "ada/engine-0",
        "defaultBranch": {"name": "main"},
    }
    assert (await ada.execute(NODE, id=branch["id"]))["node"] == {
        "__typename": "Branch",
        "id": branch["id"],
        "name": "main",
        "commitSha": branch["commitSha"],
        "isProtected": True,
    }
    assert provider.calls == []
    for owned in (seen["id"], branch["id"]):
        assert (await stranger.execute(NODE, id=owned))["node"] is None


async def test_default_branches_of_a_list_cost_a_call_each_and_none_when_they_were_just_seen(
    ada: Client, provider: FakeGitProvider, time: Time
) -> None:
    query = "{ repositories(provider: GITHUB) { nodes { defaultBranch { name commitSha isProtected } } } }"
    nodes = (await ada.execute(query))["repositories"]["nodes"]
    assert [node["defaultBranch"]["isProtected"] for node in nodes] == [True] * 5
    assert sorted(provider.calls) == ["branch"] * 5 + ["repositories"]
    provider.calls.clear()
    await ada.execute(query)
    assert provider.calls == ["repositories"]
    time.offset = timedelta(seconds=61)
    provider.calls.clear()
    await ada.execute(query)
    assert len(provider.calls) == 6


async def test_a_default_branch_is_asked_for_whatever_selects_more_than_its_name(
    ada: Client, provider: FakeGitProvider
) -> None:
    query = """{ repositories(provider: GITHUB, first: 1) { nodes { ...Name ...More defaultBranch { name } } } }
    fragment Name on Repository { defaultBranch { name } }
    fragment More on Repository { defaultBranch { id commitSha isProtected } }"""
    [node] = (await ada.execute(query))["repositories"]["nodes"]
    branch = node["defaultBranch"]
    assert (branch["name"], branch["commitSha"], branch["isProtected"]) == ("main", f"{4:040x}", True)
    assert provider.calls == ["repositories", "branch"]
    assert (await ada.execute(NODE, id=branch["id"]))["node"]["name"] == "main"


async def test_default_branches_cost_the_same_statements_for_any_number_and_a_call_for_each_repository(
    ada: Client, provider: FakeGitProvider, server: RunningServer
) -> None:
    seen = [node["id"] for node in (await search(ada))["nodes"]]
    query = "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Repository { defaultBranch { commitSha } } } }"
    # On PostgreSQL the two statements that write are counted too.
    wanted = 4 if server.parley.database.is_sqlite else 6
    costs: list[tuple[int, int]] = []
    for ids in (seen[:1] * 20, seen[1:]):
        provider.calls.clear()
        with counted(server) as statements:
            nodes = (await ada.execute(query, ids=ids))["nodes"]
        assert [node["defaultBranch"]["commitSha"] for node in nodes] == [f"{4:040x}"] * len(ids)
        costs.append((len(provider.calls), len(statements)))
    assert costs == [(1, wanted), (4, wanted)]


async def test_a_page_that_is_asked_for_many_times_at_once_is_kept_once(client: Client) -> None:
    query = """{ repositories(provider: GITHUB, query: "engine") { nodes { id branches { nodes { id } } } } }"""
    pages = [page["repositories"]["nodes"] for page in await asyncio.gather(*(client.execute(query) for _ in range(8)))]
    assert len(pages[0]) == 5
    assert [len(node["branches"]["nodes"]) for node in pages[0]] == [2] * 5
    assert pages == [pages[0]] * 8


@pytest.mark.parametrize(
    "seen",
    [
        {"external_id": "9" * 201},
        {"name_with_owner": "ada/" + "x" * 397},
        {"name_with_owner": "ada/\x00"},
        {"url": "https://git.example.com/" + "x" * 2000},
        {"clone_url": "https://git.example.com/" + "x" * 2000},
        {"default_branch_name": "x" * 256},
    ],
)
async def test_a_host_that_answers_what_cannot_be_kept_is_of_no_use(
    ada: Client, provider: FakeGitProvider, seen: JSON
) -> None:
    provider.found = [repository(0), replace(repository(1), **seen)]
    data, error = await refused(ada, LIST)
    assert (data, error["extensions"]["code"]) == ({"repositories": None}, "GIT_PROVIDER_UNAVAILABLE")


@pytest.mark.parametrize("name", ["x" * 256, "a\x00b", "\ud800"])
async def test_a_branch_that_cannot_be_kept_costs_the_list_alone(
    ada: Client, provider: FakeGitProvider, name: str
) -> None:
    provider.names = ["main", name]
    query = """{ repository(provider: GITHUB, nameWithOwner: "ada/engine-0") {
      nameWithOwner branches { nodes { name } }
    } }"""
    data, error = await refused(ada, query)
    assert data == {"repository": {"nameWithOwner": "ada/engine-0", "branches": None}}
    assert error["extensions"]["code"] == "GIT_PROVIDER_UNAVAILABLE"


async def test_a_request_cannot_cause_more_calls_than_the_limit(ada: Client, provider: FakeGitProvider) -> None:
    provider.found = [repository(number) for number in range(10)]
    query = "{ repositories(provider: GITHUB) { nodes { nameWithOwner branches(first: 1) { nodes { name } } } } }"
    answer = await ada.post(query)
    assert len(provider.calls) == MAX_CALLS
    nodes = answer.body["data"]["repositories"]["nodes"]
    assert [node["nameWithOwner"] for node in nodes] == [f"ada/engine-{number}" for number in range(10)]
    assert sum(node["branches"] is None for node in nodes) == len(answer.body["errors"]) == 3
    assert {error["extensions"]["code"] for error in answer.body["errors"]} == {"INVALID_INPUT"}


async def test_an_empty_repository_has_no_default_branch(ada: Client, provider: FakeGitProvider) -> None:
    provider.found = [repository(0, default_branch=None)]
    query = "{ repositories(provider: GITHUB) { nodes { defaultBranch { name commitSha } } } }"
    assert (await ada.execute(query))["repositories"]["nodes"] == [{"defaultBranch": None}]


async def test_branches_are_paged_and_searched(ada: Client, provider: FakeGitProvider) -> None:
    provider.names = [f"feature/{number:04}" for number in range(3000)]
    query = """query ($query: String, $first: Int, $after: String) {
      repository(provider: GITHUB, nameWithOwner: "ada/engine-0") {
        branches(first: $first, after: $after, query: $query) { nodes { id name } pageInfo { hasNextPage endCursor } }
      }
    }"""
    page = (await ada.execute(query, first=2, after="2998"))["repository"]["branches"]
    assert [node["name"] for node in page["nodes"]] == ["feature/2998", "feature/2999"]
    assert page["pageInfo"]["hasNextPage"] is False
    found = (await ada.execute(query, query="29"))["repository"]["branches"]
    assert len(found["nodes"]) == 20
    assert found["nodes"][-1]["name"] == "feature/0929"
    data, error = await refused(ada, query, first=101)
    assert data["repository"]["branches"] is None
    assert error["extensions"]["code"] == "INVALID_INPUT"


async def test_an_outage_costs_the_fields_that_need_the_provider_and_no_others(
    ada: Client, provider: FakeGitProvider
) -> None:
    await steps.save_settings(ada)
    seen = (await search(ada, first=1))["nodes"][0]
    provider.is_down = True
    query = """query ($id: ID!) {
      settings { llmModel }
      repositories(provider: GITHUB) { nodes { id } }
      node(id: $id) { ... on Repository { nameWithOwner defaultBranch { commitSha } branches { nodes { name } } } }
    }"""
    answer = await ada.post(query, {"id": seen["id"]})
    assert answer.body["data"] == {
        "settings": {"llmModel": "demo/assistant"},
        "repositories": None,
        "node": {"nameWithOwner": "ada/engine-0", "defaultBranch": None, "branches": None},
    }
    assert [error["extensions"]["code"] for error in answer.body["errors"]] == ["GIT_PROVIDER_UNAVAILABLE"] * 3


async def test_a_token_goes_to_its_own_host_only(ada: Client, provider: FakeGitProvider) -> None:
    seen = (await search(ada, first=1))["nodes"][0]
    await ada.execute(documents.SET_TOKEN, input={"provider": "GITHUB", "token": TOKEN, "host": OTHER_HOST})
    provider.accesses.clear()
    query = "query ($id: ID!) { node(id: $id) { ... on Repository { branches { nodes { name } } } } }"
    await ada.execute(query, id=seen["id"])
    [access] = provider.accesses
    assert (access.host, access.token) == (None, None)
