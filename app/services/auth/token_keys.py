"""Sources of the keys that verify JWTs: a shared secret, a JWKS file, or an identity provider's JWKS URL.

PyJWT's own ``PyJWKClient`` is not used for the URL: it blocks a thread for as long as the provider takes, reads answers
of any size, asks a failing provider again for every request and drops its keys when they age.
"""

import asyncio
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import jwt
import structlog
from jwt.utils import base64url_encode
from pydantic import SecretStr

from app.errors import Unauthenticated

if TYPE_CHECKING:
    import httpx

_PUBLIC_KEY_ALGORITHMS = ("RS256", "ES256")
_KEYS_TIMEOUT_SECONDS = 5.0
_KEYS_LIFETIME_SECONDS = 5 * 60.0
# While the provider can't be reached, cached keys are used for at most this long, since one may have been revoked.
_KEYS_MAX_AGE_SECONDS = 24 * 3600.0
# Minimum pause between two requests to the provider, whatever key ids tokens make up.
_KEYS_PAUSE_SECONDS = 10.0
_MAX_KEYS_BYTES = 256 * 1024
_MAX_KEYS = 100

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class KeySource(Protocol):
    """Finds the key that verifies a token."""

    async def find(self, algorithm: str, key_id: str | None) -> jwt.PyJWK:
        """Return a key for ``algorithm``. Raises ``Unauthenticated`` if there is none."""
        ...


class SecretKeySource:
    """The shared secret of HS256 tokens; key ids are ignored."""

    def __init__(self, secret: SecretStr) -> None:
        value = base64url_encode(secret.get_secret_value().encode()).decode()
        self._key = jwt.PyJWK({"kty": "oct", "k": value}, "HS256")

    async def find(self, algorithm: str, key_id: str | None) -> jwt.PyJWK:  # noqa: ARG002  # The protocol has it.
        """Return the only key, unless the algorithm is another."""
        if algorithm != self._key.algorithm_name:
            raise Unauthenticated("The token's algorithm is not accepted.")
        return self._key


class KeySet:
    """The keys of a JWKS document that can verify RS256 or ES256; other keys in it are ignored."""

    def __init__(self, document: bytes) -> None:
        """Parse a JWKS document (RFC 7517). Raises ``ValueError`` if it has no usable key."""
        try:
            content: object = json.loads(document)
        except RecursionError:
            content = None
        keys = cast("dict[str, object]", content).get("keys") if isinstance(content, dict) else None
        entries = cast("list[object]", keys)[:_MAX_KEYS] if isinstance(keys, list) else []
        self._keys = [key for key in map(_public_key, entries) if key is not None]
        if not self._keys:
            msg = "no usable key"
            raise ValueError(msg)

    def find(self, algorithm: str, key_id: str | None) -> jwt.PyJWK | None:
        """Return the key with that id. Without an id, return the algorithm's key if there is exactly one."""
        fitting = [key for key in self._keys if key.algorithm_name == algorithm]
        if key_id is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.key_id == key_id), None)


class FileKeySource:
    """Public keys of a JWKS file. It is read again when it changes; while it is unreadable, the old keys stay valid."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ``OSError`` if it can't be read, ``ValueError`` if it has no usable key."""
        self._path = path
        self._seen = self._stamp()
        self._keys = self._read()

    async def find(self, algorithm: str, key_id: str | None) -> jwt.PyJWK:
        """Return the key, after checking the file's modification time, which takes microseconds."""
        try:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                self._keys = self._read()
                log.info("auth.keys_read")
        except (OSError, ValueError) as error:
            log.warning("auth.keys_unreadable", error=type(error).__name__)
        return _accepted(self._keys, algorithm, key_id)

    def _stamp(self) -> tuple[int, int, int]:
        status = os.stat(self._path)  # noqa: PTH116  # One call, without the cost of a path object.
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> KeySet:
        with self._path.open("rb") as file:
            document = file.read(_MAX_KEYS_BYTES + 1)
        if len(document) > _MAX_KEYS_BYTES:
            msg = "too large"
            raise ValueError(msg)
        return KeySet(document)


