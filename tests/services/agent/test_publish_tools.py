"""The tools by which an agent commits and opens pull requests: after the user's word, or as far as a policy allows."""

import json
from collections.abc import Iterator
from dataclasses import replace
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


async def begin(client: Client, name: str = NAME, **fields: object) -> str:
    wanted = {"byName": {"provider": "GITHUB", "nameWithOwner": name}}
    return cast("str", (await steps.create(client, "Say more.", repository=wanted, **fields))["id"])


async def decide(client: Client, conversation_id: str, *, approved: bool) -> str:
    """Answer the call that waits; its tool's name."""
    await steps.until(client, conversation_id, agentState="AWAITING_USER_CONFIRMATION")
    events = await steps.events(client, conversation_id)
    answered = {each["toolCall"]["id"] for each in events if each["__typename"] == "ToolResultEvent"}
    calls = [each for each in events if each["__typename"] == "ToolCallEvent"]
    waiting = next(each for each in calls if each["id"] not in answered)
    given = {"conversationId": conversation_id, "toolCallId": waiting["id"], "approved": approved}
    assert (await client.execute(documents.RESPOND, input=given))["respondToToolCall"]["userErrors"] == []
    return cast("str", waiting["toolName"])


async def results(client: Client, conversation_id: str) -> list[tuple[str, bool]]:
    """Output, and whether it is an error, of each call."""
    events = await steps.events(client, conversation_id)
    return [(each["output"], each["isError"]) for each in events if each["__typename"] == "ToolResultEvent"]


async def times_asked(client: Client, conversation_id: str) -> int:
    events = await steps.events(client, conversation_id)
    states = [each["agentState"] for each in events if each["__typename"] == "StateChangeEvent"]
    return states.count("AWAITING_USER_CONFIRMATION")


def inside(client: Client, conversation_id: str, *arguments: str) -> str:
    """Run git in the workspace."""
    path = client.server.config.data_dir / "workspaces" / conversation_id
    return git(path, "-c", "safe.directory=*", *arguments).strip()


def branches(bare: Path) -> dict[str, str]:
    """The commit of each branch at the host."""
    listed = git(bare, "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads")
    return dict(cast("tuple[str, str]", tuple(line.split())) for line in listed.splitlines())


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
    assert outputs[4][0] == "DEFAULT_BRANCH: main is the repository's default branch: name another branch."


@pytest.mark.usefixtures("bare")
async def test_the_tools_are_offered_where_there_is_a_repository(ada: Client, llm: ScriptedLLM) -> None:
    conversation_id = await begin(ada)
    await steps.until_waiting(ada, conversation_id)
    assert offered(llm) >= PUBLISHING
    plain = cast("str", (await steps.create(ada, "Hello"))["id"])
    await steps.until_waiting(ada, plain)
    assert not offered(llm) & PUBLISHING


async def test_a_policy_for_commits_lets_them_go_and_asks_for_pull_requests(
    ada: Client, llm: ScriptedLLM, bare: Path
) -> None:
    await steps.save_settings(ada, llm, publishPolicy="ALLOW_COMMITS")
    llm.script(tools(WRITE), tools(COMMIT), tools(PROPOSE), text("A pity."))
    conversation_id = await begin(ada)
    assert await decide(ada, conversation_id, approved=False) == "open_pull_request"
    await steps.until_waiting(ada, conversation_id)
    assert await times_asked(ada, conversation_id) == 1
    assert (await results(ada, conversation_id))[1:] == [
        (f"Committed {inside(ada, conversation_id, 'rev-parse', 'HEAD')} on main.", False),
        ("The user refused this call.", True),
    ]
    assert list(branches(bare)) == ["main"]


