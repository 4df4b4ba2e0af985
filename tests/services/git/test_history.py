"""The commits of a workspace, as git tells them from inside the sandbox."""

import os
import subprocess
import zlib
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import InvalidInput, WorkspaceFailure
from app.services.git.history import HistoryPage, HistoryReader
from app.services.git.working_tree import Tree, WorkingTreeReader
from app.services.sandbox.bubblewrap import BubblewrapSandbox
from app.services.sandbox.shell import Shell
from tests.support.git_server import ENVIRONMENT, git
from tests.support.patience import PROGRAM_SECONDS
from tests.support.sandboxes import LIMITS, needs_sandbox

pytestmark = needs_sandbox


@pytest.fixture
async def reader() -> HistoryReader:
    shell = Shell(BubblewrapSandbox(), LIMITS)
    await shell.start()
    return HistoryReader(WorkingTreeReader(shell))


def commit(path: Path, message: str, at: int = 1_700_000_000) -> str:
    """An empty commit; its hash."""
    environment = {**ENVIRONMENT, "GIT_AUTHOR_DATE": f"@{at} +0000", "GIT_COMMITTER_DATE": f"@{at} +0000"}
    subprocess.run(
        ["git", "commit", "--quiet", "--allow-empty", "--allow-empty-message", "--cleanup=verbatim", "-F", "-"],
        cwd=path,
        env=environment,
        input=message.encode(),
        check=True,
        timeout=30,
    )
    return git(path, "rev-parse", "HEAD").strip()


def repository(path: Path) -> str:
    path.mkdir()
    git(path, "init", "--quiet")
    return commit(path, "Begin\n")


async def page(
    reader: HistoryReader, path: Path, base: str | None = None, after: str | None = None, count: int = 100
) -> HistoryPage:
    head = git(path, "-c", "safe.directory=*", "rev-parse", "HEAD").strip()
    return await reader.page(Tree(uuid4(), path, head), base, after, count)


def shas(found: HistoryPage) -> list[str]:
    return [each.sha for each in found.commits]


async def test_a_history_comes_in_pages_newest_first(tmp_path: Path, reader: HistoryReader) -> None:
    path = tmp_path / "workspace"
    # Times that lie make no difference.
    made = [repository(path), commit(path, "Two\n\nBody\n", at=1), commit(path, "Three", at=2**33)]
    first = await page(reader, path, count=2)
    rest = await page(reader, path, after=first.commits[-1].sha, count=2)
    assert (shas(first), first.has_more) == ([made[2], made[1]], True)
    assert (shas(rest), rest.has_more) == ([made[0]], False)
    two = first.commits[1]
    assert (two.headline, two.body, two.author.name, two.parents) == ("Two", "Body", "Ada", (made[0],))
    assert (await page(reader, path, after=made[0])).commits == []


async def test_commits_since_the_clone_come_before_those_of_it(tmp_path: Path, reader: HistoryReader) -> None:
    path = tmp_path / "workspace"
    made = [repository(path), commit(path, "Cloned", at=1_800_000_000)]
    git(path, "checkout", "--quiet", "-b", "side", made[0])
    side = commit(path, "Side", at=1_600_000_000)
    git(path, "checkout", "--quiet", "main")
    git(path, "merge", "--quiet", "--no-edit", "side")
    merged = git(path, "rev-parse", "HEAD").strip()
    git(path, "checkout", "--quiet", "--orphan", "other")
    other = commit(path, "Other")
    found = await reader.page(Tree(uuid4(), path, merged), made[1], None, 10)
    assert shas(found) == [merged, side, made[1], made[0]]
    # A history that was rewritten is shown as it is.
    assert shas(await page(reader, path, base=made[1])) == [other]
    with pytest.raises(InvalidInput, match="rewritten"):
        await page(reader, path, after=made[1])


async def test_a_shallow_clone_ends_where_it_was_cut(tmp_path: Path, reader: HistoryReader) -> None:
    repository(tmp_path / "origin")
    base = commit(tmp_path / "origin", "Cloned")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{tmp_path}/origin", "workspace")
    path = tmp_path / "workspace"
    new = commit(path, "New")
    found = await page(reader, path, base=base)
    assert shas(found) == [new, base]
    assert len(found.commits[1].parents) == 1


