"""Signing keys, JWTs, and a fake identity provider."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import SecretStr

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HS256_SECRET = SecretStr("a shared secret of more than 32 bytes for tests")


@dataclass(frozen=True)
class SigningKey:
    """A key pair of an identity provider."""

    key_id: str
    algorithm: str
    private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = field(repr=False)

    def jwk(self) -> dict[str, object]:
        """Return the public key as an entry of a JWKS document."""
        public_key = self.private_key.public_key()
        if isinstance(public_key, rsa.RSAPublicKey):
            parts = RSAAlgorithm.to_jwk(public_key, as_dict=True)
        else:
            parts = ECAlgorithm.to_jwk(public_key, as_dict=True)
        return {**parts, "kid": self.key_id, "alg": self.algorithm, "use": "sig"}

    def pem(self) -> str:
        """Return the public key as PEM."""
        return self.private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def token(self, headers: Mapping[str, object] | None = None, **claims: object) -> str:
        """Sign a token with ``valid_claims``, overridden by ``claims``; ``None`` removes a claim."""
        named = {"kid": self.key_id} if headers is None else dict(headers)
        return jwt.encode(valid_claims(**claims), self.private_key, algorithm=self.algorithm, headers=named)


@cache
def rsa_key(key_id: str = "rsa-1", bits: int = 2048) -> SigningKey:
    """Generate an RS256 key; the same arguments return the same cached key."""
    return SigningKey(key_id, "RS256", rsa.generate_private_key(public_exponent=65537, key_size=bits))


@cache
def ec_key(key_id: str = "ec-1") -> SigningKey:
    """Generate an ES256 key; the same id returns the same cached key."""
    return SigningKey(key_id, "ES256", ec.generate_private_key(ec.SECP256R1()))


def valid_claims(**claims: object) -> dict[str, object]:
    """Return claims that are valid for an hour from ``NOW``, overridden by ``claims``; ``None`` removes one."""
    all_claims: dict[str, object] = {"sub": "ada", "exp": int(NOW.timestamp()) + 3600, **claims}
    return {name: value for name, value in all_claims.items() if value is not None}


def hs256_token(**claims: object) -> str:
    """Sign a token with ``HS256_SECRET``; its claims are ``valid_claims``, overridden by ``claims``."""
    return jwt.encode(valid_claims(**claims), HS256_SECRET.get_secret_value(), algorithm="HS256")


def raw_token(header: object, claims: object, signature: bytes = b"") -> str:
    """Build a token from any header, claims and signature, as an attacker could."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def jwks(*keys: SigningKey | Mapping[str, object]) -> bytes:
    """Build a JWKS document."""
    entries = [key.jwk() if isinstance(key, SigningKey) else dict(key) for key in keys]
    return json.dumps({"keys": entries}).encode()


class Clock:
    """A wall clock and a monotonic clock that stand still until the test moves them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        """Return the seconds by which the clock was moved."""
        return self.seconds


@dataclass
class IdentityProvider:
    """Serves ``document`` with ``status``, and counts ``requests``; while ``open`` is cleared, responses wait."""

    url: str = ""
    document: bytes = b""
    status: str = "200 OK"
    headers: tuple[str, ...] = ()
    requests: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, then close the connection."""
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        self.asked.set()
        await self.open.wait()
        head = [f"HTTP/1.1 {self.status}", f"Content-Length: {len(self.document)}", "Connection: close", *self.headers]
        writer.write("\r\n".join([*head, "", ""]).encode() + self.document)
        try:
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            # The client disconnects if the response is too large.
            pass


@asynccontextmanager
async def identity_provider(*keys: SigningKey | Mapping[str, object]) -> AsyncGenerator[IdentityProvider]:
    """Run an identity provider with these keys on a free port of the loopback address."""
    provider = IdentityProvider(document=jwks(*keys))
    provider.open.set()
    server = await asyncio.start_server(provider.answer, "127.0.0.1", 0)
    async with server:
        provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
        yield provider