async def test_a_policy_for_pull_requests_asks_for_nothing_on_branches_of_the_agent_s_own(
    ada: Client, llm: ScriptedLLM, bare: Path, git_host: GitServer
) -> None:
    await steps.save_settings(ada, llm, publishPolicy="ALLOW_PULL_REQUESTS")
    before = branches(bare)
    llm.script(tools(WRITE), tools(COMMIT), tools(PROPOSE), text("Done."))
    conversation_id = await begin(ada)
    await steps.until_waiting(ada, conversation_id)
    first = inside(ada, conversation_id, "rev-parse", "HEAD")
    assert branches(bare) == {**before, "moves": first}

    more = call("write_file", path="README.md", content="An engine that moves fast.\n")
    llm.script(tools(more), tools(COMMIT), tools(PROPOSE), text("Done."))
    await steps.send(ada, conversation_id, "Say even more.")
    await steps.until_said(ada, conversation_id, "USER", "Say even more.")
    await steps.until_waiting(ada, conversation_id)
    second = inside(ada, conversation_id, "rev-parse", "HEAD")
    assert branches(bare) == {**before, "moves": second}
    assert git(bare, "log", "--format=%H", "moves").split()[:2] == [second, first]
    assert await times_asked(ada, conversation_id) == 0
    [proposed] = git_host.pull_requests[NAME].proposed
    assert (proposed.head, proposed.base) == ("moves", "main")


