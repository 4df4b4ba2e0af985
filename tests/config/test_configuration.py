"""The configuration: documented as it is, read from where it says, and refused with a clear line."""

import re
from enum import Enum
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.config import AuthMode, Config, ConfigError, is_loopback, load_config
from tests.support.paths import ROOT

DOCUMENT = (ROOT / "docs" / "configuration.md").read_text()
SECRET = "s" * 32

ROW = re.compile(r"^\| `(PARLEY_\w+)` \| (`[^`]+`|unset) \| (.+) \|$", re.MULTILINE)


def env_name(field: str) -> str:
    return f"PARLEY_{field.upper()}"


def documented_default(value: object) -> str:
    if value is None or value == ():
        return "unset"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def refusal(**overrides: object) -> str:
    with pytest.raises(ConfigError) as refused:
        load_config(env_file=None, **overrides)
    # One line for the command line, not a report of pydantic's.
    assert "\n" not in str(refused.value)
    return str(refused.value)


# The document


def test_every_setting_is_documented_with_its_default() -> None:
    documented = {name: default for name, default, _ in ROW.findall(DOCUMENT)}
    actual = {env_name(name): documented_default(field.default) for name, field in Config.model_fields.items()}
    assert documented == actual


def test_every_setting_is_documented_once() -> None:
    names = [name for name, _, _ in ROW.findall(DOCUMENT)]
    assert len(names) == len(set(names))


def test_nothing_is_documented_that_does_not_exist() -> None:
    names = {env_name(name) for name in Config.model_fields}
    assert set(re.findall(r"PARLEY_\w+", DOCUMENT)) - {"PARLEY_"} <= names


def test_the_meaning_in_the_code_is_the_one_in_the_document() -> None:
    meanings = {name: meaning for name, _, meaning in ROW.findall(DOCUMENT)}
    for name, field in Config.model_fields.items():
        # The document may say more: limits, for one.
        words = set(re.findall(r"\w+", (field.description or "").lower()))
        missing = words - set(re.findall(r"\w+", meanings[env_name(name)].lower()))
        assert not missing, f"{name}: the document lacks {missing}"


@pytest.mark.parametrize("example", re.findall(r"```sh\n((?:PARLEY_\w+=.*\n)+)```", DOCUMENT))
def test_the_examples_of_the_document_are_accepted(example: str, tmp_path: Path) -> None:
    path = tmp_path / "example.env"
    path.write_text(example)
    config = load_config(env_file=path)
    given = {line.partition("=")[0].removeprefix("PARLEY_").lower() for line in example.splitlines()}
    assert given <= config.model_fields_set


# Where settings come from


@pytest.fixture(autouse=True)
def _empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory without ``.env``, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in Config.model_fields:
        monkeypatch.delenv(env_name(name), raising=False)


def test_nothing_has_to_be_set() -> None:
    config = load_config()
    assert (config.host, config.port, config.auth) == ("127.0.0.1", 8000, AuthMode.NONE)


def test_the_environment_comes_before_the_file_and_the_command_line_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("PARLEY_PORT=1\nPARLEY_HOST=127.0.0.2\nPARLEY_DATA_DIR=elsewhere\nOTHER=x\n")
    monkeypatch.setenv("PARLEY_HOST", "127.0.0.3")
    monkeypatch.setenv("PARLEY_SERVICE_HOST", "10.0.0.1")
    config = load_config(port=4, host=None)
    assert (config.port, config.host, config.data_dir) == (4, "127.0.0.3", Path("elsewhere"))


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_value_is_none_at_all(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Config.model_fields:
        monkeypatch.setenv(env_name(name), blank)
    config = load_config()
    assert (config.idle_close_seconds, config.rate_limit_per_second) == (None, None)
    defaults = {"idle_close_seconds": 3600.0, "rate_limit_per_second": 100}
    assert config.model_copy(update=defaults) == Config.model_construct()


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "ada"))
    (tmp_path / ".env").write_text("PARLEY_DATA_DIR=~/parley\n")
    assert load_config().data_dir == tmp_path / "ada" / "parley"
    assert refusal(data_dir="~nobody-of-that-name/x") == (
        "PARLEY_DATA_DIR: the home directory that ~ stands for is not known."
    )


def test_origins_are_parted_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_ALLOWED_ORIGINS", " https://App.example.com/, http://[::1]:3000 ,")
    assert load_config().allowed_origins == ("https://app.example.com", "http://[::1]:3000")


def test_the_level_may_be_written_in_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_LOG_LEVEL", "debug")
    assert load_config().log_level == "DEBUG"


# What is refused


def test_a_misspelt_name_in_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PARLEY_AUHT=jwt\n")
    with pytest.raises(ConfigError, match=r"^PARLEY_AUHT is not a setting of Parley\.$"):
        load_config()


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PARLEY_HOST=\xff\n")
    with pytest.raises(ConfigError, match=r"^The settings can't be read: UnicodeDecodeError\."):
        load_config()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "127.0.0.1.example.com"])  # noqa: S104
