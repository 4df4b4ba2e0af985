"""Authenticates requests: as the one local caller, or by a JWT that the configured key or identity provider signed."""

import contextlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Protocol, cast

import jwt
import structlog
from jwt.exceptions import InvalidSubjectError
from jwt.utils import base64url_decode

from app.config import AuthMode, Config, ConfigError
from app.errors import Unauthenticated
from app.json_bounds import JSONBounds, TooMuchJSON
from app.services.auth.token_keys import FileKeySource, KeySource, SecretKeySource, URLKeySource

LOCAL_CALLER_ID = "local"
MAX_TOKEN_BYTES = 16 * 1024
# A JWT header with a certificate chain, which is ignored here, has about 3 KiB.
MAX_TOKEN_HEADER_BYTES = 8 * 1024
MAX_TOKEN_HEADER_DEPTH = 8
MAX_SUBJECT_CHARACTERS = 200
REMEMBERED_TOKENS = 10_000

_SCHEME = b"Bearer "
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Caller:
    """An authenticated caller. ``expires_at`` is when its token stops being accepted, tolerance included, if ever."""

    id: str
    expires_at: datetime | None


class Authenticator(Protocol):
    """Identifies the caller of a request."""

    async def authenticate(self, token: str | None) -> Caller:
        """Verify a bearer token. Raises ``Unauthenticated`` with a message that repeats nothing of the token."""
        ...

    async def authenticate_header(self, header: bytes | None) -> Caller:
        """Like ``authenticate``, from the value of an ``Authorization`` header."""
        ...


class LocalAuthenticator:
    """``Authenticator`` for ``PARLEY_AUTH=none``: every request is the one local caller's, whatever its token."""

    async def authenticate(self, token: str | None) -> Caller:  # noqa: ARG002  # The protocol has it.
        """Return the local caller."""
        return Caller(id=LOCAL_CALLER_ID, expires_at=None)

    async def authenticate_header(self, header: bytes | None) -> Caller:
        """Return the local caller. Raises ``Unauthenticated`` for a header that is not a bearer token's."""
        return await self.authenticate(bearer_token(header.decode("latin-1") if header is not None else None))


@dataclass(frozen=True, slots=True)
class _Verified:
    """Cache entry of a verified token: its caller and the key that verified it."""

    caller: Caller
    expires_at: datetime
    algorithm: str
    key_id: str | None
    key: jwt.PyJWK


class JWTAuthenticator:
    """Verifies JWTs: signature, ``exp``, ``nbf`` and ``sub`` always, ``iss`` and ``aud`` if configured.

    The key decides the algorithm, never the token, so a public key can't be abused as an HS256 secret. Verified tokens
    are kept in an LRU cache while their key is valid: verifying takes 60 µs, as much as everything else in a small
    query. The cache's keys are SHA-256 digests of the ``Authorization`` header.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        leeway: timedelta = timedelta(0),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._now = now
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    async def authenticate(self, token: str | None) -> Caller:
        """Verify the token and return its caller, whose id is the claim ``sub``."""
        if not token:
            raise Unauthenticated("A bearer token is needed.")
        if len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise Unauthenticated("The token is malformed.")
        digest = sha256(_SCHEME + token.encode()).digest()
        return await self._known(digest) or await self._verify(token, digest)

    async def authenticate_header(self, header: bytes | None) -> Caller:
        """Like ``authenticate``, but look up the whole header in the cache before parsing it."""
        if header is not None and len(header) <= MAX_TOKEN_BYTES and header.startswith(_SCHEME):
            caller = await self._known(sha256(header).digest())
            if caller is not None:
                return caller
        return await self.authenticate(bearer_token(header.decode("latin-1") if header is not None else None))

    async def _known(self, digest: bytes) -> Caller | None:
        """Return the cached caller, if its key is still valid. Raises ``Unauthenticated`` if the token has expired."""
        known = self._verified.get(digest)
        if known is None or await self._keys.find(known.algorithm, known.key_id) is not known.key:
            return None
        if known.expires_at <= self._now():
            raise Unauthenticated("The token has expired.")
        # The entry may have been evicted during the await above, so it is inserted again.
        self._verified[digest] = known
        self._verified.move_to_end(digest)
        return known.caller

    async def _verify(self, token: str, digest: bytes) -> Caller:
        _check_header(token)
        try:
            header = jwt.get_unverified_header(token)
            algorithm, key_id = str(header.get("alg")), cast("str | None", header.get("kid"))
            key = await self._keys.find(algorithm, key_id)
            claims = self._claims(token, key)
        except jwt.PyJWTError as error:
            raise Unauthenticated(_fault(error)) from None
        self._check_not_before(claims)
        expires_at = self._expiry(claims)
        caller = Caller(id=_subject(claims), expires_at=expires_at)
        self._verified[digest] = _Verified(caller, expires_at, algorithm, key_id, key)
        if len(self._verified) > REMEMBERED_TOKENS:
            self._verified.popitem(last=False)
        return caller

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, object]:
        """Verify the signature and return the claims. Times are checked elsewhere: PyJWT uses the system's clock."""
        return jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            issuer=self._issuer,
            audience=self._audience,
            options={
                "require": ["exp", "sub"],
                "verify_aud": self._audience is not None,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_jti": False,
                "enforce_minimum_key_length": True,
            },
        )

    def _expiry(self, claims: Mapping[str, object]) -> datetime:
        expires_at = _time(claims, "exp", self._leeway)
        if expires_at <= self._now():
            raise Unauthenticated("The token has expired.")
        return expires_at

    def _check_not_before(self, claims: Mapping[str, object]) -> None:
        if claims.get("nbf") is not None and _time(claims, "nbf", -self._leeway) > self._now():
            raise Unauthenticated("The token is not valid yet.")


