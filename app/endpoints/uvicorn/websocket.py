"""uvicorn's WebSocket protocol with limits on frames and a close timeout."""

import asyncio
from typing import Any, Protocol, cast

from uvicorn._types import ASGIReceiveEvent
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame

from app.endpoints.connections import TRUST, Seat
from app.endpoints.uvicorn.flow import take_apart
from app.endpoints.uvicorn.turns import Priority, Turns

LINGER_SECONDS = 3.0
# The key of an ASGI extension, by which the application calls ``WebSocketProtocol.write``.
WRITE = "parley.websocket.write"
# The key of an ASGI extension, by which the application gives the account of what has come and is not read.
HELD = "parley.websocket.held"
# Message limit before authentication; ``connection_init`` has little more than the token.
EARLY_MESSAGE_BYTES = 16 * 1024
# Limits on frames of all types, also empty fragments and pings: (rate per second, burst).
EARLY_FRAMES = (10, 40)
FRAMES = (500, 2000)
TOO_MANY_FRAMES = 1008
TRY_AGAIN_LATER = 1013
# Bytes that are parsed at once, before authentication in one turn of the connection: most tokens fit in. 340 frames fit
# in, too, which take 2 ms, so parsing stops before that at those that are too many: 42 fit in an early piece.
_PIECE_BYTES = 2048
_EARLY_PIECE_BYTES = 256
# Limit of bytes that wait for their turn. After ``connection_init`` a client waits for the answer.
_MAX_WAITING_BYTES = 2 * EARLY_MESSAGE_BYTES
MESSAGE_TOO_BIG = 1009


class Account(Protocol):
    """Counts bytes that the server holds of one message."""

    def resize(self, size: int) -> bool:
        """Count as many bytes from now on; False if there is no room for them."""
        ...


