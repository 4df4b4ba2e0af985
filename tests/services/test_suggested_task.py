"""Suggested tasks: listed for their owner, and the beginning of a conversation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from app.models.provider_account import ProviderType
from app.services.git.base import RemoteTask, TaskKind
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import TOKEN, FakeGitProvider, repository
from tests.support.scripted_llm import ScriptedLLM
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
MAX_CALLS = 8
LIST = """
query ($provider: ProviderType! = GITHUB, $first: Int, $after: String) { viewer {
  suggestedTasks(provider: $provider, first: $first, after: $after) {
    nodes { id provider kind repositoryName number title url }
    edges { cursor } pageInfo { hasNextPage hasPreviousPage endCursor }
  }
} }
"""
REPOSITORIES = """
{ viewer { suggestedTasks(provider: GITHUB) { nodes { number repository { nameWithOwner } } } } }
"""
CREATE = """
mutation ($input: CreateConversationInput!) { createConversation(input: $input) {
  conversation { id trigger branchName repository { nameWithOwner } events(first: 1) { nodes {
    ... on MessageEvent { text source }
  } } }
  userErrors { ... on UserError { code path message } }
} }
"""
URL = "https://git.example.com/ada/engine-1"
PULL_REQUEST = RemoteTask(
    TaskKind.MERGE_CONFLICTS, "ada/engine-1", 12, "Faster", f"{URL}/pull/12", "ada/engine-2", "next", "main"
)
ISSUE = RemoteTask(TaskKind.OPEN_ISSUE, "ada/engine-1", 3, "Broken", f"{URL}/issues/3", "ada/engine-1")


@pytest.fixture(scope="module")
def provider() -> FakeGitProvider:
    return FakeGitProvider()


@pytest.fixture(scope="module")
def gitlab() -> FakeGitProvider:
    return FakeGitProvider(type=ProviderType.GITLAB)


@pytest.fixture(scope="module")
def server(
    data_dir: Path, database_url: str, provider: FakeGitProvider, gitlab: FakeGitProvider
) -> Iterator[RunningServer]:
    with running_server(
        data_dir,
        database_url=database_url,
        git_providers={ProviderType.GITHUB: provider, ProviderType.GITLAB: gitlab},
        git_max_calls_per_request=MAX_CALLS,
    ) as started:
        yield started


@pytest.fixture(autouse=True)
def provider_at_work(provider: FakeGitProvider, gitlab: FakeGitProvider) -> None:
    gitlab.is_down = False
    provider.found = [repository(number) for number in range(20)]
    provider.names = ["main", "next"]
    provider.tasks = [PULL_REQUEST, ISSUE]
    provider.is_down = False
    provider.calls.clear()


@pytest.fixture
async def ada(client: Client, provider: FakeGitProvider, llm: ScriptedLLM) -> Client:
    """A caller with settings and a token."""
    await steps.save_settings(client, llm)
    await client.execute(documents.SET_TOKEN, input={"provider": "GITHUB", "token": TOKEN})
    provider.calls.clear()
    return client


async def tasks(client: Client, **arguments: object) -> JSON:
    return cast("JSON", (await client.execute(LIST, **arguments))["viewer"]["suggestedTasks"])


async def create(client: Client, **fields: object) -> JSON:
    return cast("JSON", (await client.execute(CREATE, input=fields))["createConversation"])


async def test_they_are_listed_as_the_provider_tells_of_them(ada: Client, provider: FakeGitProvider) -> None:
    [first, second] = (await tasks(ada))["nodes"]
    assert {**first, "id": ""} == {
        "id": "",
        "provider": "GITHUB",
        "kind": "MERGE_CONFLICTS",
        "repositoryName": "ada/engine-1",
        "number": 12,
        "title": "Faster",
        "url": f"{URL}/pull/12",
    }
    assert (second["kind"], second["number"]) == ("OPEN_ISSUE", 3)
    assert provider.calls == ["suggested_tasks"]


async def test_pages_of_changing_size_lose_and_double_nothing(ada: Client, provider: FakeGitProvider) -> None:
    provider.tasks = [RemoteTask(TaskKind.OPEN_ISSUE, "a/b", number, "", URL, "a/b") for number in range(1, 101)]
    seen: list[int] = []
    after: str | None = None
    for first in (1, 50, 7, 100):
        page = await tasks(ada, first=first, after=after)
        assert page["pageInfo"]["hasPreviousPage"] == (after is not None)
        seen += [node["number"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        assert page["pageInfo"]["hasNextPage"] == (len(seen) < 100)
    assert seen == list(range(1, 101))


@pytest.mark.parametrize("arguments", [{"first": 0}, {"first": 101}, {"after": "x"}, {"after": ""}])
async def test_a_page_that_cant_be_is_refused_before_the_provider_is_asked(
    ada: Client, provider: FakeGitProvider, arguments: JSON
) -> None:
    answer = await ada.post(LIST, arguments)
    assert answer.body["data"] == {"viewer": {"suggestedTasks": None}}
    assert [error["extensions"]["code"] for error in answer.body["errors"]] == ["INVALID_INPUT"]
    assert provider.calls == []


async def test_an_outage_of_one_provider_nulls_its_part_alone(ada: Client, gitlab: FakeGitProvider) -> None:
    await ada.execute(documents.SET_TOKEN, input={"provider": "GITLAB", "token": TOKEN})
    gitlab.is_down = True
    answer = await ada.post(
        "{ viewer { a: suggestedTasks(provider: GITHUB) { nodes { number } }"
        " b: suggestedTasks(provider: GITLAB) { nodes { number } } } }",
        {},
    )
    assert answer.body["data"]["viewer"] == {"a": {"nodes": [{"number": 12}, {"number": 3}]}, "b": None}
    [error] = answer.body["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["viewer", "b"], "GIT_PROVIDER_UNAVAILABLE")


async def test_without_a_token_there_are_none(client: Client, provider: FakeGitProvider) -> None:
    answer = await client.post(LIST, {})
    assert answer.body["data"] == {"viewer": {"suggestedTasks": None}}
    [error] = answer.body["errors"]
    assert error["extensions"]["code"] == "STATUS_GIT_PROVIDER_AUTHENTICATION_ERROR"
    assert provider.calls == []


async def test_repositories_of_tasks_are_asked_for_once_each_within_the_budget(
    ada: Client, provider: FakeGitProvider
) -> None:
    answer = (await ada.execute(REPOSITORIES))["viewer"]["suggestedTasks"]["nodes"]
    assert [node["repository"] for node in answer] == [{"nameWithOwner": "ada/engine-1"}] * 2
    assert provider.calls == ["suggested_tasks", "repository"]
    provider.calls.clear()
    provider.tasks = [
        RemoteTask(TaskKind.OPEN_ISSUE, f"ada/engine-{number}", 1, "", URL, "a/b") for number in range(20)
    ]
    answer = await ada.post(REPOSITORIES, {})
    shown = [node["repository"] for node in answer.body["data"]["viewer"]["suggestedTasks"]["nodes"]]
    assert (len(provider.calls), shown.count(None)) == (MAX_CALLS, 20 - (MAX_CALLS - 1))
    assert len(answer.body["errors"]) == shown.count(None)


async def test_a_pull_requests_conversation_begins_on_its_head_with_a_message_for_the_kind(ada: Client) -> None:
    [task, _] = (await tasks(ada))["nodes"]
    made = (await create(ada, suggestedTaskId=task["id"]))["conversation"]
    assert made["trigger"] == "SUGGESTED_TASK"
    assert made["repository"] == {"nameWithOwner": "ada/engine-2"}
    assert made["branchName"] == "next"
    [message] = made["events"]["nodes"]
    assert message["source"] == "USER"
    for part in ("pull request #12 of ada/engine-1", "“Faster”", f"{URL}/pull/12", "conflicts", "Merge main into next"):
        assert part in message["text"]


async def test_an_issues_conversation_begins_on_the_default_branch(ada: Client) -> None:
    [_, task] = (await tasks(ada))["nodes"]
    made = (await create(ada, suggestedTaskId=task["id"]))["conversation"]
    assert (made["repository"], made["branchName"]) == ({"nameWithOwner": "ada/engine-1"}, "main")
    assert "issue #3 of ada/engine-1" in made["events"]["nodes"][0]["text"]


async def test_a_message_of_ones_own_stands_in_for_the_made_one(ada: Client) -> None:
    [task, _] = (await tasks(ada))["nodes"]
    made = (await create(ada, suggestedTaskId=task["id"], initialMessage={"text": "Only look"}))["conversation"]
    assert (made["trigger"], made["events"]["nodes"][0]["text"]) == ("SUGGESTED_TASK", "Only look")


async def test_a_task_that_is_done_meanwhile_creates_nothing(ada: Client, provider: FakeGitProvider) -> None:
    [task, _] = (await tasks(ada))["nodes"]
    provider.tasks = []
    answer = await create(ada, suggestedTaskId=task["id"])
    assert answer["conversation"] is None
    assert [(error["code"], error["path"]) for error in answer["userErrors"]] == [("NOT_FOUND", ["suggestedTaskId"])]
    assert await ada.execute("{ conversations { totalCount } }") == {"conversations": {"totalCount": 0}}


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        "suggested_task:GITHUB:OPEN_ISSUE:3:a b/c",
        "suggested_task:GITHUB:OPEN_ISSUE:0:ada/engine-1",
        "suggested_task:SVN:OPEN_ISSUE:3:ada/engine-1",
        "suggested_task:GITHUB:OPEN_ISSUE:3:" + "x" * 10_000,
        "suggested_task:GITHUB:OPEN_ISSUE:4:ada/engine-1",
        "suggested_task:GITHUB:OPEN_ISSUE:3:bob/engine",
        "\x00",
        "settings:00000000-0000-0000-0000-000000000000",
    ],
    ids=lambda given: given[:45],
)
async def test_an_id_of_no_task_is_not_found(ada: Client, given: str) -> None:
    answer = await create(ada, suggestedTaskId=given)
    assert [error["code"] for error in answer["userErrors"]] == ["NOT_FOUND"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("repository", {"byName": {"provider": "GITHUB", "nameWithOwner": "ada/engine-0"}}),
        ("branchName", "main"),
        ("replay", {}),
    ],
)
async def test_what_a_task_decides_cant_be_given_beside_it(
    ada: Client, provider: FakeGitProvider, name: str, value: object
) -> None:
    [task, _] = (await tasks(ada))["nodes"]
    provider.calls.clear()
    answer = await create(ada, suggestedTaskId=task["id"], **{name: value})
    assert [(error["code"], error["path"]) for error in answer["userErrors"]] == [("INVALID_INPUT", [name])]
    assert provider.calls == []


async def test_a_stranger_cant_begin_anothers_task(ada: Client, stranger: Client, llm: ScriptedLLM) -> None:
    [task, _] = (await tasks(ada))["nodes"]
    await steps.save_settings(stranger, llm)
    answer = await create(stranger, suggestedTaskId=task["id"])
    assert [error["code"] for error in answer["userErrors"]] == ["STATUS_GIT_PROVIDER_AUTHENTICATION_ERROR"]


async def test_the_same_key_again_asks_no_provider(ada: Client, provider: FakeGitProvider) -> None:
    [task, _] = (await tasks(ada))["nodes"]
    first = await create(ada, suggestedTaskId=task["id"], idempotencyKey="once")
    provider.calls.clear()
    provider.tasks = []
    again = await create(ada, suggestedTaskId=task["id"], idempotencyKey="once")
    assert again["conversation"]["id"] == first["conversation"]["id"]
    assert "suggested_tasks" not in provider.calls