@pytest.mark.usefixtures("bare")
async def test_in_confirmation_mode_each_call_waits_whatever_the_policy_allows(ada: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(ada, llm, confirmationMode=True, publishPolicy="ALLOW_PULL_REQUESTS")
    llm.script(tools(WRITE), tools(COMMIT), text("A pity."))
    conversation_id = await begin(ada)
    assert await decide(ada, conversation_id, approved=True) == "write_file"
    assert await decide(ada, conversation_id, approved=False) == "commit_changes"
    await steps.until_waiting(ada, conversation_id)
    assert inside(ada, conversation_id, "rev-list", "--count", "HEAD") == "1"


async def test_without_a_question_nothing_goes_to_branches_of_others_or_elsewhere(
    ada: Client, llm: ScriptedLLM, bare: Path, git_host: GitServer
) -> None:
    await steps.save_settings(ada, llm, publishPolicy="ALLOW_PULL_REQUESTS")
    for name in ("next", "production"):
        git(bare, "branch", name, "main")
    before = branches(bare)
    tried: list[dict[str, object]] = [
        {"branch_name": "production"},
        {"branch_name": "main"},
        {"branch_name": "new:refs/heads/main"},
        {"branch_name": "new", "force": True},
        {"branch_name": "new", "to_default_branch": True},
        {"branch_name": "new", "repository": "ada/another"},
        {"branch_name": ["main"]},
    ]
    attempts = [tools(call("open_pull_request", title="Mine", **arguments)) for arguments in tried]
    llm.script(tools(WRITE), tools(COMMIT), *attempts, text("Well."))
    conversation_id = await begin(ada, branchName="next")
    await steps.until_waiting(ada, conversation_id)
    outputs = await results(ada, conversation_id)
    assert [is_error for _, is_error in outputs] == [False, False, *[True] * len(tried)]
    assert [output.partition(":")[0] for output, _ in outputs[2:]] == [
        "BRANCH_EXISTS",
        "DEFAULT_BRANCH",
        "INVALID_INPUT",
        *["The call does not fit open_pull_request"] * 4,
    ]
    assert branches(bare) == before
    assert await times_asked(ada, conversation_id) == 0
    assert git_host.pull_requests[NAME].proposed == []


async def test_the_first_branch_of_a_repository_is_never_pushed_without_a_question(
    ada: Client, llm: ScriptedLLM, git_host: GitServer
) -> None:
    bare = git_host.add({}, "ada/empty")
    git_host.described["ada/empty"] = {"default_branch": None}
    await steps.save_settings(ada, llm, publishPolicy="ALLOW_PULL_REQUESTS")
    llm.script(tools(WRITE), tools(COMMIT), tools(PROPOSE), text("Well."))
    conversation_id = await begin(ada, "ada/empty")
    await steps.until_waiting(ada, conversation_id)
    assert (await results(ada, conversation_id))[2] == (
        "DEFAULT_BRANCH: The git host names no default branch: only the user may push there.",
        True,
    )
    assert branches(bare) == {}


async def test_the_branch_that_the_user_chose_is_asked_for(
    ada: Client, llm: ScriptedLLM, bare: Path, git_host: GitServer
) -> None:
    await steps.save_settings(ada, llm, publishPolicy="ALLOW_PULL_REQUESTS")
    git(bare, "branch", "next", "main")
    before = branches(bare)
    llm.script(tools(WRITE), tools(COMMIT), tools(call("open_pull_request", branch_name="next", title="x")), text("Ok"))
    conversation_id = await begin(ada, branchName="next")
    await steps.until(ada, conversation_id, agentState="AWAITING_USER_CONFIRMATION")
    assert branches(bare) == before
    assert await decide(ada, conversation_id, approved=True) == "open_pull_request"
    await steps.until_waiting(ada, conversation_id)
    assert branches(bare) == {**before, "next": inside(ada, conversation_id, "rev-parse", "HEAD")}
    [proposed] = git_host.pull_requests[NAME].proposed
    assert (proposed.head, proposed.base) == ("next", "main")


@pytest.mark.usefixtures("bare")
async def test_a_policy_that_is_withdrawn_before_a_call_begins_does_not_count(ada: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(ada, llm, publishPolicy="ALLOW_PULL_REQUESTS")
    to_cloned = call("open_pull_request", branch_name="main", title="x")
    llm.script(tools(WRITE), tools(to_cloned, replace(COMMIT, id="call_2")), text("A pity."))
    conversation_id = await begin(ada)
    await steps.until(ada, conversation_id, agentState="AWAITING_USER_CONFIRMATION")
    await steps.save_settings(ada, llm, publishPolicy="ALWAYS_ASK")
    assert await decide(ada, conversation_id, approved=False) == "open_pull_request"
    assert await decide(ada, conversation_id, approved=False) == "commit_changes"
    await steps.until_waiting(ada, conversation_id)
    assert inside(ada, conversation_id, "rev-list", "--count", "HEAD") == "1"


async def test_a_policy_that_is_given_meanwhile_counts_from_the_next_call_on(
    ada: Client, llm: ScriptedLLM, bare: Path
) -> None:
    llm.script(tools(WRITE), tools(COMMIT), tools(PROPOSE), text("Done."))
    conversation_id = await begin(ada)
    await steps.until(ada, conversation_id, agentState="AWAITING_USER_CONFIRMATION")
    await steps.save_settings(ada, llm, publishPolicy="ALLOW_PULL_REQUESTS")
    assert (await steps.get(ada, conversation_id))["agentState"] == "AWAITING_USER_CONFIRMATION"
    assert await decide(ada, conversation_id, approved=True) == "commit_changes"
    await steps.until_waiting(ada, conversation_id)
    assert await times_asked(ada, conversation_id) == 1
    assert list(branches(bare)) == ["main", "moves"]


async def test_what_the_agent_publishes_unasked_holds_no_secret_of_the_user_s(
    ada: Client, llm: ScriptedLLM, bare: Path, git_host: GitServer
) -> None:
    await steps.save_settings(ada, llm, publishPolicy="ALLOW_PULL_REQUESTS")
    commit = call("commit_changes", message=f"Use {steps.API_KEY}\n\nand {TOKEN}")
    propose = call("open_pull_request", branch_name="moves", title=f"Use {TOKEN}", body=f"It is {steps.API_KEY}.")
    llm.script(tools(WRITE), tools(commit), tools(propose), text("Done."))
    conversation_id = await begin(ada)
    await steps.until_waiting(ada, conversation_id)
    [proposed] = git_host.pull_requests[NAME].proposed
    published = git(bare, "log", "-1", "--format=%B", "moves") + proposed.title + proposed.body
    assert (proposed.title.startswith("Use "), proposed.body.startswith("It is ")) == (True, True)
    assert [secret for secret in (steps.API_KEY, TOKEN) if secret in published] == []
