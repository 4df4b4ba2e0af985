"""Limits for each caller: request rate (token buckets), concurrent connections and subscriptions, buffered bodies."""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from throttled import MemoryStore, RateLimiterType, Throttled, rate_limiter

from app.config import Config
from app.endpoints.connections import Proxies
from app.endpoints.headers import Headers
from app.services.auth.authenticator import Caller

# Size of the LRU cache of buckets. A caller whose bucket was evicted starts with a full one.
REMEMBERED_CALLERS = 10_000
RETRY_SECONDS = 1
# Downloads and uploads of all callers together: an archive may hold 80 open directories and 40 MB.
MAX_TRANSFERS = 32
# Share of a second's rate, or of a burst, that is taken from a bucket at once (a lease).
TAKEN_SHARE = 100
# Bytes of each body that do not count, so that small requests get through beside large ones.
UNCOUNTED_BODY_BYTES = 64 * 1024


class TooMany(Exception):
    """The caller has to wait. ``retry_after`` is in whole seconds, at least 1."""

    code = "TOO_MANY_REQUESTS"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after

    @property
    def extensions(self) -> dict[str, object]:
        """The extensions of the GraphQL error."""
        return {"code": self.code, "retryAfter": self.retry_after}


class TooManyAtOnce(TooMany):
    """The caller has reached its limit of concurrent connections or subscriptions."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"A caller may have {limit} {what} at once.", RETRY_SECONDS)
        self.code = f"TOO_MANY_{what.upper()}"


class Buckets(Protocol):
    """A rate limit for each caller."""

    def take(self, caller_id: str) -> None:
        """Count a request. Raises TooMany if the rate is exceeded."""
        ...


class TokenBuckets:
    """A token bucket for each caller, refilled every second.

    Buckets are kept in the process: with several processes, each allows the full rate. Tokens are leased several at a
    time from a large bucket, since taking one costs a sixth of a small query; unused leases expire after a second.
    """

    def __init__(self, per_second: int, burst: int) -> None:
        self._limiter = Throttled(
            using=RateLimiterType.TOKEN_BUCKET.value,
            quota=rate_limiter.per_duration(timedelta(seconds=1), per_second, burst),
            store=MemoryStore(options={"MAX_SIZE": REMEMBERED_CALLERS}),
        )
        self._at_once = max(1, min(per_second, burst) // TAKEN_SHARE)
        self._taken: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def take(self, caller_id: str) -> None:
        """Take a token. Raises TooMany if the bucket is empty."""
        left, until = self._taken.get(caller_id, (0, 0.0))
        now = time.monotonic()
        if left and now < until:
            self._taken[caller_id] = (left - 1, until)
            return
        if self._at_once > 1 and not self._limiter.limit(caller_id, cost=self._at_once).limited:
            self._taken[caller_id] = (self._at_once - 1, now + 1.0)
            self._taken.move_to_end(caller_id)
            if len(self._taken) > REMEMBERED_CALLERS:
                self._taken.popitem(last=False)
            return
        result = self._limiter.limit(caller_id)
        if result.limited:
            raise TooMany(
                "Too many requests at once; the limit is refilled.", max(1, math.ceil(result.state.retry_after))
            )


class NoBuckets:
    """``Buckets`` without a limit, if the operator sets none."""

    def take(self, caller_id: str) -> None:
        """Allow every request."""


class Admission:
    """Applies all limits of callers. Only one event loop uses it, so check and update are atomic."""

    def __init__(self, config: Config) -> None:
        rate, burst = config.rate_limit_per_second, config.rate_limit_burst
        self._buckets: Buckets = TokenBuckets(rate, burst) if rate is not None else NoBuckets()
        self._strangers = TokenBuckets(config.failed_token_rate_per_second, config.failed_token_burst)
        self._pages = TokenBuckets(config.page_rate_per_second, config.page_burst)
        self._proxies = Proxies(config.trusted_proxies)
        self._body_bytes_left = max(config.max_buffered_bytes, config.max_body_bytes)
        self._connections = Places("connections", config.max_connections_per_caller)
        self._subscriptions = Places("subscriptions", config.max_subscriptions_per_caller)
        self._transfers = Places("transfers", config.max_transfers_per_caller)
        self._transfers_left = MAX_TRANSFERS

    def request(self, caller: Caller) -> None:
        """Admit a request, or an operation over a WebSocket. Raises TooMany."""
        self._buckets.take(caller.id)

    def stranger(self, peer: tuple[str, int] | None, headers: Headers) -> None:
        """Count a request without a valid token. Raises TooMany if its address has sent too many of them."""
        self._strangers.take(self._address(peer, headers))

    def page(self, peer: tuple[str, int] | None, headers: Headers) -> None:
        """Count a request that needs no token. Raises TooMany if its address has sent too many of them."""
        self._pages.take(self._address(peer, headers))

    def _address(self, peer: tuple[str, int] | None, headers: Headers) -> str:
        return self._proxies.client(peer[0] if peer is not None else "", headers)

    def body(self) -> "HeldBody":
        """Create the account of one body, which counts its buffered bytes until it is released."""
        return HeldBody(self)

    def hold(self, size: int) -> bool:
        """Reserve bytes of the common buffer; False if it is full. Bodies call this."""
        if size > self._body_bytes_left:
            return False
        self._body_bytes_left -= size
        return True

    def release(self, size: int) -> None:
        """Give reserved bytes back. Bodies call this."""
        self._body_bytes_left += size

    def connection(self, caller: Caller) -> "Place":
        """Admit a WebSocket or a streamed response. Raises TooManyAtOnce."""
        return self._connections.take(caller.id)

    def subscription(self, caller: Caller) -> "Place":
        """Admit a subscription. Raises TooManyAtOnce."""
        return self._subscriptions.take(caller.id)

    @contextmanager
    def transfer(self, caller_id: str) -> Generator[None]:
        """Admit a download or an upload until the block ends. Raises TooManyAtOnce, and TooMany for those of all."""
        if not self._transfers_left:
            raise TooMany("The server has too many transfers at once.", RETRY_SECONDS)
        place = self._transfers.take(caller_id)
        self._transfers_left -= 1
        try:
            yield
        finally:
            self._transfers_left += 1
            place.leave()


class HeldBody:
    """Counts the buffered bytes of one body."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._size = 0
        self._held = 0

    def grow(self, size: int) -> bool:
        """Count a chunk; False if the common buffer has no space for it."""
        self._size += size
        wanted = max(0, self._size - UNCOUNTED_BODY_BYTES) - self._held
        if wanted and not self._admission.hold(wanted):
            return False
        self._held += wanted
        return True

    def resize(self, size: int) -> bool:
        """Count as many bytes from now on; False if the common buffer has no space for more."""
        if size <= self._size:
            least = max(0, size - UNCOUNTED_BODY_BYTES)
            self._admission.release(self._held - least)
            self._held, self._size = least, size
            return True
        return self.grow(size - self._size)

    def release(self) -> None:
        """Give back all bytes, since the body is no longer buffered."""
        self._admission.release(self._held)
        self._held = self._size = 0


class Places:
    """A limit on how many of something each caller may have at once."""

    def __init__(self, what: str, limit: int) -> None:
        self._what = what
        self._limit = limit
        self._taken: Counter[str] = Counter()

    def take(self, caller_id: str) -> "Place":
        """Take a place. Raises TooManyAtOnce if the caller has no more."""
        if self._taken[caller_id] >= self._limit:
            raise TooManyAtOnce(self._what, self._limit)
        self._taken[caller_id] += 1
        return Place(self, caller_id)

    def free(self, caller_id: str) -> None:
        """Give a place back; ``Place`` calls this."""
        self._taken[caller_id] -= 1
        if not self._taken[caller_id]:
            del self._taken[caller_id]


class Place:
    """A place that a caller has taken. ``leave`` gives it back, and is idempotent."""

    def __init__(self, places: Places, caller_id: str) -> None:
        self._places = places
        self._caller_id: str | None = caller_id

    def leave(self) -> None:
        """Give the place back."""
        caller_id, self._caller_id = self._caller_id, None
        if caller_id is not None:
            self._places.free(caller_id)
