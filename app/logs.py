"""Logging with structlog: one format for Parley's records and its libraries', as text for people or JSON for machines.

Parley's own records have a constant event name and keyword data: ``log.info("conversation.created", id=…)``.
"""

import logging
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TextIO, cast
from uuid import uuid4

import structlog
from pydantic import SecretBytes, SecretStr
from structlog.typing import EventDict, Processor, WrappedLogger

from app.config import Config, LogFormat

HIDDEN = "<hidden>"

_MAX_TEXT_CHARACTERS = 8_000
_MAX_EXCEPTION_CHARACTERS = 32_000
_MAX_ITEMS = 100
_MAX_DEPTH = 6

# These libraries install handlers, which would print each record a second time in another format.
_LIBRARY_LOGGERS = (
    "dbos", "LiteLLM", "LiteLLM Proxy", "LiteLLM Router", "uvicorn", "uvicorn.error", "uvicorn.access", "sqlalchemy",
)  # fmt: skip

# Log levels of libraries, unless `PARLEY_LOG_LEVEL=DEBUG` asks for everything. The HTTP clients and uvicorn's WebSocket
# lines show whole URLs, whose query may contain a key; the others describe their start-up at length.
_LIBRARY_LEVELS: Mapping[str, int] = {
    "alembic": logging.WARNING,
    "dbos": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "LiteLLM": logging.WARNING,
    "LiteLLM Proxy": logging.WARNING,
    "LiteLLM Router": logging.WARNING,
    "openai": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "uvicorn": logging.WARNING,
}
# On DEBUG. Libraries other than the engine keep to INFO: below it they show frames, bodies, parameters
# and headers. The HTTP clients show addresses with their queries on INFO, too. Through uvicorn's logger, websockets
# tells every header of an upgrade, and uvicorn the upgrade's query.
_DEBUG_LEVELS: Mapping[str, int] = {
    "": logging.INFO,
    "__main__": logging.DEBUG,
    "app": logging.DEBUG,
    "dbos": logging.DEBUG,
    **dict.fromkeys(("aiohttp", "httpcore", "httpx", "requests", "urllib3", "uvicorn"), logging.WARNING),
}

_SECRET_NAME = re.compile(
    r"token|api_?key|authorization|password|passwd|secret|cookie|credential|private_?key", re.IGNORECASE
)
_SIGNING_HEADER = r"(?:set-)?cookie|(?:proxy-)?authorization|x-[\w-]{1,40}-(?:key|token|secret)"
_SIGNING_PARAMETER = r"[\w-]{0,40}(?:key|token|secret|password|passwd|signature|credential)|sig|auth|code"
_SECRET_TEXT = (
    # A header as a line, and as an item of a list or a mapping.
    (re.compile(rf"\b({_SIGNING_HEADER})[ \t]?:[^\r\n'\"][^\r\n]*", re.IGNORECASE), rf"\1: {HIDDEN}"),
    (
        re.compile(rf"(['\"])({_SIGNING_HEADER})\1[ \t]?([,:])[ \t]?b?(['\"])(?:(?!\4)[^\r\n])*\4", re.IGNORECASE),
        rf"\1\2\1\3 \4{HIDDEN}\4",
    ),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    # Up to the last "@" of the host: a password may hold one.
    (re.compile(r"(://)[^/\s]{1,500}@"), rf"\1{HIDDEN}@"),
    # Parameters of an address, and of a PostgreSQL connection string.
    (re.compile(rf"([?&](?:{_SIGNING_PARAMETER})=)[^&#\s'\"]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(password|passwd)[ \t]?=[ \t]?(?:'[^'\r\n]*'|[^\s,;&'\"]+)", re.IGNORECASE), rf"\1={HIDDEN}"),
    # The look-behind anchors at a word's start: otherwise a long word would take quadratic time.
    (re.compile(r"(?<![\w-])[\w-]{10,}+\.ey[\w-]{8,}+\.[\w-]*"), HIDDEN),
    (re.compile(r"\b(?:sk|gh[opsur]|github_pat|glpat|xox[abprs])[-_][\w-]{12,}"), HIDDEN),
)
# Line breaks and escape sequences in foreign text could forge log lines, or control the terminal that shows the log.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")

_reference_id: ContextVar[str | None] = ContextVar("reference_id", default=None)


def new_reference_id() -> str:
    """Create an id of 12 hexadecimal digits, which all later records of this context have as ``reference_id``."""
    reference_id = uuid4().hex[:12]
    _reference_id.set(reference_id)
    return reference_id