class URLKeySource:
    """Public keys of an identity provider, cached for 5 minutes.

    An unknown key id causes another request, but there is at most one every 10 s, and never two at a time. While the
    provider does not answer, the cached keys stay valid for a day.
    """

    def __init__(
        self,
        url: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        timeout_seconds: float = _KEYS_TIMEOUT_SECONDS,
    ) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._keys: KeySet | None = None
        self._fetched_at = -math.inf
        self._asked_at = -math.inf
        self._failing = False
        self._fetch: asyncio.Task[None] | None = None

    async def find(self, algorithm: str, key_id: str | None) -> jwt.PyJWK:
        """Return the key. Raises ``Unauthenticated`` also if the provider's keys can't be fetched."""
        if algorithm not in _PUBLIC_KEY_ALGORITHMS:
            raise Unauthenticated("The token's algorithm is not accepted.")
        if self._age() > _KEYS_LIFETIME_SECONDS:
            # After a failure, callers don't wait for the provider while the cached keys are still valid.
            await self._refresh(wait=not self._failing or self._age() > _KEYS_MAX_AGE_SECONDS)
        if self._keys is None or self._age() > _KEYS_MAX_AGE_SECONDS:
            raise Unauthenticated("The token can't be checked now: the identity provider's keys are not available.")
        if self._keys.find(algorithm, key_id) is None:
            await self._refresh(wait=True)
        return _accepted(self._keys, algorithm, key_id)

    def _age(self) -> float:
        return self._monotonic() - self._fetched_at

    async def _refresh(self, *, wait: bool) -> None:
        if self._fetch is None or self._fetch.done():
            if self._monotonic() - self._asked_at < _KEYS_PAUSE_SECONDS:
                return
            self._asked_at = self._monotonic()
            self._fetch = asyncio.create_task(self._fetch_keys())
        if wait:
            # Other callers wait for the same request, so one who is cancelled must not cancel it.
            await asyncio.shield(self._fetch)

    async def _fetch_keys(self) -> None:
        # Importing httpx takes 0.2 s, loading certificates 50 ms: too long for the event loop.
        client, failures = await asyncio.to_thread(_open_client, self._timeout_seconds)
        try:
            async with client, asyncio.timeout(self._timeout_seconds):
                self._keys = KeySet(await _download(client, self._url))
        except failures as error:
            self._failing = True
            log.warning("auth.keys_not_fetched", error=type(error).__name__, keys_kept=self._keys is not None)
        else:
            self._failing = False
            self._fetched_at = self._monotonic()


def _accepted(keys: KeySet, algorithm: str, key_id: str | None) -> jwt.PyJWK:
    if algorithm not in _PUBLIC_KEY_ALGORITHMS:
        raise Unauthenticated("The token's algorithm is not accepted.")
    key = keys.find(algorithm, key_id)
    if key is None:
        raise Unauthenticated("The token's key is not known.")
    return key


def _public_key(entry: object) -> jwt.PyJWK | None:
    """Return the public part of a JWKS entry, bound to the algorithm of its type; ``None`` if it is unusable here."""
    if not isinstance(entry, dict):
        return None
    fields = cast("dict[str, object]", entry)
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(fields.get("kty")))
    operations = fields.get("key_ops", ["verify"])
    if (
        algorithm is None
        or fields.get("alg", algorithm) != algorithm
        or fields.get("use", "sig") != "sig"
        or not (isinstance(operations, list) and "verify" in operations)
        or (algorithm == "ES256" and fields.get("crv") != "P-256")
    ):
        return None
    public = {name: fields[name] for name in ("kty", "kid", "n", "e", "crv", "x", "y") if name in fields}
    try:
        key = jwt.PyJWK(public, algorithm)
    except jwt.PyJWTError:
        return None
    return None if key.Algorithm.check_key_length(key.key) else key


def _open_client(timeout_seconds: float) -> "tuple[httpx.AsyncClient, tuple[type[Exception], ...]]":
    """Return a client and the exceptions of its requests. It asks for no compression, against decompression bombs."""
    import httpx  # noqa: PLC0415  # Only servers with a JWKS URL need it.

    client = httpx.AsyncClient(
        timeout=timeout_seconds,
        follow_redirects=False,
        headers={"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"},
    )
    return client, (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError)


async def _download(client: "httpx.AsyncClient", url: str) -> bytes:
    document = bytearray()
    async with client.stream("GET", url) as response:
        if not response.is_success:
            msg = "the provider did not answer with success"
            raise ValueError(msg)
        async for chunk in response.aiter_raw():
            document += chunk
            if len(document) > _MAX_KEYS_BYTES:
                msg = "the answer is too large"
                raise ValueError(msg)
    return bytes(document)
