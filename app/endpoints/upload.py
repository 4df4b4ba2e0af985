"""``PUT /uploads``: stores one file in a workspace. The signed ticket in the URL authorizes the request."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.datastructures import State
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from app.endpoints.admission import Admission, TooMany
from app.endpoints.connections import expect_long_body, trust
from app.endpoints.download import TransferRefused, refusal_of, ticket_of
from app.endpoints.headers import headers_of
from app.errors import AppError
from app.services.filesystem.names import shown
from app.services.ticket import TicketRefused
from app.services.upload import UploadRequest, UploadService

# Bytes buffered before each write to the disk.
PIECE_BYTES = 256 * 1024


class UploadEndpoint:
    """Answers PUT."""

    def __init__(self, service: UploadService, admission: Admission) -> None:
        self._service = service
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the body to the file and answer 201; errors have the shape of GraphQL errors."""
        try:
            request = await self._take(scope, receive)
        except _Left:
            return
        except TransferRefused as refusal:
            response = refusal.response
        except AppError as error:
            response = refusal_of(error).response
        else:
            content = {"path": shown(request.path), "sizeBytes": request.size}
            response = JSONResponse(content, 201, {"Cache-Control": "no-store"})
        await response(scope, receive, send)

    async def _take(self, scope: Scope, receive: Receive) -> UploadRequest:
        try:
            try:
                request = await self._service.admit(ticket_of(scope))
                trust(scope)
                length = headers_of(scope).text(b"content-length")
                if length is not None and length != str(request.size):
                    raise TransferRefused(
                        400, "BAD_REQUEST", f"The body has {request.size} bytes, as `sizeBytes` said."
                    )
                with self._admission.transfer(request.owner_id):
                    await self._receive(request, scope, _BodyReader(scope, receive))
            except TicketRefused as error:
                self._admission.stranger(scope.get("client"), headers_of(scope))
                raise TransferRefused(403, "FORBIDDEN", str(error)) from None
        except TooMany as error:
            raise TransferRefused(429, error.code, error.message, {"Retry-After": str(error.retry_after)}) from None
        return request

    async def _receive(self, request: UploadRequest, scope: Scope, body: "_BodyReader") -> None:
        expect_long_body(scope)
        waiting = bytearray()
        try:
            async with self._service.receiving(request) as receiver:
                async with aclosing(body.pieces()) as pieces:
                    async for piece in pieces:
                        waiting += piece
                        if len(waiting) >= PIECE_BYTES:
                            await receiver.write(bytes(waiting))
                            waiting.clear()
                await receiver.write(bytes(waiting))
                await receiver.finish()
        except AppError:
            # Most clients read the response only after they have sent the whole body, whose size the ticket allows.
            await body.skip(request.size)
            raise


class _Left(Exception):
    """The client has disconnected."""


class _BodyReader:
    """The body of a request as a stream of chunks."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._state: State = scope["app"].state
        self._receive = receive
        self._is_over = False

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the remaining chunks. Raises _Left, and TransferRefused when the server shuts down."""
        ending = asyncio.ensure_future(self._state.ending.wait())
        try:
            while not self._is_over:
                coming = asyncio.ensure_future(self._receive())
                await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    raise TransferRefused(503, "SERVICE_UNAVAILABLE", "The server is about to end.")
                message = coming.result()
                if message["type"] == "http.disconnect":
                    raise _Left
                self._is_over = not message.get("more_body", False)
                yield message.get("body", b"")
        finally:
            ending.cancel()

    async def skip(self, most: int) -> None:
        """Read and discard the rest, up to ``most`` bytes."""
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                most -= len(piece)
                if most < 0:
                    return
