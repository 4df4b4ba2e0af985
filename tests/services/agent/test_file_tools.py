"""The agent's tools for files: what they do, what they refuse, and that no path leads out of the workspace."""

import asyncio
import contextlib
import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from app.services.filesystem.tree import remove_tree
from app.services.sandbox.identity import sandbox_uid
from app.services.sandbox.shell import Shell
from tests.support.patience import WAIT_SECONDS
from tests.support.sandboxes import LIMITS, MEBIBYTE, needs_sandbox
from tests.support.tooled_agent import SECRET, Agent


async def test_a_file_is_read_by_lines(unarmed: Agent) -> None:
    (unarmed.workspace / "a.txt").write_text("one\ntwo\nthree\nfour\n")
    assert await unarmed.told("read_file", path="a.txt") == "     1\tone\n     2\ttwo\n     3\tthree\n     4\tfour"
    found = await unarmed.call("read_file", path="/workspace/a.txt", first_line=2, last_line=3)
    assert (found.output, found.truncated) == ("     2\ttwo\n     3\tthree", False)
    assert await unarmed.told("read_file", path="./a.txt", first_line=4, last_line=9) == "     4\tfour"
    assert await unarmed.fault("read_file", path="a.txt", first_line=5) == "a.txt has 4 lines only."
    assert await unarmed.fault("read_file", path="a.txt", first_line=3, last_line=2) == (
        "last_line comes before first_line."
    )
    (unarmed.workspace / "empty").touch()
    assert await unarmed.told("read_file", path="empty") == "The file is empty."


async def test_a_long_file_is_read_in_pieces(unarmed: Agent) -> None:
    (unarmed.workspace / "a.txt").write_text("".join(f"{number}\n" for number in range(1, 5001)))
    found = await unarmed.call("read_file", path="a.txt")
    last = found.output.splitlines()[-2].split("\t")[1]
    assert found.truncated
    assert found.output.endswith(f"[… 5000 lines in all; go on with first_line {int(last) + 1} …]")
    (unarmed.workspace / "b.txt").write_text("x" * 5000)
    found = await unarmed.call("read_file", path="b.txt")
    assert found.truncated
    assert len(found.output) < 1100


async def test_what_is_no_text_or_too_large_is_not_read(unarmed: Agent) -> None:
    (unarmed.workspace / "a").write_bytes(b"a\x00b")
    assert await unarmed.fault("read_file", path="a") == "a is no text: it has null bytes."
    (unarmed.workspace / "b").write_bytes(b"\xff\n")
    assert await unarmed.told("read_file", path="b") == "     1\t\ufffd"
    with (unarmed.workspace / "c").open("wb") as file:
        file.truncate(2**40)
    assert await unarmed.fault("read_file", path="c") == "c is larger than 4194304 bytes."


async def test_a_file_is_written_with_its_directories(unarmed: Agent) -> None:
    assert await unarmed.told("write_file", path="a/b/c.txt", content="x\ny") == "a/b/c.txt: new file, 2 lines."
    assert (unarmed.workspace / "a/b/c.txt").read_text() == "x\ny"
    (unarmed.workspace / "a/b/c.txt").chmod(0o755)
    assert await unarmed.told("write_file", path="a/b/c.txt", content="") == "a/b/c.txt: replaced, 0 lines."
    found = (unarmed.workspace / "a/b/c.txt").stat()
    assert (found.st_size, found.st_mode & 0o777) == (0, 0o755)
    assert [path.name for path in (unarmed.workspace / "a/b").iterdir()] == ["c.txt"]
    owner = sandbox_uid(unarmed.conversation_id)
    for path in ("a", "a/b", "a/b/c.txt"):
        assert (unarmed.workspace / path).stat().st_uid == (os.geteuid() if owner is None else owner)


