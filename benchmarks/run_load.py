"""How fast runs begin, what many at once cost other callers, and what conversations cost that wait.

The server is a process with a core of its own; on the other core are the load and the model, which are one process
(``benchmarks/run_crowd.py``), and PostgreSQL where it is used. Every conversation has another title and message.
Percentiles are over all rounds; each other figure is the median of the rounds.
"""

import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import psutil

from benchmarks.load import Cores, Sent, send
from benchmarks.operations import OPERATIONS, Subject
from benchmarks.postgres import PostgresServer
from benchmarks.run_crowd import Caller, Timings
from benchmarks.servers import PARLEY, SECRET, Running, Server, on, running
from benchmarks.watchers import Watcher

ROUNDS = int(os.environ.get("ROUNDS", "5"))
# Runs in a round that begin one after the other, and runs that begin at once.
ALONE = int(os.environ.get("ALONE", "20"))
TOGETHER = int(os.environ.get("TOGETHER", "16"))
# Runs at once beside Q1.
RUNS = int(os.environ.get("RUNS", "200"))
CONVERSATIONS = int(os.environ.get("CONVERSATIONS", "1000"))
SOCKETS = int(os.environ.get("SOCKETS", "100"))
IDLE_SECONDS = float(os.environ.get("IDLE", "20"))
SECONDS = float(os.environ.get("SECONDS", "4"))
RATE = 100.0
CONNECTIONS = 4
# Deltas of an answer beside Q1, and milliseconds between two.
PIECES, PIECE_MILLISECONDS = 60, 33
WARM_UP = int(os.environ.get("WARM_UP", "32"))
WAIT_SECONDS = 120.0
# Seconds after which the server has done what follows the last answer.
SETTLING_SECONDS = 1.0
# A caller may have 1,000 running conversations, so each part has a caller of its own.
LATENCY, PAGES, WAITING = "latency", "pages", "waiting"

PAGE = "query { conversations(first: 100) { edges { cursor node { id } } } }"
DELTAS = "subscription ($id: ID!) { messageDeltas(conversationId: $id) { answerId text } }"


