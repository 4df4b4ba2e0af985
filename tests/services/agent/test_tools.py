"""The agent's tools as a whole, its commands and its searches: what they do, and what they refuse."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.models.conversation import Conversation
from app.models.settings import PublishPolicy
from app.services.agent.command_tools import CommandTools
from app.services.agent.publish_tools import COMMITTING, PROPOSING
from app.services.agent.tools import Arguments, Toolbox, ToolContext, ToolOutput, typed_tool
from app.services.sandbox.bubblewrap import BubblewrapSandbox
from app.services.sandbox.shell import Shell
from tests.support.sandboxes import LIMITS, needs_sandbox
from tests.support.tooled_agent import Agent


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
        (
            "read_file",
            {"unparsed": '{"path": "a"}{"path": "b"}'},
            ("The call does not fit read_file: the arguments are several JSON values; make one call for each object."),
        ),
        ("read_file", {"unparsed": "{}"}, "The call does not fit read_file: the arguments are no JSON object."),
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


@pytest.mark.parametrize(
    ("policy", "asked"),
    [
        (PublishPolicy.ALWAYS_ASK, {"commit", "propose", "propose to next"}),
        (PublishPolicy.ALLOW_COMMITS, {"propose", "propose to next"}),
        (PublishPolicy.ALLOW_PULL_REQUESTS, {"propose to next"}),
    ],
)
@pytest.mark.parametrize("written", ["{}", "functions.{}", "{}<|channel|>json", " {} "])
def test_a_policy_lets_calls_of_publishing_tools_go_however_their_names_are_written(
    policy: PublishPolicy, asked: set[str], written: str
) -> None:
    async def work(_context: ToolContext, _given: Arguments) -> ToolOutput:
        return ToolOutput("")

    now = datetime(2026, 11, 29, tzinfo=UTC)
    conversation = Conversation(
        owner_id="ada",
        title="",
        title_folded="",
        status="RUNNING",
        trigger="API",
        branch_name="next",
        created_at=now,
        updated_at=now,
    )
    toolbox = Toolbox(
        [
            typed_tool("commit", "", Arguments, work, publishing=COMMITTING),
            typed_tool("propose", "", Arguments, work, publishing=PROPOSING),
            typed_tool("read", "", Arguments, work),
        ]
    )
    calls: dict[str, tuple[str, dict[str, object]]] = {
        "commit": ("commit", {}),
        "propose": ("propose", {"branch_name": "mine"}),
        "propose to next": ("propose", {"branch_name": "next"}),
        "read": ("read", {}),
        "unknown": ("unknown", {}),
    }
    needing = {
        call
        for call, (name, arguments) in calls.items()
        if toolbox.needs_confirmation(conversation, written.format(name), arguments, policy)
    }
    assert needing == asked
