"""How every client of the LLM library reaches a model's server: to a checked address, never redirected, within bounds.

Whatever a library builds for itself, past this transport, is refused at the socket while a call runs.
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

# One answer on the wire; events take some 250 bytes for each token, and models write some 100,000 tokens at most.
MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_ANSWER_LINES = 500_000
# One event: a whole file may be the argument of a call, which models write in 128,000 tokens at most. Reading 4 MiB at
# once held the loop for 0.1 to 0.4 s.
MAX_LINE_BYTES = 1024 * 1024
# Of an error's body the beginning is enough to say what is wrong, and some patterns that the library looks for in it
# take a time that grows with its square.
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
    """One call: what it may reach, until when on the monotonic clock, and why it was refused, if it was.

    ``target`` is the host and port that may be private where that is allowed: what the caller named, else what the
    library calls first. ``status`` is what the server last answered with, itself.
    """

    private_allowed: bool
    deadline: float
    target: tuple[str, int] | None = None
    refusal: str | None = None
    status: int | None = None
    responses: list[httpx.Response] = field(default_factory=list[httpx.Response])

    async def close(self) -> None:
        """Close what the library left open of an answer that was given up, so that its server can stop."""
        for response in self.responses:
            await response.aclose()


class CallRefused(httpx.TransportError):
    """Ends the call, whatever the library makes of it: the scope keeps the reason."""


class _ConnectionRefused(CallRefused, OSError):
    """What clients expect of a socket, so that they close it."""


_scope: ContextVar[Scope | None] = ContextVar("llm_scope", default=None)
# Whether the connection being made is one that this transport has checked.
_is_checked: ContextVar[bool] = ContextVar("llm_is_checked", default=False)


@contextmanager
def within(scope: Scope) -> Generator[None]:
    """Let what runs here, its tasks and its threads call models by this scope."""
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)


@cache
def guard_sockets() -> None:
    """From now on refuse connections that are made within a scope past the transport."""
    sys.addaudithook(_guard)


def target_of(url: str | httpx.URL) -> tuple[str, int]:
    """The host and the port that a request for that URL is sent to."""
    parsed = httpx.URL(url)
    return parsed.raw_host.decode("ascii"), parsed.port or (443 if parsed.scheme == "https" else 80)


def refused(reason: str, kind: type[CallRefused] = CallRefused) -> CallRefused:
    """The error to raise; the first reason of a call stays."""
    scope = _scope.get()
    if scope is not None and scope.refusal is None:
        scope.refusal = reason
    return kind(reason)


class CheckedTransport(httpx.AsyncHTTPTransport):
    """Resolves the host, connects to the very addresses that were checked, and follows no redirect."""

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
        """As httpx has it."""
        _prepare(request)
        if _leads_elsewhere(request.url):
            # A connection that is kept may lead to where another call was allowed to go.
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
    """The same for the library's calls in threads."""

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
        """As httpx has it."""
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
    """Asks the scope of the call at each connection, since one pool serves all."""

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
    """Counts what comes of one answer."""

    def __init__(self, *, is_error: bool, has_lines: bool) -> None:
        self._is_error = is_error
        self._has_lines = has_lines
        self._bytes = 0
        self._lines = 0
        self._line_bytes = 0

    def taken(self, data: bytes) -> bytes:
        """What of ``data`` is passed on; less than all of it ends an error's body. Raises ``CallRefused``."""
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
            # A server that is faster than this loop must not keep the others from it.
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
    # A compressed answer may be a thousand times as large as what came, before anything can look at it.
    request.headers["accept-encoding"] = "identity"


def _bound_of(response: httpx.Response) -> _Bound:
    scope = _scope.get()
    if scope is not None:
        # What was refused before was a question of the library's own, such as for a model's size: it went on without.
        scope.refusal = None
        scope.status = response.status_code
    if response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        # The library would call again without an argument, and answer None where that doesn't help either.
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
    """Whether a request of a call that may reach one private place is for another one."""
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
    # The library asks some questions on its own, such as for a model's size where a provider's server is by default. It
    # goes on without an answer, so they are no reason for the call to fail.
    return CallRefused(_ELSEWHERE if scope.private_allowed else error.message)


def _guard(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect":
        return
    connecting = cast("socket.socket", arguments[0])
    # Of a client of the library's own nothing is seen but the address: neither the name that it means nor whether it
    # was sent there.
    if _scope.get() is not None and not _is_checked.get() and connecting.family in (socket.AF_INET, socket.AF_INET6):
        raise refused(_PAST_THE_TRANSPORT, _ConnectionRefused)