async def test_nothing_of_a_hostile_repository_runs_or_changes_a_history(tmp_path: Path, reader: HistoryReader) -> None:
    path = tmp_path / "workspace"
    base = repository(path)
    real = commit(path, "Real")
    forged = commit(path, "Forged")
    git(path, "reset", "--quiet", "--hard", real)
    git(path, "replace", real, forged)
    (path / ".git/info/grafts").parent.mkdir(exist_ok=True)
    (path / ".git/info/grafts").write_text(f"{real}\n")
    marker = "touch /workspace/ran"
    for key, value in {
        "core.fsmonitor": f"{marker}; false",
        "core.pager": f"{marker}-pager",
        "pager.log": "true",
        "log.showSignature": "true",
        "gpg.program": f"{marker}-gpg",
        "include.path": "/workspace/included",
        "core.hooksPath": "/workspace/hooks",
        "core.alternateRefsCommand": f"{marker}-alternates",
    }.items():
        git(path, "config", key, value)
    head = git(path, "-c", "safe.directory=*", "rev-parse", "HEAD").strip()
    found = await reader.page(Tree(uuid4(), path, head), base, None, 10)
    assert [(each.sha, each.headline) for each in found.commits] == [(real, "Real"), (base, "Begin")]
    assert list(path.glob("ran*")) == []


async def test_odd_and_huge_messages_hold_no_page_up(tmp_path: Path, reader: HistoryReader) -> None:
    path = tmp_path / "workspace"
    base = repository(path)
    odd = written(path, base, b"nul\x00 \xff\xfe\nauthor forged <f> 1 +0000\n")
    huge = written(path, odd, b"x" * (9 * 1024 * 1024))
    last = written(path, huge, b"")
    git(path, "update-ref", "HEAD", last)
    first = await page(reader, path)
    assert (shas(first), first.has_more) == ([last], True)
    second = await page(reader, path, after=last)
    assert (shas(second), second.has_more, second.commits[0].is_cut) == ([huge], True, True)
    third = await page(reader, path, after=huge)
    assert (shas(third), third.has_more) == ([odd, base], False)
    assert third.commits[0].message == "nul\ufffd \ufffd\ufffd\nauthor forged <f> 1 +0000"
    assert third.commits[0].author.name == "A"


def written(path: Path, parent: str, message: bytes) -> str:
    """A commit as an agent can write it, past git's checks."""
    tree = git(path, "rev-parse", "HEAD^{tree}").strip()
    content = f"tree {tree}\nparent {parent}\nauthor A <a> 1700000000 +0000\ncommitter A <a> 1700000000 +0000\n\n"
    stored = content.encode() + message
    done = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin", "--literally"],
        cwd=path,
        env=ENVIRONMENT,
        input=stored,
        capture_output=True,
        check=True,
        timeout=PROGRAM_SECONDS,
    )
    return done.stdout.decode().strip()


async def test_a_history_that_lacks_an_object_is_told(tmp_path: Path, reader: HistoryReader) -> None:
    path = tmp_path / "workspace"
    base = repository(path)
    commit(path, "Two")
    (path / ".git/objects" / base[:2] / base[2:]).unlink()
    with pytest.raises(WorkspaceFailure, match="can't be read"):
        await page(reader, path)
    with pytest.raises(WorkspaceFailure):
        await reader.page(Tree(uuid4(), path, "0" * 40), None, None, 10)
    # What is under a commit's hash is something else.
    stored = path / ".git/objects" / base[:2] / base[2:]
    stored.parent.mkdir(exist_ok=True)
    stored.write_bytes(zlib.compress(b"blob 2\x00hi"))
    with pytest.raises(WorkspaceFailure):
        await page(reader, path)


async def test_pipes_in_the_place_of_files_hold_nothing_up(tmp_path: Path, reader: HistoryReader) -> None:
    path = tmp_path / "workspace"
    head = repository(path)
    os.mkfifo(path / ".git/shallow")
    assert shas(await reader.page(Tree(uuid4(), path, head), head, None, 10)) == [head]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["commit", "branch", "merge", "back"]), min_size=1, max_size=8))
async def test_a_history_has_the_commits_that_a_trusted_git_tells(
    tmp_path: Path, reader: HistoryReader, acts: list[str]
) -> None:
    path = tmp_path / uuid4().hex / "workspace"
    path.parent.mkdir()
    base = repository(path)
    for number, act in enumerate(acts):
        match act:
            case "commit":
                commit(path, f"Commit {number}\n", at=1_700_000_000 - number)
            case "branch":
                git(path, "checkout", "--quiet", "-b", f"b{number}")
            case "merge":
                branches = git(path, "branch", "--format=%(refname:short)").split()
                git(path, "merge", "--quiet", "--no-edit", "--no-ff", branches[number % len(branches)])
            case _:
                git(path, "checkout", "--quiet", "main")
    told = git(path, "log", "--date-order", "--format=%H %s").splitlines()
    found = await page(reader, path, base=base)
    assert [f"{each.sha} {each.headline}" for each in found.commits] == told
