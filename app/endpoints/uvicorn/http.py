"""uvicorn's HTTP protocol class with limits on sizes and times, and fair scheduling of connections.

httptools joins the pieces of a header or target in quadratic time, and uvicorn has no timeout for heads and bodies. So
bytes are counted before the parser gets them, and one timer for each connection checks how long its request takes.
Input of connections without a valid token, and long heads of all connections, is processed in turns.
"""

import asyncio
from typing import Any, ClassVar, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.endpoints.connections import ABORT, LONG_BODY, TRUST, ConnectionLimits, Gate, Seat
from app.endpoints.uvicorn.body import LOOK_SECONDS, BodyBounds
from app.endpoints.uvicorn.flow import TurnedFlow, take_apart
from app.endpoints.uvicorn.head import HeadBounds
from app.endpoints.uvicorn.refusal import FULL, MALFORMED, TOO_SLOW, Refusal, full
from app.endpoints.uvicorn.turns import SMALL_BYTES, Priority, Turns
from app.endpoints.uvicorn.upgrade import framing_of, parser_behind
from app.endpoints.uvicorn.websocket import WebSocketProtocol

_HEALTH = frozenset({"/health/live", "/health/ready"})
_HEALTH_STARTS = (b"GET /health/", b"HEAD /health/")
# Size of the pieces that the parser gets; after each, the limits are checked.
_PIECE_BYTES = 16 * 1024
_MAX_WAITING_REQUESTS = 64
# Limit of unsent bytes for a client that does not read, besides the chunk that is being sent.
_UNREAD_BYTES = 16 * 1024
# After a refusal, input is read and discarded for a while: otherwise the client would get a reset, and no response.
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 1024 * 1024


