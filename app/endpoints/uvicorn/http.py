"""HTTP connections that are bounded before anything is parsed.

httptools puts a header, or an address, together from its pieces in quadratic time, and uvicorn waits for a head or a
body for ever. So bytes are counted here before the parser gets them, and one timer for each connection looks at how
long its request takes. What those send who have shown no good token, and long heads of everybody, is taken up in turns.
"""

import asyncio
from typing import Any, ClassVar, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.endpoints.connections import ABORT, LONG_BODY, TRUST, ConnectionLimits, Gate, Seat
from app.endpoints.uvicorn.flow import TurnedFlow, take_apart
from app.endpoints.uvicorn.head import HeadBounds
from app.endpoints.uvicorn.refusal import FULL, MALFORMED, TOO_SLOW, Refusal, full
from app.endpoints.uvicorn.turns import SMALL_BYTES, Priority, Turns
from app.endpoints.uvicorn.upgrade import framing_of, parser_behind
from app.endpoints.uvicorn.websocket import WebSocketProtocol

_HEALTH = frozenset({"/health/live", "/health/ready"})
_HEALTH_STARTS = (b"GET /health/", b"HEAD /health/")
# How much the parser gets at once, before what it found is counted.
_PIECE_BYTES = 16 * 1024
# The sizes of chunks, what is written beside them, and trailers: as much at once, and in all in proportion to the body.
_FREE_FRAMING_BYTES = 16 * 1024
_FRAMING_PER_BYTE = 0.25
# Each chunk costs a call of Python: those of a body with more of them than this are taken up in turns.
_MUCH_FRAMING_PER_BYTE = 0.01
_MAX_WAITING_REQUESTS = 64
# What waits of a file for a client that does not read, beside the piece that comes next.
_UNREAD_BYTES = 16 * 1024
_LOOK_SECONDS = 5.0
# A refusal would be lost where what was sent after it is not read.
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 1024 * 1024


