"""Helpers for tests of the sandbox: limits for small commands, and a check whether bubblewrap works here."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import psutil
import pytest

from app.services.sandbox.base import CommandLimits, CommandResult, OnOutput, Sandbox, SandboxUnavailable
from app.services.sandbox.bubblewrap import BubblewrapSandbox
from tests.support.patience import WAIT_SECONDS

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
    """Return why bubblewrap does not work here; ``None`` if it works."""
    try:
        asyncio.run(BubblewrapSandbox().check())
    except SandboxUnavailable as error:
        return str(error)
    return None


ABSENCE = absence()
needs_sandbox = pytest.mark.skipif(ABSENCE is not None, reason=f"no sandbox: {ABSENCE}")


class Place:
    """A workspace with the sandbox that runs commands in it, and the current directory."""

    def __init__(self, sandbox: Sandbox, path: Path, limits: CommandLimits = LIMITS) -> None:
        self.sandbox = sandbox
        self.path = path
        self.limits = limits
        self.conversation_id: UUID = uuid4()
        self.directory = "/workspace"

    async def run(
        self, command: str, *, limits: CommandLimits | None = None, on_output: OnOutput | None = None
    ) -> CommandResult:
        """Run a command in the directory where the last one ended."""
        result = await self.sandbox.run(
            self.conversation_id,
            self.path,
            command,
            directory=self.directory,
            limits=limits or self.limits,
            on_output=on_output,
        )
        self.directory = result.directory
        return result


def processes_with(mark: str, *, named: bool = False) -> list[int]:
    """Return the ids of processes with the mark in one of their arguments; ``named``: as the program's name (argv[0]).

    The sandbox's own program has it among its arguments before the command starts.
    """
    ids: list[int] = []
    for process in psutil.process_iter(["cmdline"]):
        arguments: list[str] = process.info["cmdline"] or []
        if arguments[:1] == [mark] or (not named and any(mark in argument for argument in arguments)):
            ids.append(process.pid)
    return ids


async def until_gone(mark: str, timeout_seconds: float = WAIT_SECONDS) -> None:
    """Wait until no process has the mark any more. Raises TimeoutError."""
    async with asyncio.timeout(timeout_seconds):
        while processes_with(mark):  # noqa: ASYNC110  The system has no event for it.
            await asyncio.sleep(0.02)


async def until_there(mark: str, timeout_seconds: float = WAIT_SECONDS) -> None:
    """Wait until the command has started a process with the mark as its first argument. Raises TimeoutError."""
    async with asyncio.timeout(timeout_seconds):
        while not processes_with(mark, named=True):  # noqa: ASYNC110  As above.
            await asyncio.sleep(0.02)
