"""The agent's tools: what they do, what they refuse, and that no path leads out of the workspace."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from app.services.agent.command_tools import CommandTools
from app.services.agent.file_tools import FileTools
from app.services.agent.tools import Toolbox, ToolContext, ToolOutput
from app.services.sandbox.bubblewrap import BubblewrapSandbox
from app.services.sandbox.identity import sandbox_uid
from app.services.sandbox.shell import Shell
from app.services.workspace_tree import remove_tree
from tests.sandboxes import LIMITS, MEBIBYTE, needs_sandbox

SECRET = "the server's own"


class Agent:
    """An agent with its tools and a workspace, and files of the server beside it."""

    def __init__(self, root: Path, shell: Shell) -> None:
        self.conversation_id = uuid4()
        self._root = root
        self.workspace = self._path(self.conversation_id)
        self.workspace.mkdir(parents=True, mode=0o700)
        (root / "secret.key").write_text(SECRET)
        tools = [*CommandTools(shell, self._path).tools(), *FileTools(self._path, shell.limits).tools()]
        self.toolbox = Toolbox(tools, shell)

    def _path(self, conversation_id: UUID) -> Path:
        return self._root / "workspaces" / str(conversation_id)

    async def call(self, name: str, **arguments: object) -> ToolOutput:
        """Call a tool."""
        return await self.toolbox.run(ToolContext(self.conversation_id), name, arguments)

    async def told(self, name: str, **arguments: object) -> str:
        """What a call answers that succeeds."""
        found = await self.call(name, **arguments)
        assert not found.is_error, found.output
        return found.output

    async def fault(self, name: str, **arguments: object) -> str:
        """What a call answers that fails."""
        found = await self.call(name, **arguments)
        assert found.is_error, found.output
        return found.output

    def outside(self) -> Mapping[str, str]:
        """Every file of the server that is not in the workspace."""
        files = (path for path in self._root.rglob("*") if path.is_file() and self.workspace not in path.parents)
        return {str(path.relative_to(self._root)): path.read_text() for path in files}


@pytest.fixture
async def agent(tmp_path: Path) -> Agent:
    """An agent with a shell, where this machine has a sandbox."""
    shell = Shell(BubblewrapSandbox(), LIMITS)
    await shell.start()
    return Agent(tmp_path, shell)


@pytest.fixture
async def unarmed(tmp_path: Path) -> Agent:
    """An agent without a shell."""
    shell = Shell(None, LIMITS)
    await shell.start()
    return Agent(tmp_path, shell)


@needs_sandbox
async def test_the_tools_are_described_to_the_llm_with_their_schemas(agent: Agent) -> None:
    specs = {spec.name: spec for spec in agent.toolbox.specs}
    assert list(specs) == ["run_command", "search_files", "read_file", "write_file", "edit_file", "list_files"]
    assert specs["read_file"].parameters == {
        "type": "object",
        "properties": {
            "path": {"type": "string", "minLength": 1, "maxLength": 4096, "description": "The file."},
            "first_line": {
                "type": "integer",
                "minimum": 1,
                "default": 1,
                "description": "The first line to read, counted from 1.",
            },
            "last_line": {
                "anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}],
                "default": None,
                "description": "The last line to read; null: to the end.",
            },
        },
        "required": ["path"],
        "additionalProperties": False,
    }
    assert agent.toolbox.shortcoming is None


async def test_without_a_sandbox_there_is_no_shell_and_the_agent_says_why(unarmed: Agent) -> None:
    names = [spec.name for spec in unarmed.toolbox.specs]
    assert names == ["read_file", "write_file", "edit_file", "list_files"]
    assert unarmed.toolbox.shortcoming == (
        "The agent has no shell: the operator has turned it off (PARLEY_SANDBOX=none)."
    )
    assert await unarmed.fault("run_command", command="touch a") == (
        "There is no tool named 'run_command'. Tools: edit_file, list_files, read_file, write_file."
    )
    assert list(unarmed.workspace.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "arguments", "fault"),
    [
        ("read_file", {}, "The call does not fit read_file: path: Field required."),
        ("read_file", {"path": 5}, "The call does not fit read_file: path: Input should be a valid string."),
        (
            "read_file",
            {"path": "a", "lines": 1},
            "The call does not fit read_file: lines: Extra inputs are not permitted.",
        ),
        ("read_file", {"unparsed": "{"}, "The call does not fit read_file: the arguments are no JSON object."),
        (
            "read_file",
            {"path": "a", "first_line": 0},
            "The call does not fit read_file: first_line: Input should be greater than or equal to 1.",
        ),
        ("read_file", {"path": "a\x00b"}, "A path has no null character."),
        (
            "write_file",
            {"path": "a", "content": "\ud800"},
            (
                "The call does not fit write_file: content: Input should be a valid string, unable to parse raw data "
                "as a unicode string."
            ),
        ),
    ],
)
async def test_a_bad_call_is_told_to_the_agent(
    unarmed: Agent, name: str, arguments: dict[str, object], fault: str
) -> None:
    assert await unarmed.fault(name, **arguments) == fault
    assert list(unarmed.workspace.iterdir()) == []


@needs_sandbox
@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("", "String should have at least 1 character"),
        ("a\x00b", "there is a null character in it"),
        ("\ud800", "Input should be a valid string"),
        ("x" * 100_001, "it has more than 100000 bytes; write a file and run that"),
    ],
)
async def test_a_command_that_no_program_could_be_given_is_refused(agent: Agent, command: str, fault: str) -> None:
    assert fault in await agent.fault("run_command", command=command)


@needs_sandbox
async def test_a_command_tells_its_output_its_exit_code_and_its_directory(agent: Agent) -> None:
    assert await agent.told("run_command", command="mkdir a; cd a; printf hi") == (
        "hi\n[exit code 0; working directory /workspace/a]"
    )
    assert await agent.fault("run_command", command="pwd; false") == (
        "/workspace/a\n[exit code 1; working directory /workspace/a]"
    )


@needs_sandbox
async def test_the_working_directory_outlives_the_server(agent: Agent) -> None:
    await agent.told("run_command", command="mkdir a; cd a")
    shell = Shell(BubblewrapSandbox(), LIMITS)
    await shell.start()
    later = Toolbox(CommandTools(shell, lambda _id: agent.workspace).tools(), shell)
    found = await later.run(ToolContext(agent.conversation_id), "run_command", {"command": "pwd"})
    assert found.output.startswith("/workspace/a\n")


@needs_sandbox
async def test_a_command_that_is_killed_says_which_limit_it_met(agent: Agent, tmp_path: Path) -> None:
    shell = Shell(BubblewrapSandbox(), replace(LIMITS, wall_seconds=0.5))
    await shell.start()
    hasty = Agent(tmp_path / "hasty", shell)
    assert await hasty.fault("run_command", command="sleep 1000") == (
        "[killed: it took longer than 0.5 s; working directory /workspace]"
    )


@needs_sandbox
async def test_a_search_finds_lines_and_leaves_the_working_directory(agent: Agent) -> None:
    await agent.told("write_file", path="src/a.py", content="import os\nprint('x')\n")
    await agent.told("write_file", path="src/b.txt", content="import os\n")
    await agent.told("run_command", command="cd src; mkdir .git; echo import > .git/c.py")
    assert await agent.told("search_files", pattern="^import (os|sys)$", glob="*.py") == (
        "/workspace/src/a.py:1:import os\n"
    )
    assert await agent.told("search_files", pattern="IMPORT", path="src/b.txt", ignore_case=True) == "1:import os\n"
    assert await agent.told("search_files", pattern="nothing of this") == "No line matches."
    assert await agent.told("run_command", command="pwd") == (
        "/workspace/src\n[exit code 0; working directory /workspace/src]"
    )


@needs_sandbox
async def test_a_search_is_told_what_is_wrong_and_runs_nothing_else(agent: Agent) -> None:
    assert "Unmatched" in await agent.fault("search_files", pattern="a(")
    assert "No such file" in await agent.fault("search_files", pattern="a", path="nowhere")
    await agent.told("search_files", pattern="$(touch /workspace/a); touch b", path=".")
    await agent.fault("search_files", pattern="a", path="x; touch c", glob="'; touch d; '")
    assert [path.name for path in agent.workspace.iterdir()] == [".parley"]


@needs_sandbox
async def test_a_search_with_many_matches_is_cut(agent: Agent) -> None:
    await agent.told("run_command", command="for i in $(seq 20); do seq 1 100 > $i.txt; done")
    found = await agent.call("search_files", pattern="[0-9]")
    assert (found.truncated, found.is_error) == (True, False)


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
    for name, said in (("pipe", "pipe is no regular file."), ("directory", "directory is a directory.")):
        assert await unarmed.fault("read_file", path=name) == said
        assert await unarmed.fault("write_file", path=name, content="") == said
    assert await unarmed.fault("read_file", path=".") == ". is a directory."
    assert await unarmed.fault("read_file", path="x" * 300) == f"{'x' * 300} has a name that is too long."
    assert "is too deep" in await unarmed.fault("write_file", path="/".join(["d"] * 200), content="")


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
