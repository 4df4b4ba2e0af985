"""HTTP connections on which an answer can be sent whole."""

from functools import partial
from typing import Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

# The key of a request's scope under which there is a function that sends ``200`` with fields and a body, in one write.
ANSWER = "parley.http.answer"
_LENGTH = b"content-length: %d\r\n\r\n"


class HTTPProtocol(HttpToolsProtocol):
    """uvicorn's, on which a small answer costs half: its head is not put together, and checked, name by name."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cast("dict[str, Any]", cycle.scope)[ANSWER] = partial(_answer, cycle)
        super()._start_asgi_task(cycle, app)


def _answer(cycle: RequestResponseCycle, fields: bytes, body: bytes) -> bool:
    """Send a whole answer, unless it would have to wait or the connection ends with it; tells whether it was sent.

    ``fields`` are the lines of the head but for the length, each with its end.
    """
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