class HTTPProtocol(HttpToolsProtocol):
    """uvicorn's, with bounds.

    A connection has one timer for all its times, which looks whether one of them is over. uvicorn makes and cancels
    a timer for each request, which costs 4 µs more (81 µs a request in the place of 85).
    """

    gate: ClassVar[Gate] = Gate(ConnectionLimits())
    turns: ClassVar[Turns] = Turns()
    _seat: Seat | None = None
    _turned: TurnedFlow
    _head_bounds: HeadBounds
    _timer: asyncio.TimerHandle | None = None
    # Since when the head comes, the body comes, or nothing does.
    _since: float = 0.0
    # When it is ended if it has not by itself; ``None`` while it is open.
    _end_at: float | None = None
    _unwritable_since: float | None = None
    # The request that is answered, or was last; ``cycle`` is the one that comes.
    _answered: RequestResponseCycle | None = None
    _in_head: bool = True
    _head_bytes: int = 0
    # What has come, and waits for its turn.
    _waiting: bytes = b""
    _waits_as: Priority = Priority.LARGE
    _held_bytes: int = 0
    # How many heads and how many messages were complete so far.
    _heads: int = 0
    _messages: int = 0
    _framing_bytes: int = 0
    # What has come since the last of the body.
    _framing_at_once: int = 0
    _body_bytes: int = 0
    # When a part of the time for a body began, and how much of the body there was.
    _window: tuple[float, int] = (0.0, 0)
    _discarded_bytes: int = 0
    # Whether the body may take longer than others.
    _has_long_body: bool = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.flow = self._turned = TurnedFlow(transport)
        self._head_bounds = HeadBounds(self.gate.limits)
        transport.set_write_buffer_limits(high=_UNREAD_BYTES)
        self._seat = self.gate.enter(self.client[0] if self.client else "", transport.abort)
        self._since = self.loop.time()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._let_go()
        # These refer to each other, and would wait for the garbage collector with all that is in them.
        self.pipeline.clear()
        for name in ("parser", "scope", "cycle", "_answered"):
            setattr(self, name, None)
        take_apart(self.transport)
        if self._seat is not None:
            self._seat.leave()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._unwritable_since = self.loop.time()

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        self._unwritable_since = None

    def data_received(self, data: bytes) -> None:
        """Take it up now, or when it is this connection's turn; nothing more is read until then."""
        priority = self._priority(data)
        if priority is None and not self._waiting:
            self._take(data)
            return
        is_first = not self._waiting
        self._waiting += data
        if not self.turns.hold(len(data)) and priority is Priority.LARGE:
            self._stop_waiting()
            self._refuse(FULL)
        elif is_first:
            self._wait(priority or Priority.CALLER)

    def _wait(self, priority: Priority) -> None:
        self._waits_as = priority
        if not self.turns.take(priority, min(len(self._waiting), _PIECE_BYTES), self._take_waiting):
            self._turned.hold_back()

    def _priority(self, data: bytes) -> Priority | None:
        """``None``: it is taken up at once. So are health checks, and whatever small comes from who has a token."""
        if self._end_at is not None:
            return None
        is_small = len(data) <= SMALL_BYTES
        if self._seat is not None and self._seat.is_trusted:
            is_body = not self._in_head and self._framing_bytes <= _MUCH_FRAMING_PER_BYTE * self._body_bytes
            return None if is_small or is_body else Priority.CALLER
        if is_small and self._in_head and not self._head_bytes and data.startswith(_HEALTH_STARTS):
            return None
        return Priority.SMALL if is_small else Priority.LARGE

    def _stop_waiting(self) -> bytes:
        data, self._waiting = self._waiting, b""
        self.turns.release(len(data))
        return data

    def _take_waiting(self) -> None:
        """Take up a piece, when it is this connection's turn."""
        piece, self._waiting = self._waiting[:_PIECE_BYTES], self._waiting[_PIECE_BYTES:]
        self.turns.release(len(piece))
        try:
            self._take(piece)
        except BaseException:
            # Raised from what the loop calls for a connection, this ends it; here the loop would only tell of it.
            self.transport.abort()
            raise
        if self._end_at is not None:
            self._discard(len(self._stop_waiting()))
        if self._waiting:
            self._wait(self._waits_as)
        else:
            self._turned.let_on()

    def _take(self, data: bytes) -> None:
        """Give the parser as much as there is room for."""
        start = 0
        while start < len(data) and self._end_at is None:
            end = start + _PIECE_BYTES
            self._feed(data if not start and end >= len(data) else data[start:end])
            start = end
        if start < len(data):
            self._discard(len(data) - start)

    def handle_websocket_upgrade(self) -> None:
        """Another protocol takes over."""
        seat = self._seat
        if seat is None or seat.is_reserve:
            self._refuse(FULL)
            return
        try:
            self._head_bounds.check_handshake(self.url, self.headers)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        self._let_go()
        self._end_at = self.loop.time()
        super().handle_websocket_upgrade()
        self.transport.set_write_buffer_limits()
        successor = self.transport.get_protocol()
        if isinstance(successor, WebSocketProtocol):
            successor.seat = seat
        else:
            seat.leave()
        # It and its parser refer to each other, and nothing tells this protocol of the end of the connection.
        self.parser = None

    def on_url(self, url: bytes) -> None:
        """Part of an address."""
        super().on_url(url)
        self._head_bounds.check_address(self.url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those behind a body, which some clients send, are nothing to anybody here."""
        if not self._in_head:
            return
        super().on_header(name, value)
        self._head_bounds.count_header(self.headers[-1][0], value, len(self.headers))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False
        self._heads += 1
        self._end_head()
        self._framing_bytes = self._framing_at_once = self._body_bytes = self._discarded_bytes = 0
        self._since = self.loop.time()
        self._window = (self._since, 0)
        self._has_long_body = False
        super().on_headers_complete()
        if len(self.pipeline) > _MAX_WAITING_REQUESTS:
            raise Refusal(429, "TOO_MANY_REQUESTS", "A connection has too many requests waiting.")

    def on_body(self, body: bytes) -> None:
        """Part of a body."""
        self._body_bytes += len(body)
        super().on_body(body)
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > self.gate.limits.max_body_bytes:
                self.transport.abort()

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._in_head = True
        self._messages += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is complete; uvicorn's protocol calls this."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._in_head and not self._head_bytes:
            self._since = self.loop.time()

    def _feed(self, data: bytes) -> None:
        while data:
            data = self._feed_until_upgrade(data)

    def _feed_until_upgrade(self, data: bytes) -> bytes:
        heads, messages, body_bytes = self._heads, self._messages, self._body_bytes
        if self._in_head and not self._head_bytes:
            self._since = self.loop.time()
        parser = cast("httptools.HttpRequestParser", self.parser)
        try:
            parser.feed_data(data)
            if self._in_head:
                # Where a message ended in this piece, what is behind it is no longer than the piece.
                self._count_head(len(data) if messages == self._messages else 0)
            elif heads == self._heads:
                self._count_framing(len(data), self._body_bytes - body_bytes)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._should_upgrade():
                self._ignore_upgrade()
                return data[upgrade.args[0] :]
            self.handle_websocket_upgrade()
        except httptools.HttpParserError as error:
            self._refuse(error.__context__ if isinstance(error.__context__, Refusal) else MALFORMED)
        except Refusal as refusal:
            self._refuse(refusal)
        return b""

    def _ignore_upgrade(self) -> None:
        """Go on in HTTP/1.1 behind a head that asks for another protocol."""
        framing = framing_of(self.headers)
        self.parser = parser_behind(self, framing)
        if framing:
            # The old parser has said that the message was complete.
            self._in_head = False
            self._messages -= 1
            self.cycle.more_body = True
            self.cycle.message_event.clear()

    def _count_head(self, size: int) -> None:
        """Raise where a head gets too long before its end, or all of them together do."""
        self._head_bytes += size
        if self._head_bytes > self.gate.limits.max_head_bytes:
            raise self._head_bounds.too_long(getattr(self, "url", b""), has_headers=bool(self.headers))
        self._held_bytes += size
        if not self.gate.hold(size):
            raise FULL

    def _count_framing(self, size: int, body_bytes: int) -> None:
        """Raise where a body has much more around it than in it."""
        self._framing_bytes += size - body_bytes
        self._framing_at_once = 0 if body_bytes else self._framing_at_once + size
        if (
            self._framing_at_once > _FREE_FRAMING_BYTES
            or self._framing_bytes > _FREE_FRAMING_BYTES + _FRAMING_PER_BYTE * self._body_bytes
        ):
            raise MALFORMED

    def _end_head(self) -> None:
        self.gate.release(self._held_bytes)
        self._held_bytes = self._head_bytes = 0
        self._head_bounds.clear()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer, unless an answer has begun, and end. What still comes is not looked at."""
        if self._end_at is not None or self.transport.is_closing():
            return
        self._end_head()
        self.pipeline.clear()
        cycle = self._answered
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.abort()
                return
        self.transport.write(refusal.response())
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._end_at = self.loop.time() + _LINGER_SECONDS
        self._discarded_bytes = 0
        self._look_again(_LINGER_SECONDS)

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > _LINGER_BYTES:
            self.transport.abort()

    def _look(self) -> None:
        """End what takes too long; else look again when it may."""
        now = self.loop.time()
        left = self._seconds_left(now)
        if left > 0:
            self._look_again(min(left, _LOOK_SECONDS))
        elif self._end_at is not None or self._unwritable_since is not None:
            self.transport.abort()
        elif self._in_head and not self._head_bytes:
            self._end_at = now + self.gate.limits.write_seconds
            self._look_again(_LOOK_SECONDS)
            self.transport.close()
        else:
            self._refuse(TOO_SLOW)

    def _look_again(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(max(0.0, seconds), self._look)

    def _seconds_left(self, now: float) -> float:
        limits = self.gate.limits
        if self._end_at is None and self.transport.is_closing():
            self._end_at = now + limits.write_seconds
        if self._end_at is not None:
            return self._end_at - now
        if self._unwritable_since is not None and self._unwritable_since + limits.write_seconds <= now:
            return 0.0
        if not self._in_head:
            return self._seconds_left_for_body(now)
        if self._answered is not None and not self._answered.response_complete:
            return _LOOK_SECONDS
        if self._head_bytes or self._answered is None:
            return self._since + limits.head_seconds - now
        return self._since + self.timeout_keep_alive - now

    def _seconds_left_for_body(self, now: float) -> float:
        limits = self.gate.limits
        began, size = self._window
        if self.flow.read_paused:
            # The server is what it waits for.
            self._since += now - began
            self._window = (now, self._body_bytes)
        elif now - began >= _LOOK_SECONDS:
            if self._body_bytes - size < (now - began) * limits.body_least_bytes_per_second:
                return 0.0
            self._window = (now, self._body_bytes)
        next_look = self._window[0] + _LOOK_SECONDS
        return (next_look if self._has_long_body else min(next_look, self._since + limits.body_seconds)) - now

    def _expect_long_body(self) -> None:
        self._has_long_body = True

    def _let_go(self) -> None:
        self._end_head()
        self._stop_waiting()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _unset_keepalive_if_required(self) -> None:
        """There is none of uvicorn's own timer."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        scope = cast("dict[str, Any]", cycle.scope)
        if self._seat is not None:
            if self._seat.is_reserve:
                cycle.keep_alive = False
                if scope["path"] not in _HEALTH:
                    super()._start_asgi_task(cycle, full)
                    return
            scope["extensions"] = {
                TRUST: self._seat.trust,
                ABORT: self.transport.abort,
                LONG_BODY: self._expect_long_body,
            }
        super()._start_asgi_task(cycle, app)


def http_protocol(limits: ConnectionLimits) -> type[HTTPProtocol]:
    """The protocol with these limits, of one server: its connections are counted together."""
    return type("HTTPProtocol", (HTTPProtocol,), {"gate": Gate(limits), "turns": Turns()})
