"""Latency of other callers while strangers flood the server with WebSockets that have no good token.

The server, the attacker (``benchmarks/flooder.py``) and the prober, which is this process, are processes of their own.
The prober sends three kinds of requests at a fixed rate: a query with a token and a health check, each over a kept
connection, and health checks over a new connection each. A request is sent when it is due, also while others are late.
Rounds go through all floods, with a line for the idle server. ``PEER`` is another checkout of Parley to measure in turn
with this one.
"""

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from benchmarks import data
from benchmarks.flooder import KINDS, MAX_OPENED
from benchmarks.load import Cores, Request
from benchmarks.operations import OPERATIONS
from benchmarks.servers import PARLEY, Running, on, running

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = float(os.environ.get("SECONDS", "3"))
SOCKETS = [int(count) for count in os.environ.get("FLOOD_SOCKETS", "100,400").split(",")]
CONVERSATIONS = int(os.environ.get("CONVERSATIONS", "1000"))
# Requests of each kind in a second.
RATE = float(os.environ.get("RATE", "20"))
# Kept connections of each kind, so that a late answer does not delay the next request.
CONNECTIONS = 16
FLOODS = os.environ.get("FLOODS", ",".join(KINDS)).split(",")
PEER = os.environ.get("PEER")
WAIT_SECONDS = 60.0
# Seconds after a flood, in which the server closes what is left of it.
SETTLING_SECONDS = 1.0
# Other callers come from another address than the attacker, whose address has a limit of connections.
ADDRESS = "127.0.0.2"
IDLE = "idle"
PROBES = ("query", "health", "fresh health")
HEALTH = Request("/health/live").encode({})
_OK = b"HTTP/1.1 200 "


@dataclass
class Cell:
    """The latencies in milliseconds of each probe in one round beside one flood."""

    milliseconds: dict[str, list[float]] = field(default_factory=lambda: {name: list[float]() for name in PROBES})
    opened: int = 0


class _Flooder:
    """The attacker's process for one server."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        command = [sys.executable, "-m", "benchmarks.flooder", str(port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(self._process.wait, WAIT_SECONDS)
        stack.callback(self._process.terminate)
        self._line()

    def begin(self, kind: str, sockets: int) -> None:
        """Start a flood."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{kind} {sockets} {SECONDS}\n")
        self._process.stdin.flush()

    def end(self) -> int:
        """Wait for the end of the flood, and return the number of sockets that it opened."""
        return int(self._line().removeprefix("ended "))

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the attacker's process ended")
        return line.strip()


def main() -> None:
    """Measure and print."""
    cores = Cores.of_machine()
    floods = [(IDLE, 0), *itertools.product(FLOODS, SOCKETS)]
    cells: dict[tuple[str, str, int], list[Cell]] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        file = data.sqlite_file(CONVERSATIONS)
        servers = {"this": PARLEY, **({"peer": replace(PARLEY, directory=Path(PEER))} if PEER else {})}
        started: dict[str, tuple[Running, _Flooder]] = {}
        for name, server in servers.items():
            database = data.copy_of(file, directory / f"{name}.db")
            parley = stack.enter_context(running(server, str(database), directory / name, cores))
            with on(cores.load):
                started[name] = parley, _Flooder(parley.port, stack)
        stack.enter_context(on(cores.load))
        queries = _queries(started["this"][0], file)
        for _ in range(ROUNDS):
            for (kind, sockets), (name, (parley, flooder)) in itertools.product(floods, started.items()):
                cell = _measure(parley.port, flooder, kind, sockets, queries)
                cells.setdefault((name, kind, sockets), []).append(cell)
                time.sleep(SETTLING_SECONDS if sockets else 0)
    _print(cells)


def _queries(parley: Running, file: Path) -> Iterator[bytes]:
    subjects = data.subjects(file, have_events=False)
    headers = parley.headers()
    for number in itertools.count():
        yield parley.server.request(OPERATIONS["q2"], subjects, number).encode(headers)


