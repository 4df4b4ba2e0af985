"""What git tells of a workspace from inside the sandbox: the same as a trusted git, whatever an agent left there."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import WorkspaceFailure
from app.services.git.patch import Change, ChangeStatus
from app.services.git.working_tree import MAX_DIFF_BYTES, Tree, WorkingTreeReader
from app.services.sandbox.bubblewrap import BubblewrapSandbox
from app.services.sandbox.shell import Shell
from tests.support.git_server import ENVIRONMENT, git
from tests.support.sandboxes import LIMITS, needs_sandbox

FILES = ("a.txt", "b.txt", "d/c.txt", "d/e.txt", "wörld.txt", ' "q" \t\n')
OPTIONS = ("--no-ext-diff", "--no-textconv", "--no-color", "--find-renames", "--find-copies")
Row = tuple[str, bytes, bytes | None]


@pytest.fixture
async def reader() -> WorkingTreeReader:
    shell = Shell(BubblewrapSandbox(), LIMITS)
    await shell.start()
    return WorkingTreeReader(shell)


def repository(path: Path) -> str:
    """A clone with a commit of lines that edits can move about; the commit."""
    path.mkdir()
    git(path, "init", "--quiet")
    for number, name in enumerate(FILES):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("".join(f"{number} line {line}\n" for line in range(12)))
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message", "Begin")
    return git(path, "rev-parse", "HEAD").strip()


def trusted(path: Path, *arguments: str) -> bytes:
    """What a git says that trusts the workspace, untracked files included; its index is not the workspace's own."""
    index = path.parent / f"index-{uuid4().hex}"
    environment = {**ENVIRONMENT, "GIT_INDEX_FILE": str(index)}

    def run(*command: str) -> bytes:
        done = subprocess.run(["git", *command], cwd=path, env=environment, capture_output=True, timeout=30, check=True)
        return done.stdout

    run("read-tree", "HEAD")
    run("add", "--intent-to-add", ".")
    return run("diff", *OPTIONS, *arguments, "HEAD")


def rows(changes: list[Change]) -> list[Row]:
    return [(change.status.value, change.path, change.previous_path) for change in changes]


def trusted_rows(path: Path) -> list[Row]:
    fields = trusted(path, "--name-status", "-z").split(b"\x00")[:-1]
    found: list[Row] = []
    while fields:
        status = fields.pop(0)[:1].decode()
        previous = fields.pop(0) if status in "RC" else None
        found.append((status, fields.pop(0), previous))
    return sorted(found, key=lambda row: row[1])


def trusted_counts(path: Path) -> dict[bytes, tuple[int | None, int | None]]:
    fields = trusted(path, "--numstat", "-z").split(b"\x00")[:-1]
    found: dict[bytes, tuple[int | None, int | None]] = {}
    while fields:
        added, deleted, name = fields.pop(0).split(b"\t", 2)
        if not name:
            fields.pop(0)
            name = fields.pop(0)
        found[name] = (None, None) if added == b"-" else (int(added), int(deleted))
    return found


def _write(path: Path, name: str, text: str) -> None:
    if path.joinpath(name).parent.is_dir() and not (path / name).is_dir():
        (path / name).unlink(missing_ok=True)
        (path / name).write_text(text)


def _append(path: Path, name: str, text: str) -> None:
    if (path / name).is_file() and not (path / name).is_symlink():
        _write(path, name, (path / name).read_text() + text)


def _move(path: Path, name: str, text: str) -> None:
    if (path / name).is_file():
        (path / name).rename(path / f"moved-{len(text)}")


def _copy(path: Path, name: str, text: str) -> None:
    if (path / name).is_file():
        content = (path / name).read_text()
        (path / f"copy-{len(text)}").unlink(missing_ok=True)
        (path / f"copy-{len(text)}").write_text(content)


def _remove(path: Path, name: str, text: str) -> None:
    if not (path / name).is_dir():
        (path / name).unlink(missing_ok=True)


