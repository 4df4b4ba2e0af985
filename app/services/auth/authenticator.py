"""Who calls: one local caller, or the subject of a bearer token that the configured key or identity provider signed."""

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
# With a chain of certificates in it, which nothing here looks at, a header has 3 KiB.
MAX_TOKEN_HEADER_BYTES = 8 * 1024
MAX_TOKEN_HEADER_DEPTH = 8
MAX_SUBJECT_CHARACTERS = 200
REMEMBERED_TOKENS = 10_000

_SCHEME = b"Bearer "
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Caller:
    """Who calls. ``expires_at``: from then on the token is no longer accepted, tolerance included; ``None``: never."""

    id: str
    expires_at: datetime | None


class Authenticator(Protocol):
    """Tells who calls."""

    async def authenticate(self, token: str | None) -> Caller:
        """Raise ``Unauthenticated``, with a message that names the fault but nothing of the token."""
        ...

    async def authenticate_header(self, header: bytes | None) -> Caller:
        """As ``authenticate``, by the value of an ``Authorization`` header."""
        ...


class LocalAuthenticator:
    """With ``PARLEY_AUTH=none`` whoever reaches the server is its one caller, whatever token comes along."""

    async def authenticate(self, token: str | None) -> Caller:  # noqa: ARG002  # The protocol has it.
        """Return the local caller."""
        return Caller(id=LOCAL_CALLER_ID, expires_at=None)

    async def authenticate_header(self, header: bytes | None) -> Caller:
        """Return the local caller; a header that is none of a bearer token is a fault all the same."""
        return await self.authenticate(bearer_token(header.decode("latin-1") if header is not None else None))


@dataclass(frozen=True, slots=True)
class _Verified:
    """What a token said whose signature was checked, by which key."""

    caller: Caller
    expires_at: datetime
    algorithm: str
    key_id: str | None
    key: jwt.PyJWK


class JWTAuthenticator:
    """Checks bearer tokens: signature, ``exp``, ``nbf`` and ``sub`` always, ``iss`` and ``aud`` where configured.

    The key decides the algorithm, never the token, so that a public key can't be passed off as an HS256 secret.
    A token that was seen before is not checked again while the same key is in force: that takes 60 µs, as much as
    everything else about a small query. Tokens are remembered by the SHA-256 of their header.
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
        """Return the caller that ``token`` names; the id is its ``sub``."""
        if not token:
            raise Unauthenticated("A bearer token is needed.")
        if len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise Unauthenticated("The token is malformed.")
        digest = sha256(_SCHEME + token.encode()).digest()
        return await self._known(digest) or await self._verify(token, digest)

    async def authenticate_header(self, header: bytes | None) -> Caller:
        """As ``authenticate``; a header that came before is not taken apart again."""
        if header is not None and len(header) <= MAX_TOKEN_BYTES and header.startswith(_SCHEME):
            caller = await self._known(sha256(header).digest())
            if caller is not None:
                return caller
        return await self.authenticate(bearer_token(header.decode("latin-1") if header is not None else None))

    async def _known(self, digest: bytes) -> Caller | None:
        """The caller of a token that was verified before, by a key that is still in force."""
        known = self._verified.get(digest)
        if known is None or await self._keys.find(known.algorithm, known.key_id) is not known.key:
            return None
        if known.expires_at <= self._now():
            raise Unauthenticated("The token has expired.")
        # Again, since it may have been forgotten while the key was asked for.
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
        """Return the claims; their times are compared here, with the clock that was given, rather than by PyJWT."""
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
    """Return the authenticator of the configuration. A JWKS URL is first asked when the first token comes.

    Raises ``ConfigError`` where the JWKS file can't be read or holds no usable key.
    """
    if config.auth is AuthMode.NONE:
        return LocalAuthenticator()
    if config.jwt_audience is None and config.jwt_secret is None:
        # The provider's other applications get tokens signed with the same keys.
        log.warning("auth.audience_not_checked", advice="Set PARLEY_JWT_AUDIENCE.")
    return JWTAuthenticator(
        _key_source(config, monotonic),
        issuer=config.jwt_issuer,
        audience=config.jwt_audience,
        leeway=timedelta(seconds=config.jwt_leeway_seconds),
        now=now,
    )


def bearer_token(header: str | None) -> str | None:
    """Return the token of an ``Authorization`` header; raise ``Unauthenticated`` where it is not ``Bearer <token>``."""
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
    """Raise ``Unauthenticated`` where the header would cost more than its bytes: anybody can write one."""
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
    # What can't be printed includes NUL and lone surrogates, which databases refuse.
    if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_SUBJECT_CHARACTERS or not subject.isprintable():
        raise Unauthenticated(f"The token's sub is not 1 to {MAX_SUBJECT_CHARACTERS} printable characters.")
    return subject


def _fault(error: jwt.PyJWTError) -> str:
    """Return what is wrong, in words of our own: PyJWT's may quote the token."""
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