@dataclass
class Figures:
    """The figures of one database, in milliseconds unless the name says otherwise."""

    alone: list[Timings] = field(default_factory=list[Timings])
    together: list[Timings] = field(default_factory=list[Timings])
    idle_pages: list[Sent] = field(default_factory=list[Sent])
    busy_pages: list[Sent] = field(default_factory=list[Sent])
    finished: int = 0
    bytes_each: float = 0.0
    idle_share: float = 0.0

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield the rows of the table."""
        for name, rounds in (("one after the other", self.alone), (f"{TOGETHER} at once", self.together)):
            answered = sorted(itertools.chain.from_iterable(each.answered for each in rounds))
            requested = sorted(itertools.chain.from_iterable(each.requested for each in rounds))
            yield f"{name}: the mutation's answer, p50 / p99, ms", _percentiles(answered)
            yield f"{name}: the request at the model, p50 / p99, ms", _percentiles(requested)
        idle, busy = (_median_p99(sents) for sents in (self.idle_pages, self.busy_pages))
        yield f"{RUNS} runs at once: finished", str(self.finished)
        yield "Q1 beside them, p99 to that without, ms", f"{busy:.2f} / {idle:.2f} = {busy / idle:.1f}"
        yield f"memory of each of {CONVERSATIONS} conversations, kB", f"{self.bytes_each / 1000:.1f}"
        yield f"CPU while {CONVERSATIONS} wait and {SOCKETS} sockets listen, of a core", f"{self.idle_share:.2%}"


def main() -> None:
    """Measure and print."""
    cores = Cores.of_machine()
    print(f"run_load: {ROUNDS} rounds of {ALONE} runs one after the other and {TOGETHER} at once\n")
    print("| | SQLite | PostgreSQL |\n|---|--:|--:|", flush=True)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        with on(cores.database):
            postgres = stack.enter_context(PostgresServer())
        url = stack.enter_context(postgres.database())
        on_sqlite = _measure(str(directory / "parley.db"), directory / "sqlite", cores)
        on_postgres = _measure(url, directory / "postgres", cores)
    for (name, first), (_, second) in zip(on_sqlite.lines(), on_postgres.lines(), strict=True):
        print(f"| {name} | {first} | {second} |")


def _measure(database: str, data_dir: Path, cores: Cores) -> Figures:
    figures = Figures()
    with running(_server(), database, data_dir, cores) as parley, on(cores.load):
        with _crowd(parley, LATENCY) as crowd:
            _created(crowd, WARM_UP, 1)
            _created(crowd, WARM_UP, TOGETHER)
            for _ in range(ROUNDS):
                figures.alone.append(_created(crowd, ALONE, 1))
                figures.together.append(_created(crowd, TOGETHER, TOGETHER))
        with _crowd(parley, PAGES) as crowd:
            _beside_pages(parley, crowd, figures)
        with _crowd(parley, WAITING) as crowd:
            before = _private_bytes(parley)
            ids = _created(crowd, CONVERSATIONS, TOGETHER).ids
            time.sleep(SETTLING_SECONDS)
            figures.bytes_each = (_private_bytes(parley) - before) / CONVERSATIONS
            figures.idle_share = asyncio.run(_idle(parley, ids[:SOCKETS]))
    return figures


def _server() -> Server:
    environment = {
        "PARLEY_LLM_PRIVATE_BASE_URLS": "true",
        "PARLEY_MAX_CONCURRENT_CONVERSATIONS": "1000",
        "PARLEY_MAX_CONNECTIONS_PER_CALLER": "10000",
        "PARLEY_MAX_CONNECTIONS_PER_ADDRESS": "10000",
    }
    return replace(PARLEY, environment={**PARLEY.environment, **environment})


def _token(caller: str) -> str:
    return jwt.encode({"sub": caller, "exp": datetime.now(UTC) + timedelta(hours=2)}, SECRET, "HS256")


@contextmanager
def _crowd(parley: Running, caller: str) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.run_crowd", parley.url, _token(caller)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert _line(process) == "ready"
        yield process
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        message = "the crowd has ended"
        raise RuntimeError(message)
    return line.strip()


def _begin(crowd: subprocess.Popen[str], count: int, at_once: int, pieces: int, milliseconds: int) -> None:
    assert crowd.stdin is not None
    crowd.stdin.write(f"{count} {at_once} {pieces} {milliseconds}\n")
    crowd.stdin.flush()


def _created(crowd: subprocess.Popen[str], count: int, at_once: int) -> Timings:
    _begin(crowd, count, at_once, 1, 0)
    return Timings(**json.loads(_line(crowd)))


def _beside_pages(parley: Running, crowd: subprocess.Popen[str], figures: Figures) -> None:
    """Send Q1 at a fixed rate, without runs and then while all of them begin and are answered."""
    subjects = asyncio.run(_subjects(parley))
    numbers = itertools.count()
    # Its work must not delay what measures, on the same core.
    os.sched_setscheduler(crowd.pid, os.SCHED_IDLE, os.sched_param(0))
    for _ in range(ROUNDS):
        figures.idle_pages.append(_pages(parley, subjects, numbers))
        _begin(crowd, RUNS, RUNS, PIECES, PIECE_MILLISECONDS)
        figures.busy_pages.append(_pages(parley, subjects, numbers))
        figures.finished = len(Timings(**json.loads(_line(crowd))).ids)
        time.sleep(SETTLING_SECONDS)


def _pages(parley: Running, subjects: Sequence[Subject], numbers: Iterator[int]) -> Sent:
    count = int(RATE * SECONDS) + 1
    requests = [parley.server.request(OPERATIONS["q1"], subjects, next(numbers)) for _ in range(count)]
    headers = {**parley.headers(), "authorization": f"Bearer {_token(LATENCY)}"}
    encoded = [request.encode(headers) for request in requests]
    return send(parley.port, encoded, connections=CONNECTIONS, seconds=SECONDS, rate=RATE)


async def _subjects(parley: Running) -> list[Subject]:
    caller = Caller(parley.url, _token(LATENCY))
    await caller.connect()
    try:
        page = await caller.ask(PAGE)
    finally:
        caller.close()
    return [Subject(edge["node"]["id"], edge["cursor"]) for edge in page["edges"]]


class _Silence:
    """Nothing is to be received."""

    def note(self, message: bytes) -> None:
        raise AssertionError(message)

    def lose(self, reason: str) -> None:
        """Connections are lost at the end."""


async def _idle(parley: Running, ids: Sequence[str]) -> float:
    """Return the server's share of a core while a socket listens to each of these conversations."""
    headers = {"authorization": f"Bearer {_token(WAITING)}"}
    watchers = list[Watcher]()
    for conversation_id in ids:
        payload = {"query": DELTAS, "variables": {"id": conversation_id}}
        watcher = Watcher(_Silence(), "/graphql", payload, headers=headers, has_snapshot=False)
        await asyncio.get_running_loop().create_connection(lambda watcher=watcher: watcher, "127.0.0.1", parley.port)
        watchers.append(watcher)
    await asyncio.sleep(SETTLING_SECONDS)
    cpu, began = parley.cpu_seconds(), time.perf_counter()
    await asyncio.sleep(IDLE_SECONDS)
    share = (parley.cpu_seconds() - cpu) / (time.perf_counter() - began)
    for watcher in watchers:
        watcher.transport.abort()
    return share


def _private_bytes(parley: Running) -> int:
    return psutil.Process(parley.process.pid).memory_full_info().uss


def _percentiles(values: Sequence[float]) -> str:
    p50, p99 = (values[min(len(values) - 1, int(len(values) * share))] for share in (0.5, 0.99))
    return f"{p50:.1f} / {p99:.1f}"


def _median_p99(sents: Sequence[Sent]) -> float:
    return statistics.median(sent.percentile(0.99) for sent in sents)