def test_without_authentication_only_loopback_is_served(host: str) -> None:
    assert refusal(host=host) == (
        f"PARLEY_HOST={host} would let anyone on the network in, since PARLEY_AUTH=none asks nobody who they are; "
        "use a loopback address such as 127.0.0.1, or PARLEY_AUTH=jwt."
    )
    assert not is_loopback(host)
    assert load_config(env_file=None, host=host, auth="jwt", jwt_secret=SECRET).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_authentication(host: str) -> None:
    assert load_config(env_file=None, host=host).host == host


def test_tokens_need_exactly_one_source_of_keys() -> None:
    sources = "PARLEY_JWT_SECRET, PARLEY_JWT_JWKS_URL, PARLEY_JWT_JWKS_FILE"
    assert refusal(auth="jwt") == f"PARLEY_AUTH=jwt needs exactly one of {sources}; it found none of them."
    assert refusal(auth="jwt", jwt_secret=SECRET, jwt_jwks_file="keys.json") == (
        f"PARLEY_AUTH=jwt needs exactly one of {sources}; it found PARLEY_JWT_SECRET and PARLEY_JWT_JWKS_FILE."
    )


def test_a_key_that_would_not_be_used_is_refused() -> None:
    assert refusal(jwt_secret=SECRET) == "PARLEY_JWT_SECRET is set, but tokens are only checked with PARLEY_AUTH=jwt."


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"jwt_secret": "s" * 31}, "PARLEY_JWT_SECRET: the secret needs at least 32 bytes."),
        (
            {"jwt_secret": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"},
            (
                "PARLEY_JWT_SECRET: this is a PEM key, not a shared secret; "
                "public keys go into PARLEY_JWT_JWKS_FILE as a JWKS document."
            ),
        ),
        (
            {"jwt_jwks_url": "http://id.example.com/keys"},
            "PARLEY_JWT_JWKS_URL: the address must begin with https:// (http:// is accepted for loopback only).",
        ),
        (
            {"jwt_jwks_url": "file:///etc/passwd"},
            "PARLEY_JWT_JWKS_URL: the address must begin with https:// (http:// is accepted for loopback only).",
        ),
        ({"secret_key": "k" * 31}, "PARLEY_SECRET_KEY: each key needs at least 32 characters."),
        ({"secret_key": "k" * 32 + ",short"}, "PARLEY_SECRET_KEY: each key needs at least 32 characters."),
        ({"secret_key": ","}, "PARLEY_SECRET_KEY: each key needs at least 32 characters."),
        ({"port": 65_536}, "PARLEY_PORT: input should be less than or equal to 65535."),
        (
            {"port": "tcp://10.0.0.1:80"},
            "PARLEY_PORT: input should be a valid integer, unable to parse string as an integer.",
        ),
        (
            {"idle_close_seconds": "inf", "conversation_max_age_seconds": 99_999_999_999},
            (
                "PARLEY_CONVERSATION_MAX_AGE_SECONDS: input should be less than or equal to 3153600000; "
                "PARLEY_IDLE_CLOSE_SECONDS: input should be less than or equal to 3153600000."
            ),
        ),
        ({"auth": "basic"}, "PARLEY_AUTH: input should be 'none' or 'jwt'."),
        (
            {"max_concurrent_conversations": 0, "log_level": "LOUD"},
            (
                "PARLEY_LOG_LEVEL: string should match pattern '^(DEBUG|INFO|WARNING|ERROR)$'; "
                "PARLEY_MAX_CONCURRENT_CONVERSATIONS: input should be greater than or equal to 1."
            ),
        ),
    ],
)
def test_each_faulty_setting_is_named(overrides: dict[str, object], message: str) -> None:
    assert refusal(**overrides) == message


@pytest.mark.parametrize(
    "origins", ["*", "null", "app.example.com", "https://app.example.com/path", "ftp://a", "https://a b", "https://u@a"]
)
def test_what_is_no_origin_is_refused(origins: str) -> None:
    assert refusal(allowed_origins=origins) == (
        "PARLEY_ALLOWED_ORIGINS: each origin is a scheme, a host and perhaps a port, such as https://app.example.com:8443."
    )


def test_secrets_show_in_no_error_and_no_repr() -> None:
    assert "hunter2" not in refusal(secret_key="hunter2", jwt_secret="hunter2")
    config = load_config(
        env_file=None,
        auth="jwt",
        jwt_secret=SecretStr("hunter2" * 5),
        secret_key="hunter2" * 5,
        database_url="postgresql://ada:hunter2@db/parley",
    )
    assert "hunter2" not in repr(config) + str(config)