def build_authenticator(
    config: Config,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    monotonic: Callable[[], float] = time.monotonic,
) -> Authenticator:
    """Build the configured authenticator. A JWKS URL is only requested when the first token comes.

    Raises ``ConfigError`` if the JWKS file can't be read or has no usable key.
    """
    if config.auth is AuthMode.NONE:
        return LocalAuthenticator()
    if config.jwt_audience is None and config.jwt_secret is None:
        # Without a check of the audience, tokens for the provider's other applications are accepted too.
        log.warning("auth.audience_not_checked", advice="Set PARLEY_JWT_AUDIENCE.")
    return JWTAuthenticator(
        _key_source(config, monotonic),
        issuer=config.jwt_issuer,
        audience=config.jwt_audience,
        leeway=timedelta(seconds=config.jwt_leeway_seconds),
        now=now,
    )


def bearer_token(header: str | None) -> str | None:
    """Return the token of an ``Authorization`` header. Raises ``Unauthenticated`` unless it is ``Bearer <token>``."""
    if header is None:
        return None
    match = _BEARER.fullmatch(header) if len(header) <= MAX_TOKEN_BYTES + len("Bearer ") else None
    if match is None:
        raise Unauthenticated("The Authorization header must be Bearer and a token.")
    return match[1]


def _key_source(config: Config, monotonic: Callable[[], float]) -> KeySource:
    if config.jwt_secret is not None:
        return SecretKeySource(config.jwt_secret)
    if config.jwt_jwks_url is not None:
        return URLKeySource(config.jwt_jwks_url, monotonic=monotonic)
    if config.jwt_jwks_file is None:
        msg = "PARLEY_AUTH=jwt needs a secret, a JWKS URL or a JWKS file."
        raise ConfigError(msg)
    try:
        return FileKeySource(config.jwt_jwks_file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds no usable RS256 or ES256 key"
        msg = f"PARLEY_JWT_JWKS_FILE: {config.jwt_jwks_file} can't be used: {reason}."
        raise ConfigError(msg) from None


def _check_header(token: str) -> None:
    """Raise ``Unauthenticated`` for a JWT header that is too large or nested: it is parsed before it is verified."""
    header, _, _ = token.partition(".")
    if len(header) <= MAX_TOKEN_HEADER_BYTES:
        with contextlib.suppress(ValueError, TooMuchJSON):
            JSONBounds(items=100, depth=MAX_TOKEN_HEADER_DEPTH, digits=20).check(base64url_decode(header))
            return
    raise Unauthenticated("The token is malformed.")


def _time(claims: Mapping[str, object], name: str, shift: timedelta) -> datetime:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthenticated(f"The token's {name} is malformed.")
    try:
        return datetime.fromtimestamp(value, UTC) + shift
    except (ValueError, OverflowError, OSError):
        raise Unauthenticated(f"The token's {name} is malformed.") from None


def _subject(claims: Mapping[str, object]) -> str:
    subject = claims.get("sub")
    # ``isprintable`` excludes NUL and lone surrogates, which databases refuse.
    if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_SUBJECT_CHARACTERS or not subject.isprintable():
        raise Unauthenticated(f"The token's sub is not 1 to {MAX_SUBJECT_CHARACTERS} printable characters.")
    return subject


def _fault(error: jwt.PyJWTError) -> str:
    """Translate PyJWT's error to a fixed message, since PyJWT's own may quote the token."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"The token has no {error.claim}."
    messages: dict[type[jwt.PyJWTError], str] = {
        jwt.InvalidSignatureError: "The token's signature is wrong.",
        jwt.InvalidAlgorithmError: "The token's algorithm is not accepted.",
        jwt.InvalidIssuerError: "The token's issuer is not accepted.",
        jwt.InvalidAudienceError: "The token is for another audience.",
        InvalidSubjectError: f"The token's sub is not 1 to {MAX_SUBJECT_CHARACTERS} printable characters.",
    }
    return messages.get(type(error), "The token is malformed.")