def _link(path: Path, name: str, text: str) -> None:
    if (path / name).is_file():
        (path / name).unlink()
        (path / name).symlink_to("/etc/passwd")


def _directory(path: Path, name: str, text: str) -> None:
    if (path / name).is_file():
        (path / name).unlink()
        (path / name).mkdir()
        (path / name / "inner").write_text(text)


def _mode(path: Path, name: str, text: str) -> None:
    if (path / name).is_file() and not (path / name).is_symlink():
        (path / name).chmod(0o755)


EDITS: tuple[Callable[[Path, str, str], None], ...] = (
    _write,
    _append,
    _move,
    _copy,
    _remove,
    _link,
    _directory,
    _mode,
)
TEXTS = st.sampled_from(["", "x", "one\n", "0 line 1\n0 line 2\n", "é\r\n", "nul\x00\n", "diff --git a/x b/x\n"])


@needs_sandbox
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.sampled_from(EDITS), st.sampled_from(FILES), TEXTS), min_size=1, max_size=6))
async def test_changes_and_diffs_are_those_of_a_trusted_git(
    tmp_path: Path, reader: WorkingTreeReader, edits: list[tuple[Callable[[Path, str, str], None], str, str]]
) -> None:
    path = tmp_path / uuid4().hex / "workspace"
    path.parent.mkdir()
    commit = repository(path)
    for edit, name, text in edits:
        edit(path, name, text)
    tree = Tree(uuid4(), path, commit)
    expected = trusted_rows(path)
    whole = trusted(path).decode(errors="replace")
    counts = trusted_counts(path)

    changes = await reader.changes(tree)
    diffs = await reader.diffs(tree, changes, 3)

    assert rows(changes) == expected
    assert {change.path: (change.additions, change.deletions) for change in changes} == counts
    assert len("".join(diff.text for diff in diffs)) == len(whole)
    assert all(diff.text in whole and not diff.is_cut for diff in diffs)


@needs_sandbox
async def test_each_status_is_told(tmp_path: Path, reader: WorkingTreeReader) -> None:
    path = tmp_path / "workspace"
    commit = repository(path)
    # A copy is told as such if its original was changed as well.
    _copy(path, "a.txt", "x")
    _append(path, "a.txt", "changed\n")
    _remove(path, "b.txt", "")
    _move(path, "d/c.txt", "xx")
    _link(path, "d/e.txt", "")
    _write(path, "new.txt", "of its own\n")

    changes = await reader.changes(Tree(uuid4(), path, commit))

    assert [(change.status, change.path, change.previous_path) for change in changes] == [
        (ChangeStatus.MODIFIED, b"a.txt", None),
        (ChangeStatus.DELETED, b"b.txt", None),
        (ChangeStatus.COPIED, b"copy-1", b"a.txt"),
        (ChangeStatus.TYPE_CHANGED, b"d/e.txt", None),
        (ChangeStatus.RENAMED, b"moved-2", b"d/c.txt"),
        (ChangeStatus.ADDED, b"new.txt", None),
    ]


def contents(path: Path) -> dict[str, tuple[bytes, int]]:
    """All files and links but the repository's own, with what is in them and whether they can be run."""
    found: dict[str, tuple[bytes, int]] = {}
    for each in path.rglob("*"):
        name = str(each.relative_to(path))
        if name.split("/", maxsplit=1)[0] in {".git", ".parley"} or (each.is_dir() and not each.is_symlink()):
            continue
        is_link = each.is_symlink()
        content = os.fsencode(each.readlink()) if is_link else each.read_bytes()
        found[name] = (content, -1 if is_link else each.stat().st_mode & 0o100)
    return found


