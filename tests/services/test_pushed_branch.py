"""Pushes of workspaces to a real git server: what arrives there, what is refused, and where the token goes."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import psutil
import pytest

from app.errors import WorkspaceFailure
from app.services.git.export import CommitExport
from app.services.git.sandboxed import SandboxGit
from app.services.pushed_branch import PushBranch
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.git_server import TOKEN, GitServer, git, git_server
from tests.support.patience import WAIT_SECONDS
from tests.support.pushes import Origin, commit, push, pushed, refused, store_token
from tests.support.sandboxes import needs_sandbox
from tests.support.scripted_llm import ScriptedLLM, never
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
RENEWED = "renewed-token-of-a-test-9876543210"

pytestmark = needs_sandbox


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("served")) as started:
        yield started


@pytest.fixture(scope="module")
def server(data_dir: Path, git_host: GitServer) -> Iterator[RunningServer]:
    with running_server(data_dir, git_private_hosts=git_host.origin) as started:
        yield started


@pytest.fixture
async def ada(client: Client, llm: ScriptedLLM, git_host: GitServer) -> Client:
    """A caller with settings and a token."""
    await steps.save_settings(client, llm, gitAuthorName="Ada", gitAuthorEmail="ada@example.com")
    git_host.token = TOKEN
    await store_token(client, TOKEN)
    return client


@pytest.fixture
async def origin(ada: Client, git_host: GitServer, request: pytest.FixtureRequest) -> Origin:
    name = f"ada/r{abs(hash(request.node.nodeid))}"
    bare = git_host.add({"README.md": "An engine.\n"}, name)
    work = git_host.root / "work" / name
    for number in (2, 3):
        (work / "README.md").write_text(f"An engine, {number}.\n")
        git(work, "commit", "--quiet", "--all", "--message", f"Commit {number}")
    git(work, "push", "--quiet", os.fspath(bare), "HEAD:refs/heads/main")
    wanted = {"byName": {"provider": "GITHUB", "nameWithOwner": name}}
    conversation_id = cast("str", (await steps.create(ada, None, repository=wanted))["id"])
    await steps.until_waiting(ada, conversation_id)
    path = ada.server.config.data_dir / "workspaces" / conversation_id
    return Origin(git_host, bare, name, conversation_id, path)


async def test_a_shallow_clone_is_pushed_with_its_history(ada: Client, origin: Origin) -> None:
    assert (origin.path / ".git" / "shallow").exists()
    first = await commit(ada, origin)
    second = await commit(ada, origin, "more\n", "d/new.txt")
    found = await pushed(ada, origin, expectedHeadSha=second)
    url = f"{origin.git_host.origin}/{origin.name}/tree/fix/typo"
    assert found == {"name": "fix/typo", "commitSha": second, "url": url}
    assert origin.told("log", "--format=%H", "fix/typo").split()[:2] == [second, first]
    assert origin.told("log", "--format=%s", "fix/typo").splitlines() == [
        "Change d/new.txt",
        "Change README.md",
        "Commit 3",
        "Commit 2",
        "Begin",
    ]
    assert origin.told("show", "fix/typo:d/new.txt") == "more"
    assert origin.told("fsck", "--strict", "--no-dangling") == ""
    assert not (origin.bare / "shallow").exists()
    assert not list((ada.server.config.data_dir / "pushes").iterdir())
    assert not list((origin.path / ".parley").glob("*.pack"))


async def test_a_branch_moves_forwards_by_further_pushes(ada: Client, origin: Origin) -> None:
    await commit(ada, origin)
    await pushed(ada, origin)
    second = await commit(ada, origin, "again\n")
    assert (await pushed(ada, origin))["commitSha"] == second
    assert origin.told("rev-list", "--count", "fix/typo") == "5"


async def test_a_push_goes_on_where_others_have_moved_the_default_branch(ada: Client, origin: Origin) -> None:
    work = origin.git_host.root / "work" / origin.name
    (work / "theirs.txt").write_text("theirs\n")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", "Theirs")
    git(work, "push", "--quiet", os.fspath(origin.bare), "HEAD:refs/heads/main")
    sha = await commit(ada, origin)
    assert (await pushed(ada, origin))["commitSha"] == sha
    assert origin.told("rev-list", "--count", "fix/typo") == "4"


async def test_the_same_push_again_succeeds_and_changes_nothing(ada: Client, origin: Origin) -> None:
    await commit(ada, origin)
    answers = await asyncio.gather(*(pushed(ada, origin) for _ in range(3)))
    before = origin.refs()
    assert await pushed(ada, origin) == answers[0] == answers[1] == answers[2]
    assert origin.refs() == before


async def test_the_same_key_gives_the_first_push_again(ada: Client, origin: Origin) -> None:
    first = await commit(ada, origin)
    answer = await pushed(ada, origin, idempotencyKey="once")
    second = await commit(ada, origin, "again\n")
    assert await pushed(ada, origin, "elsewhere", idempotencyKey="once") == answer
    assert [origin.told("rev-parse", "fix/typo"), len(origin.refs())] == [first, 2]
    assert (await refused(ada, origin, "main", idempotencyKey="twice"))["code"] == "DEFAULT_BRANCH"
    assert (await pushed(ada, origin, idempotencyKey="twice"))["commitSha"] == second


async def test_a_push_goes_on_when_its_request_is_given_up(ada: Client, origin: Origin) -> None:
    sha = await commit(ada, origin)
    command = PushBranch(UUID(origin.conversation_id), "fix/typo")

    async def give_up() -> None:
        asked = len(origin.git_host.requests)
        pushing = asyncio.create_task(ada.server.parley.services.push.push(ada.name, command))
        async with asyncio.timeout(WAIT_SECONDS):
            while len(origin.git_host.requests) == asked:  # noqa: ASYNC110  The host is in another thread.
                await asyncio.sleep(0.01)
        pushing.cancel()
        await asyncio.wait([pushing])
        assert pushing.cancelled()

    origin.git_host.gate.clear()
    try:
        ada.server.call(give_up())
    finally:
        origin.git_host.gate.set()
    async with asyncio.timeout(WAIT_SECONDS):
        while not any(line.endswith(f"fix/typo {sha}") for line in origin.refs()):  # noqa: ASYNC110  As above.
            await asyncio.sleep(0.05)
    assert (await pushed(ada, origin))["commitSha"] == sha


async def test_the_default_branch_is_pushed_only_where_the_input_says_so(ada: Client, origin: Origin) -> None:
    sha = await commit(ada, origin)
    fault = await refused(ada, origin, "main")
    assert (fault["__typename"], fault["code"], fault["path"]) == ("GitRefusalError", "DEFAULT_BRANCH", ["branchName"])
    assert (await pushed(ada, origin, "main", toDefaultBranch=True))["commitSha"] == sha
    assert origin.told("rev-parse", "main") == sha


async def test_what_git_has_as_its_head_is_the_default_branch_too(ada: Client, origin: Origin) -> None:
    await commit(ada, origin)
    origin.told("branch", "trunk", "main")
    origin.told("symbolic-ref", "HEAD", "refs/heads/trunk")
    assert (await refused(ada, origin, "trunk"))["code"] == "DEFAULT_BRANCH"


async def test_a_branch_with_commits_of_others_is_left_alone(ada: Client, origin: Origin) -> None:
    work = origin.git_host.root / "work" / origin.name
    (work / "theirs.txt").write_text("theirs\n")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", "Theirs")
    git(work, "push", "--quiet", os.fspath(origin.bare), "HEAD:refs/heads/fix/typo")
    theirs = origin.told("rev-parse", "fix/typo")
    ours = await commit(ada, origin)
    assert (await refused(ada, origin))["code"] == "BRANCH_MOVED"
    assert (await refused(ada, origin, replacedCommitSha=ours))["code"] == "BRANCH_MOVED"
    assert (await refused(ada, origin, replacedCommitSha="0" * 40))["code"] == "BRANCH_MOVED"
    assert (await pushed(ada, origin, replacedCommitSha=theirs))["commitSha"] == ours
    assert origin.told("rev-parse", "fix/typo") == ours


async def test_a_branch_that_moves_during_the_push_is_left_alone(ada: Client, origin: Origin) -> None:
    await commit(ada, origin)
    await pushed(ada, origin)
    await commit(ada, origin, "again\n")
    main = origin.told("rev-parse", "main")
    # It runs after git has told what the branch is, and before it would move.
    origin.git_host.hook(
        "pre-receive", f"env -u GIT_QUARANTINE_PATH git update-ref refs/heads/fix/typo {main}", origin.name
    )
    payload = await push(ada, origin)
    assert [fault["code"] for fault in payload["userErrors"]] == ["BRANCH_MOVED"]
    assert origin.told("rev-parse", "fix/typo") == main


async def test_there_has_to_be_a_commit_to_push(ada: Client, origin: Origin) -> None:
    assert (await refused(ada, origin))["code"] == "NOTHING_TO_PUSH"
    head = origin.inside("rev-parse", "HEAD")
    await commit(ada, origin)
    fault = await refused(ada, origin, expectedHeadSha=head)
    assert (fault["code"], fault["path"]) == ("HEAD_MOVED", ["expectedHeadSha"])


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"branchName": ""}, "branchName"),
        ({"branchName": "a b"}, "branchName"),
        ({"branchName": "-f"}, "branchName"),
        ({"branchName": "HEAD"}, "branchName"),
        ({"branchName": "a:refs/heads/main"}, "branchName"),
        ({"branchName": "+main"}, None),
        ({"branchName": "x" * 256}, "branchName"),
        ({"expectedHeadSha": "main"}, "expectedHeadSha"),
        ({"replacedCommitSha": "HEAD"}, "replacedCommitSha"),
    ],
)
async def test_odd_names_push_nothing_else(ada: Client, origin: Origin, fields: JSON, place: str | None) -> None:
    await commit(ada, origin)
    main = origin.told("rev-parse", "main")
    if place is None:
        await pushed(ada, origin, fields["branchName"])
    else:
        given = {"conversationId": origin.conversation_id, "branchName": "fix/typo", **fields}
        payload = (await ada.execute(documents.PUSH, input=given))["pushBranch"]
        assert [(fault["code"], fault["path"]) for fault in payload["userErrors"]] == [("INVALID_INPUT", [place])]
    assert origin.told("rev-parse", "main") == main


async def test_without_a_token_nothing_is_pushed(ada: Client, origin: Origin) -> None:
    await commit(ada, origin)
    await ada.execute(documents.REMOVE_TOKEN, input={"provider": "GITHUB"})
    fault = await refused(ada, origin)
    assert fault["__typename"] == "GitProviderAuthenticationError"
    assert "No token is stored" in fault["message"]


async def test_the_token_that_is_saved_now_counts(ada: Client, origin: Origin) -> None:
    await commit(ada, origin)
    origin.git_host.token = RENEWED
    fault = await refused(ada, origin)
    assert fault["__typename"] == "GitProviderAuthenticationError"
    assert "refused the token" in fault["message"]
    await store_token(ada, RENEWED)
    await pushed(ada, origin)


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (403, "Permission to ada/engine.git denied to ada.", "GIT_SCOPE_MISSING"),
        (403, "You are not allowed to push code to this project.", "GIT_SCOPE_MISSING"),
        (401, "Bad credentials", "STATUS_GIT_PROVIDER_AUTHENTICATION_ERROR"),
        (503, "Later.", "GIT_PROVIDER_UNAVAILABLE"),
        (404, "Repository not found.", "PUSH_REJECTED"),
    ],
)
async def test_what_the_host_refuses_has_a_code(ada: Client, origin: Origin, status: int, said: str, code: str) -> None:
    await commit(ada, origin)
    origin.git_host.push_faults[origin.name] = (status, said)
    fault = await refused(ada, origin)
    assert fault["code"] == code
    if code == "GIT_SCOPE_MISSING":
        assert (fault["provider"], fault["scopes"]) == ("GITHUB", ["repo", "Contents: write"])


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("error: GH006: Protected branch update failed for refs/heads/fix/typo.", "BRANCH_PROTECTED"),
        ("GitLab: You are not allowed to push code to protected branches on this project.", "BRANCH_PROTECTED"),
        ("permission denied to update branch fix/typo", "BRANCH_PROTECTED"),
        (
            "refusing to allow a Personal Access Token to create or update workflow `ci.yml` without `workflow` scope",
            "GIT_SCOPE_MISSING",
        ),
        ("GH013: Repository rule violations found: a secret was found.", "PUSH_REJECTED"),
        ("", "PUSH_REJECTED"),
    ],
)
async def test_what_a_hook_of_the_host_refuses_has_a_code(ada: Client, origin: Origin, said: str, code: str) -> None:
    await commit(ada, origin)
    origin.git_host.hook("pre-receive", f"cat >/dev/null\ncat >&2 <<'END'\n{said}\nEND\nexit 1", origin.name)
    fault = await refused(ada, origin)
    assert fault["code"] == code
    if code == "PUSH_REJECTED":
        assert "pre-receive hook declined" in fault["message"]
        assert said in fault["message"]


async def test_a_reason_of_the_host_is_bounded_and_holds_no_token(ada: Client, origin: Origin) -> None:
    await commit(ada, origin)
    script = f"cat >/dev/null\nprintf 'no \\033[31m {TOKEN} '>&2\nhead -c 300000 /dev/zero | tr '\\0' x >&2\nexit 1"
    origin.git_host.hook("pre-receive", script, origin.name)
    fault = await refused(ada, origin)
    assert fault["code"] == "PUSH_REJECTED"
    assert TOKEN not in fault["message"]
    assert "\x1b" not in fault["message"]
    assert len(fault["message"]) < 400


async def test_a_repository_that_moved_is_pushed_to_where_it_is_now(ada: Client, origin: Origin) -> None:
    sha = await commit(ada, origin)
    new_name = f"{origin.name}-moved"
    moved = origin.git_host.root / f"{new_name}.git"
    # The number in the API stays the same, since the name sorts next to the old one.
    origin.bare.rename(moved)
    origin.git_host.moved[origin.name] = new_name
    await pushed(ada, origin)
    assert git(moved, "rev-parse", "fix/typo").strip() == sha


async def test_nothing_of_a_hostile_repository_runs_and_broken_objects_stay(ada: Client, origin: Origin) -> None:
    sha = await commit(ada, origin)
    evil = origin.path / "evil.sh"
    evil.write_text("#!/bin/sh\ntouch /workspace/ran /tmp/ran\nexit 0\n")
    evil.chmod(0o755)
    for hook in ("pre-push", "reference-transaction"):
        (origin.path / ".git" / "hooks").mkdir(exist_ok=True)
        (origin.path / ".git" / "hooks" / hook).write_text(evil.read_text())
        (origin.path / ".git" / "hooks" / hook).chmod(0o755)
    with (origin.path / ".git" / "config").open("a") as file:
        file.write(
            "[core]\n\tfsmonitor = /workspace/evil.sh\n\tsshCommand = /workspace/evil.sh\n"
            '[url "ext::/workspace/evil.sh "]\n\tinsteadOf = http\n\tpushInsteadOf = http\n'
            "[pack]\n\tpackSizeLimit = 1\n[uploadpack]\n\tpackObjectsHook = /workspace/evil.sh\n"
            '[credential]\n\thelper = /workspace/evil.sh\n[remote "origin"]\n\turl = ext::/workspace/evil.sh\n'
        )
    (origin.path / ".git" / "shallow").write_text(f"{sha}\n")
    assert (await pushed(ada, origin))["commitSha"] == sha
    assert origin.told("rev-list", "--count", "fix/typo") == "4"
    assert not (origin.path / "ran").exists()
    tree = origin.inside("rev-parse", f"{sha}^{{tree}}")
    loose = origin.path / ".git" / "objects" / tree[:2] / tree[2:]
    forged = origin.inside("hash-object", "-w", "-t", "blob", "README.md")
    loose.unlink()
    loose.write_bytes((origin.path / ".git" / "objects" / forged[:2] / forged[2:]).read_bytes())
    fault = await refused(ada, origin, "other")
    assert fault["code"] in {"PUSH_REJECTED", "WORKSPACE_ERROR"}


async def test_a_commit_that_is_none_is_not_pushed(ada: Client, origin: Origin) -> None:
    await commit(ada, origin)
    blob = origin.inside("rev-parse", "HEAD:README.md")
    (origin.path / ".git" / "refs" / "heads" / "main").write_text(f"{blob}\n")
    assert (await refused(ada, origin))["code"] in {"PUSH_REJECTED", "WORKSPACE_ERROR"}
    (origin.path / ".git" / "refs" / "heads" / "main").write_text("0123456789" * 4 + "\n")
    assert (await refused(ada, origin))["code"] == "WORKSPACE_ERROR"


async def test_git_s_own_submodule_tricks_are_refused(ada: Client, origin: Origin) -> None:
    await commit(ada, origin, '[submodule "x"]\n\tpath = -evil\n\turl = --upload-pack=touch ran\n', ".gitmodules")
    assert (await refused(ada, origin))["code"] == "PUSH_REJECTED"


async def test_a_pack_beyond_the_limit_is_refused(ada: Client, origin: Origin, tmp_path: Path) -> None:
    (origin.path / "big.bin").write_bytes(os.urandom(2 * 1024 * 1024))
    sha = await commit(ada, origin)
    export = CommitExport(SandboxGit(ada.server.parley.shell), 1024 * 1024)
    with pytest.raises(WorkspaceFailure):
        await export.export(UUID(origin.conversation_id), origin.path, sha, [], tmp_path / "out.pack")
    assert not list((origin.path / ".parley").glob("*.pack"))


async def test_the_token_is_in_no_argument_file_or_event(ada: Client, origin: Origin) -> None:
    await commit(ada, origin)
    origin.git_host.gate.clear()
    try:
        asked = len(origin.git_host.requests)
        pushing = asyncio.create_task(pushed(ada, origin))
        async with asyncio.timeout(WAIT_SECONDS):
            while len(origin.git_host.requests) == asked:  # noqa: ASYNC110  The server is in another thread.
                await asyncio.sleep(0.01)
        lines = [" ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])]
        assert any("ls-remote" in line or "push" in line for line in lines)
        assert not any(TOKEN in line for line in lines)
    finally:
        origin.git_host.gate.set()
    await pushing
    data = ada.server.config.data_dir
    assert not [path for path in data.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in str(await steps.events(ada, origin.conversation_id))


async def test_while_the_agent_works_a_push_names_its_commit_and_there_has_to_be_a_repository(
    ada: Client, origin: Origin, llm: ScriptedLLM
) -> None:
    sha = await commit(ada, origin)
    llm.script(never())
    await steps.send(ada, origin.conversation_id, "Work")
    await steps.until(ada, origin.conversation_id, agentState="RUNNING")
    assert (await refused(ada, origin))["code"] == "INVALID_STATE"
    # What is meant is certain where it is named.
    assert (await pushed(ada, origin, "named", expectedHeadSha=sha))["commitSha"] == sha
    await ada.execute(documents.STOP, input={"id": origin.conversation_id})
    await pushed(ada, origin)
    plain = cast("str", (await steps.create(ada))["id"])
    payload = await ada.execute(documents.PUSH, input={"conversationId": plain, "branchName": "x"})
    assert [fault["code"] for fault in payload["pushBranch"]["userErrors"]] == ["NO_REPOSITORY"]
