"""Commits by git in the sandbox: the same as those of a trusted git, whatever an agent left in its repository."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import ErrorCode, GitRefusal, InvalidInput, WorkspaceFailure
from app.services.git.commit import LOCK_MARK, CommitTarget, Committer, NewCommit, Signature
from app.services.git.sandboxed import SandboxGit
from app.services.sandbox.bubblewrap import BubblewrapSandbox
from app.services.sandbox.shell import Shell
from tests.services.git.test_working_tree import EDITS, FILES, TEXTS, repository
from tests.support.git_server import ENVIRONMENT, git
from tests.support.sandboxes import LIMITS, needs_sandbox

ADA = Signature("Ada Löve", "ada@example.com")
AT = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)

pytestmark = needs_sandbox


@pytest.fixture
async def committer() -> Committer:
    shell = Shell(BubblewrapSandbox(), LIMITS)
    await shell.start()
    return Committer(SandboxGit(shell))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A clone with a commit of two files."""
    path = tmp_path / "workspace"
    path.mkdir()
    git(path, "init", "--quiet")
    (path / "a.txt").write_text("one\n")
    (path / "b.txt").write_text("two\n")
    (path / ".gitignore").write_text("*.log\n")
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message", "Begin")
    return path


def told(path: Path, *arguments: str) -> str:
    """Ask a git that trusts the repository, whoever owns it."""
    return git(path, "-c", "safe.directory=*", "-c", "core.hooksPath=/dev/null", *arguments).strip()


def trusted_tree(path: Path) -> str:
    """The tree of all that a git finds that trusts the workspace, with an index of its own."""
    environment = {**ENVIRONMENT, "GIT_INDEX_FILE": str(path.parent / f"index-{uuid4().hex}")}
    for command in (["read-tree", "HEAD"], ["add", "--all"], ["write-tree"]):
        done = subprocess.run(
            ["git", *command], cwd=path, env=environment, capture_output=True, text=True, timeout=30, check=True
        )
    return done.stdout.strip()


def target(path: Path, branch: str = "main") -> CommitTarget:
    head = told(path, "rev-parse", "--verify", "--quiet", "HEAD") if (path / ".git" / "HEAD").exists() else None
    return CommitTarget(uuid4(), path, branch, head)


def new(message: str = "Say more", paths: list[bytes] | None = None) -> NewCommit:
    return NewCommit(message, ADA, AT, paths)


async def refused(committer: Committer, wanted: CommitTarget, commit: NewCommit) -> ErrorCode:
    """The code of the refusal; nothing has changed then."""
    before = told(wanted.path, "for-each-ref")
    with pytest.raises(GitRefusal) as caught:
        await committer.commit(wanted, commit)
    assert told(wanted.path, "for-each-ref") == before
    return caught.value.code


async def test_a_commit_holds_all_changes_and_leaves_nothing_uncommitted(committer: Committer, path: Path) -> None:
    (path / "a.txt").write_text("one\nmore\n")
    (path / "b.txt").unlink()
    (path / "d").mkdir()
    (path / "d" / 'ö "q"\n').write_text("new\n")
    (path / "run.sh").write_text("#!/bin/sh\n")
    (path / "run.sh").chmod(0o755)
    (path / "link").symlink_to("/etc/passwd")
    (path / "noise.log").write_text("ignored\n")
    wanted = target(path)
    sha = await committer.commit(wanted, new("Say more\n\nWith 'quotes', \"more\" and $(nothing) — ünïcode."))
    assert told(path, "rev-parse", "main") == sha
    assert told(path, "rev-parse", "main^") == wanted.head
    assert told(path, "log", "-1", "--format=%an|%ae|%cn|%ce|%at|%ct") == "|".join(
        [ADA.name, ADA.email] * 2 + [str(int(AT.timestamp()))] * 2
    )
    assert told(path, "log", "-1", "--format=%B") == "Say more\n\nWith 'quotes', \"more\" and $(nothing) — ünïcode."
    assert told(path, "status", "--porcelain") == ""
    assert told(path, "fsck", "--strict") == ""
    assert told(path, "show", "main:a.txt") == "one\nmore"
    listed = [line.split("\t", 1) for line in told(path, "ls-tree", "-r", "-z", "main").split("\0") if line]
    modes = {name: fields.split()[0] for fields, name in listed}
    assert modes == {
        ".gitignore": "100644",
        "a.txt": "100644",
        'd/ö "q"\n': "100644",
        "link": "120000",
        "run.sh": "100755",
    }
    assert told(path, "reflog", "-1", "--format=%gs") == "commit: Say more"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.sampled_from(EDITS), st.sampled_from(FILES), TEXTS), min_size=1, max_size=6))