def current_reference_id() -> str | None:
    """Return the id that ``new_reference_id`` last created in this context."""
    return _reference_id.get()


def configure_logging(config: Config, *, stream: TextIO | None = None) -> None:
    """Send all records of the process to ``stream`` (default: standard error). It can be called again."""
    target = sys.stderr if stream is None else stream
    handler = _OurHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_described(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Plain tracebacks, without the values of local variables, which may be secrets.
                structlog.processors.format_exc_info,
                hide_secrets,
                *_renderers(config.log_format, colors=target.isatty()),
            ],
        )
    )
    level = logging.getLevelNamesMapping()[config.log_level]
    handler.addFilter(_LevelFilter(everything=level == logging.DEBUG))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _OurHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    forward_library_logs()
    structlog.configure(
        processors=[*_described(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Modules keep their loggers, so these must not cache a configuration that a second call replaces.
        cache_logger_on_first_use=False,
    )


def forward_library_logs() -> None:
    """Remove the handlers that libraries installed. Call it again after importing litellm, which installs more."""
    for name in _LIBRARY_LOGGERS:
        logger = logging.getLogger(name)
        for handler in [handler for handler in logger.handlers if not isinstance(handler, logging.NullHandler)]:
            logger.removeHandler(handler)
        logger.propagate = True
    # If its logger has no handler, DBOS installs one and turns propagation off.
    dbos = logging.getLogger("dbos")
    if not dbos.handlers:
        dbos.addHandler(logging.NullHandler())


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Redact a record: values under secret-looking names, every ``SecretStr``, and known formats of API keys.

    This is a structlog processor. Numbers stay, since ``prompt_tokens=12`` is a count. Long text, long lists and deep
    nesting are truncated.
    """
    return {
        key: _exception(value) if key in {"exception", "stack"} else _shown(key, value, 0)
        for key, value in event.items()
    }


class _OurHandler(logging.StreamHandler[TextIO]):
    """Marks the handler of ``configure_logging``, to replace it without touching others, such as a test runner's."""


class _LevelFilter(logging.Filter):
    """Applies libraries' levels in the handler, since DBOS and litellm set the levels of their own loggers later."""

    def __init__(self, *, everything: bool) -> None:
        super().__init__()
        self._levels: Mapping[str, int] = _DEBUG_LEVELS if everything else _LIBRARY_LEVELS

    def filter(self, record: logging.LogRecord) -> bool:
        # The access log shows each request's URL, and a GET's URL contains the caller's query and variables.
        if record.name == "uvicorn.access":
            return False
        name = record.name
        while name:
            if name in self._levels:
                return record.levelno >= self._levels[name]
            name = name.rpartition(".")[0]
        return record.levelno >= self._levels.get("", logging.NOTSET)


def _described() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        _add_reference_id,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        # DBOS's records have the workflow's id in this field.
        structlog.stdlib.ExtraAdder(allow=["operationUUID"]),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _renderers(log_format: LogFormat, *, colors: bool) -> list[Processor]:
    if log_format is LogFormat.JSON:
        return [structlog.processors.JSONRenderer(ensure_ascii=False)]
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]


def _add_reference_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    reference_id = _reference_id.get()
    if reference_id is not None:
        event.setdefault("reference_id", reference_id)
    return event


def _shown(name: str, value: object, depth: int) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, SecretStr | SecretBytes) or _SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        pairs = list(cast("Mapping[object, object]", value).items())[:_MAX_ITEMS]
        return {_text(str(key)): _shown(str(key), item, depth + 1) for key, item in pairs}
    if isinstance(value, list | tuple | set | frozenset) and depth < _MAX_DEPTH:
        return [_shown("", item, depth + 1) for item in list(cast("list[object]", value))[:_MAX_ITEMS]]
    return _text(repr(cast("object", value)))


def _text(text: str) -> str:
    return _CONTROL.sub(_escape, _cut(_without_known_secrets(text), _MAX_TEXT_CHARACTERS))


def _exception(value: object) -> str:
    return _CONTROL_BUT_LINES.sub(_escape, _cut(_without_known_secrets(str(value)), _MAX_EXCEPTION_CHARACTERS))


def _without_known_secrets(text: str) -> str:
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _cut(text: str, limit: int) -> str:
    """Truncate long text in the middle, since a traceback's last line names the error."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}…[{len(text) - 2 * half} characters left out]…{text[-half:]}"


def _escape(control: re.Match[str]) -> str:
    return control[0].encode("unicode_escape").decode()