class EarlyAccount:
    """Counts what a stranger has sent among the heads that are not complete."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._size = 0

    def resize(self, size: int) -> bool:
        """Count as many bytes from now on; False if there is no room for them."""
        grown, self._size = size - self._size, size
        return self._seat.hold(grown)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol class, whose ``send`` waits while more than 64 KiB are unread, so that no queue grows.

    After the application has ended, the client has 3 s to read what was sent, or it would keep the socket and the
    memory forever. There is no compression: 16 KiB may decompress to 16 MiB, which would block the event loop.
    """

    seat: Seat | None = None
    turns: Turns | None = None
    # Input that waits for the connection's turn.
    _waiting: bytes = b""
    _account: Account | None = None
    # Bytes of fragments whose message is not complete, and of messages that the application has not read.
    _fragment_bytes: int = 0
    _unread_bytes: int = 0
    _linger: asyncio.TimerHandle | None = None
    _is_trusted = False
    # The token bucket of frames, and when it was last refilled.
    _frames_left: float = EARLY_FRAMES[1]
    _counted_at: float = 0.0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn.available_extensions = []
        self.conn.max_message_size = min(EARLY_MESSAGE_BYTES, config.ws_max_size)
        self._counted_at = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Parse frames now, or before authentication in this connection's turn, until which reading is paused."""
        if self.turns is None or (self._is_trusted and not self._waiting):
            self._parse(data)
            return
        is_first = not self._waiting
        self._waiting += data
        if is_first:
            self._wait(self.turns)
        if len(self._waiting) > _MAX_WAITING_BYTES:
            self._fail(MESSAGE_TOO_BIG, "Too many bytes before connection_init")
        self._count()

    def _wait(self, turns: Turns) -> None:
        size = min(len(self._waiting), _PIECE_BYTES)
        if not turns.take(Priority.LARGE, size, lambda: self._take_waiting(turns)):
            self.transport.pause_reading()

    def _take_waiting(self, turns: Turns) -> None:
        """Parse a piece of the waiting input, in this connection's turn."""
        if self.transport.is_closing():
            self._waiting = b""
            return
        piece, self._waiting = self._waiting[:_PIECE_BYTES], self._waiting[_PIECE_BYTES:]
        try:
            self._parse(piece)
        except BaseException:
            # In ``data_received`` an exception would end the connection. Here the event loop would only log it.
            self.transport.abort()
            raise
        if self.transport.is_closing():
            self._waiting = b""
        elif self._waiting:
            self._wait(turns)
        elif not self.read_paused:
            self.transport.resume_reading()

    def _parse(self, data: bytes) -> None:
        """Parse frames piece by piece, until there are too many."""
        start = 0
        while start < len(data):
            if self.transport.is_closing():
                return
            end = start + (_PIECE_BYTES if self._is_trusted else _EARLY_PIECE_BYTES)
            super().data_received(data[start:end])
            start = end
        self._count()
        if not self.handshake_initiated and self.conn.handshake_exc is not None:
            # A head that is valid in HTTP but not for a WebSocket, such as a long line: uvicorn would not respond.
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def trust(self) -> None:
        """Raise the limits, since the client has authenticated."""
        if not self._is_trusted:
            self._is_trusted = True
            self.conn.max_message_size = self.config.ws_max_size
            self._frames_left = FRAMES[1]
            if self.seat is not None:
                self.seat.trust()

    def handle_text(self, event: Frame) -> None:
        if self._takes_frame():
            self._add(event)
            super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        if self._takes_frame():
            self._add(event)
            super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        if self._takes_frame():
            self._add(event)
            super().handle_cont(event)

    def handle_pong(self, event: Frame) -> None:
        if self._takes_frame():
            super().handle_pong(event)

    def handle_ping(self) -> None:
        if not self._takes_frame():
            return
        if self.writable.is_set():
            super().handle_ping()
        else:
            # The client sends pings, but does not read the pongs.
            self.transport.abort()

    def _takes_frame(self) -> bool:
        """Count a frame; False, with the connection closed, if there are too many."""
        if self.transport.is_closing():
            return False
        now = self.loop.time()
        per_second, at_once = FRAMES if self._is_trusted else EARLY_FRAMES
        self._frames_left = min(at_once, self._frames_left + (now - self._counted_at) * per_second) - 1
        self._counted_at = now
        if self._frames_left >= 0:
            return True
        self._fail(TOO_MANY_FRAMES, "Too many frames")
        return False

    def _fail(self, code: int, reason: str) -> None:
        if not self.close_sent:
            self.conn.fail(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code})
        self._end_soon()
        self.transport.close()

    def hold(self, account: Account) -> None:
        """Count what comes on another account from now on."""
        if self._account is not None:
            self._account.resize(0)
        self._account = account
        self._count()

    def _add(self, event: Frame) -> None:
        size = self._fragment_bytes + len(event.data)
        self._fragment_bytes = 0 if event.fin else size
        self._unread_bytes += size if event.fin else 0

    def _count(self) -> None:
        """Count what the server holds of this connection's messages; end it if all hold too much."""
        if self._account is None and self.seat is not None:
            self._account = EarlyAccount(self.seat)
        size = len(self._waiting) + len(self.conn.reader.buffer) + self._fragment_bytes + self._unread_bytes
        if self._account is not None and not self._account.resize(size) and not self.transport.is_closing():
            self._fail(TRY_AGAIN_LATER, "The server holds as many bodies as it can; try again.")

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        if self.queue.empty():
            self._unread_bytes = 0
            self._count()
            if self._waiting and not self.transport.is_closing():
                self.transport.pause_reading()
        return message

    def _end_soon(self) -> None:
        if self._linger is None:
            self._linger = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    async def run_asgi(self) -> None:
        extensions = cast("dict[str, object]", self.scope.get("extensions"))
        extensions[WRITE] = self.write
        extensions[TRUST] = self.trust
        extensions[HELD] = self.hold
        await super().run_asgi()
        # They refer to the connection, which refers to them.
        extensions.clear()
        if not self.disconnected:
            self._end_soon()

    def write(self, text: bytes) -> bool:
        """Send a text message without waiting; False if that is not possible now.

        It does the same as ASGI's ``send``, without its tasks and dictionaries.
        """
        if not self.writable.is_set() or self.close_sent or self.transport.is_closing():
            return False
        self.conn.send_text(text)
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._linger is not None:
            self._linger.cancel()
        self._waiting = b""
        super().connection_lost(exc)
        # It would wait for the next frame, and refers to the connection, until the garbage collector finds it.
        self.conn.parser.close()
        take_apart(self.transport)
        if self._account is not None:
            self._account.resize(0)
            self._account = None
        if self.seat is not None:
            self.seat.leave()