class HTTPProtocol(HttpToolsProtocol):
    """uvicorn's protocol class with limits.

    Each connection has one timer for all timeouts. uvicorn creates and cancels a timer for each request, which takes
    4 µs longer (85 µs a request instead of 81).
    """

    gate: ClassVar[Gate] = Gate(ConnectionLimits())
    turns: ClassVar[Turns] = Turns()
    _seat: Seat | None = None
    _turned: TurnedFlow
    _head_bounds: HeadBounds
    _body_bounds: BodyBounds
    _timer: asyncio.TimerHandle | None = None
    # Time at which the current phase began: waiting for a head, reading the head, or reading the body.
    _since: float = 0.0
    # Time at which a closing connection is aborted; ``None`` while it is open.
    _end_at: float | None = None
    _unwritable_since: float | None = None
    # The request that is or was last answered; uvicorn's ``cycle`` is the one that is being read.
    _answered: RequestResponseCycle | None = None
    _in_head: bool = True
    _head_bytes: int = 0
    # Input that waits for the connection's turn.
    _waiting: bytes = b""
    _waits_as: Priority = Priority.LARGE
    _held_bytes: int = 0
    # Numbers of complete heads and messages.
    _heads: int = 0
    _messages: int = 0
    _discarded_bytes: int = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.flow = self._turned = TurnedFlow(transport)
        self._head_bounds = HeadBounds(self.gate.limits)
        self._body_bounds = BodyBounds(self.gate.limits)
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
        """Start the write timeout, since the client does not read."""
        super().pause_writing()
        self._unwritable_since = self.loop.time()

    def resume_writing(self) -> None:
        """Stop the write timeout, since the client has read."""
        super().resume_writing()
        self._unwritable_since = None

    def data_received(self, data: bytes) -> None:
        """Process input now, or in this connection's turn, until which reading is paused."""
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
        """Return the input's priority; ``None`` to process it at once: health checks, and small input of callers."""
        if self._end_at is not None:
            return None
        is_small = len(data) <= SMALL_BYTES
        if self._seat is not None and self._seat.is_trusted:
            is_body = not self._in_head and not self._body_bounds.has_much_framing
            return None if is_small or is_body else Priority.CALLER
        if is_small and self._in_head and not self._head_bytes and data.startswith(_HEALTH_STARTS):
            return None
        # A WebSocket's handshake takes ten times as long as a request that is refused.
        is_handshake = self._in_head and b"sec-websocket-" in data.lower()
        return Priority.SMALL if is_small and not is_handshake else Priority.LARGE

    def _stop_waiting(self) -> bytes:
        data, self._waiting = self._waiting, b""
        self.turns.release(len(data))
        return data

    def _take_waiting(self) -> None:
        """Process a piece of the waiting input, in this connection's turn."""
        piece, self._waiting = self._waiting[:_PIECE_BYTES], self._waiting[_PIECE_BYTES:]
        self.turns.release(len(piece))
        try:
            self._take(piece)
        except BaseException:
            # In ``data_received`` an exception would end the connection. Here the event loop would only log it.
            self.transport.abort()
            raise
        if self._end_at is not None:
            self._discard(len(self._stop_waiting()))
        if self._waiting:
            self._wait(self._waits_as)
        else:
            self._turned.let_on()

    def _take(self, data: bytes) -> None:
        """Feed the parser piece by piece, until the connection is refused."""
        start = 0
        while start < len(data) and self._end_at is None:
            end = start + _PIECE_BYTES
            self._feed(data if not start and end >= len(data) else data[start:end])
            start = end
        if start < len(data):
            self._discard(len(data) - start)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the WebSocket protocol."""
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
            successor.seat, successor.turns = seat, self.turns
        else:
            seat.leave()
        # Breaks a reference cycle, since this protocol is not told of the connection's end any more.
        self.parser = None

    def on_url(self, url: bytes) -> None:
        """Check a piece of the request's target."""
        super().on_url(url)
        self._head_bounds.check_address(self.url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header. Trailers, which come after a body, are ignored."""
        if not self._in_head:
            return
        super().on_header(name, value)
        self._head_bounds.count_header(self.headers[-1][0], value, len(self.headers))

    def on_headers_complete(self) -> None:
        """Start the body's timeouts. Refuses too many pipelined requests."""
        self._in_head = False
        self._heads += 1
        self._end_head()
        self._discarded_bytes = 0
        self._body_bounds.start(self.loop.time())
        super().on_headers_complete()
        if len(self.pipeline) > _MAX_WAITING_REQUESTS:
            raise Refusal(429, "TOO_MANY_REQUESTS", "A connection has too many requests waiting.")

    def on_body(self, body: bytes) -> None:
        """Count a piece of a body; after the response, abort if more is sent than may be discarded."""
        self._body_bounds.size += len(body)
        super().on_body(body)
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > self.gate.limits.max_body_bytes:
                self.transport.abort()

    def on_message_complete(self) -> None:
        """Prepare for the next head, since the request is complete."""
        self._in_head = True
        self._since = self._body_bounds.since
        self._messages += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the next pipelined request or the keep-alive timeout; uvicorn calls this after a response."""
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
        heads, messages, body_bytes = self._heads, self._messages, self._body_bounds.size
        if self._in_head and not self._head_bytes:
            self._since = self.loop.time()
        parser = cast("httptools.HttpRequestParser", self.parser)
        try:
            parser.feed_data(data)
            if self._in_head:
                # If a message ended within this piece, the rest belongs to the next head and is short.
                self._count_head(len(data) if messages == self._messages else 0)
            elif heads == self._heads:
                self._body_bounds.count_framing(len(data), self._body_bounds.size - body_bytes)
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
        """Continue in HTTP/1.1 after a head that asks for another protocol."""
        framing = framing_of(self.headers)
        self.parser = parser_behind(self, framing)
        if framing:
            # The old parser has reported the message as complete, but its body follows.
            self._in_head = False
            self._messages -= 1
            self.cycle.more_body = True
            self.cycle.message_event.clear()

    def _count_head(self, size: int) -> None:
        """Raise Refusal if the head, or all incomplete heads together, are too long."""
        self._head_bytes += size
        if self._head_bytes > self.gate.limits.max_head_bytes:
            raise self._head_bounds.too_long(getattr(self, "url", b""), has_headers=bool(self.headers))
        self._held_bytes += size
        if not self.gate.hold(size):
            raise FULL

    def _end_head(self) -> None:
        self.gate.release(self._held_bytes)
        self._held_bytes = self._head_bytes = 0
        self._head_bounds.clear()

    def _refuse(self, refusal: Refusal) -> None:
        """Send the refusal, unless a response has begun, and close. Further input is discarded."""
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
        """End the connection if a timeout is over; else schedule the next check."""
        now = self.loop.time()
        left = self._seconds_left(now)
        if left > 0:
            self._look_again(min(left, LOOK_SECONDS))
        elif self._end_at is not None or self._unwritable_since is not None:
            self.transport.abort()
        elif self._in_head and not self._head_bytes:
            self._end_at = now + self.gate.limits.write_seconds
            self._look_again(LOOK_SECONDS)
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
            return self._body_bounds.seconds_left(now, is_paused=self.flow.read_paused)
        if self._answered is not None and not self._answered.response_complete:
            return LOOK_SECONDS
        if self._head_bytes or self._answered is None:
            return self._since + limits.head_seconds - now
        return self._since + self.timeout_keep_alive - now

    def _let_go(self) -> None:
        self._end_head()
        self._stop_waiting()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _unset_keepalive_if_required(self) -> None:
        """Do nothing, since uvicorn's own timer is not used."""

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
                LONG_BODY: self._body_bounds.expect_long_body,
            }
        super()._start_asgi_task(cycle, app)


def http_protocol(limits: ConnectionLimits) -> type[HTTPProtocol]:
    """Create the protocol class of one server, whose connections share these limits."""
    return type("HTTPProtocol", (HTTPProtocol,), {"gate": Gate(limits), "turns": Turns()})
