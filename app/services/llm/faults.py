"""Classifies errors of LLM calls by status, exception type and message, without importing any LLM library."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast

from app.errors import ErrorCode, LLMFailure
from app.services.llm.fault_words import sentence_of

MAX_MESSAGE_CHARS = 500
MAX_WORDS_CHARS = 20_000
MAX_RETRY_AFTER_SECONDS = 3600.0
OVERLOADED: Final = 529

_UNAVAILABLE = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
        OVERLOADED,
    }
)
_UNREACHED = frozenset({"APIConnectionError", "APITimeoutError", "Timeout", "TransportError", "ConnectionError"})
_TIMED_OUT = frozenset({"APITimeoutError", "Timeout", "TimeoutException", "TimeoutError"})
_CREDIT_WORDS = (
    "insufficient_quota",
    "insufficient credit",
    "insufficient balance",
    "insufficient funds",
    "credit balance is too low",
    "out of credits",
    "payment required",
)
# Gemini uses these words for rate limits too, but then with a time to retry.
_QUOTA_WORDS = "exceeded your current quota"
_RETRY_WORDS = re.compile(
    r"(?:retry in|try again in|retryDelay\W{1,6})\s{0,9}(\d{1,9}(?:\.\d{1,9})?)\s{0,9}(ms|s)", re.IGNORECASE
)
_POLICY_WORDS = ("content_policy_violation", "content_filter", "content management policy", "safety system")
_LENGTH_WORDS = (
    "context_length_exceeded",
    "maximum context length",
    "context window",
    "prompt is too long",
    "input is too long",
    "too many input tokens",
)
# Exception types of bugs in the library or in this server.
_OWN = (LookupError, TypeError, AttributeError, NameError, AssertionError, ArithmeticError, ImportError, RuntimeError)
_LIBRARIES = ("litellm", "openai", "app")
UNREAD = "The model's server answered in a way that can't be read."
BROKE_OFF = "The model's answer broke off."
_FAILED_HERE = "This server failed at calling the model. Its log tells the reason."


@dataclass(frozen=True, slots=True)
class Fault:
    """A classified error. ``is_transient``: a retry may succeed. ``own``: the exception, if it is a bug on our side."""

    failure: LLMFailure
    is_transient: bool
    own: BaseException | None = None


class CallFailed(Exception):
    """An attempt failed; ``fault`` has the classification."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.failure.message)
        self.fault = fault


def fault(message: str, code: ErrorCode, *, is_transient: bool = False) -> Fault:
    """Build a fault that this server has detected itself."""
    return Fault(LLMFailure(message, code=code), is_transient=is_transient)


def fault_of(error: BaseException, *, secret: str | None, answered: int | None = None) -> Fault:
    """Classify an error of the LLM library. ``secret`` is redacted from the message.

    ``answered`` is the server's own status, if there was a response; the library invents statuses otherwise.
    """
    chain = tuple(_chain(error))
    misread = _misread(chain, answered)
    if misread is not None:
        return _own_fault(misread, answered)
    status = next((number for link in chain if (number := _status(link)) is not None), None)
    kinds = frozenset(base.__name__ for link in chain for base in type(link).__mro__)
    # Often only the body has the error's code.
    bodies = " ".join(_beginning(body) for link in chain if (body := getattr(link, "body", None)) is not None)
    words = f"{bodies} {_beginning(error)}"[:MAX_WORDS_CHARS].casefold()
    retry_after = _retry_after(chain, words)
    code, lead, transient = _meaning(status, kinds, words, waits=retry_after is not None)
    limited = status == HTTPStatus.TOO_MANY_REQUESTS and code is ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE
    failure = LLMFailure(
        message_of(lead, _detail(chain), secret=secret),
        code=code,
        rate_limited=limited,
        retry_after_seconds=retry_after if limited else None,
        too_long=_is_client_error(status) and _is_too_long(kinds, words),
    )
    return Fault(failure, is_transient=transient)


