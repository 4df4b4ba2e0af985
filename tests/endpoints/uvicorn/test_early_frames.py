"""Frames of a socket without a token are parsed in turns: whatever many send at once, others are served in between."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.endpoints.connections import TRUST, ConnectionLimits
from app.endpoints.uvicorn.http import http_protocol
from app.endpoints.uvicorn.turns import Priority, Turns
from app.endpoints.uvicorn.websocket import EARLY_FRAMES, WebSocketProtocol
from tests.endpoints.uvicorn.test_websocket import frame
from tests.support.iterations import Iterations
from tests.support.patience import WAIT_SECONDS
from tests.support.raw import UPGRADE

# As many frames as are allowed at once.
BURST = EARLY_FRAMES[1]


class Transport(asyncio.Transport):
    """Takes what is written, and tells whether the other end would be read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_paused = False
        self.is_ended = False
        self._protocol: asyncio.BaseProtocol | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        self.written += data

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else default

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return self.is_ended

    def close(self) -> None:
        self.is_ended = True

    abort = close


class Socket:
    """A WebSocket whose application notes what it receives, and trusts the client after one message if asked to."""

    def __init__(self, turns: Turns, iterations: Iterations, trusts: bytes = b"") -> None:
        self.received: list[str] = []
        self.iterations: list[int] = []
        self._now = iterations
        self._trusts = trusts.decode()
        self.transport = Transport()
        config = uvicorn.Config(self._serve, log_config=None, interface="asgi3", ws_ping_interval=None)
        self.protocol = WebSocketProtocol(config, ServerState(), {})
        self.protocol.turns = turns
        self.protocol.connection_made(self.transport)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            self.received.append(message["text"])
            self.iterations.append(self._now.number)
            if message["text"] == self._trusts:
                scope["extensions"][TRUST]()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.received) < count:  # noqa: ASYNC110  Nothing tells of it.
                await asyncio.sleep(0)

    async def end(self) -> None:
        self.protocol.connection_lost(None)
        async with asyncio.timeout(WAIT_SECONDS):
            while self.protocol.tasks:  # noqa: ASYNC110  As above.
                await asyncio.sleep(0)


async def opened(turns: Turns, iterations: Iterations, trusts: bytes = b"") -> Socket:
    made = Socket(turns, iterations, trusts)
    made.protocol.data_received(UPGRADE)
    async with asyncio.timeout(WAIT_SECONDS):
        while b" 101 " not in made.transport.written:  # noqa: ASYNC110  As above.
            await asyncio.sleep(0)
    return made


@pytest.fixture
async def busy() -> AsyncIterator[Turns]:
    """Turns in which the work of others waits, a piece for each iteration."""
    turns = Turns()

    async def work() -> None:
        for _ in range(100):
            turns.take(Priority.LARGE, 200_000, lambda: None)
        while True:
            turns.take(Priority.LARGE, 200_000, lambda: None)
            await asyncio.sleep(0)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    yield turns
    task.cancel()
    await asyncio.wait({task})


def texts(count: int) -> list[bytes]:
    return [b"%02d" % number for number in range(count)]


async def test_frames_that_many_send_at_once_are_spread_over_iterations() -> None:
    turns, iterations = Turns(), Iterations()
    sockets = [await opened(turns, iterations) for _ in range(100)]
    for each in sockets:
        each.protocol.data_received(b"".join(frame(0x81, text + b"x" * 100) for text in texts(BURST)))
    assert any(each.transport.is_paused for each in sockets)
    for each in sockets:
        await each.until(BURST)
        assert [text[:2].encode() for text in each.received] == texts(BURST)
        assert not each.transport.is_paused
        assert not each.transport.is_ended
    per_iteration = Counter(number for each in sockets for number in each.iterations)
    # All are 4,000.
    assert max(per_iteration.values()) <= 1000
    for each in sockets:
        await each.end()
    await iterations.end()


async def test_what_a_connection_sends_beyond_what_may_wait_ends_it(busy: Turns) -> None:
    iterations = Iterations()
    each = await opened(busy, iterations)
    each.protocol.data_received(frame(0x81, b"x" * 16_000) * 3)
    assert each.transport.is_ended
    assert each.transport.written.endswith(b"Too many bytes before connection_init")
    await asyncio.sleep(0)
    await each.end()
    assert each.received == []
    await iterations.end()


async def test_frames_behind_the_token_come_in_order_and_are_not_limited_as_before(busy: Turns) -> None:
    iterations = Iterations()
    each = await opened(busy, iterations, trusts=b"00")
    first, then = [b"00", *(text * 50 for text in texts(30))], [*texts(90), b"x" * 20_000]
    each.protocol.data_received(b"".join(frame(0x81, text) for text in first))
    assert each.received == []
    # The first piece has the token, and the others still wait.
    await each.until(1)
    assert len(each.received) < len(first)
    each.protocol.data_received(b"".join(frame(0x81, text) for text in then))
    await each.until(len(first) + len(then))
    assert [text.encode() for text in each.received] == first + then
    assert not each.transport.is_ended
    await each.end()
    await iterations.end()


async def test_a_connection_that_is_lost_before_its_turn_has_none(busy: Turns) -> None:
    iterations = Iterations()
    each = await opened(busy, iterations)
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    each.protocol.data_received(frame(0x81, b"00"))
    assert each.transport.is_paused
    each.transport.close()
    await each.end()
    for _ in range(100):
        await asyncio.sleep(0)
    assert each.received == []
    assert told == []
    await iterations.end()


@pytest.mark.parametrize("piece", [1, 7, 255, 256, 257])
async def test_pieces_of_any_size_are_put_together(piece: int) -> None:
    turns, iterations = Turns(), Iterations()
    each = await opened(turns, iterations)
    data = b"".join(frame(0x81, text * 100) for text in texts(20))
    for start in range(0, len(data), piece):
        each.protocol.data_received(data[start : start + piece])
        if each.transport.is_paused:
            await asyncio.sleep(0)
    await each.until(20)
    assert [text.encode() for text in each.received] == [text * 100 for text in texts(20)]
    await each.end()
    await iterations.end()


async def test_requests_come_before_handshakes_that_wait() -> None:
    served: list[str] = []

    async def serve(scope: Any, _receive: Any, send: Any) -> None:
        served.append(scope["type"])
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
        else:
            await send({"type": "websocket.close"})

    protocol = http_protocol(ConnectionLimits())
    config = uvicorn.Config(serve, log_config=None, interface="asgi3", ws=WebSocketProtocol, proxy_headers=False)
    config.load()
    transports: list[Transport] = []
    for head in [*[UPGRADE] * 100, b"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"]:
        transport = Transport()
        connection = protocol(config, ServerState(), {})
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(head)
        transports.append(transport)
    async with asyncio.timeout(WAIT_SECONDS):
        while len(served) < 101:  # noqa: ASYNC110  Nothing tells of it.
            await asyncio.sleep(0)
    # Those of the first turn were served before it came.
    assert served.index("http") < 50
    for transport in transports:
        cast("asyncio.Protocol", transport.get_protocol()).connection_lost(None)