async def test_an_edit_replaces_what_is_there_exactly_once(unarmed: Agent) -> None:
    file = unarmed.workspace / "a.txt"
    file.write_bytes("one\r\ntwo ü\r\ntwo\r\n".encode())
    assert await unarmed.told("edit_file", path="a.txt", old_text="two ü\r\n", new_text="2\n") == (
        "a.txt: replaced at line 2."
    )
    assert file.read_bytes() == b"one\r\n2\ntwo\r\n"
    before = file.read_bytes()
    assert await unarmed.fault("edit_file", path="a.txt", old_text="three", new_text="") == (
        "old_text is not in a.txt; it must be there exactly once. Nothing was changed."
    )
    assert await unarmed.fault("edit_file", path="a.txt", old_text="o", new_text="") == (
        "old_text is 2 times in a.txt; it must be there exactly once. Nothing was changed."
    )
    assert "does not exist" in await unarmed.fault("edit_file", path="b.txt", old_text="o", new_text="")
    assert file.read_bytes() == before
    file.write_bytes(b"aaa\xff")
    assert await unarmed.fault("edit_file", path="a.txt", old_text="a", new_text="") == "a.txt is no UTF-8 text."
    file.write_bytes(b"aaa")
    # Where the text overlaps itself, it is not clear which one is meant.
    assert "is 2 times in" in await unarmed.fault("edit_file", path="a.txt", old_text="aa", new_text="b")


async def test_a_directory_is_listed(unarmed: Agent) -> None:
    (unarmed.workspace / "b").mkdir()
    (unarmed.workspace / "a.txt").write_text("four")
    (unarmed.workspace / "link").symlink_to("/etc")
    os.mkfifo(unarmed.workspace / "pipe")
    (unarmed.workspace / "new\nline").touch()
    told = "a.txt  4\nb/\nlink  (link)\n'new\\nline'  0\npipe  (other)"
    assert await unarmed.told("list_files") == told
    assert await unarmed.told("list_files", path="/workspace/b/..") == told
    assert await unarmed.told("list_files", path="b") == "The directory is empty."
    assert await unarmed.fault("list_files", path="a.txt") == "a.txt is not a directory, or not in one."
    for number in range(1001):
        (unarmed.workspace / "b" / str(number)).touch()
    found = await unarmed.call("list_files", path="b")
    assert (found.truncated, found.output.count("\n")) == (True, 1000)


@pytest.mark.parametrize(
    "path",
    [
        "../secret.key",
        "../../secret.key",
        "/etc/passwd",
        "/workspace/../secret.key",
        "/workspaces/x",
        "a/../../../secret.key",
        "/proc/self/environ",
        "up/secret.key",
        "deep/up/secret.key",
        "absolute/secret.key",
        "key",
        "chain",
        "self/../../../secret.key",
    ],
)
async def test_no_path_leads_out_of_the_workspace(unarmed: Agent, path: str) -> None:
    root = unarmed.workspace.parent.parent
    (unarmed.workspace / "a").mkdir()
    (unarmed.workspace / "deep").mkdir()
    (unarmed.workspace / "up").symlink_to("../..")
    (unarmed.workspace / "deep" / "up").symlink_to("../../..")
    (unarmed.workspace / "absolute").symlink_to(root)
    (unarmed.workspace / "key").symlink_to(root / "secret.key")
    (unarmed.workspace / "chain").symlink_to("key")
    (unarmed.workspace / "self").symlink_to("/workspace/deep")
    before = unarmed.outside()
    for said in (
        await unarmed.fault("read_file", path=path),
        await unarmed.fault("write_file", path=path, content="overwritten"),
        await unarmed.fault("edit_file", path=path, old_text=SECRET, new_text="overwritten"),
        await unarmed.fault("list_files", path=path),
    ):
        assert SECRET not in said
        assert "out of the workspace" in said or "outside /workspace" in said
    assert unarmed.outside() == before


async def test_links_inside_the_workspace_are_followed_as_the_sandbox_would(unarmed: Agent) -> None:
    (unarmed.workspace / "real").mkdir()
    (unarmed.workspace / "real" / "a.txt").write_text("one")
    (unarmed.workspace / "absolute").symlink_to("/workspace/real")
    (unarmed.workspace / "real" / "relative").symlink_to("../real/./a.txt")
    (unarmed.workspace / "loop").symlink_to("loop")
    assert await unarmed.told("read_file", path="absolute/relative") == "     1\tone"
    await unarmed.told("write_file", path="absolute/relative", content="two")
    assert (unarmed.workspace / "real" / "a.txt").read_text() == "two"
    assert (unarmed.workspace / "real" / "relative").is_symlink()
    assert await unarmed.fault("read_file", path="loop") == "loop has too many symbolic links."
    (unarmed.workspace / "dangling").symlink_to("made/by/writing")
    await unarmed.told("write_file", path="dangling", content="three")
    assert (unarmed.workspace / "made/by/writing").read_text() == "three"