def place_of(error: BaseException) -> str:
    """Return where an error was raised, as ``module:line``."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"


def _misread(chain: tuple[BaseException, ...], answered: int | None) -> BaseException | None:
    """Return a bug's exception that the library has wrapped as a connection error or a server's error."""
    is_refused = answered is not None and answered >= HTTPStatus.BAD_REQUEST
    # The library invents a status for responses that it can't parse.
    if is_refused or (answered is None and _is_client_error(_status(chain[0]))):
        return None
    if any(getattr(link, "body", None) is not None for link in chain):
        return None
    foreign = [link for link in chain if not _is_of_library(link)]
    if not foreign or not isinstance(foreign[0], (*_OWN, ValueError)):
        return None
    # The original parse error says more than the library's wrapper.
    return next((link for link in foreign if isinstance(link, ValueError)), foreign[0])


def _is_of_library(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in _LIBRARIES


def _own_fault(error: BaseException, answered: int | None) -> Fault:
    code = ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR
    if answered is not None and isinstance(error, ValueError):
        # For example, a proxy's HTML page instead of JSON, which may be temporary.
        return Fault(LLMFailure(UNREAD, code=code), is_transient=True, own=error)
    return Fault(LLMFailure(_FAILED_HERE, code=code), is_transient=False, own=error)


def _beginning(value: object) -> str:
    """Return the beginning of a value's text, in which keywords are searched."""
    return (value if isinstance(value, str) else str(value))[:MAX_WORDS_CHARS]


def message_of(lead: str, detail: str, *, secret: str | None) -> str:
    """Join two sentences into one line of at most 500 characters, with the secret redacted."""
    text = " ".join(f"{lead} {detail}".split())
    if secret:
        text = text.replace(secret, "***")
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 3] + "..."


def _meaning(status: int | None, kinds: frozenset[str], words: str, *, waits: bool) -> tuple[ErrorCode, str, bool]:
    if "ContentPolicyViolationError" in kinds or (
        status == HTTPStatus.BAD_REQUEST and any(word in words for word in _POLICY_WORDS)
    ):
        return ErrorCode.STATUS_ERROR_LLM_CONTENT_POLICY_VIOLATION, "The model's provider declined the content.", False
    out_of_credits = any(word in words for word in _CREDIT_WORDS) or (_QUOTA_WORDS in words and not waits)
    if status == HTTPStatus.PAYMENT_REQUIRED or (_is_client_error(status) and out_of_credits):
        return (
            ErrorCode.STATUS_ERROR_LLM_OUT_OF_CREDITS,
            "The account at the model's provider has no credit left.",
            False,
        )
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return ErrorCode.STATUS_ERROR_LLM_AUTHENTICATION, "The model's provider refused the API key.", False
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE, "The model's provider limits the rate of calls.", False
    if kinds & _TIMED_OUT:
        return ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE, "The model did not answer in time.", False
    if kinds & _UNREACHED or status in _UNAVAILABLE:
        return ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE, "The model's server is not available.", True
    if _is_client_error(status):
        return ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR, "The model's provider rejected the request.", False
    return ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR, "The model's server failed.", True


def _is_too_long(kinds: frozenset[str], words: str) -> bool:
    return "ContextWindowExceededError" in kinds or any(word in words for word in _LENGTH_WORDS)


def _is_client_error(status: int | None) -> bool:
    return status is not None and HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes, skipping the wrapper of a broken stream."""
    for _ in range(4):
        inner = getattr(error, "original_exception", None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    yield error
    # The library maps some errors by their messages and loses the type, which the cause still has.
    for _ in range(4):
        cause = error.__cause__ or error.__context__
        if cause is None:
            return
        error = cause
        yield error


def _status(error: BaseException) -> int | None:
    response_status = getattr(getattr(error, "response", None), "status_code", None)
    for status in (getattr(error, "status_code", None), response_status):
        # The library gives broken connections the status 500, which no server sent.
        if isinstance(status, int) and type(error).__name__ != "APIConnectionError":
            return status
    return None


def _detail(chain: tuple[BaseException, ...]) -> str:
    for error in chain:
        sentence = sentence_of(getattr(error, "body", None))
        if sentence:
            return sentence
    # Messages of bugs, such as a TypeError's, are useless to users.
    return sentence_of(str(chain[0])) if _is_of_library(chain[0]) else ""


def _retry_after(chain: tuple[BaseException, ...], words: str) -> float | None:
    for error in chain:
        headers: object = getattr(getattr(error, "response", None), "headers", None)
        if isinstance(headers, Mapping):
            value = cast("Mapping[str, object]", headers).get("retry-after")
            # HTTP dates are allowed too, but not worth a clock here: the caller has a back-off of its own.
            if isinstance(value, str) and re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value.strip()):
                return min(float(value), MAX_RETRY_AFTER_SECONDS)
    spoken = _RETRY_WORDS.search(words)
    if spoken is None:
        return None
    seconds = float(spoken[1]) / (1000 if spoken[2].lower() == "ms" else 1)
    return min(seconds, MAX_RETRY_AFTER_SECONDS)
