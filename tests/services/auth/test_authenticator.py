"""Who calls: bearer tokens and the attacks on them, and the keys that they are checked with."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from jwt.utils import base64url_encode
from pydantic import SecretStr
from structlog.testing import capture_logs

from app.config import AuthMode, load_config
from app.errors import Unauthenticated
from app.services.auth.authenticator import Authenticator, Caller, JWTAuthenticator, bearer_token, build_authenticator
from app.services.auth.token_keys import FileKeySource, SecretKeySource
from tests.support.tokens import (
    HS256_SECRET,
    NOW,
    SigningKey,
    ec_key,
    hs256_token,
    identity_provider,
    jwks,
    raw_token,
    rsa_key,
    valid_claims,
)

NOW_SECONDS = int(NOW.timestamp())


def hs256(*, issuer: str | None = None, audience: str | None = None, leeway_seconds: float = 0) -> JWTAuthenticator:
    return JWTAuthenticator(
        SecretKeySource(HS256_SECRET),
        issuer=issuer,
        audience=audience,
        leeway=timedelta(seconds=leeway_seconds),
        now=lambda: NOW,
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


# Without authentication


async def test_without_authentication_everyone_is_the_local_caller() -> None:
    authenticator = build_authenticator(load_config(env_file=None))
    assert await authenticator.authenticate(None) == Caller(id="local", expires_at=None)
    assert await authenticator.authenticate("anything") == Caller(id="local", expires_at=None)


# The header


@pytest.mark.parametrize("header", ["Bearer abc.d-e_f.g", "bearer abc.d-e_f.g", "BEARER   abc.d-e_f.g  "])
def test_the_token_is_what_follows_bearer(header: str) -> None:
    assert bearer_token(header) == "abc.d-e_f.g"


def test_no_header_is_no_token() -> None:
    assert bearer_token(None) is None


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "abc", "Bearer a b", "Bearer a,b", "Bearer é", "Bearer " + "a" * 16_385],
)
def test_a_malformed_header_is_refused(header: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        bearer_token(header)
    assert refused.value.message == "The Authorization header must be Bearer and a token."


# Claims


async def test_a_valid_token_names_its_caller_and_its_end() -> None:
    caller = await hs256().authenticate(hs256_token(sub="ada"))
    assert caller == Caller(id="ada", expires_at=NOW + timedelta(hours=1))


async def test_the_end_of_a_caller_includes_the_tolerance() -> None:
    caller = await hs256(leeway_seconds=10).authenticate(hs256_token(exp=NOW_SECONDS - 9))
    assert caller.expires_at == NOW + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": NOW_SECONDS}, "The token has expired."),
        ({"exp": NOW_SECONDS - 3600}, "The token has expired."),
        ({"exp": None}, "The token has no exp."),
        ({"exp": "9999999999"}, "The token's exp is malformed."),
        ({"exp": True}, "The token's exp is malformed."),
        ({"exp": 10**30}, "The token's exp is malformed."),
        ({"exp": float("inf")}, "The token's exp is malformed."),
        ({"exp": float("nan")}, "The token's exp is malformed."),
        ({"nbf": NOW_SECONDS + 1}, "The token is not valid yet."),
        ({"nbf": "soon"}, "The token's nbf is malformed."),
        ({"sub": None}, "The token has no sub."),
        ({"sub": ""}, "The token's sub is not 1 to 200 printable characters."),
        ({"sub": "a" * 201}, "The token's sub is not 1 to 200 printable characters."),
        ({"sub": "ada\0"}, "The token's sub is not 1 to 200 printable characters."),
        ({"sub": "ada\ud800"}, "The token's sub is not 1 to 200 printable characters."),
        ({"sub": 7}, "The token's sub is not 1 to 200 printable characters."),
    ],
)
async def test_a_token_with_a_faulty_claim_is_refused(claims: dict[str, object], message: str) -> None:
    assert await refusal(hs256(), hs256_token(**claims)) == message


async def test_clock_differences_within_the_tolerance_are_accepted() -> None:
    authenticator = hs256(leeway_seconds=10)
    assert (await authenticator.authenticate(hs256_token(nbf=NOW_SECONDS + 10))).id == "ada"
    assert await refusal(authenticator, hs256_token(nbf=NOW_SECONDS + 11)) == "The token is not valid yet."
    assert await refusal(authenticator, hs256_token(exp=NOW_SECONDS - 10)) == "The token has expired."


async def test_a_subject_may_have_200_characters_of_any_script() -> None:
    subject = "auth0|Zoë Ωmega 名" + "a" * 183
    assert len(subject) == 200
    assert (await hs256().authenticate(hs256_token(sub=subject))).id == subject


async def test_the_issuer_is_checked_where_configured() -> None:
    authenticator = hs256(issuer="https://id.example.com/")
    assert (await authenticator.authenticate(hs256_token(iss="https://id.example.com/"))).id == "ada"
    assert (
        await refusal(authenticator, hs256_token(iss="https://id.example.com")) == "The token's issuer is not accepted."
    )
    assert await refusal(authenticator, hs256_token()) == "The token has no iss."
    assert (await hs256().authenticate(hs256_token(iss="https://anyone.example.com/"))).id == "ada"


async def test_the_audience_is_checked_where_configured() -> None:
    authenticator = hs256(audience="parley")
    assert (await authenticator.authenticate(hs256_token(aud="parley"))).id == "ada"
    assert (await authenticator.authenticate(hs256_token(aud=["billing", "parley"]))).id == "ada"
    assert await refusal(authenticator, hs256_token(aud="billing")) == "The token is for another audience."
    assert await refusal(authenticator, hs256_token()) == "The token has no aud."
    assert (await hs256().authenticate(hs256_token(aud="billing"))).id == "ada"


# Attacks


@pytest.mark.parametrize("token", [None, ""])
async def test_no_token_is_no_caller(token: str | None) -> None:
    assert await refusal(hs256(), token) == "A bearer token is needed."


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b",
        "a.b.c",
        "....",
        "eyJ",
        "é.é.é",
        "\ud800",
        raw_token([], {}),
        raw_token({"alg": "HS256", "kid": 7}, {}),
        raw_token({"alg": "HS256", "b64": False, "crit": ["b64"]}, {}),
        raw_token({"alg": "HS256", "crit": ["unheard-of"]}, {}),
        raw_token({"alg": "HS256"}, {}, b"x")[:-1],
        "a" * (16 * 1024 + 1),
    ],
)
async def test_what_is_no_token_is_refused(token: str) -> None:
    assert await refusal(hs256(), token) == "The token is malformed."


async def test_a_token_of_16_kib_is_accepted_and_a_longer_one_is_not() -> None:
    # Base64 makes 4 characters of 3 bytes, so not every length exists.
    fitting = next(token for size in range(12_100, 12_300) if len(token := hs256_token(pad="a" * size)) >= 16_382)
    assert 16_382 <= len(fitting) <= 16_384
    assert (await hs256().authenticate(fitting)).id == "ada"
    assert await refusal(hs256(), hs256_token(pad="a" * 12_300)) == "The token is malformed."


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 5, ["HS256"], "HS512", "RS256"])
async def test_the_token_does_not_choose_its_algorithm(algorithm: object) -> None:
    token = raw_token({"alg": algorithm, "typ": "JWT"}, valid_claims())
    assert await refusal(hs256(), token) == "The token's algorithm is not accepted."


async def test_a_token_signed_with_another_secret_is_refused() -> None:
    token = jwt.encode(valid_claims(), "b" * 32, algorithm="HS256")
    assert await refusal(hs256(), token) == "The token's signature is wrong."


async def test_a_token_whose_claims_were_changed_is_refused() -> None:
    header, _, signature = hs256_token().split(".")
    _, claims, _ = hs256_token(sub="eve").split(".")
    assert await refusal(hs256(), f"{header}.{claims}.{signature}") == "The token's signature is wrong."


async def test_a_public_key_is_no_hs256_secret(tmp_path: Path) -> None:
    authenticator = public_keys(tmp_path, rsa_key())
    # PyJWT itself refuses to sign with PEM, so the attacker's token is made by hand.
    signing_input = raw_token({"alg": "HS256", "kid": "rsa-1"}, valid_claims()).rstrip(".")
    hmac = jwt.get_algorithm_by_name("HS256")
    for secret in (rsa_key().pem(), json.dumps(rsa_key().jwk()), str(rsa_key().jwk()["n"])):
        signature = base64url_encode(hmac.sign(signing_input.encode(), secret.encode())).decode()
        assert await refusal(authenticator, f"{signing_input}.{signature}") == "The token's algorithm is not accepted."


async def test_a_key_of_one_family_does_not_verify_the_other(tmp_path: Path) -> None:
    authenticator = public_keys(tmp_path, rsa_key())
    token = ec_key().token(headers={"kid": "rsa-1"})
    assert await refusal(authenticator, token) == "The token's key is not known."


async def test_keys_in_the_token_are_not_used(tmp_path: Path) -> None:
    authenticator = public_keys(tmp_path, rsa_key())
    own = rsa_key("mallory")
    for kid in ("rsa-1", "mallory"):
        token = own.token(
            headers={"kid": kid, "jwk": own.jwk(), "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/"}
        )
        assert await refusal(authenticator, token) in {
            "The token's signature is wrong.",
            "The token's key is not known.",
        }


# From the configuration


async def test_the_configuration_decides_what_is_checked() -> None:
    config = load_config(
        env_file=None,
        auth=AuthMode.JWT,
        jwt_secret=HS256_SECRET,
        jwt_issuer="https://id.example.com/",
        jwt_audience="parley",
        jwt_leeway_seconds=5,
    )
    authenticator = build_authenticator(config, now=lambda: NOW)
    token = hs256_token(iss="https://id.example.com/", aud="parley", exp=NOW_SECONDS - 4)
    assert await authenticator.authenticate(token) == Caller(id="ada", expires_at=NOW + timedelta(seconds=1))
    assert await refusal(authenticator, hs256_token(aud="parley")) == "The token has no iss."
    assert await refusal(authenticator, None) == "A bearer token is needed."


async def test_the_clock_is_the_machines_unless_another_is_given() -> None:
    authenticator = build_authenticator(load_config(env_file=None, auth=AuthMode.JWT, jwt_secret=HS256_SECRET))
    now = int(datetime.now(UTC).timestamp())
    assert (await authenticator.authenticate(hs256_token(exp=now + 3600))).id == "ada"
    assert await refusal(authenticator, hs256_token(exp=now - 3600)) == "The token has expired."


async def test_a_provider_without_an_audience_is_warned_of() -> None:
    async with identity_provider(rsa_key()) as provider:
        with capture_logs() as logs:
            build_authenticator(load_config(env_file=None, auth=AuthMode.JWT, jwt_jwks_url=provider.url))
        assert [entry["event"] for entry in logs] == ["auth.audience_not_checked"]
        with capture_logs() as logs:
            build_authenticator(
                load_config(env_file=None, auth=AuthMode.JWT, jwt_jwks_url=provider.url, jwt_audience="parley")
            )
        assert logs == []
        assert provider.requests == 0


# Tokens that were seen before


async def test_a_token_that_was_seen_before_still_ends_when_it_ends() -> None:
    moment = [NOW]
    authenticator = JWTAuthenticator(SecretKeySource(HS256_SECRET), now=lambda: moment[0])
    token = hs256_token(exp=NOW_SECONDS + 60)
    first = await authenticator.authenticate(token)
    assert await authenticator.authenticate(token) == first
    moment[0] = NOW + timedelta(seconds=60)
    assert await refusal(authenticator, token) == "The token has expired."


async def test_a_token_that_was_seen_before_is_refused_once_its_key_is_gone() -> None:
    keys = SecretKeySource(HS256_SECRET)
    authenticator = JWTAuthenticator(keys, now=lambda: NOW)
    token = hs256_token()
    await authenticator.authenticate(token)
    other = SecretKeySource(SecretStr("another secret of at least 32 characters"))
    authenticator._keys = other  # pyright: ignore[reportPrivateUsage]  As when the provider has replaced its keys.
    assert await refusal(authenticator, token) == "The token's signature is wrong."


async def test_a_signature_that_was_changed_is_not_taken_for_a_token_that_was_seen_before() -> None:
    authenticator = hs256()
    token = hs256_token()
    await authenticator.authenticate(token)
    changed = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    assert await refusal(authenticator, changed) == "The token's signature is wrong."


async def test_a_header_names_the_caller_again_and_again_until_the_token_ends() -> None:
    moment = [NOW]
    authenticator = JWTAuthenticator(SecretKeySource(HS256_SECRET), now=lambda: moment[0])
    header = f"Bearer {hs256_token(exp=NOW_SECONDS + 60)}".encode()
    assert [(await authenticator.authenticate_header(header)).id for _ in range(2)] == ["ada", "ada"]
    assert (await authenticator.authenticate_header(header.replace(b"Bearer ", b"bearer   "))).id == "ada"
    moment[0] = NOW + timedelta(seconds=60)
    with pytest.raises(Unauthenticated, match=r"^The token has expired\.$"):
        await authenticator.authenticate_header(header)


@pytest.mark.parametrize("header", [None, b"", b"Basic YTpi", b"Bearer ", b"Bearer a b", b"Bearer " + b"a" * 20_000])
async def test_a_header_without_a_good_token_is_refused_each_time(header: bytes | None) -> None:
    authenticator = hs256()
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate_header(header)
