"""What a sandbox does, whichever way it is made."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

OnOutput = Callable[[str], Awaitable[None]]
"""Takes each piece of a command's output as it comes, standard output and error together."""


class SandboxUnavailable(Exception):
    """There is no sandbox on this machine. The message says why, in a sentence for people."""


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """What one command may take. ``output_characters`` is how much of its output is kept, head and tail."""

    wall_seconds: float
    cpu_seconds: int
    memory_bytes: int
    processes: int
    file_bytes: int
    workspace_bytes: int
    output_characters: int


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended.

    ``exit_code`` is as a shell tells it (128 + signal). ``output`` has its head and its tail when ``truncated``; the
    whole is then in the workspace, at ``output_path`` as the command sees it. ``limit`` says which limit ended the
    command, in a sentence, if one did. ``directory`` is where the command left off.
    """

    exit_code: int
    output: str
    truncated: bool
    output_path: str | None
    limit: str | None
    directory: str


class Sandbox(Protocol):
    """Runs commands that nobody trusts, each in a place that holds the workspace and the system's programs only."""

    @property
    def name(self) -> str:
        """``bubblewrap`` or ``docker``."""
        ...

    async def check(self) -> None:
        """Raise ``SandboxUnavailable`` unless a command can really be run."""
        ...

    async def run(
        self,
        conversation_id: UUID,
        workspace: Path,
        command: str,
        *,
        directory: str,
        limits: CommandLimits,
        on_output: OnOutput | None = None,
    ) -> CommandResult:
        """Run a bash command in the workspace, which it sees as ``/workspace``; ``directory`` is where it begins.

        There is no network. When the call is cancelled, and when this process dies, the command's whole process tree
        is killed. Raises ``SandboxUnavailable``.
        """
        ...

    async def adopt(self, conversation_id: UUID, workspace: Path) -> None:
        """Make what the server itself wrote into the workspace belong to those who run in the sandbox."""
        ...

    async def sweep(self) -> None:
        """Kill what an earlier process of this server left behind."""
        ...
