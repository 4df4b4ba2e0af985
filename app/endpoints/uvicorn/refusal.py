"""Error responses of connections that are closed before their request reaches the application."""

import orjson
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

LENGTH = b"content-length: %d\r\n\r\n"


class Refusal(Exception):
    """A refused request: the connection is closed after a response with a status and one error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def response(self) -> bytes:
        """Return the complete response, with its head."""
        error = {"message": self.message, "extensions": {"code": self.code}}
        body = orjson.dumps({"errors": [error]})
        fields = b"content-type: application/json; charset=utf-8\r\ncache-control: no-store\r\nconnection: close\r\n"
        if self.status == FULL.status:
            fields += b"retry-after: 1\r\n"
        return b"".join([STATUS_LINE[self.status], fields, LENGTH % len(body), body])


FULL = Refusal(503, "TOO_MANY_CONNECTIONS", "The server has as many connections as it takes.")
MALFORMED = Refusal(400, "BAD_REQUEST", "Invalid HTTP request received.")
TOO_SLOW = Refusal(408, "REQUEST_TIMED_OUT", "The request did not come in time.")


async def full(_scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Answer with FULL, as an ASGI application, if the request's head was already parsed."""
    _, _, body = FULL.response().partition(b"\r\n\r\n")
    headers = [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    headers += [(b"cache-control", b"no-store"), (b"connection", b"close"), (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": FULL.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
