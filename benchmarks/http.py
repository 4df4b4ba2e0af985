"""Requests over HTTP: Parley, the raw limit and the peers, in interleaved rounds.

``ROUNDS``, ``SECONDS`` (of one measurement), ``CONNECTIONS`` and ``CONVERSATIONS`` come from the environment.
"""

import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import data, report
from benchmarks.operations import OPERATIONS, Operation
from benchmarks.servers import NODE_PEERS, PEERS, RAW, Running, Server, parley, running

ROUNDS = int(os.environ.get("ROUNDS", "7"))
SECONDS = float(os.environ.get("SECONDS", "1"))
CONNECTIONS = int(os.environ.get("CONNECTIONS", "32"))
CONVERSATIONS = int(os.environ.get("CONVERSATIONS", "100000"))
CALL_SECONDS = 60.0
SLOW_SECONDS = 3.0


@dataclass(frozen=True)
class Measurement:
    """What one server did for some seconds: latencies are in milliseconds, ``cpu`` in microseconds for a request."""

    rate: float
    cpu: float
    p50: float
    p99: float


def measure(name: str, servers: Sequence[Server] | None = None) -> list[report.Line]:
    """Measure one operation on all servers that have it; the lines of its table."""
    operation = OPERATIONS[name]
    chosen = [found for found in servers or available() if name in found.operations]
    file = data.sqlite_file(CONVERSATIONS)
    ids = data.ids(file, with_events=operation.ids == "with events")
    core = 1 if len(os.sched_getaffinity(0)) > 1 else None
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        started: list[Running] = []
        for number, server in enumerate(chosen):
            copy = data.copy_of(file, directory / f"{number}.db")
            started.append(stack.enter_context(running(server, str(copy), directory / str(number), core)))
        _check_same(started, operation, ids)
        for found in started:
            _load(found, operation, ids)
        rounds = [_round(started, operation, ids) for _ in range(ROUNDS)]
    return [_line(found.server.name, [one[found.server.name] for one in rounds], rounds) for found in started]


def available() -> list[Server]:
    """All servers whose packages are installed; says which are left out."""
    found = [parley(), RAW]
    for peer in PEERS:
        is_there = shutil.which(peer.command[0]) is not None and (
            peer.directory != NODE_PEERS or (NODE_PEERS / "node_modules").is_dir()
        )
        if is_there:
            found.append(peer)
        else:
            print(f"{peer.name} is not installed, and left out")
    return found


def _round(started: Sequence[Running], operation: Operation, ids: list[str]) -> dict[str, Measurement]:
    order = random.sample(started, len(started))
    return {found.server.name: _load(found, operation, ids) for found in order}


def _requests(found: Running, operation: Operation, ids: list[str]) -> list[dict[str, str]]:
    if not found.server.is_rest:
        return [{"method": "POST", "path": "/graphql", "body": body} for body in operation.bodies(ids)]
    if not operation.ids:
        return [{"method": "GET", "path": "/conversations?first=20"}]
    return [{"method": "GET", "path": f"/conversations/{key}"} for key in ids]


def _load(found: Running, operation: Operation, ids: list[str]) -> Measurement:
    given = {
        "url": found.url,
        "headers": found.headers(),
        "requests": _requests(found, operation, ids),
        "connections": 1 if found.server.is_slow else CONNECTIONS,
        "seconds": SLOW_SECONDS if found.server.is_slow else SECONDS,
    }
    before = found.cpu_seconds()
    sent = subprocess.run(
        ["node", "load.js"],
        input=json.dumps(given).encode(),
        cwd=NODE_PEERS,
        capture_output=True,
        timeout=CALL_SECONDS,
        check=True,
    )
    answer = json.loads(sent.stdout)
    if answer["failed"]:
        raise RuntimeError(f"{found.server.name}: {answer['failed']} requests failed")
    count = max(answer["count"], 1)
    cpu = (found.cpu_seconds() - before) / count * 1e6
    return Measurement(answer["count"] / answer["seconds"], cpu, answer["p50"], answer["p99"])


def _check_same(started: Sequence[Running], operation: Operation, ids: list[str]) -> None:
    """All answer the same, but for the time of a change."""
    answers: dict[str, object] = {}
    for found in started:
        request = _requests(found, operation, ids[:1])[0]
        answer = found.ask(request["method"], request["path"], request.get("body"))
        if found.server.is_rest:
            answer = {"data": {"conversation" if operation.ids else "conversations": answer}}
        if operation.name == "Rename":
            answer["data"]["renameConversation"]["conversation"].pop("updatedAt")
        answers[found.server.name] = answer
    expected = answers[started[0].server.name]
    for name, answer in answers.items():
        if answer != expected:
            raise RuntimeError(f"{name} answers otherwise: {str(answer)[:500]}\nexpected: {str(expected)[:500]}")


def _line(name: str, own: list[Measurement], rounds: list[dict[str, Measurement]]) -> report.Line:
    ratios = [one.rate / found[RAW.name].rate for one, found in zip(own, rounds, strict=True)]
    return report.Line(
        name=name,
        rate=statistics.median(one.rate for one in own),
        ratio=statistics.median(ratios),
        least=min(ratios),
        most=max(ratios),
        cpu=statistics.median(one.cpu for one in own),
        p50=statistics.median(one.p50 for one in own),
        p99=statistics.median(one.p99 for one in own),
    )
