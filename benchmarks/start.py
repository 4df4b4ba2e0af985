"""Measures the start of ``python -m app serve`` until it prints that it is ready, and its memory when idle.

Every start has a new database. The peer is a lower bound: a process that only imports the same packages. Rounds
alternate between the two, so that both see the same noise; the first of each is discarded, since it may have to compile
modules. ``PEER`` is another checkout of Parley to compare with instead, such as that of the last release. Memory is
that of the process and its children, after a health check, a query, and ``IDLE`` seconds of idling.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROUNDS = int(os.environ.get("ROUNDS", "7"))
IDLE_SECONDS = float(os.environ.get("IDLE", "30"))
PEER = os.environ.get("PEER")
WAIT_SECONDS = 60.0
MEGABYTE = 1024 * 1024

QUERY = "{ conversations(first: 20) { edges { node { id title } } } }"
PACKAGES = """
import dbos, pydantic_settings, sqlmodel, strawberry, structlog, uvicorn
print("Parley ready at nowhere", flush=True)
input()
"""
_READY = b"Parley ready at "


@dataclass
class Start:
    """The time of one start until the server was ready: wall clock and CPU."""

    seconds: float
    cpu_seconds: float


async def main() -> None:
    """Measure and print."""
    here = Path(__file__).parent.parent
    serve = ("-m", "app", "serve", "--port", "0")
    peer = ("other checkout", Path(PEER), serve) if PEER else ("bare imports", here, ("-c", PACKAGES))
    servers = (("parley", here, serve), peer)
    starts: dict[str, list[Start]] = {name: [] for name, _, _ in servers}
    print(f"start: until ready, {ROUNDS} interleaved rounds; memory after {IDLE_SECONDS:g} s of idling", flush=True)
    for number in range(ROUNDS + 1):
        for name, directory, command in servers:
            async with _started(directory, command) as (start, _, _):
                if number:
                    starts[name].append(start)
    memory = {
        name: await _idle_megabytes(directory, command) if command == serve else None
        for name, directory, command in servers
    }
    base = statistics.median(start.seconds for start in starts[peer[0]])
    print(f"{'server':<18}{'median s':>10}{'least s':>10}{'most s':>10}{'cpu s':>10}{'ratio':>10}{'idle MB':>10}")
    for name, measured in starts.items():
        seconds = [start.seconds for start in measured]
        median, cpu = statistics.median(seconds), statistics.median(start.cpu_seconds for start in measured)
        idle = memory[name]
        print(
            f"{name:<18}{median:>10.2f}{min(seconds):>10.2f}{max(seconds):>10.2f}{cpu:>10.2f}{median / base:>10.2f}"
            f"{'-' if idle is None else f'{idle:.0f}':>10}"
        )


@asynccontextmanager
async def _started(directory: Path, command: tuple[str, ...]) -> AsyncGenerator[tuple[Start, str, int]]:
    """Start a process, and yield its times, URL and process id once it is ready."""
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as data:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            cwd=directory,
            env={**environment, "PARLEY_DATA_DIR": data, "PARLEY_LOG_LEVEL": "WARNING"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            address = await asyncio.wait_for(_address(process), WAIT_SECONDS)
            seconds = time.monotonic() - began
            times = psutil.Process(process.pid).cpu_times()
            yield Start(seconds, times.user + times.system), address, process.pid
        finally:
            process.terminate()
            await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async for line in process.stdout:
        if line.startswith(_READY):
            return line.removeprefix(_READY).decode().strip()
    raise RuntimeError("the server ended before it was ready")


async def _idle_megabytes(directory: Path, command: tuple[str, ...]) -> float:
    async with _started(directory, command) as (_, address, pid):
        async with httpx.AsyncClient(base_url=address, timeout=WAIT_SECONDS) as http:
            (await http.get("health/ready")).raise_for_status()
            answer = (await http.post("graphql", json={"query": QUERY})).json()
            assert answer == {"data": {"conversations": {"edges": []}}}, answer
        await asyncio.sleep(IDLE_SECONDS)
        process = psutil.Process(pid)
        return sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / MEGABYTE
