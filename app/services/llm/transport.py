"""The HTTP transport of all calls to models: addresses are checked, redirects refused, and responses bounded.

While a call runs, an audit hook refuses connections that the LLM library opens without this transport.
"""

import asyncio
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address
from typing import cast

import httpcore
import httpx

from app.errors import InvalidInput
from app.services.git.checked_backend import CheckedBackend
from app.services.outbound import check_public, public_addresses
from app.services.pacing import give_way

# Limit on a response. An event has some 250 bytes for each token, and models write 100,000 tokens at most.
MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_ANSWER_LINES = 500_000
# Limit on an event. A call's argument may be a whole file, of 128,000 tokens at most. Parsing 4 MiB at once would block
# the event loop for 0.1 to 0.4 s.
MAX_LINE_BYTES = 1024 * 1024
# The beginning of an error's body is enough for a message, and some patterns that the library searches in it take
# quadratic time.
MAX_ERROR_BYTES = 16 * 1024
MAX_CONNECTIONS = 1000
MAX_IDLE_CONNECTIONS = 100
IDLE_CONNECTION_SECONDS = 15.0
_REDIRECTS = range(300, 400)
_ERRORS = range(400, 600)
_PAST_THE_TRANSPORT = "This provider is called in a way that this server can't check."

LATE = "The model did not answer in time."
_REDIRECTED = "The model's server redirects to another address, where this server does not follow."
_ELSEWHERE = "The model's server leads to another private address, where this server does not follow."

VerifyTypes = ssl.SSLContext | str | bool


@dataclass(slots=True)
class Scope:
    """The limits of one call: addresses that it may reach, a deadline on the monotonic clock, and its refusal, if any.

    ``target`` is the only host and port that may be private, if private ones are allowed: those of the caller's URL,
    else of the library's first request. ``status`` is the HTTP status of the last response.
    """

    private_allowed: bool
    deadline: float
    target: tuple[str, int] | None = None
    refusal: str | None = None
    status: int | None = None
    responses: list[httpx.Response] = field(default_factory=list[httpx.Response])

    async def close(self) -> None:
        """Close responses that the library left open when the call was cancelled, so that the server can stop."""
        for response in self.responses:
            await response.aclose()


class CallRefused(httpx.TransportError):
    """A refused request or response. The library may hide this error, so the scope keeps the reason as well."""


class _ConnectionRefused(CallRefused, OSError):
    """A refused connection, as an OSError, which HTTP clients handle by closing the socket."""


_scope: ContextVar[Scope | None] = ContextVar("llm_scope", default=None)
# True while this transport opens a connection to an address that it has checked.
_is_checked: ContextVar[bool] = ContextVar("llm_is_checked", default=False)


@contextmanager
def within(scope: Scope) -> Generator[None]:
    """Apply the scope to calls made in the block, and in the tasks and threads that it starts."""
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)


@cache
def guard_sockets() -> None:
    """Install the audit hook that refuses connections made within a scope without the transport."""
    sys.addaudithook(_guard)


def target_of(url: str | httpx.URL) -> tuple[str, int]:
    """Return the host and port of a URL."""
    parsed = httpx.URL(url)
    return parsed.raw_host.decode("ascii"), parsed.port or (443 if parsed.scheme == "https" else 80)


def refused(reason: str, error_class: type[CallRefused] = CallRefused) -> CallRefused:
    """Create the error, and set the scope's reason unless it has one already."""
    scope = _scope.get()
    if scope is not None and scope.refusal is None:
        scope.refusal = reason
    return error_class(reason)


class CheckedTransport(httpx.AsyncHTTPTransport):
    """A transport that resolves the host once, connects to the checked addresses only, and refuses redirects."""

    def __init__(self, verify: VerifyTypes = True) -> None:  # noqa: FBT002  As httpx has it.
        super().__init__(verify=verify)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(verify),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_IDLE_CONNECTIONS,
            keepalive_expiry=IDLE_CONNECTION_SECONDS,
            network_backend=_Backend(),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request within the current scope. Raises ``CallRefused``."""
        _prepare(request)
        # From here on the run waits for the network.
        give_way()
        if _leads_elsewhere(request.url):
            # An idle connection may lead to an address that only another call was allowed to reach.
            try:
                await _addresses(*target_of(request.url))
            except InvalidInput as error:
                raise httpx.ConnectError(error.message) from error
        token = _is_checked.set(True)
        try:
            response = await super().handle_async_request(request)
        finally:
            _is_checked.reset(token)
        try:
            bound = _bound_of(response)
        except CallRefused:
            await response.aclose()
            raise
        response.stream = _BoundedStream(cast("httpx.AsyncByteStream", response.stream), bound)
        scope = _scope.get()
        if scope is not None:
            scope.responses.append(response)
        return response


class CheckedSyncTransport(httpx.HTTPTransport):
    """``CheckedTransport`` for the calls that the library makes in threads."""

    def __init__(self, verify: VerifyTypes = True) -> None:  # noqa: FBT002  As httpx has it.
        super().__init__(verify=verify)
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(verify),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_IDLE_CONNECTIONS,
            keepalive_expiry=IDLE_CONNECTION_SECONDS,
            network_backend=_SyncBackend(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request within the current scope. Raises ``CallRefused``."""
        _prepare(request)
        if _leads_elsewhere(request.url):
            try:
                _sync_addresses(*target_of(request.url))
            except httpcore.ConnectError as error:
                raise httpx.ConnectError(str(error)) from error
        token = _is_checked.set(True)
        try:
            response = super().handle_request(request)
        finally:
            _is_checked.reset(token)
        try:
            bound = _bound_of(response)
        except CallRefused:
            response.close()
            raise
        response.stream = _BoundedSyncStream(cast("httpx.SyncByteStream", response.stream), bound)
        return response


