"""The HTTP client of git providers' APIs, with timeouts, size limits, an ETag cache, and same-origin redirects."""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import httpcore
from pydantic import TypeAdapter, ValidationError

from app.errors import GitProviderAuthentication, GitProviderUnavailable, InvalidInput
from app.models.provider_account import ProviderType
from app.services.clock import Clock, utc_now
from app.services.git.checked_backend import CheckedBackend, Resolve

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_ATTEMPTS = 3
MAX_REDIRECTS = 3
# The client waits up to this long for a rate limit to end; for longer waits the error says when to retry.
MAX_WAIT_SECONDS = 5.0
MAX_CACHED_ANSWERS = 500
MAX_CACHED_BYTES = 32 * 1024 * 1024
_DEFAULT_LIMIT_SECONDS = 60.0
_MAX_LIMIT_SECONDS = 24 * 3600.0
_BACKOFF_SECONDS = 0.2
_MAX_CONNECTIONS = 20
_UNAUTHORIZED, _FORBIDDEN, _TOO_MANY, _NOT_MODIFIED, _SERVER_ERROR = 401, 403, 429, 304, 500
_OK = range(200, 300)
_ABSENT = 404
_REFUSALS = frozenset({400, 403, 404, 409, 422})
_LEGAL = 451
# GitHub's messages for a 403 about the repository: "Repository access blocked", "... has been disabled".
_DISABLED = re.compile(rb"\b(?:disabled|blocked|suspended)\b", re.IGNORECASE)
_REDIRECTS = frozenset({301, 302, 307, 308})


