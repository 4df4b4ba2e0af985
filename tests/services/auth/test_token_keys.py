"""The keys of bearer tokens: public ones from a file, or from an identity provider that is slow, failing or hostile."""

import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.config import AuthMode, ConfigError, load_config
from app.errors import Unauthenticated
from app.services.auth.authenticator import Authenticator, JWTAuthenticator, build_authenticator
from app.services.auth.token_keys import FileKeySource, KeySet, URLKeySource
from tests.support.tokens import (
    NOW,
    Clock,
    SigningKey,
    ec_key,
    hs256_token,
    identity_provider,
    jwks,
    raw_token,
    rsa_key,
    valid_claims,
)


def public_keys(tmp_path: Path, *keys: SigningKey) -> JWTAuthenticator:
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(*keys))
    return JWTAuthenticator(FileKeySource(path), now=lambda: NOW)


async def refusal(authenticator: Authenticator, token: str | None) -> str:
    with pytest.raises(Unauthenticated) as refused:
        await authenticator.authenticate(token)
    # Neither the message nor what it was raised from may show the token.
    assert not token or token not in repr(refused.value)
    assert refused.value.__cause__ is None
    return refused.value.message


# Public keys


async def test_rs256_and_es256_tokens_are_accepted(tmp_path: Path) -> None:
    authenticator = public_keys(tmp_path, rsa_key(), ec_key())
    assert (await authenticator.authenticate(rsa_key().token(sub="ada"))).id == "ada"
    assert (await authenticator.authenticate(ec_key().token(sub="grace"))).id == "grace"


async def test_a_token_without_a_key_id_is_accepted_where_one_key_fits(tmp_path: Path) -> None:
    token = rsa_key().token(headers={})
    assert (await public_keys(tmp_path, rsa_key(), ec_key()).authenticate(token)).id == "ada"
    assert await refusal(public_keys(tmp_path, rsa_key(), rsa_key("rsa-2")), token) == "The token's key is not known."


