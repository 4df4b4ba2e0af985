"""Floods a server with WebSockets that have no good token, as a process: ``python -m benchmarks.flooder PORT``.

For a line ``KIND SOCKETS SECONDS`` it opens that many sockets at the same moment, sends on each what the kind says, and
opens another one as soon as one ends. Then it prints ``ended OPENED``, the number of all that it opened. It ends when
its standard input is closed.
"""

import asyncio
import json
import os
import sys
from typing import cast

import uvloop

UPGRADE = (
    b"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
MAX_OPENED = 1_000_000
# Seconds until a socket is opened instead of one that could not be: the server's queue is full.
RETRY_SECONDS = 0.05
_END_SECONDS = 5.0
_NICE = 5


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """Build a masked frame; the mask changes nothing."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes([opcode]) + size + bytes(4) + payload


_INIT = {"type": "connection_init", "payload": {"Authorization": "Bearer a.b.c"}}
# What a socket sends behind its handshake; nothing for the flood of handshakes.
KINDS = {
    "upgrades": b"",
    "connection_init": frame(0x81, json.dumps(_INIT).encode()),
    "fragments": frame(0x01, b"x") + frame(0x00, b"x") * 500,
    "messages": frame(0x81, b'{"type":"ping"}') * 500,
    "pings": frame(0x89, b"x") * 500,
    "binary": frame(0x82, b"x" * 60_000),
    "text": frame(0x81, b"x" * 15_000),
}


class Flood:
    """The sockets of one flood."""

    def __init__(self, port: int, payload: bytes) -> None:
        self._port = port
        self.payload = payload
        self.opened = 0
        self.is_over = False
        self._sockets = set[_Socket]()
        self._opening = set[asyncio.Task[None]]()

    def open(self) -> None:
        """Open a socket."""
        if not self.is_over and self.opened < MAX_OPENED:
            self.opened += 1
            task = asyncio.ensure_future(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: _Socket(self), "127.0.0.1", self._port)
        except OSError:
            await asyncio.sleep(RETRY_SECONDS)
            self.open()

    def enter(self, socket: "_Socket") -> None:
        """Note a socket that is open."""
        self._sockets.add(socket)

    def leave(self, socket: "_Socket") -> None:
        """Replace a socket that has ended."""
        self._sockets.discard(socket)
        self.open()

    async def end(self) -> None:
        """Abort all sockets."""
        self.is_over = True
        for task in self._opening:
            task.cancel()
        if self._opening:
            await asyncio.wait(self._opening, timeout=_END_SECONDS)
        for socket in list(self._sockets):
            socket.transport.abort()


class _Socket(asyncio.Protocol):
    """Sends the handshake, then the payload behind the server's answer, and ends at whatever comes then."""

    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        self._is_accepted = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport does not inherit from asyncio's, so it needs a cast.
        self.transport = cast("asyncio.Transport", transport)
        self._flood.enter(self)
        self.transport.write(UPGRADE)

    def data_received(self, data: bytes) -> None:
        # A pong is no end: the server is to end the flood, not the client.
        if self._is_accepted and data[:1] == b"\x8a":
            return
        if self._is_accepted or not self._flood.payload:
            self.transport.abort()
            return
        self._is_accepted = True
        self.transport.write(self._flood.payload)

    def connection_lost(self, exc: Exception | None) -> None:
        self._flood.leave(self)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        kind, sockets, seconds = line.split()
        flood = Flood(port, KINDS[kind])
        for _ in range(int(sockets)):
            flood.open()
        await asyncio.sleep(float(seconds))
        await flood.end()
        print(f"ended {flood.opened}", flush=True)


if __name__ == "__main__":
    # The prober may share its processor, and must not wait for it.
    os.nice(_NICE)
    uvloop.run(_serve(int(sys.argv[1])))
