"""HTTP connections on which an answer can be sent whole."""

from typing import Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

# The key of a request's scope under which its exchange is. It is to be taken out: it refers to the scope, and left
# there it would tie each request into a cycle, which only the garbage collector ends.
EXCHANGE = "parley.http.exchange"
_LENGTH = b"content-length: %d\r\n\r\n"


class Exchange:
    """A request on its connection, past ASGI's messages: what is there of it at once, and its whole answer."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def take_body(self) -> bytes | None:
        """The body, if all of it has come; ``None`` where it has to be received."""
        cycle = self._cycle
        if cycle.more_body or cycle.disconnected:
            return None
        body, cycle.body = cycle.body, bytearray()
        return bytes(body)

    def answer(self, fields: bytes, body: bytes) -> bool:
        """Send ``200`` with a body in one write; tells whether it was sent.

        It is not where that would have to wait, or the connection ends with it. ``fields`` are the lines of the head
        but for the length, each with its end.
        """
        cycle = self._cycle
        if cycle.response_started or cycle.disconnected or not cycle.keep_alive or cycle.flow.write_paused:
            return False
        if cycle.scope["method"] == "HEAD":
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        head = [b"%b: %b\r\n" % field for field in cycle.default_headers]
        cycle.transport.write(b"".join([STATUS_LINE[200], *head, fields, _LENGTH % len(body), body]))
        cycle.message_event.set()
        cycle.on_response()
        return True


class HTTPProtocol(HttpToolsProtocol):
    """uvicorn's, on which a small answer costs half: its head is not put together, and checked, name by name.

    A connection has one timer for its idle times, in the place of one for each.
    """

    # When the last answer was complete; ``None`` while there is a request.
    _idle_since: float | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        self._stop_timer()

    def handle_websocket_upgrade(self) -> None:
        """Another protocol takes over."""
        self._stop_timer()
        super().handle_websocket_upgrade()

    def on_response_complete(self) -> None:
        """The answer is complete; uvicorn's protocol calls this."""
        if self.timeout_keep_alive_task is None or self.pipeline or self.transport.is_closing():
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
        self._idle_since = self.loop.time() if self.cycle.response_complete else None

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it has been idle for long enough; else look again when it may have been."""
        now = self.loop.time()
        left = self.timeout_keep_alive - (now - self._idle_since if self._idle_since is not None else 0)
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def _stop_timer(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cast("dict[str, Any]", cycle.scope)[EXCHANGE] = Exchange(cycle)
        super()._start_asgi_task(cycle, app)