@dataclass(frozen=True, slots=True)
class HTTPAnswer:
    """A complete HTTP response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class GitHTTPClient:
    """Sends requests to one provider. Responses with an ETag are cached, separately for each token."""

    def __init__(
        self,
        provider: ProviderType,
        *,
        private: frozenset[tuple[str, int]],
        timeout_seconds: float,
        resolve: Resolve,
        clock: Clock = utc_now,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._provider = provider
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._sleep = sleep
        self._cache: OrderedDict[str, tuple[str, HTTPAnswer]] = OrderedDict()
        self._cached_bytes = 0
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=_MAX_CONNECTIONS,
            max_keepalive_connections=_MAX_CONNECTIONS,
            keepalive_expiry=15.0,
            network_backend=CheckedBackend(private, resolve),
        )

    async def get(self, url: str, headers: Mapping[str, str]) -> HTTPAnswer | None:
        """GET a URL; ``None`` for 404. Follows up to three redirects, within the same origin only.

        Raises ``GitProviderAuthentication`` for 401, and for a 403 that is not a rate limit; ``InvalidInput`` if the
        host's address is private; and ``GitProviderUnavailable`` for all other failures.
        """
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._get_again(url, headers)
            if answer.status not in _REDIRECTS:
                return None if answer.status == _ABSENT else self._checked(answer)
            target = urljoin(url, answer.headers.get("location", ""))
            if urlsplit(target)[:2] != urlsplit(url)[:2]:
                raise self.unavailable("It redirects to another host, where this server does not follow.")
            url = target
        raise self.unavailable("It redirects too often.")

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HTTPAnswer:
        """POST a JSON body that changes nothing, such as a GraphQL query. Raises the same errors as ``get``."""
        return self._checked(await self._send("POST", url, {**headers, "content-type": "application/json"}, body))

    async def create(self, url: str, headers: Mapping[str, str], body: bytes) -> HTTPAnswer:
        """POST a JSON body that creates something, once only, since a repetition could create it twice.

        Returns also refusals, with the statuses 400, 403, 404, 409 and 422. Raises the same errors as ``get``.
        """
        given = {**headers, "content-type": "application/json"}
        answer = await self._send("POST", url, given, body, attempts=1)
        return answer if answer.status in _REFUSALS else self._checked(answer)

    def read(self, shape: TypeAdapter[T], answer: HTTPAnswer) -> T:
        """Parse and validate the body. Raises ``GitProviderUnavailable`` if it has another shape."""
        try:
            return shape.validate_json(answer.body)
        except ValidationError:
            raise self.unavailable("It answers what its API does not document.") from None

    def unavailable(self, reason: str, retry_at: datetime | None = None) -> GitProviderUnavailable:
        """Build the error for a provider that can't be used now; ``retry_at`` is when its rate limit ends."""
        return GitProviderUnavailable(
            f"{self._provider} can't be used now. {reason}", provider=self._provider, retry_at=retry_at
        )

    def refused(self, reason: str) -> GitProviderAuthentication:
        """Build the error for a token that the provider refuses."""
        return GitProviderAuthentication(f"{self._provider}: {reason}", provider=self._provider)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def _get_again(self, url: str, headers: Mapping[str, str]) -> HTTPAnswer:
        # The cache key includes the token, hashed, so one token never gets another's cached response.
        key = hashlib.sha256(f"{headers.get('authorization', '')}\n{url}".encode()).hexdigest()
        known = self._cache.get(key)
        if known is None:
            answer = await self._send("GET", url, headers)
        else:
            answer = await self._send("GET", url, {**headers, "if-none-match": known[0]})
            if answer.status == _NOT_MODIFIED:
                if key in self._cache:
                    self._cache.move_to_end(key)
                return known[1]
        self._remember(key, answer)
        return answer

    def _remember(self, key: str, answer: HTTPAnswer) -> None:
        etag = answer.headers.get("etag")
        old = self._cache.pop(key, None)
        if old is not None:
            self._cached_bytes -= len(old[1].body)
        if answer.status not in _OK or not etag:
            return
        self._cache[key] = (etag, answer)
        self._cached_bytes += len(answer.body)
        while len(self._cache) > MAX_CACHED_ANSWERS or self._cached_bytes > MAX_CACHED_BYTES:
            _, (_, oldest) = self._cache.popitem(last=False)
            self._cached_bytes -= len(oldest.body)

    async def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        attempts: int = MAX_ATTEMPTS,
    ) -> HTTPAnswer:
        reason = "It can't be reached."
        for attempt in range(attempts):
            wait = _BACKOFF_SECONDS * 2**attempt
            try:
                answer = await self._send_once(method, url, headers, body)
            except TimeoutError:
                reason = "It does not answer in time."
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
                reason = "It can't be reached."
            else:
                limited = self._limited_seconds(answer)
                if limited is None and answer.status < _SERVER_ERROR:
                    return answer
                reason = f"It answered with status {answer.status}."
                if limited is not None:
                    if limited > MAX_WAIT_SECONDS or attempt == attempts - 1:
                        raise self._rate_limited(limited)
                    wait = limited
            if attempt < attempts - 1:
                await self._sleep(wait)
        raise self.unavailable(reason)

    async def _send_once(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> HTTPAnswer:
        # Without compression the limit on bytes read also limits the memory of the body.
        sent = {"user-agent": "parley", "accept-encoding": "identity", **headers}
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._pool.stream(method, url, headers=list(sent.items()), content=body) as response,
            ):
                read = bytearray()
                async for part in response.aiter_stream():
                    read += part
                    if len(read) > MAX_BODY_BYTES:
                        raise self.unavailable("Its answer is too long.")
                fields = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                return HTTPAnswer(response.status, fields, bytes(read))
        except httpcore.UnsupportedProtocol as error:
            message = "The host can't be asked."
            raise InvalidInput(message) from error

    def _limited_seconds(self, answer: HTTPAnswer) -> float | None:
        """Return the seconds until the rate limit ends; ``None`` if the response is not about a rate limit."""
        headers = answer.headers
        remaining = headers.get("x-ratelimit-remaining", headers.get("ratelimit-remaining"))
        secondary = "retry-after" in headers or b"rate limit" in answer.body[:2000].lower()
        if answer.status != _TOO_MANY and not (answer.status == _FORBIDDEN and (remaining == "0" or secondary)):
            return None
        seconds = _number(headers.get("retry-after"))
        reset = _number(headers.get("x-ratelimit-reset", headers.get("ratelimit-reset")))
        if seconds is None and reset is not None:
            seconds = reset - self._clock().timestamp()
        if seconds is None:
            seconds = _DEFAULT_LIMIT_SECONDS
        return min(max(seconds, 0.0), _MAX_LIMIT_SECONDS)

    def _rate_limited(self, seconds: float) -> GitProviderUnavailable:
        retry_at = (self._clock() + timedelta(seconds=seconds)).astimezone(UTC)
        return self.unavailable(f"Its rate limit ends at {retry_at:%Y-%m-%d %H:%M:%S} UTC.", retry_at)

    def _checked(self, answer: HTTPAnswer) -> HTTPAnswer:
        if answer.status == _LEGAL or (answer.status == _FORBIDDEN and _DISABLED.search(answer.body[:2000])):
            raise self.unavailable("It has disabled access to this repository or account.")
        if answer.status == _UNAUTHORIZED:
            raise self.refused("The token was refused, or one is needed.")
        if answer.status == _FORBIDDEN:
            raise self.refused("The token does not allow this.")
        if answer.status not in _OK:
            raise self.unavailable(f"It answered with status {answer.status}.")
        return answer


def _number(text: str | None) -> float | None:
    # Twelve digits are enough for Unix times until the year 33658.
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 12 else None  # noqa: PLR2004
