"""Where the keys of bearer tokens come from: a shared secret, a file of public keys, or an identity provider's address.

PyJWT's own ``PyJWKClient`` is not used for the last: it blocks a thread for as long as the provider takes, reads
answers of any size, asks a failing provider again for every request and drops its keys when they age.
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
# A revoked key must not live on for ever because the provider can't be reached.
_KEYS_MAX_AGE_SECONDS = 24 * 3600.0
# Bounds what tokens with made-up key ids, or a failing provider, make us ask of it.
_KEYS_PAUSE_SECONDS = 10.0
_MAX_KEYS_BYTES = 256 * 1024
_MAX_KEYS = 100

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class KeySource(Protocol):
    """Where keys of tokens come from."""

    async def find(self, algorithm: str, key_id: str | None) -> jwt.PyJWK:
        """Return a key that is made for ``algorithm``; raise ``Unauthenticated`` where there is none."""
        ...


class SecretKeySource:
    """The shared secret of HS256 tokens; their key id does not matter."""

    def __init__(self, secret: SecretStr) -> None:
        value = base64url_encode(secret.get_secret_value().encode()).decode()
        self._key = jwt.PyJWK({"kty": "oct", "k": value}, "HS256")

    async def find(self, algorithm: str, key_id: str | None) -> jwt.PyJWK:  # noqa: ARG002  # The protocol has it.
        """Return the one key there is."""
        if algorithm != self._key.algorithm_name:
            raise Unauthenticated("The token's algorithm is not accepted.")
        return self._key


class KeySet:
    """The public keys of a JWKS document that can verify RS256 or ES256; others in it are passed over."""

    def __init__(self, document: bytes) -> None:
        """``document``: JSON as RFC 7517 has it. Raises ``ValueError`` where it holds no usable key."""
        try:
            content: object = json.loads(document)
        except RecursionError:
            content = None
        found = cast("dict[str, object]", content).get("keys") if isinstance(content, dict) else None
        entries = cast("list[object]", found)[:_MAX_KEYS] if isinstance(found, list) else []
        self._keys = [key for key in map(_public_key, entries) if key is not None]
        if not self._keys:
            msg = "no usable key"
            raise ValueError(msg)

    def find(self, algorithm: str, key_id: str | None) -> jwt.PyJWK | None:
        """Return the key of that id; without an id the only key of the algorithm, and none where there are several."""
        fitting = [key for key in self._keys if key.algorithm_name == algorithm]
        if key_id is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.key_id == key_id), None)


class FileKeySource:
    """Public keys of a JWKS file, which is read again once it changes; while it is unreadable the keys stay."""

    def __init__(self, path: Path) -> None:
        """Raise ``OSError`` or ``ValueError`` where the file can't be read or holds no usable key."""
        self._path = path
        self._seen = self._stamp()
        self._keys = self._read()

    async def find(self, algorithm: str, key_id: str | None) -> jwt.PyJWK:
        """Return the key from the file as it is now. Looking at a local file takes microseconds."""
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
    """Public keys of an identity provider, kept for 5 minutes.

    An unknown key id asks the provider again, but it is never asked more than once in 10 s nor twice at a time.
    While it does not answer, the keys that it gave stay valid for a day.
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
        """Return the key; raise ``Unauthenticated`` too where the provider's keys can't be had."""
        if algorithm not in _PUBLIC_KEY_ALGORITHMS:
            raise Unauthenticated("The token's algorithm is not accepted.")
        if self._age() > _KEYS_LIFETIME_SECONDS:
            # Once a provider has failed to answer, callers don't wait for it again while its keys are still good.
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
            # Others wait for the same answer, so a caller who goes away must not cancel it.
            await asyncio.shield(self._fetch)

    async def _fetch_keys(self) -> None:
        # Importing httpx takes 0.2 s and a client's certificates 50 ms: neither is for the event loop.
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
    """Return the public part of a JWKS entry, bound to the one algorithm of its type; ``None``: not for our use."""
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
    """Return a client and what its requests may raise. The answer is read raw: a compressed one could be a bomb."""
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