def test_keys_for_other_purposes_are_passed_over() -> None:
    key = rsa_key().jwk()
    unfit: list[dict[str, object]] = [
        {**key, "use": "enc"},
        {**key, "alg": "RS512"},
        {**key, "key_ops": ["sign"]},
        {**key, "n": "!"},
        {**key, "n": 5},
        rsa_key("small", 1024).jwk(),
        {**ec_key().jwk(), "crv": "P-384"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct", "alg": "HS256"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
        {},
    ]
    for entry in unfit:
        with pytest.raises(ValueError, match=r"^no usable key$"):
            KeySet(jwks(entry))
    assert KeySet(jwks(*unfit, ec_key())).find("ES256", "ec-1") is not None


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"5", b"{}", b'{"keys": 5}', b'{"keys": [5]}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_jwks_document_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        KeySet(document)


async def test_a_changed_key_file_is_read_again(tmp_path: Path) -> None:
    authenticator = public_keys(tmp_path, rsa_key())
    assert await refusal(authenticator, ec_key().token()) == "The token's key is not known."
    (tmp_path / "keys.json").write_bytes(jwks(ec_key()))
    assert (await authenticator.authenticate(ec_key().token())).id == "ada"
    assert await refusal(authenticator, rsa_key().token()) == "The token's key is not known."


@pytest.mark.parametrize("content", [b"{", None])
async def test_an_unreadable_key_file_leaves_the_keys(tmp_path: Path, content: bytes | None) -> None:
    authenticator = public_keys(tmp_path, rsa_key())
    path = tmp_path / "keys.json"
    path.unlink() if content is None else path.write_bytes(content)
    with capture_logs() as logs:
        assert (await authenticator.authenticate(rsa_key().token())).id == "ada"
    assert [entry["event"] for entry in logs] == ["auth.keys_unreadable"]
    path.write_bytes(jwks(ec_key()))
    os.utime(path, ns=(1, 1))
    assert (await authenticator.authenticate(ec_key().token())).id == "ada"


def test_a_server_does_not_start_with_an_unusable_key_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    config = load_config(env_file=None, auth=AuthMode.JWT, jwt_jwks_file=path)
    with pytest.raises(
        ConfigError, match=r"^PARLEY_JWT_JWKS_FILE: .*keys\.json can't be used: No such file or directory\.$"
    ):
        build_authenticator(config)
    path.write_bytes(b'{"keys": []}')
    with pytest.raises(ConfigError, match=r"can't be used: it holds no usable RS256 or ES256 key\.$"):
        build_authenticator(config)


# An identity provider


def provider_keys(url: str, clock: Clock) -> JWTAuthenticator:
    return JWTAuthenticator(URLKeySource(url, monotonic=clock.monotonic), now=lambda: NOW)


async def test_keys_of_a_provider_are_fetched_once_in_their_lifetime() -> None:
    async with identity_provider(rsa_key()) as provider:
        clock = Clock()
        authenticator = provider_keys(provider.url, clock)
        assert provider.requests == 0
        for _ in range(50):
            await authenticator.authenticate(rsa_key().token())
        assert provider.requests == 1
        clock.seconds = 301
        await authenticator.authenticate(rsa_key().token())
        assert provider.requests == 2


async def test_callers_who_come_together_share_one_fetch() -> None:
    async with identity_provider(rsa_key()) as provider:
        provider.open.clear()
        authenticator = provider_keys(provider.url, Clock())
        token = rsa_key().token()
        callers = [asyncio.create_task(authenticator.authenticate(token)) for _ in range(100)]
        await provider.asked.wait()
        # One who goes away does not take the answer from the others.
        callers.pop().cancel()
        provider.open.set()
        assert {caller.id for caller in await asyncio.gather(*callers)} == {"ada"}
        assert provider.requests == 1


async def test_a_new_key_of_the_provider_is_fetched_when_a_token_names_it() -> None:
    async with identity_provider(rsa_key()) as provider:
        clock = Clock()
        authenticator = provider_keys(provider.url, clock)
        await authenticator.authenticate(rsa_key().token())
        provider.document = jwks(rsa_key(), ec_key())
        clock.seconds = 11
        assert (await authenticator.authenticate(ec_key().token())).id == "ada"
        assert provider.requests == 2


async def test_a_storm_of_unknown_key_ids_asks_the_provider_once_in_ten_seconds() -> None:
    async with identity_provider(rsa_key()) as provider:
        clock = Clock()
        authenticator = provider_keys(provider.url, clock)
        await authenticator.authenticate(rsa_key().token())
        clock.seconds = 11
        tokens = [rsa_key().token(headers={"kid": f"unknown-{number}"}) for number in range(200)]
        refusals = await asyncio.gather(*(refusal(authenticator, token) for token in tokens))
        assert set(refusals) == {"The token's key is not known."}
        clock.seconds = 20
        await refusal(authenticator, tokens[0])
        assert provider.requests == 2
        clock.seconds = 22
        await refusal(authenticator, tokens[0])
        assert provider.requests == 3


async def test_the_provider_is_not_asked_for_algorithms_that_it_can_not_serve() -> None:
    async with identity_provider(rsa_key()) as provider:
        authenticator = provider_keys(provider.url, Clock())
        assert await refusal(authenticator, hs256_token()) == "The token's algorithm is not accepted."
        assert await refusal(authenticator, raw_token({"alg": "none"}, valid_claims())) == (
            "The token's algorithm is not accepted."
        )
        assert provider.requests == 0


async def test_keys_outlive_a_failing_provider_for_a_day() -> None:
    async with identity_provider(rsa_key()) as provider:
        clock = Clock()
        authenticator = provider_keys(provider.url, clock)
        await authenticator.authenticate(rsa_key().token())
        provider.status = "503 Service Unavailable"
        clock.seconds = 400
        with capture_logs() as logs:
            assert (await authenticator.authenticate(rsa_key().token())).id == "ada"
        assert [(entry["event"], entry["keys_kept"]) for entry in logs] == [("auth.keys_not_fetched", True)]
        clock.seconds = 24 * 3600 + 1
        assert await refusal(authenticator, rsa_key().token()) == (
            "The token can't be checked now: the identity provider's keys are not available."
        )


async def test_callers_do_not_wait_for_a_provider_that_failed_before() -> None:
    async with identity_provider(rsa_key()) as provider:
        clock = Clock()
        authenticator = provider_keys(provider.url, clock)
        await authenticator.authenticate(rsa_key().token())
        provider.status = "503 Service Unavailable"
        clock.seconds = 400
        await authenticator.authenticate(rsa_key().token())
        provider.open.clear()
        provider.asked.clear()
        clock.seconds = 500
        # The provider holds its answer back for ever, so this only returns because nobody waits for it.
        assert (await authenticator.authenticate(rsa_key().token())).id == "ada"
        await provider.asked.wait()
        provider.open.set()


async def test_a_failing_provider_is_not_asked_for_every_token() -> None:
    async with identity_provider(rsa_key()) as provider:
        clock = Clock()
        provider.document = b'{"keys": []}'
        authenticator = provider_keys(provider.url, clock)
        for _ in range(20):
            await refusal(authenticator, rsa_key().token())
        assert provider.requests == 1
        provider.document = jwks(rsa_key())
        clock.seconds = 10
        assert (await authenticator.authenticate(rsa_key().token())).id == "ada"


@pytest.mark.parametrize(
    ("status", "headers", "padding"),
    [
        ("200 OK", (), 256 * 1024),
        ("302 Found", ("Location: http://127.0.0.1:1/keys",), 0),
        ("404 Not Found", (), 0),
        ("200 OK", ("Content-Encoding: gzip",), -1),
    ],
)
async def test_an_unfit_answer_of_the_provider_is_not_used(status: str, headers: tuple[str, ...], padding: int) -> None:
    async with identity_provider(rsa_key()) as provider:
        provider.status, provider.headers = status, headers
        provider.document = provider.document + b" " * padding if padding >= 0 else b"\x1f\x8b\x08\x00 not JSON"
        assert await refusal(provider_keys(provider.url, Clock()), rsa_key().token()) == (
            "The token can't be checked now: the identity provider's keys are not available."
        )
        assert provider.requests == 1


async def test_a_provider_that_does_not_answer_is_not_waited_for_longer_than_the_limit() -> None:
    async with identity_provider(rsa_key()) as provider:
        provider.open.clear()
        keys = URLKeySource(provider.url, monotonic=Clock().monotonic, timeout_seconds=0.05)
        assert await refusal(JWTAuthenticator(keys, now=lambda: NOW), rsa_key().token()) == (
            "The token can't be checked now: the identity provider's keys are not available."
        )
        provider.open.set()


async def test_a_provider_that_is_not_there_is_not_available() -> None:
    async with identity_provider(rsa_key()) as provider:
        url = provider.url
    assert await refusal(provider_keys(url, Clock()), rsa_key().token()) == (
        "The token can't be checked now: the identity provider's keys are not available."
    )
