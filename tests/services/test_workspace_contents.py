"""What callers see of a workspace: its files, and what its agent changed."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from app.models.provider_account import ProviderType
from tests.support import documents, steps
from tests.support.client import Client, RequestFailed
from tests.support.fake_git import TOKEN, FakeGitProvider, repository
from tests.support.git_server import GitServer, git, git_server
from tests.support.patience import WAIT_SECONDS
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import ScriptedLLM
from tests.support.server import RunningServer, running_server
from tests.support.workspaces import started

JSON = dict[str, Any]
NAME = {"byName": {"provider": "GITHUB", "nameWithOwner": "ada/engine"}}
SUMMARY = "{ id state branchName baseCommitSha headCommitSha }"
ENTRIES = """
query ($id: ID!, $path: String! = "", $first: Int, $after: String) {
  conversation(id: $id) { workspace { entries(path: $path, first: $first, after: $after) {
    nodes {
      __typename path name
      ... on WorkspaceFile { sizeBytes mediaType isBinary text isTruncated }
      ... on WorkspaceLink { target }
    }
    pageInfo { hasNextPage hasPreviousPage endCursor }
  } } }
}
"""
FILE = """
query ($id: ID!, $path: String!, $first: Int, $last: Int) {
  conversation(id: $id) { workspace { file(path: $path) {
    path name sizeBytes mediaType isBinary
    text(firstLine: $first, lastLine: $last) isTruncated(firstLine: $first, lastLine: $last)
  } } }
}
"""
CHANGES = """
query ($id: ID!, $first: Int, $after: String, $since: ChangesSince! = CLONED, $lines: Int = 3) {
  conversation(id: $id) { workspace { changes(first: $first, after: $after, since: $since) {
    totalCount
    nodes {
      path previousPath status additions deletions isBinary
      diff(contextLines: $lines) isTruncated(contextLines: $lines)
    }
    pageInfo { hasNextPage endCursor }
  } } }
}
"""
COMMITS = """
query ($id: ID!, $first: Int, $after: String) {
  conversation(id: $id) { workspace { commits(first: $first, after: $after) {
    nodes { sha parentShas messageHeadline messageBody authorName authoredAt }
    pageInfo { hasNextPage endCursor }
  } } }
}
"""


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("served")) as started:
        started.token = TOKEN
        started.add({"README.md": "An engine.\n", "src/main.py": "print('hello')\n", ".gitignore": "*.log\n"})
        yield started


@pytest.fixture(scope="module")
def server(data_dir: Path, database_url: str, git_host: GitServer) -> Iterator[RunningServer]:
    provider = FakeGitProvider(found=[repository(1, "ada/engine")], clone_url=git_host.url())
    with running_server(
        data_dir,
        database_url=database_url,
        git_providers={ProviderType.GITHUB: provider},
        git_private_hosts=git_host.origin,
    ) as started:
        yield started


@pytest.fixture
async def ada(client: Client, llm: ScriptedLLM) -> Client:
    """A caller with settings and a token."""
    git_host_token = {"provider": "GITHUB", "token": TOKEN}
    await steps.save_settings(client, llm)
    await client.execute(documents.SET_TOKEN, input=git_host_token)
    return client


async def workspace_of(client: Client, conversation_id: str, selected: str) -> JSON | None:
    data = await client.execute(
        f"query ($id: ID!) {{ conversation(id: $id) {{ workspace {selected} }} }}", id=conversation_id
    )
    return cast("JSON | None", data["conversation"]["workspace"])


async def entries(client: Client, conversation_id: str, path: str = "", **page: object) -> JSON:
    data = await client.execute(ENTRIES, id=conversation_id, path=path, **page)
    return cast("JSON", data["conversation"]["workspace"]["entries"])


async def file(client: Client, conversation_id: str, path: str, **lines: object) -> JSON | None:
    data = await client.execute(FILE, id=conversation_id, path=path, **lines)
    return cast("JSON | None", data["conversation"]["workspace"]["file"])


async def changes(client: Client, conversation_id: str, **arguments: object) -> JSON:
    data = await client.execute(CHANGES, id=conversation_id, **arguments)
    return cast("JSON", data["conversation"]["workspace"]["changes"])


async def commits(client: Client, conversation_id: str, **page: object) -> JSON:
    data = await client.execute(COMMITS, id=conversation_id, **page)
    return cast("JSON", data["conversation"]["workspace"]["commits"])


async def test_a_clone_is_a_workspace_that_tells_what_was_cloned(
    ada: Client, stranger: Client, git_host: GitServer
) -> None:
    conversation_id, path = await started(ada, repository=NAME)
    commit = git(path, "-c", "safe.directory=*", "rev-parse", "HEAD").strip()
    expected = {
        "id": f"workspace:{conversation_id}",
        "state": "READY",
        "branchName": "main",
        "baseCommitSha": commit,
        "headCommitSha": commit,
    }
    assert await workspace_of(ada, conversation_id, SUMMARY) == expected
    node = "query ($id: ID!) { node(id: $id) { id ... on Workspace { baseCommitSha } } }"
    found = await ada.execute(node, id=expected["id"])
    assert found["node"] == {"id": expected["id"], "baseCommitSha": commit}
    assert (await stranger.execute(node, id=expected["id"]))["node"] is None

    # Whatever the agent writes there: what was cloned stays what it was.
    (path / ".git/HEAD").write_text("ref: refs/heads/../../../../etc/passwd\n")
    tampered = await workspace_of(ada, conversation_id, SUMMARY)
    assert tampered is not None
    assert (tampered["baseCommitSha"], tampered["headCommitSha"]) == (commit, None)

    await ada.execute(documents.STOP, input={"id": conversation_id})
    assert await workspace_of(ada, conversation_id, "{ state }") == {"state": "READY"}
    size = await workspace_of(ada, conversation_id, "{ sizeBytes }")
    assert size is not None
    assert size["sizeBytes"] > 0

    await ada.execute(documents.DELETE, input={"id": conversation_id})
    assert (await ada.execute(node, id=expected["id"]))["node"] is None
    async with asyncio.timeout(WAIT_SECONDS):
        while list(path.parent.parent.glob(f"*/{conversation_id}*")):  # noqa: ASYNC110  The system has no event for it.
            await asyncio.sleep(0.02)


async def test_entries_come_in_pages_whatever_their_names_are(ada: Client) -> None:
    conversation_id, path = await started(ada)
    (path / "d").mkdir()
    (path / "d" / "a.py").write_text("print()\n")
    (path / "d" / "b").symlink_to("/etc/passwd")
    (path / "d" / os.fsdecode(b"c\xff.bin")).write_bytes(b"\x00")
    os.mkfifo(path / "d" / "pipe")

    first = await entries(ada, conversation_id, "d", first=2)
    rest = await entries(ada, conversation_id, "/workspace/d/", after=first["pageInfo"]["endCursor"])

    assert first["nodes"] == [
        {
            "__typename": "WorkspaceFile",
            "path": "d/a.py",
            "name": "a.py",
            "sizeBytes": 8,
            "mediaType": "text/x-python",
            "isBinary": False,
            "text": "print()\n",
            "isTruncated": False,
        },
        {"__typename": "WorkspaceLink", "path": "d/b", "name": "b", "target": "/etc/passwd"},
    ]
    assert (first["pageInfo"]["hasNextPage"], first["pageInfo"]["hasPreviousPage"]) == (True, False)
    assert rest["nodes"] == [
        {
            "__typename": "WorkspaceFile",
            "path": '"d/c\\377.bin"',
            "name": '"c\\377.bin"',
            "sizeBytes": 1,
            "mediaType": "application/octet-stream",
            "isBinary": True,
            "text": None,
            "isTruncated": False,
        }
    ]
    assert rest["pageInfo"]["hasNextPage"] is False
    again = await file(ada, conversation_id, '"d/c\\377.bin"')
    assert again is not None
    assert (again["path"], again["isBinary"]) == ('"d/c\\377.bin"', True)


async def test_lines_of_a_file_are_read_within_bounds(ada: Client) -> None:
    conversation_id, path = await started(ada)
    (path / "notes").write_text("one\ntwo\nthree\n")
    (path / "long").write_text("é" * 60_000)
    (path / "inner").symlink_to("notes")
    (path / "broken").write_bytes(b"caf\xe9")

    lines = await file(ada, conversation_id, "./notes", first=2, last=2)
    long = await file(ada, conversation_id, "long")
    linked = await file(ada, conversation_id, "inner")
    broken = await file(ada, conversation_id, "broken")

    assert lines == {
        "path": "notes",
        "name": "notes",
        "sizeBytes": 14,
        "mediaType": "text/plain",
        "isBinary": False,
        "text": "two\n",
        "isTruncated": False,
    }
    assert long is not None
    assert (long["text"], long["isTruncated"]) == ("é" * 50_000, True)
    assert linked is not None
    assert (linked["path"], linked["text"]) == ("inner", "one\ntwo\nthree\n")
    assert broken is not None
    assert broken["text"] == "caf\ufffd"


@pytest.mark.parametrize(
    "path", ["..", "../secret", "/etc/passwd", "out/passwd", "a\x00b", '"\\x"', "\ud800", "a/" * 3000, "loop"]
)
async def test_no_path_leads_out_of_a_workspace(ada: Client, path: str) -> None:
    conversation_id, root = await started(ada)
    (root / "out").symlink_to("/etc")
    (root / "loop").symlink_to("loop")
    for look in (file, entries):
        with pytest.raises(RequestFailed) as failure:
            await look(ada, conversation_id, path)
        assert failure.value.errors[0]["extensions"]["code"] == "INVALID_INPUT"


async def test_what_is_no_file_is_none(ada: Client) -> None:
    conversation_id, root = await started(ada)
    os.mkfifo(root / "pipe")
    (root / "d").mkdir()
    assert [await file(ada, conversation_id, path) for path in ("none", "none/at/all", "pipe", "d", "")] == [None] * 5


@pytest.mark.parametrize("lines", [{"first": 0}, {"first": 3, "last": 2}, {"first": -1}])
async def test_lines_that_make_no_sense_are_refused(ada: Client, lines: JSON) -> None:
    conversation_id, root = await started(ada)
    (root / "notes").write_text("one\n")
    with pytest.raises(RequestFailed) as failure:
        await file(ada, conversation_id, "notes", **lines)
    assert failure.value.errors[0]["extensions"]["code"] == "INVALID_INPUT"


@needs_sandbox
async def test_changes_are_those_since_the_clone_or_since_the_last_commit(ada: Client) -> None:
    conversation_id, path = await started(ada, repository=NAME)
    identity = ("-c", "safe.directory=*", "-c", "user.name=a", "-c", "user.email=a@example.com")
    (path / "README.md").write_text("A better engine.\n")
    git(path, *identity, "commit", "--quiet", "--all", "--message", "Improve")
    (path / "new.py").write_text("a\nb\n")
    (path / "noise.log").write_text("ignored\n")
    (path / "src/main.py").rename(path / "src/start.py")

    first = await changes(ada, conversation_id, first=1)
    rest = await changes(ada, conversation_id, after=first["pageInfo"]["endCursor"], lines=0)
    committed = await changes(ada, conversation_id, since="COMMITTED")

    assert (first["totalCount"], first["pageInfo"]["hasNextPage"]) == (3, True)
    [readme] = first["nodes"]
    assert readme["diff"].endswith("--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-An engine.\n+A better engine.\n")
    assert {name: value for name, value in readme.items() if name != "diff"} == {
        "path": "README.md",
        "previousPath": None,
        "status": "MODIFIED",
        "additions": 1,
        "deletions": 1,
        "isBinary": False,
        "isTruncated": False,
    }
    told = [(node["status"], node["path"], node["previousPath"], node["additions"]) for node in rest["nodes"]]
    assert told == [("ADDED", "new.py", None, 2), ("RENAMED", "src/start.py", "src/main.py", 0)]
    assert rest["nodes"][1]["diff"].endswith("rename from src/main.py\nrename to src/start.py\n")
    assert [node["path"] for node in committed["nodes"]] == ["new.py", "src/start.py"]

    await ada.execute(documents.STOP, input={"id": conversation_id})
    assert (await changes(ada, conversation_id))["totalCount"] == 3


@needs_sandbox
async def test_commits_are_those_since_the_clone_and_the_cloned_one(ada: Client) -> None:
    conversation_id, path = await started(ada, repository=NAME)
    identity = ("-c", "safe.directory=*", "-c", "user.name=Agent", "-c", "user.email=a@example.com")
    base = git(path, "-c", "safe.directory=*", "rev-parse", "HEAD").strip()
    git(path, *identity, "commit", "--quiet", "--allow-empty", "--message", "Improve\n\nMuch better.")

    first = await commits(ada, conversation_id, first=1)
    rest = await commits(ada, conversation_id, after=first["pageInfo"]["endCursor"])

    [improved] = first["nodes"]
    assert (improved["messageHeadline"], improved["messageBody"]) == ("Improve", "Much better.")
    assert (improved["parentShas"], improved["authorName"]) == ([base], "Ada")
    assert first["pageInfo"]["hasNextPage"] is True
    assert [node["sha"] for node in rest["nodes"]] == [base]
    assert rest["pageInfo"]["hasNextPage"] is False
    for cursor in ("nonsense", rest["pageInfo"]["endCursor"][:-4]):
        with pytest.raises(RequestFailed) as failure:
            await commits(ada, conversation_id, after=cursor)
        assert failure.value.errors[0]["extensions"]["code"] == "INVALID_INPUT"


async def test_a_workspace_without_a_repository_has_no_commits(ada: Client) -> None:
    conversation_id, _ = await started(ada)
    assert (await commits(ada, conversation_id))["nodes"] == []


@needs_sandbox
async def test_a_request_compares_a_workspace_a_bounded_number_of_times(ada: Client) -> None:
    conversation_id, path = await started(ada)
    (path / "a").write_text("a\n")
    fields = " ".join(f"f{number}: changes(first: 1) {{ totalCount }}" for number in range(21))
    answer = await ada.post(
        f"query ($id: ID!) {{ conversation(id: $id) {{ workspace {{ {fields} }} }} }}", {"id": conversation_id}
    )
    assert [error["extensions"]["code"] for error in answer.body["errors"]] == ["INVALID_INPUT"]
