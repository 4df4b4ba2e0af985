"""A load generator: HTTP/1.1 keep-alive connections, each of which sends a request when the last one is answered.

It runs in the benchmark's own process, on a core that no server uses. It takes 28 µs for a request with an answer of
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
    """A response was not 200; the message has its beginning."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request: ``GET`` if it has no body, else ``POST``."""

    path: str
    body: bytes | None = None

    def encode(self, headers: Mapping[str, str]) -> bytes:
        """Encode head and body."""
        lines = [f"{'GET' if self.body is None else 'POST'} {self.path} HTTP/1.1", "host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if self.body is not None:
            lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + (self.body or b"")


@dataclass(frozen=True, slots=True)
class Sent:
    """The result of a measurement: its duration, and the sorted latencies of all answers."""

    seconds: float
    milliseconds: Sequence[float]

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.milliseconds) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency within which this share of the requests was answered."""
        return self.milliseconds[min(len(self.milliseconds) - 1, int(len(self.milliseconds) * share))]


def send(port: int, requests: Sequence[bytes], *, connections: int, seconds: float, rate: float | None = None) -> Sent:
    """Send ``requests`` in turn, in a cycle. Raises Refused or TimeoutError.

    With ``rate``, the requests per second are fixed, spread over the connections; else each answer triggers the next
    request. If an answer is late, the latency of the next request counts from its due time (no coordinated omission).
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
            # Let other processes on this core catch up with work that this process has delayed.
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
    """State that the connections of one measurement share."""

    def __init__(
        self, requests: Iterator[bytes], connections: int, finished: asyncio.Future[None], interval: float | None
    ) -> None:
        self.requests = requests
        self.open = connections
        self.finished = finished
        # Seconds between two requests of a connection.
        self.interval = interval
        self.until = 0.0
        self.milliseconds: list[float] = []

    def fail(self, error: Exception) -> None:
        if not self.finished.done():
            self.finished.set_exception(error)


class _Client(asyncio.Protocol):
    """One connection. All measured servers send ``content-length``, so chunked answers are not supported."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._length = 0
        self._began = 0.0
        self._due = 0.0
        self._is_idle = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport does not inherit from asyncio's, so it needs a cast.
        self._transport = cast("asyncio.WriteTransport", transport)

    def start(self, seconds: float) -> None:
        """Send the first request after this delay."""
        self._due = time.perf_counter() + seconds
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self.begin)
        else:
            self.begin()

    def begin(self, late_since: float | None = None) -> None:
        assert self._transport is not None
        self._is_idle = False
        # If the timer itself was late, that is not the server's latency.
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
        """Return the length of the whole response; 0 while its head is incomplete."""
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return 0
        head = received[:end].lower()
        _, separator, rest = head.partition(b"\r\ncontent-length:")
        if not head.startswith(b"http/1.1 200 ") or not separator:
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
    """The processors of server, load and database; ``None`` on a machine with only one."""

    server: frozenset[int] | None = None
    load: frozenset[int] | None = None
    database: frozenset[int] | None = None

    @classmethod
    def of_machine(cls) -> "Cores":
        """Use the last core for the server, the first for the load, and the others, if any, for the database."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) == 1:
            return cls()
        rest = frozenset(cores[1:-1]) or frozenset(cores[:1])
        return cls(frozenset(cores[-1:]), frozenset(cores[:1]), rest)
