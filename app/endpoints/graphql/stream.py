"""Streamed responses over HTTP: server-sent events (graphql-sse, distinct connections mode) and Apollo's multipart."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.endpoints.admission import Place
from app.endpoints.graphql.negotiation import EVENT_STREAM_TYPE, MULTIPART_TYPE, MULTIPART_VERSION
from app.json_encoding import encode

# X-Accel-Buffering asks proxies such as nginx not to buffer the response.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

Results = AsyncGenerator[Mapping[str, Any]]


class Framing(Protocol):
    """The wire format of a stream of results."""

    content_type: str
    opening: bytes
    heartbeat: bytes
    completion: bytes

    def frame(self, result: Mapping[str, Any]) -> bytes:
        """Encode one result."""
        ...

    def farewell(self, reason: str, code: str) -> bytes:
        """Encode the message for a stream that the server ends early."""
        ...


class EventStream:
    """Server-sent events. If a stream ends without ``complete``, the client reconnects."""

    content_type = f"{EVENT_STREAM_TYPE}; charset=utf-8"
    opening = b":\n\n"
    heartbeat = b":\n\n"
    completion = b"event: complete\ndata:\n\n"

    def frame(self, result: Mapping[str, Any]) -> bytes:
        """Encode a ``next`` event; the encoded JSON has no line breaks."""
        return b"event: next\ndata: " + encode(result) + b"\n\n"

    def farewell(self, reason: str, code: str) -> bytes:  # noqa: ARG002  The protocol has no word for it.
        """Encode a comment, which clients ignore, since the protocol has no such message."""
        return b": " + reason.encode() + b"\n\n"


class Multipart:
    """Apollo's multipart protocol 1.0. Each part ends with the boundary, or clients would wait for the next part."""

    content_type = f'{MULTIPART_TYPE}; boundary="graphql"; subscriptionSpec={MULTIPART_VERSION}'
    opening = b"--graphql"
    completion = b"--\r\n"

    def __init__(self) -> None:
        self.heartbeat = self._part({})

    def frame(self, result: Mapping[str, Any]) -> bytes:
        """Encode a part with the result as its ``payload``."""
        return self._part({"payload": result})

    def farewell(self, reason: str, code: str) -> bytes:
        """Encode a transport error (as opposed to one of the operation), and the end."""
        error = {"message": reason, "extensions": {"code": code}}
        return self._part({"payload": None, "errors": [error]}) + self.completion

    @staticmethod
    def _part(content: Mapping[str, Any]) -> bytes:
        return b"\r\nContent-Type: application/json\r\n\r\n" + encode(content) + b"\r\n--graphql"


FRAMINGS: Mapping[str, Framing] = {EVENT_STREAM_TYPE: EventStream(), MULTIPART_TYPE: Multipart()}


class StreamResponse(Response):
    """Sends results until they end, the client disconnects, its token expires, or the server shuts down.

    If the client reads nothing for ``send_timeout_seconds``, the stream is dropped. No results are queued besides the
    socket's own buffer.
    """

    def __init__(
        self,
        results: Results,
        framing: Framing,
        *,
        places: Sequence[Place],
        ending: asyncio.Event,
        expires_at: datetime | None,
        heartbeat_seconds: float,
        send_timeout_seconds: float,
    ) -> None:
        super().__init__(headers={**HEADERS, "Content-Type": framing.content_type})
        del self.headers["Content-Length"]
        self._results = results
        self._framing = framing
        self._places = places
        self._ending = ending
        self._expires_at = expires_at
        self._heartbeat_seconds = heartbeat_seconds
        self._send_timeout_seconds = send_timeout_seconds

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send all results, and give back the admission places at the end."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await self._send_results(receive, send)
        finally:
            for place in self._places:
                place.leave()

    async def _send_results(self, receive: Receive, send: Send) -> None:
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_wait_for_leaving(receive))
        ending = asyncio.create_task(self._ending.wait())
        tasks = {writing, leaving, ending}
        try:
            await asyncio.wait(tasks, timeout=self._seconds_left(), return_when=asyncio.FIRST_COMPLETED)
            writing.cancel()
            await asyncio.wait({writing})
            if not writing.cancelled() and isinstance(writing.exception(), TimeoutError):
                # The client does not read, so no final message would arrive. Its place stays taken until it leaves.
                await asyncio.wait({leaving, ending}, return_when=asyncio.FIRST_COMPLETED)
            elif not leaving.done():
                last = self._farewell(is_ending=ending.done()) if writing.cancelled() else writing.result()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._send_timeout_seconds):
                        await send({"type": "http.response.body", "body": last, "more_body": False})
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _write(self, send: Send) -> bytes:
        """Send all results, and return the final message."""

        async def write(body: bytes) -> None:
            async with asyncio.timeout(self._send_timeout_seconds):
                await send({"type": "http.response.body", "body": body, "more_body": True})

        async with aclosing(self._results) as results:
            await write(self._framing.opening)
            while True:
                upcoming = asyncio.ensure_future(anext(results, None))
                try:
                    while not (await asyncio.wait({upcoming}, timeout=self._heartbeat_seconds))[0]:
                        await write(self._framing.heartbeat)
                finally:
                    upcoming.cancel()
                    await asyncio.wait({upcoming})
                result = upcoming.result()
                if result is None:
                    return self._framing.completion
                await write(self._framing.frame(result))

    def _seconds_left(self) -> float | None:
        if self._expires_at is None:
            return None
        return max(0.0, (self._expires_at - datetime.now(UTC)).total_seconds())

    def _farewell(self, *, is_ending: bool) -> bytes:
        if is_ending:
            return self._framing.farewell("The server is about to end.", "SERVICE_UNAVAILABLE")
        return self._framing.farewell("The token has expired.", "UNAUTHENTICATED")


async def _wait_for_leaving(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