async def test_only_regular_files_are_opened(unarmed: Agent) -> None:
    os.mkfifo(unarmed.workspace / "pipe")
    (unarmed.workspace / "directory").mkdir()
    (unarmed.workspace / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(unarmed.workspace):
        listening.bind("socket")
    regular = "is no regular file."
    for name, said in (("pipe", regular), ("socket", regular), ("link", regular), ("directory", "is a directory.")):
        async with asyncio.timeout(WAIT_SECONDS):
            assert await unarmed.fault("read_file", path=name) == f"{name} {said}"
            assert await unarmed.fault("write_file", path=name, content="") == f"{name} {said}"
            assert await unarmed.fault("edit_file", path=name, old_text="a", new_text="b") == f"{name} {said}"
            assert await unarmed.fault("read_file", path=f"{name}/x") != ""
    assert await unarmed.fault("read_file", path=".") == ". is a directory."
    assert await unarmed.fault("read_file", path="x" * 300) == f"{'x' * 300} has a name that is too long."
    assert "is too deep" in await unarmed.fault("write_file", path="/".join(["d"] * 200), content="")


async def test_names_of_all_kinds_are_listed_one_a_line(unarmed: Agent) -> None:
    root = os.fsencode(unarmed.workspace)
    for name in (b"new\nline", b"escape\x1b[31m", b"-rf", b"tab\t", "日本".encode(), b"no\xff text", b"x" * 255):
        os.close(os.open(os.path.join(root, name), os.O_CREAT))  # noqa: PTH118  A path is no bytes.
    listed = await unarmed.told("list_files")
    assert sorted(listed.split("\n")) == sorted(
        [
            "'escape\\x1b[31m'  0",
            "'new\\nline'  0",
            "'tab\\t'  0",
            "-rf  0",
            "no\ufffd text  0",
            f"{'x' * 255}  0",
            "日本  0",
        ]
    )
    await unarmed.told("write_file", path="new\nline", content="read")
    assert await unarmed.told("read_file", path="new\nline") == "     1\tread"


async def test_a_full_workspace_takes_no_more(tmp_path: Path) -> None:
    shell = Shell(None, replace(LIMITS, workspace_bytes=MEBIBYTE))
    agent = Agent(tmp_path, shell)
    (agent.workspace / "big").write_bytes(b"x" * 950_000)
    said = await agent.fault("write_file", path="more", content="y" * 200_000)
    assert said == "The workspace is full: it may take 1 MiB."
    assert [path.name for path in agent.workspace.iterdir()] == ["big"]


async def test_a_workspace_that_is_gone_is_told(unarmed: Agent) -> None:
    unarmed.workspace.rmdir()
    assert await unarmed.fault("read_file", path="a") == "There is no workspace."
    assert await unarmed.fault("list_files") == "There is no workspace."


@needs_sandbox
async def test_what_the_agent_writes_belongs_to_its_commands(agent: Agent) -> None:
    await agent.told("write_file", path="new/run.sh", content="echo ran; echo more >> run.sh\n")
    assert "ran\n" in await agent.told("run_command", command="cd new && sh run.sh && touch x && rm -r /workspace/new")


def test_a_workspace_is_removed_whatever_is_in_it(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "kept").touch()
    nested = "import os\nfor _ in range(1500):\n os.mkdir('directory'); os.chdir('directory')\nopen('file', 'w')"
    subprocess.run(["/usr/bin/env", "python3", "-c", nested], cwd=workspace, check=True)
    (workspace / "link").symlink_to(outside)
    (workspace / "locked" / "inner").mkdir(parents=True)
    (workspace / "locked" / "inner" / "file").touch()
    (workspace / "locked" / "inner").chmod(0)
    (workspace / "locked").chmod(0)
    remove_tree(workspace)
    assert not workspace.exists()
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert outside.stat().st_mode & 0o777 == 0o755
    remove_tree(workspace)