@needs_sandbox
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.sampled_from(EDITS), st.sampled_from(FILES), TEXTS), min_size=1, max_size=6))
async def test_a_patch_makes_of_the_commit_what_the_workspace_is(
    tmp_path: Path, reader: WorkingTreeReader, edits: list[tuple[Callable[[Path, str, str], None], str, str]]
) -> None:
    path = tmp_path / uuid4().hex / "workspace"
    path.parent.mkdir()
    commit = repository(path)
    origin = path.with_name("origin")
    shutil.copytree(path, origin)
    for edit, name, text in edits:
        edit(path, name, text)

    patch = await reader.patch(Tree(uuid4(), path, commit), [])

    if patch:
        (path.parent / "patch").write_bytes(patch)
        git(origin, "apply", "--whitespace=nowarn", "../patch")
    assert contents(origin) == contents(path)


@needs_sandbox
async def test_nothing_of_a_hostile_repository_runs_or_hides_a_change(
    tmp_path: Path, reader: WorkingTreeReader
) -> None:
    path = tmp_path / "workspace"
    commit = repository(path)
    (path / "a.txt").write_text("changed\n")
    (path / "new.txt").write_text("new\n")
    marker = "touch /workspace/ran"
    git(path, "update-index", "--assume-unchanged", "b.txt")
    for key, value in {
        "core.fsmonitor": f"{marker}-fsmonitor; false",
        "core.hooksPath": "/workspace/hooks",
        "diff.external": f"{marker}-external",
        "diff.evil.textconv": f"{marker}-textconv; cat",
        "diff.evil.command": f"{marker}-command",
        "filter.evil.clean": f"{marker}-clean; echo as it was",
        "filter.evil.process": f"{marker}-process",
        "core.excludesFile": "/workspace/hidden",
        "core.worktree": "/etc",
        "include.path": "/workspace/included",
        "core.pager": f"{marker}-pager",
        "diff.noprefix": "true",
    }.items():
        git(path, "config", key, value)
    (path / ".git/info").mkdir(exist_ok=True)
    (path / ".git/info/attributes").write_text("* diff=evil filter=evil\n")
    (path / ".git/info/exclude").write_text("*\n")
    (path / "hooks").mkdir()
    for name in ("post-index-change", "pre-commit", "post-checkout"):
        (path / "hooks" / name).write_text(f"#!/bin/sh\n{marker}-hook\n")
        (path / "hooks" / name).chmod(0o755)
    (path / ".gitattributes").write_text("* diff=evil filter=evil\n")
    (path / "b.txt").write_text("hidden\n")
    tree = Tree(uuid4(), path, commit)

    changes = await reader.changes(tree)
    [diff] = await reader.diffs(tree, [change for change in changes if change.path == b"a.txt"], 0)
    patch = await reader.patch(tree, [b"a.txt", b"new.txt"])

    assert {(change.status, change.path) for change in changes} == {
        (ChangeStatus.ADDED, b".gitattributes"),
        (ChangeStatus.MODIFIED, b"a.txt"),
        (ChangeStatus.MODIFIED, b"b.txt"),
        (ChangeStatus.ADDED, b"hooks/post-checkout"),
        (ChangeStatus.ADDED, b"hooks/post-index-change"),
        (ChangeStatus.ADDED, b"hooks/pre-commit"),
        (ChangeStatus.ADDED, b"new.txt"),
    }
    assert diff.text.startswith("diff --git a/a.txt b/a.txt\n")
    assert diff.text.endswith("-0 line 11\n+changed\n")
    # As a whole, with both names of the files before and behind.
    assert [line for line in patch.decode().splitlines() if line.startswith(("diff", "+"))] == [
        "diff --git a/a.txt b/a.txt",
        "+++ b/a.txt",
        "+changed",
        "diff --git a/new.txt b/new.txt",
        "+++ b/new.txt",
        "+new",
    ]
    assert list(path.glob("ran*")) == []


