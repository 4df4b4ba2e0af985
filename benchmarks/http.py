"""Requests over HTTP to Parley, the raw limit and the peers, in interleaved rounds.

``ROUNDS``, ``SECONDS`` (of one measurement), ``CONNECTIONS`` and ``CONVERSATIONS`` come from the environment. So does
``SERVERS``, a list of the servers to measure: ``SERVERS="Parley,raw limit"``.
"""

import os
import random
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import data, report
from benchmarks.load import Cores, send
from benchmarks.operations import OPERATIONS, Operation, Subject
from benchmarks.servers import PARLEY, PARLEY_TEXT, PEERS, RAW, Running, Server, on, running

ROUNDS = int(os.environ.get("ROUNDS", "7"))
SECONDS = float(os.environ.get("SECONDS", "1"))
CONNECTIONS = int(os.environ.get("CONNECTIONS", "32"))
CONVERSATIONS = int(os.environ.get("CONVERSATIONS", "100000"))
# Requests that are prepared for each second; more than any server can answer.
MOST_PER_SECOND = 50_000
CHECKED = 3
CHOSEN = {name.strip() for name in os.environ.get("SERVERS", "").split(",") if name.strip()}


@dataclass(frozen=True)
class Measurement:
    """One server's results of one round: latencies in milliseconds, ``cpu`` in microseconds for a request."""

    rate: float
    cpu: float
    p50: float
    p99: float


Round = dict[str, Measurement]


def measure(name: str) -> list[report.Line]:
    """Measure one operation on all servers that support it, and return the lines of its table."""
    operation = OPERATIONS[name]
    chosen = [server for server in available((PARLEY, PARLEY_TEXT, RAW, *PEERS)) if name in server.operations]
    file = data.sqlite_file(CONVERSATIONS)
    subjects = data.subjects(file, have_events=operation.has_events)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        databases = [str(data.copy_of(file, directory / f"{number}.db")) for number in range(len(chosen))]
        return measure_on(chosen, databases, operation, subjects, directory)


def measure_on(
    servers: Sequence[Server],
    databases: Sequence[str],
    operation: Operation,
    subjects: Sequence[Subject],
    directory: Path,
) -> list[report.Line]:
    """Measure servers, each on its own database; ``directory`` is for their files."""
    cores = Cores.of_machine()
    with ExitStack() as stack:
        started = [
            stack.enter_context(running(server, database, directory / str(number), cores))
            for number, (server, database) in enumerate(zip(servers, databases, strict=True))
        ]
        check_same(started, operation, subjects)
        stack.enter_context(on(cores.load))
        asked = [_Asked(each, operation, subjects) for each in started]
        for one in asked:
            one.load()
        rounds = [_round(asked) for _ in range(ROUNDS)]
    return [_line(server.name, rounds) for server in servers]


def available(servers: Sequence[Server]) -> list[Server]:
    """Return the chosen servers whose packages are installed; print which ones are left out."""
    installed: list[Server] = []
    for server in servers:
        if CHOSEN and server.name not in CHOSEN and server is not RAW:
            continue
        if server.is_installed:
            installed.append(server)
        else:
            print(f"{server.name} is not installed, and left out")
    return installed


def check_same(started: Sequence[Running], operation: Operation, subjects: Sequence[Subject]) -> None:
    """Raise RuntimeError unless all servers give the same answers, except for times of changes, also the second time.

    It uses the last conversations of the sequence, so that the measurement does not ask for them soon.
    """
    numbers = range(max(0, len(subjects) - CHECKED), len(subjects))
    for number in [*numbers, *(len(subjects) + number for number in numbers)]:
        answers = [(each.server.name, _answer(each, operation, subjects, number)) for each in started]
        for name, answer in answers:
            if answer != answers[0][1]:
                raise RuntimeError(
                    f"{name} answers {str(answer)[:600]}\n{answers[0][0]} answers {str(answers[0][1])[:600]}"
                )


def _answer(running: Running, operation: Operation, subjects: Sequence[Subject], number: int) -> Any:
    answer = running.ask(running.server.request(operation, subjects, number))
    if running.server.is_rest:
        return {"data": {"conversations" if operation.name == "Page" else "conversation": answer}}
    if operation.name == "Rename":
        answer["data"]["renameConversation"]["conversation"].pop("updatedAt")
    return answer


class _Asked:
    """A server with its position in the sequence of requests, which is the same for all servers."""

    def __init__(self, server: Running, operation: Operation, subjects: Sequence[Subject]) -> None:
        self.name = server.server.name
        self._server = server
        self._operation = operation
        self._subjects = subjects
        self._answered = 0
        self._prepared = int(MOST_PER_SECOND * SECONDS)

    def load(self) -> Measurement:
        """Send requests for some seconds, from the current position on."""
        server, running, headers = self._server.server, self._server, self._server.headers()
        numbers = range(self._answered, self._answered + self._prepared)
        requests = [server.request(self._operation, self._subjects, number).encode(headers) for number in numbers]
        before = running.cpu_seconds()
        sent = send(running.port, requests, connections=1 if server.is_slow else CONNECTIONS, seconds=SECONDS)
        count = len(sent.milliseconds)
        cpu = (running.cpu_seconds() - before) / count * 1e6
        self._answered += count
        # This leaves a margin; preparing many more would take as long as the measurement.
        self._prepared = 4 * count + CONNECTIONS
        return Measurement(sent.rate, cpu, sent.percentile(0.5), sent.percentile(0.99))


def _round(asked: Sequence[_Asked]) -> Round:
    return {one.name: one.load() for one in random.sample(asked, len(asked))}


def _line(name: str, rounds: Sequence[Round]) -> report.Line:
    own = [one[name] for one in rounds]
    ratios = [one[name].rate / one[RAW.name].rate for one in rounds]
    behind = [one[PARLEY.name].rate / one[name].rate for one in rounds if PARLEY.name in one]
    return report.Line(
        name=name,
        rate=statistics.median(one.rate for one in own),
        ratio=statistics.median(ratios),
        least=min(ratios),
        most=max(ratios),
        behind=statistics.median(behind) if behind else None,
        cpu=statistics.median(one.cpu for one in own),
        p50=statistics.median(one.p50 for one in own),
        p99=statistics.median(one.p99 for one in own),
    )
