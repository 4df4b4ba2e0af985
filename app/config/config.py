"""The server's settings, read once from the environment (prefix ``PARLEY_``) or ``.env``."""

import re
from enum import StrEnum
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Self, cast
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsConfigDict, SettingsError

from app.config.agent import AgentSettings, Origins
from app.config.limits import LimitSettings

MIN_SECRET_KEY_CHARACTERS = 32
# RFC 7518, section 3.2: a key for HS256 must be at least as long as its hash.
MIN_JWT_SECRET_BYTES = 32

# A hundred years: with a longer age, the computed date could lie before the year 1.
MAX_AGE_SECONDS = 3_153_600_000

_ENV_PREFIX = "PARLEY_"
_ORIGIN = re.compile(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


class ConfigError(Exception):
    """The configuration is invalid. The message is one line for the operator and holds no secret."""


class AuthMode(StrEnum):
    """Authentication of callers: ``none`` treats every request as one local caller's, ``jwt`` needs bearer tokens."""

    NONE = "none"
    JWT = "jwt"


class LogFormat(StrEnum):
    """The format of log records: text for people, or JSON for machines."""

    CONSOLE = "console"
    JSON = "json"


class TrustedDocuments(StrEnum):
    """The accepted documents: any (``off``), any, also trusted ones by hash (``allow``), or trusted ones ``only``."""

    OFF = "off"
    ALLOW = "allow"
    ONLY = "only"


class Config(AgentSettings, LimitSettings):
    """All settings of the server. ``docs/configuration.md`` lists the same names; a test compares them."""

    # With `match_prefix` and `forbid`, a misspelt name in `.env` is an error. A misspelt environment variable is not,
    # since orchestrators add variables of their own, such as Kubernetes' PARLEY_SERVICE_HOST.
    model_config = SettingsConfigDict(
        env_prefix=_ENV_PREFIX,
        env_file=".env",
        dotenv_filtering="match_prefix",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    host: str = Field(
        default="127.0.0.1", description="Address to listen on. With `PARLEY_AUTH=none` only loopback is accepted."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(
        default=Path("data"), description="Directory of the embedded database, the generated key and the workspaces."
    )
    database_url: str | None = Field(
        default=None,
        # The URL may contain a password.
        repr=False,
        description="`postgresql://user:password@host/database`, or `sqlite:///path`. "
        "Unset: SQLite in the data directory.",
    )
    secret_key: SecretStr | None = Field(
        default=None,
        description="Keys for secrets at rest, comma-separated: the first encrypts, all decrypt. "
        "Unset: one is generated into the data directory with mode 0600.",
    )
    log_level: str = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least severe level that is logged."
    )
    log_format: LogFormat = Field(default=LogFormat.CONSOLE, description="`console` for people, `json` for machines.")

    auth: AuthMode = Field(default=AuthMode.NONE, description="`none`: one local caller. `jwt`: bearer tokens.")
    jwt_secret: SecretStr | None = Field(default=None, description="Secret of HS256 tokens, at least 32 bytes.")
    jwt_jwks_url: str | None = Field(
        default=None, description="Where the public keys of RS256 and ES256 tokens are fetched."
    )
    jwt_jwks_file: Path | None = Field(default=None, description="File with the public keys of RS256 and ES256 tokens.")
    jwt_issuer: str | None = Field(default=None, description="Required `iss` of a token. Unset: not checked.")
    jwt_audience: str | None = Field(default=None, description="Required `aud` of a token. Unset: not checked.")
    jwt_leeway_seconds: float = Field(
        default=10.0, ge=0, le=300, description="Tolerated clock difference for `exp` and `nbf`."
    )

    max_concurrent_conversations: int = Field(
        default=3, ge=1, le=1000, description="Conversations that one caller may have starting or running at once."
    )
    conversation_max_age_seconds: int | None = Field(
        default=None,
        ge=1,
        le=MAX_AGE_SECONDS,
        description="Conversations created longer ago than this are hidden from lists, counts and the beginning of "
        "status streams; by id they stay reachable, and changes of theirs are told. Unset: nothing is hidden.",
    )
    idle_close_seconds: float | None = Field(
        default=3600.0,
        gt=0,
        le=MAX_AGE_SECONDS,
        description="A conversation that waits for input this long with no subscriber is stopped. Blank: never.",
    )
    run_history_seconds: float = Field(
        default=86_400.0,
        ge=0,
        le=MAX_AGE_SECONDS,
        description="How long the engine keeps its rows of a run that is over, which nothing needs but a look at its "
        "tables; the conversation and its log stay.",
    )

    websocket_init_timeout_seconds: float = Field(
        default=10.0, gt=0, le=60, description="How long a WebSocket may wait before `connection_init`."
    )
    send_timeout_seconds: float = Field(
        default=30.0,
        gt=0,
        le=600,
        description="A subscriber that does not take a message for this long is disconnected.",
    )
    heartbeat_seconds: float = Field(
        default=12.0,
        gt=0,
        le=600,
        description="A subscription over server-sent events or multipart that was silent this long sends a sign of "
        "life, so that no proxy gives it up.",
    )
    trusted_documents: TrustedDocuments = Field(
        default=TrustedDocuments.OFF,
        description="`allow`: clients may name the documents in `PARLEY_TRUSTED_DOCUMENTS_DIR` by their SHA-256. "
        "`only`: no others are executed.",
    )
    trusted_documents_dir: Path | None = Field(
        default=None,
        description="Directory of manifests (`.json`) and documents (`.graphql`). Read at the start.",
    )
    persisted_queries: int = Field(
        default=1000,
        ge=0,
        le=100_000,
        description="Documents that clients may have kept by their SHA-256 (Apollo's automatic persisted queries); "
        "those unused for longest go. 0: none.",
    )
    compiled_execution: bool = Field(
        default=True,
        description="Compile operations that come again, rather than have graphql-core interpret them each time. "
        "The answers are the same; turn it off to see whether a fault is in there.",
    )
    allowed_origins: Origins = Field(
        default=(),
        description="Origins of front ends, comma-separated, that browsers may call from. "
        "The server's own is always allowed.",
    )

    trusted_proxies: Origins = Field(
        default=(),
        description="Addresses or networks of reverse proxies, comma-separated, whose `X-Forwarded-For` tells where a "
        "request comes from: `10.0.0.0/8`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _treat_blank_as_unset(cls, values: dict[str, object]) -> dict[str, object]:
        """A blank value turns an optional setting off (``None``), and means the default for any other."""
        kept: dict[str, object] = {}
        for name, value in values.items():
            if not (isinstance(value, str) and not value.strip()):
                kept[name] = value
            elif name in cls.model_fields and _is_optional(cls.model_fields[name].annotation):
                kept[name] = None
        return kept

    @field_validator("log_level", mode="before")
    @classmethod
    def _accept_any_case(cls, value: object) -> object:
        return value.strip().upper() if isinstance(value, str) else value

    @field_validator("data_dir", "jwt_jwks_file", "trusted_documents_dir")
    @classmethod
    def _expand_home(cls, value: Path | None) -> Path | None:
        """Expand ``~``, since no shell does so in ``.env`` or between quotes, instead of creating a directory ``~``."""
        try:
            return value.expanduser() if value is not None else None
        except RuntimeError:
            msg = "the home directory that ~ stands for is not known"
            raise ValueError(msg) from None

    @field_validator("allowed_origins", "git_private_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        return tuple(split_list(value)) if isinstance(value, str) else value

    @field_validator("allowed_origins", "git_private_hosts")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        cleaned = tuple(origin.rstrip("/").lower() for origin in origins)
        if not all(_ORIGIN.fullmatch(origin) for origin in cleaned):
            msg = "each origin is a scheme, a host and perhaps a port, such as https://app.example.com:8443"
            raise ValueError(msg)
        return cleaned

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(ip_network(network)) for network in networks)
        except ValueError:
            msg = "each is an IP address or a network, such as 10.0.0.0/8"
            raise ValueError(msg) from None

    @field_validator("secret_key")
    @classmethod
    def _check_secret_key(cls, value: SecretStr | None) -> SecretStr | None:
        keys = [] if value is None else split_list(value.get_secret_value())
        if value is not None and (not keys or any(len(key) < MIN_SECRET_KEY_CHARACTERS for key in keys)):
            msg = f"each key needs at least {MIN_SECRET_KEY_CHARACTERS} characters"
            raise ValueError(msg)
        return value

    @field_validator("jwt_secret")
    @classmethod
    def _check_jwt_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < MIN_JWT_SECRET_BYTES:
            msg = f"the secret needs at least {MIN_JWT_SECRET_BYTES} bytes"
            raise ValueError(msg)
        if value is not None and "-----BEGIN" in value.get_secret_value():
            # If a public key were the HS256 secret, everyone who knows it could sign tokens.
            msg = "this is a PEM key, not a shared secret; public keys go into PARLEY_JWT_JWKS_FILE as a JWKS document"
            raise ValueError(msg)
        return value

    @field_validator("jwt_jwks_url")
    @classmethod
    def _check_jwks_url(cls, value: str | None) -> str | None:
        # An attacker who changes the response could sign tokens for every caller, so TLS is needed except on loopback.
        if value is not None:
            url = urlsplit(value)
            if not url.hostname or not (url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname))):
                msg = "the address must begin with https:// (http:// is accepted for loopback only)"
                raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _check_auth(self) -> Self:
        sources = {
            "PARLEY_JWT_SECRET": self.jwt_secret,
            "PARLEY_JWT_JWKS_URL": self.jwt_jwks_url,
            "PARLEY_JWT_JWKS_FILE": self.jwt_jwks_file,
        }
        configured_sources = [name for name, value in sources.items() if value is not None]
        if self.auth is AuthMode.JWT and len(configured_sources) != 1:
            configured = " and ".join(configured_sources) or "none of them"
            msg = f"PARLEY_AUTH=jwt needs exactly one of {', '.join(sources)}; it found {configured}"
            raise ValueError(msg)
        if self.auth is AuthMode.NONE and configured_sources:
            msg = f"{configured_sources[0]} is set, but tokens are only checked with PARLEY_AUTH=jwt"
            raise ValueError(msg)
        if self.auth is AuthMode.NONE and not is_loopback(self.host):
            msg = (
                f"PARLEY_HOST={self.host} would let anyone on the network in, since PARLEY_AUTH=none asks nobody who "
                "they are; use a loopback address such as 127.0.0.1, or PARLEY_AUTH=jwt"
            )
            raise ValueError(msg)
        return self


def load_config(*, env_file: Path | None = Path(".env"), **overrides: object) -> Config:
    """Load the configuration; ``overrides`` (by field name, ``None`` is ignored) precede environment and ``env_file``.

    Raises ``ConfigError`` with one line that names every invalid setting, without the values of secret ones.
    """
    values = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Config(_env_file=env_file, **values)  # pyright: ignore[reportCallIssue]  pydantic-settings takes it.
    except ValidationError as error:
        faults = [_describe(fault) for fault in error.errors(include_url=False, include_input=False)]
        raise ConfigError("; ".join(faults) + ".") from None
    except (SettingsError, OSError, UnicodeDecodeError) as error:
        msg = f"The settings can't be read: {type(error).__name__}. Is .env a readable UTF-8 file?"
        raise ConfigError(msg) from None


def split_list(value: str) -> list[str]:
    """Split a comma-separated list into stripped items, without blank ones."""
    return [item.strip() for item in value.split(",") if item.strip()]


def is_loopback(host: str) -> bool:
    """Tell whether it is ``localhost`` or a loopback address. Other names are not resolved, since DNS can change."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_optional(annotation: object) -> bool:
    return type(None) in cast("tuple[object, ...]", getattr(annotation, "__args__", ()))


def _describe(fault: ErrorDetails) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return message
    # pydantic-settings reports an unknown name of `.env` in lower case, with or without the prefix.
    name = _ENV_PREFIX + str(fault["loc"][0]).upper().removeprefix(_ENV_PREFIX)
    if fault["type"] == "extra_forbidden":
        return f"{name} is not a setting of Parley"
    return f"{name}: {message[:1].lower()}{message[1:]}"
