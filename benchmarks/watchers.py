"""Lightweight WebSocket subscribers for benchmarks.

The ``websockets`` package takes longer for a message than the measured servers. These parse frames, answer pings, and
record when each ``next`` message arrives.
"""

import asyncio
import base64
import json
import os
import struct
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol, cast
from urllib.parse import urlsplit

CONNECTING_AT_ONCE = 50
WAIT_SECONDS = 60.0

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_SHORT, _MEDIUM = 126, 127
_NEXT = b'"type":"next"'
_OCCURRED_AT = b'"occurredAt":"'


class Crowd:
    """Many subscribers of one server, with the arrival times of each change."""

    def __init__(self) -> None:
        self.watchers: list[Watcher] = []
        self.sample = b""
        # Arrival times of each change, by its ``occurredAt``.
        self.arrivals: dict[str, list[float]] = {}
        self._lost: str | None = None
        self._changed = asyncio.Event()

    async def join(self, url: str, count: int, subscribe: object) -> None:
        """Connect and subscribe; return when each watcher has its first message."""
        limit = asyncio.Semaphore(CONNECTING_AT_ONCE)
        address = urlsplit(url)
        host, port = address.hostname or "127.0.0.1", address.port or 80

        async def one() -> None:
            async with limit, asyncio.timeout(WAIT_SECONDS):
                loop = asyncio.get_running_loop()
                _, watcher = await loop.create_connection(
                    lambda: Watcher(self, address.path or "/", subscribe), host, port
                )
                await watcher.ready
                self.watchers.append(watcher)

        await asyncio.gather(*(one() for _ in range(count)))

    async def until(self, changes: int) -> Sequence[float]:
        """Wait until each watcher has this many changes since ``forget``; return the latest one's latencies in ms."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.arrivals) < changes or any(
                len(times) < len(self.watchers) for times in self.arrivals.values()
            ):
                if self._lost is not None:
                    raise ConnectionError(self._lost)
                await self._changed.wait()
                self._changed.clear()
        assert [len(times) for times in self.arrivals.values()] == [len(self.watchers)] * changes
        occurred_at, times = list(self.arrivals.items())[-1]
        moment = _timestamp(occurred_at)
        return [(arrived - moment) * 1000 for arrived in times]

    def forget(self) -> None:
        """Reset the recorded changes."""
        self.arrivals.clear()

    def close(self) -> None:
        """Abort all connections."""
        for watcher in self.watchers:
            watcher.transport.abort()

    def note(self, message: bytes) -> None:
        """Record a change; watchers call this."""
        arrived = time.time()
        start = message.index(_OCCURRED_AT) + len(_OCCURRED_AT)
        occurred_at = message[start : message.index(b'"', start)].decode()
        times = self.arrivals.setdefault(occurred_at, [])
        times.append(arrived)
        if len(times) >= len(self.watchers):
            self.sample = message
            self._changed.set()

    def lose(self, reason: str) -> None:
        """Record that the server closed a connection; watchers call this."""
        self._lost = reason
        self._changed.set()


class Listener(Protocol):
    """Receives the messages of a watcher."""

    def note(self, message: bytes) -> None:
        """Take a message; the first one is not passed on, it only makes the watcher ready."""
        ...

    def lose(self, reason: str) -> None:
        """Note that the connection has ended."""
        ...


class Watcher(asyncio.Protocol):
    """One socket. ``has_snapshot``: the first message is the snapshot, which tells that the subscription is active."""

    def __init__(
        self,
        crowd: Listener,
        path: str,
        subscribe: object,
        *,
        headers: Mapping[str, str] | None = None,
        has_snapshot: bool = True,
    ) -> None:
        self._crowd = crowd
        self._path = path
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._has_snapshot = has_snapshot
        self._to_say = [
            json.dumps({"type": "connection_init"}),
            json.dumps({"id": "1", "type": "subscribe", "payload": subscribe}),
        ]
        self._buffer = b""
        self._is_open = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport does not inherit from asyncio's, so it needs a cast.
        watched = self.transport = cast("asyncio.Transport", transport)
        host, port = transport.get_extra_info("peername")[:2]
        watched.write(
            f"GET {self._path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: graphql-transport-ws\r\n{self._headers}\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_open:
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            assert b" 101 " in head, head
            self._is_open, self._buffer = True, rest
            self._say()
        while (frame := self._frame()) is not None:
            self._take(*frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.lose(f"A connection was lost: {exc}")

    def _frame(self) -> tuple[int, bytes] | None:
        """Parse the next frame into opcode and payload; servers do not mask."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, start = buffer[1], 2
        if length == _SHORT:
            length, start = struct.unpack_from(">H", buffer, 2)[0] if len(buffer) >= 4 else 1 << 16, 4
        elif length == _MEDIUM:
            length, start = struct.unpack_from(">Q", buffer, 2)[0] if len(buffer) >= 10 else 1 << 62, 10
        if len(buffer) < start + length:
            return None
        self._buffer = buffer[start + length :]
        return buffer[0] & 15, buffer[start : start + length]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self._send(_PONG, payload)
        elif opcode == _CLOSE:
            self._crowd.lose(f"The server closed a connection: {payload!r}")
        elif _NEXT not in payload.replace(b'"type": "', b'"type":"'):
            self._say()
        elif self.ready.done() or not self._has_snapshot:
            self._crowd.note(payload)
        else:
            self.ready.set_result(None)

    def _say(self) -> None:
        if self._to_say:
            self._send(_TEXT, self._to_say.pop(0).encode())

    def _send(self, opcode: int, payload: bytes) -> None:
        """Send a frame with a mask of zeros, which leaves the payload unchanged."""
        length = len(payload)
        size = bytes([0x80 | length]) if length < _SHORT else b"\xfe" + struct.pack(">H", length)
        self.transport.write(bytes([0x80 | opcode]) + size + bytes(4) + payload)


def _timestamp(occurred_at: str) -> float:
    return datetime.fromisoformat(occurred_at).timestamp()
