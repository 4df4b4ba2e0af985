"""A request on its connection, past what ASGI's messages can say."""

from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from app.endpoints.uvicorn.refusal import LENGTH

# The key of a request's scope under which its exchange is. It is to be taken out: it refers to the scope, and left
# there it would tie each request into a cycle, which only the garbage collector ends.
EXCHANGE = "parley.http.exchange"


class Exchange:
    """A request on its connection, past ASGI's messages: what is there of it at once, and its whole answer."""

    __slots__ = ("_cycle", "trust")

    def __init__(self, cycle: RequestResponseCycle, trust: Callable[[], None]) -> None:
        self._cycle = cycle
        self.trust = trust
        """To be called when the request has shown a good token."""

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
        cycle.transport.write(b"".join([STATUS_LINE[200], *head, fields, LENGTH % len(body), body]))
        cycle.message_event.set()
        cycle.on_response()
        return True
