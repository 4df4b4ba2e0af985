"""The protocol of sandboxes, and the types of its limits and results."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

OnOutput = Callable[[str], Awaitable[None]]
"""Is called with each chunk of a command's output, standard output and error together."""


class SandboxUnavailable(Exception):
    """The sandbox does not work on this machine. The message is a sentence for the operator and users."""


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """The limits of one command. ``output_characters`` is the length to which output is shortened (head and tail)."""

    wall_seconds: float
    cpu_seconds: int
    memory_bytes: int
    processes: int
    file_bytes: int
    workspace_bytes: int
    output_characters: int


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The result of a command.

    ``exit_code`` is as in a shell (128 + signal). If ``truncated``, ``output`` has only head and tail; the whole is in
    the workspace at ``output_path``, as the command sees it. ``limit`` is a sentence about the limit that ended the
    command, if one did. ``directory`` is the working directory at the end.
    """

    exit_code: int
    output: str
    truncated: bool
    output_path: str | None
    limit: str | None
    directory: str


class Sandbox(Protocol):
    """Runs untrusted commands in isolation: they see only the workspace and the system's programs."""

    @property
    def name(self) -> str:
        """The name of the implementation: ``bubblewrap`` or ``docker``."""
        ...

    async def check(self) -> None:
        """Raise ``SandboxUnavailable`` unless commands can be run here."""
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
        """Run a bash command in the workspace, which it sees as ``/workspace``, starting in ``directory``.

        There is no network. When the call is cancelled, and when this process dies, the command's whole process tree
        is killed. Raises ``SandboxUnavailable``.
        """
        ...

    async def adopt(self, conversation_id: UUID, workspace: Path) -> None:
        """Change the owner of files that the server wrote to the workspace to the sandbox's user."""
        ...

    async def sweep(self) -> None:
        """Kill sandboxes that an earlier process of this server left behind."""
        ...