def _measure(port: int, flooder: _Flooder, kind: str, sockets: int, queries: Iterator[bytes]) -> Cell:
    cell = Cell()
    uvloop.run(_probe(port, queries, cell, (lambda: flooder.begin(kind, sockets)) if sockets else None))
    if sockets:
        cell.opened = flooder.end()
        if cell.opened >= MAX_OPENED:
            raise RuntimeError("the flood ended before the measurement")
    return cell


async def _probe(port: int, queries: Iterator[bytes], cell: Cell, begin: Callable[[], None] | None) -> None:
    """Send all probes for ``SECONDS``, from the moment that ``begin`` starts the flood."""
    async with asyncio.timeout(SECONDS + WAIT_SECONDS), AsyncExitStack() as stack:
        for_queries, for_health = [
            itertools.cycle([await stack.enter_async_context(_connection(port)) for _ in range(CONNECTIONS)])
            for _ in range(2)
        ]
        # Each has shown its token before the flood begins.
        for _ in range(CONNECTIONS):
            await next(for_queries).ask(next(queries))
            await next(for_health).ask(HEALTH)
        if begin is not None:
            begin()
        query, health, fresh = (cell.milliseconds[name] for name in PROBES)
        await asyncio.gather(
            _at_rate(lambda: next(for_queries).ask(next(queries)), query),
            _at_rate(lambda: next(for_health).ask(HEALTH), health),
            _at_rate(lambda: _ask_afresh(port), fresh),
        )


class _Connection:
    """An HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._lock = asyncio.Lock()

    async def ask(self, request: bytes) -> None:
        """Send a request and read its answer. Raises RuntimeError if it is refused."""
        async with self._lock:
            self._writer.write(request)
            head = await self._reader.readuntil(b"\r\n\r\n")
            if not head.startswith(_OK):
                raise RuntimeError(head.decode(errors="replace"))
            length = int(head.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0])
            await self._reader.readexactly(length)


@asynccontextmanager
async def _connection(port: int) -> AsyncGenerator[_Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(ADDRESS, 0))
    try:
        yield _Connection(reader, writer)
    finally:
        writer.close()


async def _ask_afresh(port: int) -> None:
    async with _connection(port) as connection:
        await connection.ask(HEALTH)


async def _at_rate(ask: Callable[[], Awaitable[None]], milliseconds: list[float]) -> None:
    """Send each request when it is due, and note its time in milliseconds."""
    loop = asyncio.get_running_loop()
    start = loop.time()

    async def one(number: int) -> None:
        await asyncio.sleep(start + number / RATE - loop.time())
        began = loop.time()
        await ask()
        milliseconds.append((loop.time() - began) * 1000)

    await asyncio.gather(*(one(number) for number in range(int(SECONDS * RATE))))


def _print(cells: Mapping[tuple[str, str, int], Sequence[Cell]]) -> None:
    print(
        f"floods: other callers beside strangers' WebSockets, {ROUNDS} interleaved rounds of {SECONDS:g} s, "
        f"{RATE:g} requests of each kind a second, in milliseconds"
    )
    titles = "".join(f"{name + ' p50':>18}{'p99':>9}{'max':>9}" for name in PROBES)
    print(f"{'server':<8}{'flood':<16}{'sockets':>8}{'opened/s':>10}{titles}")
    for (name, kind, sockets), measured in cells.items():
        opened = statistics.median(cell.opened for cell in measured) / SECONDS
        line = f"{name:<8}{kind:<16}{sockets:>8}{opened:>10.0f}"
        for probe in PROBES:
            times = [sorted(cell.milliseconds[probe]) for cell in measured]
            p50, p99 = (statistics.median(_percentile(each, share) for each in times) for share in (0.5, 0.99))
            line += f"{p50:>18.1f}{p99:>9.1f}{max(each[-1] for each in times):>9.1f}"
        print(line, flush=True)


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