@needs_sandbox
async def test_a_workspace_without_a_repository_has_everything_added(tmp_path: Path, reader: WorkingTreeReader) -> None:
    path = tmp_path / "workspace"
    path.mkdir()
    (path / "a.txt").write_text("one\ntwo")
    (path / os.fsdecode(b"caf\xe9")).write_bytes(b"\x00")
    (path / ".gitignore").write_text("*.log\n")
    (path / "noise.log").write_text("ignored\n")
    tree = Tree(uuid4(), path, None)

    changes = await reader.changes(tree)
    diffs = await reader.diffs(tree, changes, 3)

    assert [(change.status, change.path, change.additions, change.deletions) for change in changes] == [
        (ChangeStatus.ADDED, b".gitignore", 1, 0),
        (ChangeStatus.ADDED, b"a.txt", 2, 0),
        (ChangeStatus.ADDED, b"caf\xe9", None, None),
    ]
    assert diffs[1].text.endswith("@@ -0,0 +1,2 @@\n+one\n+two\n\\ No newline at end of file\n")
    assert diffs[2].text.endswith('Binary files /dev/null and "b/caf\\351" differ\n')


@needs_sandbox
async def test_pipes_sockets_closed_files_and_repositories_within_hold_nothing_up(
    tmp_path: Path, reader: WorkingTreeReader
) -> None:
    path = tmp_path / "workspace"
    commit = repository(path)
    (path / "a.txt").unlink()
    os.mkfifo(path / "a.txt")
    os.mkfifo(path / "pipe")
    (path / "b.txt").chmod(0)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{os.open(path, os.O_RDONLY)}/socket")
    (path / "empty").mkdir()
    git(path / "empty", "init", "--quiet")
    (path / "last").write_text("last\n")

    changes = await reader.changes(Tree(uuid4(), path, commit))

    assert [(change.status, change.path) for change in changes] == [
        (ChangeStatus.DELETED, b"a.txt"),
        (ChangeStatus.DELETED, b"b.txt"),
        (ChangeStatus.ADDED, b"last"),
    ]


@needs_sandbox
async def test_a_diff_has_an_end(tmp_path: Path, reader: WorkingTreeReader) -> None:
    path = tmp_path / "workspace"
    path.mkdir()
    (path / "long").write_text("é" * 79 + "\n" + "0123456789\n" * 50_000)
    (path / "short").write_text("short\n")
    tree = Tree(uuid4(), path, None)

    changes = await reader.changes(tree)
    long, short = await reader.diffs(tree, changes, 3)

    assert [change.additions for change in changes] == [50_001, 1]
    assert (long.is_cut, short.is_cut) == (True, False)
    assert len(long.text.encode()) <= MAX_DIFF_BYTES
    assert long.text.endswith("+0123456789\n")


@needs_sandbox
async def test_the_agents_directory_stays_where_it_was(tmp_path: Path, reader: WorkingTreeReader) -> None:
    path = tmp_path / "workspace"
    (path / ".parley").mkdir(parents=True)
    (path / ".parley/directory").write_text("/workspace/src\n")

    assert await reader.changes(Tree(uuid4(), path, None)) == []

    assert (path / ".parley/directory").read_text() == "/workspace/src\n"


@needs_sandbox
async def test_a_commit_that_was_removed_is_told(tmp_path: Path, reader: WorkingTreeReader) -> None:
    path = tmp_path / "workspace"
    repository(path)
    with pytest.raises(WorkspaceFailure, match="does not hold the commit any more"):
        await reader.changes(Tree(uuid4(), path, "0123456789" * 4))


async def test_without_a_sandbox_a_reason_is_given(tmp_path: Path) -> None:
    shell = Shell(None, LIMITS)
    await shell.start()
    with pytest.raises(WorkspaceFailure) as failure:
        await WorkingTreeReader(shell).changes(Tree(uuid4(), tmp_path, None))
    assert failure.value.message == (
        "Changes can't be shown without a sandbox: the operator has turned it off (PARLEY_SANDBOX=none)."
    )
