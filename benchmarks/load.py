"""Sends requests over some connections for some seconds: HTTP/1.1, kept alive, the next one when the last is answered.

It runs in the benchmark's own process, on a core that no server has. It takes 28 µs for a request and its answer of
6 kB, as wrk does; autocannon takes 125 µs, which left the raw limit idle for half of the time.
"""

import asyncio
import gc
import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import uvloop

ANSWER_SECONDS = 60.0
SETTLING_SECONDS = 0.05


class Refused(Exception):
    """An answer that is not the expected one; the message tells which."""


@dataclass(frozen=True, slots=True)
class Request:
    """``GET`` without a body, ``POST`` with one."""

    path: str
    body: bytes | None = None

    def encode(self, headers: Mapping[str, str]) -> bytes:
        """The bytes that are sent."""
        lines = [f"{'GET' if self.body is None else 'POST'} {self.path} HTTP/1.1", "host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if self.body is not None:
            lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + (self.body or b"")


@dataclass(frozen=True, slots=True)
class Sent:
    """What was answered in ``seconds``; ``milliseconds`` of each answer, in order of size."""

    seconds: float
    milliseconds: Sequence[float]

    @property
    def rate(self) -> float:
        """Answers in a second."""
        return len(self.milliseconds) / self.seconds

    def percentile(self, share: float) -> float:
        """The time within which that share was answered."""
        return self.milliseconds[min(len(self.milliseconds) - 1, int(len(self.milliseconds) * share))]


def send(port: int, requests: Sequence[bytes], *, connections: int, seconds: float, rate: float | None = None) -> Sent:
    """Send ``requests`` in turn, and again from the first. Raises Refused or TimeoutError.

    ``rate``: how many a second, each connection at moments of its own; ``None`` for as many as are answered. An answer
    that comes after the moment of the next request makes that one late, and its time counts from that moment.
    """
    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_send(port, requests, connections, seconds, rate))
    finally:
        gc.enable()


async def _send(port: int, requests: Sequence[bytes], connections: int, seconds: float, rate: float | None) -> Sent:
    loop = asyncio.get_running_loop()
    run = _Run(itertools.cycle(requests), connections, loop.create_future(), connections / rate if rate else None)
    clients = [(await loop.create_connection(lambda: _Client(run), "127.0.0.1", port))[1] for _ in range(connections)]
    try:
        if rate:
            # What this process did until here has kept others on its processor from their work.
            await asyncio.sleep(SETTLING_SECONDS)
        start = time.perf_counter()
        run.until = start + seconds
        for number, client in enumerate(clients):
            client.start((run.interval or 0) * number / connections)
        async with asyncio.timeout(seconds + ANSWER_SECONDS):
            await run.finished
        elapsed = time.perf_counter() - start
    finally:
        for client in clients:
            client.end()
    return Sent(elapsed, sorted(run.milliseconds))


class _Run:
    """What the connections of one call share."""

    def __init__(
        self, requests: Iterator[bytes], connections: int, finished: asyncio.Future[None], interval: float | None
    ) -> None:
        self.requests = requests
        self.open = connections
        self.finished = finished
        # Seconds between two requests on a connection.
        self.interval = interval
        self.until = 0.0
        self.milliseconds: list[float] = []

    def fail(self, error: Exception) -> None:
        if not self.finished.done():
            self.finished.set_exception(error)


class _Client(asyncio.Protocol):
    """One connection. Every server here tells ``content-length``, so an answer ends where that says."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._length = 0
        self._began = 0.0
        self._due = 0.0
        self._is_idle = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is none by inheritance.
        self._transport = cast("asyncio.WriteTransport", transport)

    def start(self, seconds: float) -> None:
        """Begin after so many seconds."""
        self._due = time.perf_counter() + seconds
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self.begin)
        else:
            self.begin()

    def begin(self, late_since: float | None = None) -> None:
        assert self._transport is not None
        self._is_idle = False
        # A timer that is late by itself is nothing that the server did.
        self._began = late_since or time.perf_counter()
        self._transport.write(next(self._run.requests))

    def _next(self, now: float, interval: float) -> None:
        self._due += interval
        if self._due > now:
            asyncio.get_running_loop().call_later(self._due - now, self.begin)
        else:
            self.begin(self._due)

    def end(self) -> None:
        self._is_idle = True
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data if self._received else data
        if not self._length:
            self._length = self._length_of(received)
        if self._length and len(received) >= self._length:
            self._answered()

    def _length_of(self, received: bytes) -> int:
        """Of the whole answer; 0 while its head is not there."""
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return 0
        head = received[:end].lower()
        _, found, rest = head.partition(b"\r\ncontent-length:")
        if not head.startswith(b"http/1.1 200 ") or not found:
            self._run.fail(Refused(received[:1000].decode(errors="replace")))
            return 0
        return end + 4 + int(rest.split(b"\r\n", 1)[0])

    def _answered(self) -> None:
        run, now = self._run, time.perf_counter()
        run.milliseconds.append((now - self._began) * 1000)
        self._received, self._length, self._is_idle = b"", 0, True
        if now < run.until:
            if run.interval is None:
                self.begin()
            else:
                self._next(now, run.interval)
            return
        run.open -= 1
        if not run.open and not run.finished.done():
            run.finished.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_idle:
            self._run.fail(Refused(f"the connection was closed: {exc}"))


@dataclass(frozen=True)
class Cores:
    """Which processors a server, the load and a database are on; ``None`` where there is only one."""

    server: frozenset[int] | None = None
    load: frozenset[int] | None = None
    database: frozenset[int] | None = None

    @classmethod
    def of_machine(cls) -> "Cores":
        """The last for the server, the first for the load; a database has what is left, or is with the load."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) == 1:
            return cls()
        rest = frozenset(cores[1:-1]) or frozenset(cores[:1])
        return cls(frozenset(cores[-1:]), frozenset(cores[:1]), rest)
