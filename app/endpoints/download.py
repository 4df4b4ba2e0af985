"""``GET /downloads``: streams a download. The signed ticket in the URL authorizes the request.

Browsers never render a workspace's file on the server's origin: responses are attachments with ``nosniff``, and a CSP
sandboxes them without scripts. If a download fails after its headers, the connection is aborted, so that no client
takes a partial body for the complete one.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack, aclosing
from http import HTTPStatus
from urllib.parse import parse_qs, quote

import structlog
from starlette.datastructures import State
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from app.config import Config
from app.endpoints.admission import Admission, TooMany
from app.endpoints.connections import abort, trust
from app.endpoints.headers import headers_of
from app.errors import AppError, InvalidInput, NotFound
from app.services.download import DownloadBroken, DownloadFormat, DownloadRequest, DownloadService, OpenFile
from app.services.ticket import TicketRefused

log = structlog.get_logger(__name__)

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    # Proxies such as nginx would keep a file of 2 GB.
    "X-Accel-Buffering": "no",
}
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_PLAIN_NAME = re.compile(r"[^A-Za-z0-9._-]")
_MAX_NAME_BYTES = 255
# Sent at once; a client has the time of ``PARLEY_SEND_TIMEOUT_SECONDS`` for each.
PIECE_BYTES = 64 * 1024


class TransferRefused(Exception):
    """An error response to a download or an upload, in the shape of a GraphQL error."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        body = {"errors": [{"message": message, "extensions": {"code": code}}]}
        self.response = JSONResponse(body, status, {"Cache-Control": "no-store", **(headers or {})})