class _Backend(CheckedBackend):
    """Opens connections by the rules of the current call's scope, since one pool serves all calls."""

    def __init__(self) -> None:
        super().__init__(frozenset(), _addresses)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if _may_be_private(host, port):
            return await self._network.connect_tcp(host, port, timeout, local_address, socket_options)
        return await super().connect_tcp(host, port, timeout, local_address, socket_options)


class _SyncBackend(httpcore.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        target = host if _may_be_private(host, port) else str(_sync_addresses(host, port)[0])
        return super().connect_tcp(target, port, timeout, local_address, socket_options)


class _Bound:
    """Enforces the limits on one response: bytes, lines, lengths of lines, and time."""

    def __init__(self, *, is_error: bool, has_lines: bool) -> None:
        self._is_error = is_error
        self._has_lines = has_lines
        self._bytes = 0
        self._lines = 0
        self._line_bytes = 0

    def taken(self, data: bytes) -> bytes:
        """Return the part of ``data`` to pass on; a shorter part ends an error's body. Raises ``CallRefused``."""
        scope = _scope.get()
        if scope is not None and time.monotonic() > scope.deadline:
            raise refused(LATE)
        self._bytes += len(data)
        if self._is_error:
            return data[: max(0, len(data) + MAX_ERROR_BYTES - self._bytes)]
        self._lines += data.count(b"\n")
        end = data.rfind(b"\n")
        longest = self._line_bytes + (data.find(b"\n") if end >= 0 else len(data))
        self._line_bytes = self._line_bytes + len(data) if end < 0 else len(data) - end - 1
        if self._bytes > MAX_ANSWER_BYTES:
            raise refused(f"The model's answer is larger than {MAX_ANSWER_BYTES // 2**20} MiB.")
        if self._lines > MAX_ANSWER_LINES:
            raise refused(f"The model's answer has more than {MAX_ANSWER_LINES:,} lines.")
        if self._has_lines and longest > MAX_LINE_BYTES:
            raise refused(f"A line of the model's answer is longer than {MAX_LINE_BYTES // 2**20} MiB.")
        return data


class _BoundedStream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, bound: _Bound) -> None:
        self._stream = stream
        self._bound = bound

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            taken = self._bound.taken(data)
            if taken:
                yield taken
            if len(taken) < len(data):
                return
            # Let other tasks run, even if the server sends faster than this loop reads.
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        await self._stream.aclose()


class _BoundedSyncStream(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, bound: _Bound) -> None:
        self._stream = stream
        self._bound = bound

    def __iter__(self) -> Iterator[bytes]:
        for data in self._stream:
            taken = self._bound.taken(data)
            if taken:
                yield taken
            if len(taken) < len(data):
                return

    def close(self) -> None:
        self._stream.close()


def _prepare(request: httpx.Request) -> None:
    # Decompression could multiply the size by a thousand before any limit applies.
    request.headers["accept-encoding"] = "identity"


def _bound_of(response: httpx.Response) -> _Bound:
    scope = _scope.get()
    if scope is not None:
        # An earlier refusal concerned a request of the library's own, such as for a model's size. It can do without.
        scope.refusal = None
        scope.status = response.status_code
    if response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        # The library would retry without an argument, and finally return None.
        response.status_code = HTTPStatus.BAD_REQUEST
    if response.status_code in _REDIRECTS:
        raise refused(_REDIRECTED)
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise refused("The model's server answers compressed, although it was asked not to.")
    is_stream = response.headers.get("content-type", "").lower().startswith("text/event-stream")
    return _Bound(is_error=response.status_code in _ERRORS, has_lines=is_stream)


def _may_be_private(host: str, port: int) -> bool:
    scope = _scope.get()
    return scope is not None and scope.private_allowed and scope.target == (host, port)


def _leads_elsewhere(url: httpx.URL) -> bool:
    """Tell whether a request goes to another address than the private one that the call may reach."""
    scope = _scope.get()
    if scope is None or not scope.private_allowed:
        return False
    scope.target = scope.target or target_of(url)
    return scope.target != target_of(url)


async def _addresses(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    try:
        return await public_addresses(host, port)
    except InvalidInput as error:
        if isinstance(error.__cause__, OSError | UnicodeError | TimeoutError):
            raise
        raise _private(error, (host, port)) from error


def _sync_addresses(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(str(error)) from error
    try:
        return check_public(host, [str(sockaddr[0]) for *_, sockaddr in found])
    except InvalidInput as error:
        raise _private(error, (host, port)) from error


def _private(error: InvalidInput, target: tuple[str, int]) -> CallRefused:
    scope = _scope.get()
    if scope is None or scope.target in (None, target):
        return refused(error.message)
    # The library makes requests of its own, such as for a model's size at the provider's default address. It works
    # without the answer, so refusing them does not fail the call.
    return CallRefused(_ELSEWHERE if scope.private_allowed else error.message)


def _guard(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect":
        return
    connecting = cast("socket.socket", arguments[0])
    # The event has the address only: neither the host's name, nor whether the caller asked for it.
    if _scope.get() is not None and not _is_checked.get() and connecting.family in (socket.AF_INET, socket.AF_INET6):
        raise refused(_PAST_THE_TRANSPORT, _ConnectionRefused)
