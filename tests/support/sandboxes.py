"""What tests of the sandbox need: the limits of small commands, and whether this machine has bubblewrap."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import psutil
import pytest

from app.services.sandbox.base import CommandLimits, CommandResult, OnOutput, Sandbox, SandboxUnavailable
from app.services.sandbox.bubblewrap import BubblewrapSandbox

MEBIBYTE = 2**20
LIMITS = CommandLimits(
    wall_seconds=20,
    cpu_seconds=20,
    memory_bytes=256 * MEBIBYTE,
    processes=64,
    file_bytes=64 * MEBIBYTE,
    workspace_bytes=32 * MEBIBYTE,
    output_characters=1000,
)


def absence() -> str | None:
    """Why bubblewrap does not work here; None when it does."""
    try:
        asyncio.run(BubblewrapSandbox().check())
    except SandboxUnavailable as error:
        return str(error)
    return None


ABSENCE = absence()
needs_sandbox = pytest.mark.skipif(ABSENCE is not None, reason=f"no sandbox: {ABSENCE}")


class Place:
    """A workspace and the sandbox it is used in."""

    def __init__(self, sandbox: Sandbox, path: Path, limits: CommandLimits = LIMITS) -> None:
        self.sandbox = sandbox
        self.path = path
        self.limits = limits
        self.conversation_id: UUID = uuid4()
        self.directory = "/workspace"

    async def run(
        self, command: str, *, limits: CommandLimits | None = None, on_output: OnOutput | None = None
    ) -> CommandResult:
        """Run a command where the last one left off."""
        found = await self.sandbox.run(
            self.conversation_id,
            self.path,
            command,
            directory=self.directory,
            limits=limits or self.limits,
            on_output=on_output,
        )
        self.directory = found.directory
        return found


def processes_with(mark: str, *, named: bool = False) -> list[int]:
    """The processes of this machine whose arguments have the mark; ``named``: those that it is the name of.

    The sandbox's own program has it among its arguments before the command begins.
    """
    found: list[int] = []
    for process in psutil.process_iter(["cmdline"]):
        arguments: list[str] = process.info["cmdline"] or []
        if arguments[:1] == [mark] or (not named and any(mark in argument for argument in arguments)):
            found.append(process.pid)
    return found


async def until_gone(mark: str, timeout_seconds: float = 5.0) -> None:
    """Return once no process has the mark any more; TimeoutError when one stays."""
    async with asyncio.timeout(timeout_seconds):
        while processes_with(mark):  # noqa: ASYNC110  The system has no event for it.
            await asyncio.sleep(0.02)


async def until_there(mark: str, timeout_seconds: float = 40.0) -> None:
    """Return once the command has started a process that has the mark as its name."""
    async with asyncio.timeout(timeout_seconds):
        while not processes_with(mark, named=True):  # noqa: ASYNC110  As above.
            await asyncio.sleep(0.02)
