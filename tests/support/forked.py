"""Runs the command line in processes that are forked from one which has imported the server's modules.

Importing them takes a process 2.6 s of processor time, and litellm 4 s more. A test whose subject is not the start of a
process need not pay for either.
"""

import asyncio
import ctypes
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from io import FileIO
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from signal import SIGKILL
from subprocess import CompletedProcess

from app.__main__ import main

MAX_DESCRIPTORS = 1024
_SET_PARENT_DEATH_SIGNAL = 1
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.support.preloaded"])


class ForkedProcess:
    """A process of ``python -m app`` with arguments. Its interface is that of ``asyncio.subprocess.Process``."""

    def __init__(self, process: ForkServerProcess, stdout: asyncio.StreamReader) -> None:
        self._process = process
        self.stdout = stdout

    @classmethod
    async def start(cls, arguments: Sequence[str], environment: Mapping[str, str], errors: Path) -> "ForkedProcess":
        """Start the process in the current directory. Its standard error is appended to a file."""
        process, pipe = await asyncio.to_thread(_start, arguments, environment, Path.cwd(), errors)
        stdout = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdout), pipe)
        return cls(process, stdout)

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._process.exitcode

    def send_signal(self, signal: int) -> None:
        """Send a signal, unless the process has ended."""
        if self._process.exitcode is None:
            os.kill(self.pid, signal)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self.send_signal(SIGKILL)

    async def communicate(self) -> tuple[bytes, None]:
        """Read standard output until its end, and wait for the end of the process."""
        output = await self.stdout.read()
        await asyncio.to_thread(self._process.join)
        return output, None


def run(arguments: Sequence[str], environment: Mapping[str, str], directory: Path) -> CompletedProcess[str]:
    """Run a command in a directory until it ends."""
    with tempfile.NamedTemporaryFile() as errors:
        process, pipe = _start(arguments, environment, directory, Path(errors.name))
        with pipe:
            output = pipe.read().decode()
        process.join()
        return CompletedProcess(list(arguments), process.exitcode or 0, output, errors.read().decode())


def _start(
    arguments: Sequence[str], environment: Mapping[str, str], directory: Path, errors: Path
) -> tuple[ForkServerProcess, FileIO]:
    """Return the process and its standard output. The first call waits until everything is imported."""
    reader, writer = _CONTEXT.Pipe(duplex=False)
    with reader, writer:
        given = (list(arguments), dict(environment), directory, errors, writer)
        process = _CONTEXT.Process(target=_run, args=given, daemon=True)
        process.start()
        return process, FileIO(os.dup(reader.fileno()))


def _run(arguments: list[str], environment: dict[str, str], directory: Path, errors: Path, output: Connection) -> None:
    # The fork server ends with the tests. Without the signal its children would stay if the tests are killed.
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, SIGKILL)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    # The fork server has looked up the directory for temporary files in its own environment.
    tempfile.tempdir = None
    os.dup2(output.fileno(), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 2)
    # As after exec(): nothing else is inherited, above all not the pipe that keeps the fork server alive.
    os.closerange(3, MAX_DESCRIPTORS)
    sys.exit(main(arguments))
