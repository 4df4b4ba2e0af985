"""The agent's tools that run in the sandbox: ``run_command`` and ``search_files``."""

import asyncio
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

from pydantic import AfterValidator, Field

from app.services.agent.tools import Arguments, Tool, ToolContext, ToolFault, ToolOutput, typed_tool
from app.services.filesystem.files import MAX_PATH_CHARACTERS, WorkspaceFiles
from app.services.sandbox.base import CommandResult, OnOutput, Sandbox
from app.services.sandbox.identity import sandbox_uid
from app.services.sandbox.script import MAX_COMMAND_BYTES, WORKSPACE, last_directory
from app.services.sandbox.shell import Shell

MAX_MATCHES = 500
MAX_MATCHES_PER_FILE = 100
MAX_LINE_BYTES = 400
MAX_PATTERN_CHARACTERS = 2000
NO_MATCH: Final = 1
# Exit code of grep when ``head`` has read enough matches and closed the pipe (SIGPIPE).
BROKEN_PIPE: Final = 141


def _runnable(text: str) -> str:
    """Validate text that becomes an argument of a program. Raises ValueError with a message for the agent."""
    if "\x00" in text:
        raise ValueError("there is a null character in it")
    if len(text.encode()) > MAX_COMMAND_BYTES:
        raise ValueError(f"it has more than {MAX_COMMAND_BYTES} bytes; write a file and run that")
    return text


Runnable = Annotated[str, AfterValidator(_runnable)]


class CommandArguments(Arguments):
    """Arguments of ``run_command``."""

    command: Runnable = Field(min_length=1, description="A bash command; several lines are a script.")


class SearchArguments(Arguments):
    """Arguments of ``search_files``."""

    pattern: Runnable = Field(
        min_length=1, max_length=MAX_PATTERN_CHARACTERS, description="An extended regular expression, as of grep -E."
    )
    path: Runnable = Field(
        default=WORKSPACE, min_length=1, max_length=MAX_PATH_CHARACTERS, description="A directory or file to look in."
    )
    glob: Runnable | None = Field(
        default=None, max_length=200, description="Only files whose name matches this pattern, such as *.py."
    )
    ignore_case: bool = Field(default=False, description="Whether upper and lower case are the same.")


class CommandTools:
    """Implements the tools with the shell's sandbox."""

    def __init__(self, shell: Shell, workspace_of: Callable[[UUID], Path]) -> None:
        self._shell = shell
        self._workspace_of = workspace_of

    def tools(self) -> list[Tool]:
        """Return the tools for a ``Toolbox``."""
        limits = self._shell.limits
        command = (
            f"Run a bash command in a sandbox and get its output, standard output and error together. {WORKSPACE} is "
            "kept, and so is the working directory between calls; /tmp, environment variables and background processes "
            "end with the command. There is no network. Nothing can be typed in: use options that ask no "
            f"questions. A command may take {limits.wall_seconds:g} s, {limits.memory_bytes // 2**20} MiB of memory "
            f"and {limits.processes} processes."
        )
        search = (
            f"Search files for an extended regular expression. At most {MAX_MATCHES} lines, as path:line:text. "
            ".git and binary files are left out."
        )
        return [
            typed_tool("run_command", command, CommandArguments, self._run, needs_shell=True),
            typed_tool("search_files", search, SearchArguments, self._search, needs_shell=True, changes_files=False),
        ]

    async def _run(self, context: ToolContext, arguments: CommandArguments) -> ToolOutput:
        result = await self._execute(context.conversation_id, arguments.command, context.on_output)
        ending = [f"exit code {result.exit_code}"]
        if result.limit is not None:
            ending = [f"killed: {result.limit}"]
        ending.append(f"working directory {result.directory}")
        separator = "" if not result.output or result.output.endswith("\n") else "\n"
        text = f"{result.output}{separator}[{'; '.join(ending)}]"
        return ToolOutput(text, truncated=result.truncated, is_error=result.exit_code != 0 or result.limit is not None)

    async def _search(self, context: ToolContext, arguments: SearchArguments) -> ToolOutput:
        path = arguments.path if arguments.path.startswith("/") else f"{WORKSPACE}/{arguments.path}"
        options = ["-rnIE", "--color=never", "--exclude-dir=.git", "--exclude-dir=.parley"]
        options += [f"--max-count={MAX_MATCHES_PER_FILE}", *(["--ignore-case"] if arguments.ignore_case else [])]
        options += [f"--include={arguments.glob}"] if arguments.glob else []
        grep = shlex.join(["grep", *options, "-e", arguments.pattern, "--", path])
        limited = f"{grep} | cut -b 1-{MAX_LINE_BYTES} | head -n {MAX_MATCHES}; exit ${{PIPESTATUS[0]}}"
        result = await self._execute(context.conversation_id, limited, None)
        if result.limit is not None:
            raise ToolFault(f"The search was killed: {result.limit}.")
        if result.exit_code == NO_MATCH and not result.output:
            return ToolOutput("No line matches.")
        is_cut = result.truncated or result.output.count("\n") >= MAX_MATCHES
        is_error = result.exit_code not in {0, NO_MATCH, BROKEN_PIPE}
        return ToolOutput(result.output, truncated=is_cut, is_error=is_error)

    async def _execute(self, conversation_id: UUID, command: str, on_output: OnOutput | None) -> CommandResult:
        workspace = self._workspace_of(conversation_id)
        files = WorkspaceFiles(workspace, sandbox_uid(conversation_id))
        directory = await asyncio.to_thread(last_directory, files)
        try:
            return await self._sandbox().run(
                conversation_id,
                workspace,
                command,
                directory=directory,
                limits=self._shell.limits,
                on_output=on_output,
            )
        except FileNotFoundError:
            raise ToolFault("There is no workspace.") from None

    def _sandbox(self) -> Sandbox:
        if self._shell.sandbox is None:
            raise ToolFault(f"There is no shell: {self._shell.absence}")
        return self._shell.sandbox