async def test_a_commit_has_the_tree_of_a_trusted_git(
    tmp_path: Path, committer: Committer, edits: list[tuple[Callable[[Path, str, str], None], str, str]]
) -> None:
    path = tmp_path / uuid4().hex / "workspace"
    path.parent.mkdir()
    repository(path)
    for edit, name, text in edits:
        edit(path, name, text)
    expected = trusted_tree(path)
    if expected == told(path, "rev-parse", "HEAD^{tree}"):
        assert await refused(committer, target(path), new()) is ErrorCode.NOTHING_TO_COMMIT
        return
    sha = await committer.commit(target(path), new())
    assert told(path, "rev-parse", f"{sha}^{{tree}}") == expected
    assert told(path, "status", "--porcelain") == ""


async def test_submodules_that_are_not_cloned_stay(committer: Committer, path: Path) -> None:
    git(path, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    git(path, "commit", "--quiet", "--message", "Add a submodule")
    (path / "sub").mkdir()
    (path / "a.txt").write_text("changed\n")
    await committer.commit(target(path), new())
    assert told(path, "diff", "--name-only", "main^", "main") == "a.txt"


async def test_a_commit_of_paths_leaves_the_others(committer: Committer, path: Path) -> None:
    (path / "a.txt").write_text("changed\n")
    (path / "b.txt").unlink()
    (path / "d").mkdir()
    (path / "d" / "c.txt").write_text("new\n")
    (path / "other.txt").write_text("new\n")
    await committer.commit(target(path), new(paths=[b"b.txt", b"d"]))
    assert told(path, "diff", "--name-status", "main^", "main") == "D\tb.txt\nA\td/c.txt"
    assert told(path, "status", "--porcelain") == "M a.txt\n?? other.txt"
    assert told(path, "diff", "--name-status") == "M\ta.txt"


async def test_paths_are_names_rather_than_patterns(committer: Committer, path: Path) -> None:
    (path / "*.txt").write_text("odd\n")
    (path / "a.txt").write_text("changed\n")
    await committer.commit(target(path), new(paths=[b"*.txt"]))
    assert told(path, "diff", "--name-only", "main^", "main") == "*.txt"


@pytest.mark.parametrize("named", [b"absent.txt", b"noise.log", b":(top)a.txt"])
async def test_a_path_that_can_t_be_committed_is_refused(committer: Committer, path: Path, named: bytes) -> None:
    (path / "noise.log").write_text("ignored\n")
    (path / "a.txt").write_text("changed\n")
    os.mkfifo(path / "pipe")
    before = told(path, "for-each-ref")
    with pytest.raises(InvalidInput) as caught:
        await committer.commit(target(path), new(paths=[b"a.txt", named]))
    assert caught.value.path == ("paths",)
    assert told(path, "for-each-ref") == before
    assert not (path / ".git" / "index.lock").exists()


async def test_the_first_commit_of_a_repository_has_no_parent(committer: Committer, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.mkdir()
    git(path, "init", "--quiet")
    (path / "a.txt").write_text("one\n")
    sha = await committer.commit(CommitTarget(uuid4(), path, "main", None), new())
    assert told(path, "rev-list", "main") == sha
    assert told(path, "status", "--porcelain") == ""


async def test_a_commit_in_a_shallow_clone_has_the_clone_s_commit_as_its_parent(
    committer: Committer, path: Path, tmp_path: Path
) -> None:
    (path / "a.txt").write_text("second\n")
    git(path, "commit", "--quiet", "--all", "--message", "Second")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{path}", str(clone))
    (clone / "b.txt").write_text("changed\n")
    sha = await committer.commit(target(clone), new())
    assert told(clone, "rev-list", "main").split() == [sha, told(path, "rev-parse", "main")]


async def test_nothing_to_commit_is_told(committer: Committer, path: Path) -> None:
    assert await refused(committer, target(path), new()) is ErrorCode.NOTHING_TO_COMMIT
    assert not (path / ".git" / "index.lock").exists()


async def test_a_touched_file_is_no_change(committer: Committer, path: Path) -> None:
    os.utime(path / "a.txt", (1, 1))
    assert await refused(committer, target(path), new()) is ErrorCode.NOTHING_TO_COMMIT


@pytest.mark.parametrize("state", ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply"])
async def test_a_merge_that_has_not_ended_is_refused(committer: Committer, path: Path, state: str) -> None:
    (path / "a.txt").write_text("changed\n")
    (path / ".git" / state).write_text("0" * 40)
    assert await refused(committer, target(path), new()) is ErrorCode.MERGE_IN_PROGRESS


async def test_files_that_git_could_not_merge_are_refused(committer: Committer, path: Path) -> None:
    git(path, "checkout", "--quiet", "-b", "side")
    (path / "a.txt").write_text("theirs\n")
    git(path, "commit", "--quiet", "--all", "--message", "Theirs")
    git(path, "checkout", "--quiet", "main")
    (path / "a.txt").write_text("ours\n")
    git(path, "commit", "--quiet", "--all", "--message", "Ours")
    with pytest.raises(subprocess.CalledProcessError):
        git(path, "merge", "--quiet", "side")
    (path / ".git" / "MERGE_HEAD").unlink()
    assert await refused(committer, target(path), new()) is ErrorCode.MERGE_IN_PROGRESS
    (path / ".git" / "index").unlink()
    assert await refused(committer, target(path), new()) is ErrorCode.CONFLICT_MARKERS


async def test_a_heading_is_no_conflict(committer: Committer, path: Path) -> None:
    (path / "a.txt").write_text("Heading\n=======\n<<<<<<< not closed\n")
    (path / "b.txt").write_text(">>>>>>> not begun\n")
    await committer.commit(target(path), new())


async def test_a_lock_of_another_git_is_refused_and_stays(committer: Committer, path: Path) -> None:
    (path / "a.txt").write_text("changed\n")
    (path / ".git" / "index.lock").write_text("")
    assert await refused(committer, target(path), new()) is ErrorCode.INDEX_LOCKED
    assert (path / ".git" / "index.lock").exists()


async def test_a_lock_that_a_killed_server_left_is_taken_over(committer: Committer, path: Path) -> None:
    (path / "a.txt").write_text("changed\n")
    (path / ".git" / "index.lock").write_text(f"{LOCK_MARK}\n")
    await committer.commit(target(path), new())
    assert not (path / ".git" / "index.lock").exists()
    assert told(path, "status", "--porcelain") == ""


async def test_a_branch_that_moved_meanwhile_stays_where_it_is(committer: Committer, path: Path) -> None:
    before = target(path)
    (path / "a.txt").write_text("theirs\n")
    git(path, "commit", "--quiet", "--all", "--message", "Theirs")
    (path / "a.txt").write_text("ours\n")
    assert await refused(committer, before, new()) is ErrorCode.HEAD_MOVED


async def test_a_branch_in_packed_refs_moves(committer: Committer, path: Path) -> None:
    git(path, "pack-refs", "--all")
    (path / "a.txt").write_text("changed\n")
    sha = await committer.commit(target(path), new())
    assert told(path, "rev-parse", "main") == sha


@pytest.mark.parametrize("made", ["none", "file", "link", "objects"])
async def test_what_is_no_repository_is_refused(committer: Committer, path: Path, tmp_path: Path, made: str) -> None:
    wanted = target(path)
    (path / ".git").rename(tmp_path / "moved")
    if made == "file":
        (path / ".git").write_text(f"gitdir: {tmp_path / 'moved'}\n")
    elif made == "link":
        (path / ".git").symlink_to(tmp_path / "moved")
    elif made == "objects":
        (path / ".git" / "refs").mkdir(parents=True)
        (path / ".git" / "objects").symlink_to(tmp_path / "moved" / "objects")
    with pytest.raises(GitRefusal) as caught:
        await committer.commit(wanted, new())
    assert caught.value.code is ErrorCode.NO_REPOSITORY


async def test_nothing_of_a_hostile_repository_runs_or_changes_what_is_committed(
    committer: Committer, path: Path
) -> None:
    (path / "a.txt").write_text("seen\n")
    evil = path / "evil.sh"
    evil.write_text("#!/bin/sh\ntouch /workspace/ran\necho hidden\n")
    evil.chmod(0o755)
    for hook in (
        "pre-commit",
        "commit-msg",
        "prepare-commit-msg",
        "post-commit",
        "reference-transaction",
        "post-index-change",
    ):
        (path / ".git" / "hooks").mkdir(exist_ok=True)
        (path / ".git" / "hooks" / hook).write_text(evil.read_text())
        (path / ".git" / "hooks" / hook).chmod(0o755)
    (path / "included").write_text(
        '[core]\n\thooksPath = /workspace/.git/hooks\n[filter "f"]\n\tclean = /workspace/evil.sh\n'
    )
    with (path / ".git" / "config").open("a") as file:
        file.write(
            "[include]\n\tpath = /workspace/included\n[core]\n\tfsmonitor = /workspace/evil.sh\n"
            "\teditor = /workspace/evil.sh\n[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = /workspace/evil.sh\n"
            '[diff]\n\texternal = /workspace/evil.sh\n[diff "f"]\n\ttextconv = /workspace/evil.sh\n'
            "[user]\n\tname = Mallory\n\temail = mallory@example.com\n[alias]\n\tadd = !/workspace/evil.sh\n"
        )
    (path / ".gitattributes").write_text("*.txt filter=f diff=f\n")
    (path / ".git" / "info").mkdir(exist_ok=True)
    (path / ".git" / "info" / "attributes").write_text("*.txt filter=f diff=f\n")
    (path / ".git" / "info" / "exclude").write_text("b.txt\nc.txt\n")
    (path / "c.txt").write_text("not hidden\n")
    git(
        path,
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
        "update-index",
        "--assume-unchanged",
        "a.txt",
    )
    sha = await committer.commit(target(path), new())
    assert not (path / "ran").exists()
    assert told(path, "-c", "core.fsmonitor=false", "show", f"{sha}:a.txt") == "seen"
    assert told(path, "-c", "core.fsmonitor=false", "show", f"{sha}:c.txt") == "not hidden"
    assert told(path, "-c", "core.fsmonitor=false", "log", "-1", "--format=%an %cn %G?") == f"{ADA.name} {ADA.name} N"


async def test_pipes_sockets_and_endless_files_hold_nothing_up(committer: Committer, path: Path) -> None:
    os.mkfifo(path / "pipe")
    (path / "a.txt").unlink()
    os.mkfifo(path / "a.txt")
    (path / "b.txt").write_text("changed\n")
    (path / ".git" / "index").unlink()
    os.mkfifo(path / ".git" / "index")
    await committer.commit(target(path), new())
    assert told(path, "diff", "--name-status", "main^", "main") == "D\ta.txt\nM\tb.txt"


async def test_a_commit_without_its_objects_is_a_failure_of_the_workspace(committer: Committer, path: Path) -> None:
    (path / "a.txt").write_text("changed\n")
    wanted = CommitTarget(uuid4(), path, "main", "0123456789" * 4)
    with pytest.raises(WorkspaceFailure, match="the last commit can't be read"):
        await committer.commit(wanted, new())
    assert not (path / ".git" / "index.lock").exists()


async def test_a_script_that_is_killed_leaves_no_lock(path: Path) -> None:
    shell = Shell(BubblewrapSandbox(), replace(LIMITS, cpu_seconds=1))
    await shell.start()
    (path / "big.bin").write_bytes(os.urandom(1 << 20) * 200)
    before = told(path, "for-each-ref")
    with pytest.raises(WorkspaceFailure):
        await Committer(SandboxGit(shell)).commit(target(path), new())
    assert told(path, "for-each-ref") == before
    assert not (path / ".git" / "index.lock").exists()


async def test_without_a_sandbox_nothing_is_committed(path: Path) -> None:
    shell = Shell(None, LIMITS)
    await shell.start()
    with pytest.raises(WorkspaceFailure, match="without a sandbox"):
        await Committer(SandboxGit(shell)).commit(target(path), new())


async def test_too_many_paths_for_a_command_are_refused(committer: Committer, path: Path) -> None:
    with pytest.raises(InvalidInput):
        await committer.commit(target(path), new(paths=[b"x" * 4000] * 20))