class DownloadEndpoint:
    """Answers GET and HEAD."""

    def __init__(self, config: Config, service: DownloadService, admission: Admission) -> None:
        self._service = service
        self._admission = admission
        self._send_timeout_seconds = config.send_timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the download; errors before the headers have the shape of GraphQL errors."""
        with ExitStack() as stack:
            try:
                request = await self._admit(scope, stack)
                if request.format is DownloadFormat.FILE:
                    file = await self._service.open(request)
                    stack.callback(file.close)
                    status, headers, pieces = self._part(scope, request, file)
                else:
                    status, headers, pieces = 200, {}, self._service.stream(request)
                if scope["method"] == "HEAD":
                    await pieces.aclose()
                    pieces = _nothing()
                # Read before the headers are sent, since an error can still have a status of its own.
                first = await anext(pieces, None)
            except TransferRefused as refusal:
                await refusal.response(scope, receive, send)
                return
            except AppError as error:
                await refusal_of(error).response(scope, receive, send)
                return
            except DownloadBroken:
                refusal = TransferRefused(409, "WORKSPACE_ERROR", "The workspace changed while it was read: try again.")
                await refusal.response(scope, receive, send)
                return
            headers = {**HEADERS, **_described(request), **headers}
            raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await self._send(scope, receive, send, first, pieces)

    async def _admit(self, scope: Scope, stack: ExitStack) -> DownloadRequest:
        try:
            try:
                request = await self._service.admit(ticket_of(scope))
            except TicketRefused as error:
                self._admission.stranger(scope.get("client"), headers_of(scope))
                raise TransferRefused(403, "FORBIDDEN", str(error)) from None
            stack.enter_context(self._admission.transfer(request.owner_id))
        except TooMany as error:
            raise TransferRefused(429, error.code, error.message, {"Retry-After": str(error.retry_after)}) from None
        trust(scope)
        return request

    def _part(
        self, scope: Scope, request: DownloadRequest, file: OpenFile
    ) -> tuple[int, dict[str, str], AsyncGenerator[bytes]]:
        """Return status, headers and content of a file, or of the single requested range."""
        headers = headers_of(scope)
        version = f'"{file.version}"'
        described = {"Accept-Ranges": "bytes", "ETag": version}
        wanted = _RANGE.fullmatch(headers.text(b"range", "") or "")
        condition = headers.text(b"if-range")
        if wanted is None or wanted[0] == "bytes=-" or condition not in {None, version}:
            described["Content-Length"] = str(file.size)
            return 200, described, self._service.part(request, file, 0, file.size - 1)
        first, last = _bounds(wanted[1], wanted[2], file.size)
        if not 0 <= first <= last:
            message = "There is no such range in the file."
            raise TransferRefused(416, "RANGE_NOT_SATISFIABLE", message, {"Content-Range": f"bytes */{file.size}"})
        described["Content-Range"] = f"bytes {first}-{last}/{file.size}"
        described["Content-Length"] = str(last - first + 1)
        return 206, described, self._service.part(request, file, first, last)

    async def _send(
        self, scope: Scope, receive: Receive, send: Send, first: bytes | None, pieces: AsyncGenerator[bytes]
    ) -> None:
        """Send the body until it ends, the client leaves or does not read, or the server shuts down."""
        state: State = scope["app"].state
        tasks = {
            writing := asyncio.create_task(self._write(send, first, pieces)),
            leaving := asyncio.create_task(_left(receive)),
            asyncio.create_task(state.ending.wait()),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks - {leaving}:
                task.cancel()
            await asyncio.wait(tasks - {leaving})
            if writing.cancelled() or writing.exception() is not None:
                # The task that waits for the disconnect ends with this.
                abort(scope)
                await asyncio.wait({leaving}, timeout=self._send_timeout_seconds)
            leaving.cancel()
            await asyncio.wait({leaving})
        if not writing.cancelled() and (error := writing.exception()) is not None:
            if not isinstance(error, TimeoutError | DownloadBroken | AppError):
                raise error
            log.info("download.broken", reason=str(error) or type(error).__name__)

    async def _write(self, send: Send, first: bytes | None, pieces: AsyncGenerator[bytes]) -> None:
        async def write(body: bytes, *, is_last: bool = False) -> None:
            async with asyncio.timeout(self._send_timeout_seconds):
                await send({"type": "http.response.body", "body": body, "more_body": not is_last})

        async def write_piece(piece: bytes) -> None:
            # The time limit is for so many bytes, however long a piece is.
            for start in range(0, len(piece), PIECE_BYTES):
                await write(piece[start : start + PIECE_BYTES])

        async with aclosing(pieces):
            if first is not None:
                await write_piece(first)
                async for piece in pieces:
                    await write_piece(piece)
        await write(b"", is_last=True)


def ticket_of(scope: Scope) -> str:
    """Return the ticket in the query string. Raises TicketRefused."""
    query: bytes = scope["query_string"]
    try:
        fields = parse_qs(query.decode("ascii"), max_num_fields=10)
    except ValueError:
        fields = {}
    tickets = fields.get("ticket", [])
    if len(tickets) != 1:
        raise TicketRefused("The address has no ticket.")
    return tickets[0]


def _described(request: DownloadRequest) -> dict[str, str]:
    """Build Content-Type and Content-Disposition (RFC 6266), with an ASCII fallback for the file name."""
    # A character that the limit cuts in two is left out.
    name = request.file_name.encode("utf-8", "replace")[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
    plain = _PLAIN_NAME.sub("_", name).lstrip(".") or "download"
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    return {"Content-Disposition": disposition, "Content-Type": request.media_type}


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    """Return the first and last byte of a range; the first is greater if the range is not satisfiable."""
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) else (1, 0)
    return int(first), min(int(last), size - 1) if last else size - 1


def refusal_of(error: AppError) -> TransferRefused:
    match error:
        case NotFound():
            status = HTTPStatus.NOT_FOUND
        case InvalidInput():
            status = HTTPStatus.UNPROCESSABLE_ENTITY
        case _:
            status = HTTPStatus.CONFLICT
    return TransferRefused(status, error.wire_code(), error.message)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _nothing() -> AsyncGenerator[bytes]:
    for piece in ():
        yield piece
