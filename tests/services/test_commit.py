"""Commits of workspaces through the API: the author, the message, and what is refused."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.fake_git import TOKEN, FakeGitProvider, repository
from tests.support.git_server import GitServer, git, git_server
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import ScriptedLLM, error, last_user_text, never, text
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
NAME = {"byName": {"provider": "GITHUB", "nameWithOwner": "ada/engine"}}
COAUTHOR = "Co-authored-by: Parley Agent <agent@parley.invalid>"

pytestmark = needs_sandbox


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("served")) as started:
        started.token = TOKEN
        started.add({"README.md": "An engine.\n", "src/main.py": "print('hello')\n"})
        yield started


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str, git_host: GitServer) -> Iterator[RunningServer]:
    provider = FakeGitProvider(found=[repository(1, "ada/engine")], clone_url=git_host.url())
    with running_server(
        data_dir,
        database_url=database_url,
        git_providers={ProviderType.GITHUB: provider},
        git_private_hosts=git_host.origin,
        title_timeout_seconds=1.0,
    ) as started:
        yield started


@pytest.fixture
async def ada(client: Client, llm: ScriptedLLM) -> Client:
    """A caller with settings and a token."""
    await steps.save_settings(client, llm)
    await client.execute(documents.SET_TOKEN, input={"provider": "GITHUB", "token": TOKEN})
    return client


async def cloned(client: Client) -> tuple[str, Path]:
    """A conversation with a clone, and where that is."""
    conversation_id = cast("str", (await steps.create(client, None, repository=NAME))["id"])
    await steps.until_waiting(client, conversation_id)
    return conversation_id, client.server.config.data_dir / "workspaces" / conversation_id


async def commit(client: Client, conversation_id: str, **fields: object) -> JSON:
    data = await client.execute(documents.COMMIT, input={"conversationId": conversation_id, **fields})
    return cast("JSON", data["commitWorkspace"])


async def committed(client: Client, conversation_id: str, **fields: object) -> JSON:
    """A commit that must succeed."""
    payload = await commit(client, conversation_id, **fields)
    assert payload["userErrors"] == []
    assert payload["branchName"] == "main"
    return cast("JSON", payload["commit"])


async def refused(client: Client, conversation_id: str, **fields: object) -> tuple[str, str, list[str]]:
    """Type, code and path of the error of a commit that must fail."""
    payload = await commit(client, conversation_id, **fields)
    assert payload["commit"] is None
    [fault] = payload["userErrors"]
    return fault["__typename"], fault["code"], fault["path"]


def told(path: Path, *arguments: str) -> str:
    return git(path, "-c", "safe.directory=*", *arguments).strip()


async def test_a_commit_is_the_caller_s_with_the_agent_as_co_author(ada: Client) -> None:
    conversation_id, path = await cloned(ada)
    base = told(path, "rev-parse", "HEAD")
    (path / "src" / "main.py").write_text("print('bye')\n")
    found = await committed(ada, conversation_id, message="  Say bye\r\n\r\nIt is late.  \n")
    message = f"Say bye\n\nIt is late.\n\n{COAUTHOR}"
    assert found["message"] == message
    assert (found["parentShas"], found["messageHeadline"]) == ([base], "Say bye")
    assert found["messageBody"] == f"It is late.\n\n{COAUTHOR}"
    assert (found["authorName"], found["authorEmail"]) == ("ada", "ada@users.noreply.git.example.com")
    assert told(path, "log", "-1", "--format=%H %an %ae") == f"{found['sha']} ada ada@users.noreply.git.example.com"
    assert told(path, "log", "-1", "--format=%B") == message
    workspace = await ada.execute(
        "query ($id: ID!) { conversation(id: $id) { workspace { headCommitSha baseCommitSha "
        "changes(since: COMMITTED) { totalCount } } } }",
        id=conversation_id,
    )
    expected = {"headCommitSha": found["sha"], "baseCommitSha": base, "changes": {"totalCount": 0}}
    assert workspace["conversation"]["workspace"] == expected


async def test_the_author_of_the_settings_is_taken(ada: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(ada, llm, gitAuthorName=" Ada Löve ", gitAuthorEmail="ada@example.com")
    saved = await ada.execute("{ settings { gitAuthorName gitAuthorEmail } }")
    assert saved["settings"] == {"gitAuthorName": "Ada Löve", "gitAuthorEmail": "ada@example.com"}
    conversation_id, path = await cloned(ada)
    (path / "new.txt").write_text("new\n")
    trailers = f"Say more\n\nFixes: #1\n{COAUTHOR}"
    found = await committed(ada, conversation_id, message="Say more\n\nFixes: #1")
    assert (found["authorName"], found["authorEmail"]) == ("Ada Löve", "ada@example.com")
    assert found["message"] == trailers
    assert told(path, "log", "-1", "--format=%(trailers:key=Co-authored-by,valueonly)") == COAUTHOR.split(": ")[1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gitAuthorName", "Ada <x@example.com>"),
        ("gitAuthorName", "Ada\nAuthor: Mallory"),
        ("gitAuthorName", "x" * 201),
        ("gitAuthorName", "..."),
        ("gitAuthorEmail", "no address"),
        ("gitAuthorEmail", "a@b c"),
        ("gitAuthorEmail", f"{'x' * 250}@example.com"),
    ],
)
async def test_an_author_that_git_would_not_take_is_refused(ada: Client, field: str, value: str) -> None:
    data = await ada.execute(documents.UPDATE_SETTINGS, input={field: value})
    assert [(fault["code"], fault["path"]) for fault in data["updateSettings"]["userErrors"]] == [
        ("INVALID_INPUT", [field])
    ]
    saved = await ada.execute("{ settings { gitAuthorName gitAuthorEmail } }")
    assert saved["settings"] == {"gitAuthorName": None, "gitAuthorEmail": None}


async def test_a_blank_message_is_made_by_the_model_from_the_diff(ada: Client, llm: ScriptedLLM) -> None:
    conversation_id, path = await cloned(ada)
    (path / "src" / "main.py").write_text("print('bye')\n")
    (path / "other.txt").write_text(f"kept\nthe token {TOKEN}\n")
    llm.script(text("<think>Hm.</think>**Say bye**\n"))
    found = await committed(ada, conversation_id, message=" \n", paths=["src"])
    assert found["message"] == f"Say bye\n\n{COAUTHOR}"
    asked = last_user_text(llm.requests[-1].body)
    assert "+print('bye')" in asked
    assert "other.txt" not in asked
    llm.script(text("Add a note"))
    found = await committed(ada, conversation_id)
    assert found["message"] == f"Add a note\n\n{COAUTHOR}"
    assert TOKEN not in last_user_text(llm.requests[-1].body)


async def test_a_model_that_fails_leaves_the_names_of_files(ada: Client, llm: ScriptedLLM) -> None:
    conversation_id, path = await cloned(ada)
    (path / "src" / "main.py").unlink()
    llm.script(error(500, "No."))
    llm.default = lambda _: error(500, "No.")
    found = await committed(ada, conversation_id)
    assert found["message"].startswith("Delete src/main.py\n")
    (path / "one.txt").write_text("1\n")
    (path / "two.txt").write_text("2\n")
    llm.default = lambda _: never()
    found = await committed(ada, conversation_id)
    assert found["message"].startswith("Change 2 files\n")


async def test_nothing_is_committed_twice(ada: Client) -> None:
    conversation_id, path = await cloned(ada)
    assert await refused(ada, conversation_id, message="x") == ("GitRefusalError", "NOTHING_TO_COMMIT", [])
    (path / "new.txt").write_text("new\n")
    payloads = await asyncio.gather(*(commit(ada, conversation_id, message="x") for _ in range(4)))
    assert sorted(fault["code"] for payload in payloads for fault in payload["userErrors"]) == ["NOTHING_TO_COMMIT"] * 3
    assert told(path, "rev-list", "--count", "HEAD") == "2"


async def test_a_detached_head_and_a_workspace_without_repository_are_refused(ada: Client) -> None:
    conversation_id, path = await cloned(ada)
    (path / "new.txt").write_text("new\n")
    head = path / ".git" / "HEAD"
    head.write_text(f"{told(path, 'rev-parse', 'HEAD')}\n")
    assert await refused(ada, conversation_id, message="x") == ("GitRefusalError", "DETACHED_HEAD", [])
    for odd in ("ref: refs/heads/../../config\n", "ref: refs/heads/a..b\n", "nonsense\n"):
        head.write_text(odd)
        assert (await refused(ada, conversation_id, message="x"))[1] in {"NO_REPOSITORY", "DETACHED_HEAD"}
    plain = cast("str", (await steps.create(ada))["id"])
    await steps.until_waiting(ada, plain)
    assert await refused(ada, plain, message="x") == ("GitRefusalError", "NO_REPOSITORY", [])


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"message": "x" * 10_001}, "message"),
        ({"message": "a\x00b"}, "message"),
        ({"message": "a\x1bb"}, "message"),
        ({"message": "x", "paths": []}, "paths"),
        ({"message": "x", "paths": ["new.txt"] * 501}, "paths"),
        ({"message": "x", "paths": ["../secret.key"]}, "paths"),
        ({"message": "x", "paths": ["/etc/passwd"]}, "paths"),
        ({"message": "x", "paths": ["src/../new.txt"]}, "paths"),
        ({"message": "x", "paths": [".git/config"]}, "paths"),
        ({"message": "x", "paths": ["absent.txt"]}, "paths"),
        ({"message": "x", "paths": ["a\x00b"]}, "paths"),
    ],
)
async def test_bad_input_commits_nothing(ada: Client, fields: JSON, place: str) -> None:
    conversation_id, path = await cloned(ada)
    (path / "new.txt").write_text("new\n")
    assert await refused(ada, conversation_id, **fields) == ("InvalidInputError", "INVALID_INPUT", [place])
    assert told(path, "rev-list", "--count", "HEAD") == "1"
    assert told(path, "status", "--porcelain") == "?? new.txt"


async def test_nothing_is_committed_while_the_agent_works(ada: Client, llm: ScriptedLLM) -> None:
    conversation_id, path = await cloned(ada)
    (path / "new.txt").write_text("new\n")
    llm.script(never())
    await steps.send(ada, conversation_id, "Work")
    await steps.until(ada, conversation_id, agentState="RUNNING")
    assert await refused(ada, conversation_id, message="x") == ("InvalidStateError", "INVALID_STATE", [])
    await ada.execute(documents.STOP, input={"id": conversation_id})
    assert (await committed(ada, conversation_id, message="x"))["message"].startswith("x")


async def test_before_the_clone_there_is_nothing_to_commit(ada: Client, git_host: GitServer) -> None:
    git_host.faults["ada/engine"] = (503, "Later.")
    try:
        conversation_id = cast("str", (await steps.create(ada, None, repository=NAME))["id"])
        await steps.until(ada, conversation_id, status="ERROR")
    finally:
        del git_host.faults["ada/engine"]
    assert await refused(ada, conversation_id, message="x") == ("WorkspaceFailureError", "WORKSPACE_ERROR", [])


async def test_the_same_key_gives_the_first_commit_again(ada: Client) -> None:
    conversation_id, path = await cloned(ada)
    (path / "README.md").write_text("one\n")
    answers = await asyncio.gather(
        *(committed(ada, conversation_id, message="One", idempotencyKey="once") for _ in range(3))
    )
    (path / "README.md").write_text("two\n")
    again = await committed(ada, conversation_id, message="Two", idempotencyKey="once")
    assert [*answers, again] == [answers[0]] * 4
    assert (again["message"], again["sha"]) == (f"One\n\n{COAUTHOR}", told(path, "rev-parse", "HEAD"))
    assert told(path, "rev-list", "--count", "HEAD") == "2"
    second = await committed(ada, conversation_id, message="Two", idempotencyKey="twice")
    assert second["parentShas"] == [again["sha"]]


async def test_a_key_is_of_one_conversation_and_of_commits_that_were_made(ada: Client) -> None:
    conversation_id, path = await cloned(ada)
    assert (await refused(ada, conversation_id, idempotencyKey="once"))[1] == "NOTHING_TO_COMMIT"
    for key in ("", "x" * 201):
        fault = await refused(ada, conversation_id, idempotencyKey=key)
        assert fault == ("InvalidInputError", "INVALID_INPUT", ["idempotencyKey"])
    (path / "README.md").write_text("one\n")
    first = await committed(ada, conversation_id, message="One", idempotencyKey="once")
    other_id, other_path = await cloned(ada)
    (other_path / "README.md").write_text("other\n")
    other = await committed(ada, other_id, message="Other", idempotencyKey="once")
    assert (other["sha"] == first["sha"], other["messageHeadline"]) == (False, "Other")
