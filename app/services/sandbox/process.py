"""Runs a sandbox's process, with a timeout and other limits, and makes sure that it ends."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.services.sandbox.base import OnOutput
from app.services.sandbox.output import MAX_OUTPUT_BYTES, Output

READ_BYTES = 64 * 1024
# Seconds between two checks of limits; a command can exceed a limit for this long.
LOOK_SECONDS = 0.25
# Seconds to wait after a kill, which takes milliseconds unless the process is in an uninterruptible wait.
REAP_SECONDS = 2.0

Look = Callable[[int], str | None]
"""Is called in a thread with the process id; returns a sentence about a limit that is exceeded, or ``None``."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a process; ``exit_code`` is negative for a signal."""

    exit_code: int
    limit: str | None


async def run_to_end(
    arguments: Sequence[str],
    output: Output,
    *,
    wall_seconds: float,
    look: Look,
    environment: Mapping[str, str],
    pass_fds: Sequence[int] = (),
    on_output: OnOutput | None = None,
    before_kill: Callable[[], None] | None = None,
) -> Ended:
    """Run a process until it ends; kill it if it writes too much, takes too long, or ``look`` reports a limit.

    ``before_kill`` is called when the process ends or is about to be killed. Cancelling the call kills it as well.
    Raises OSError if the process can't be started.
    """
    process = await _start(arguments, environment, pass_fds)
    reading = asyncio.create_task(_read(process, output, on_output))
    watching = asyncio.create_task(_watch(process.pid, look))
    waiting = asyncio.create_task(process.wait())
    limit: str | None = None
    try:
        async with asyncio.timeout(wall_seconds):
            limit = await _first_limit(reading, watching, waiting)
    except TimeoutError:
        limit = f"it took longer than {wall_seconds:g} s"
    finally:
        watching.cancel()
        if before_kill is not None:
            before_kill()
        await _end(process, reading, waiting)
    code = process.returncode
    return Ended(-9 if code is None else code, limit)


async def _start(
    arguments: Sequence[str], environment: Mapping[str, str], pass_fds: Sequence[int]
) -> asyncio.subprocess.Process:
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            pass_fds=pass_fds,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # Cancelling asyncio while it starts a process would leak a pipe, so this waits the few milliseconds.
        process = await starting
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REAP_SECONDS):
                await process.communicate()
        raise


async def _first_limit(
    reading: asyncio.Task[str | None], watching: asyncio.Task[str], waiting: asyncio.Task[int]
) -> str | None:
    """Wait for the first exceeded limit, and return it; ``None`` if the process ends before."""
    pending: set[asyncio.Task[str | None] | asyncio.Task[str] | asyncio.Task[int]] = {reading, watching, waiting}
    while not waiting.done():
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in (reading, watching):
            # ``result`` raises exceptions of ``on_output`` and ``look`` here.
            if task in done and (limit := task.result()) is not None:
                return limit
    return None


async def _end(
    process: asyncio.subprocess.Process, reading: asyncio.Task[str | None], waiting: asyncio.Task[int]
) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    # The last output is still in the pipe; if the reader has stopped at a limit, the rest is discarded.
    draining = asyncio.create_task(_drain(process, reading))
    try:
        await asyncio.wait({draining, waiting}, timeout=REAP_SECONDS, return_when=asyncio.ALL_COMPLETED)
    finally:
        for task in (reading, draining, waiting):
            task.cancel()


async def _drain(process: asyncio.subprocess.Process, reading: asyncio.Task[str | None]) -> None:
    await asyncio.wait({reading})
    assert process.stdout is not None  # noqa: S101  It was asked for.
    while await process.stdout.read(READ_BYTES):
        pass


async def _read(process: asyncio.subprocess.Process, output: Output, on_output: OnOutput | None) -> str | None:
    assert process.stdout is not None  # noqa: S101  It was asked for.
    while piece := await process.stdout.read(READ_BYTES):
        text = output.feed(piece)
        if text and on_output is not None:
            await on_output(text)
        if output.overflowed:
            return f"it wrote more than {MAX_OUTPUT_BYTES // 2**20} MiB of output"
    return None


async def _watch(pid: int, look: Look) -> str:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        limit = await asyncio.to_thread(look, pid)
        if limit is not None:
            return limit
