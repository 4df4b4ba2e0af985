"""The configuration, which the operator sets by environment variables, validated at the start."""

from app.config.agent import SandboxKind
from app.config.config import (
    MIN_SECRET_KEY_CHARACTERS,
    AuthMode,
    Config,
    ConfigError,
    LogFormat,
    TrustedDocuments,
    is_loopback,
    load_config,
    split_list,
)

__all__ = [
    "MIN_SECRET_KEY_CHARACTERS",
    "AuthMode",
    "Config",
    "ConfigError",
    "LogFormat",
    "SandboxKind",
    "TrustedDocuments",
    "is_loopback",
    "load_config",
    "split_list",
]
