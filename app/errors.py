"""Expected failures, one class for each: they reach clients with a stable code, unlike bugs, which are masked.

::

    AppError
    ├── InvalidInput            an input field is out of range or malformed
    ├── NotFound                absent, or another caller's
    ├── SettingsNotFound        the caller never saved settings
    ├── LLMAuthentication       the LLM's key is missing, or its provider refused it
    ├── GitProviderAuthentication  the git host refused the token
    ├── GitProviderUnavailable  the git host can't be reached, or limits the rate
    ├── GitScopeMissing         the git host wants a scope that the token lacks
    ├── GitRefusal              git or its host refuses a commit, a push or a pull request; carries its code
    ├── WorkspaceFailure        the workspace or its sandbox could not be prepared
    ├── InvalidState            the conversation's status does not allow it
    ├── TooManyRunning          the caller's limit is reached by busy conversations
    ├── Unauthenticated         no caller: missing, bad or expired token
    ├── StorageFull             the server's disk is full, or can't be written
    ├── SlowSubscriber          a subscriber did not take what waits for it
    ├── TrajectoryTooLong       a log is too long to be one field of an answer
    └── LLMFailure              an LLM call failed; carries the code that becomes `statusReason`

The codes and message ids are those of ``ErrorCode`` in the schema; the ids with ``$`` are OpenHands'.
"""

from datetime import datetime
from enum import StrEnum


class ErrorCode(StrEnum):
    """Machine-readable reason. The value is the message id by which clients look up a translation."""

    CONFIGURATION_SETTINGS_NOT_FOUND = "CONFIGURATION$SETTINGS_NOT_FOUND"
    STATUS_ERROR_LLM_AUTHENTICATION = "STATUS$ERROR_LLM_AUTHENTICATION"
    STATUS_ERROR_LLM_SERVICE_UNAVAILABLE = "STATUS$ERROR_LLM_SERVICE_UNAVAILABLE"
    STATUS_ERROR_LLM_OUT_OF_CREDITS = "STATUS$ERROR_LLM_OUT_OF_CREDITS"
    STATUS_GIT_PROVIDER_AUTHENTICATION_ERROR = "STATUS$GIT_PROVIDER_AUTHENTICATION_ERROR"
    NOT_FOUND = "NOT_FOUND"
    STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR = "STATUS$ERROR_LLM_INTERNAL_SERVER_ERROR"
    STATUS_ERROR_LLM_CONTENT_POLICY_VIOLATION = "STATUS$ERROR_LLM_CONTENT_POLICY_VIOLATION"
    LIMIT_REACHED = "LIMIT_REACHED"
    WORKSPACE_ERROR = "WORKSPACE_ERROR"
    AGENT_STUCK = "AGENT_STUCK"
    IDLE_TIMEOUT = "IDLE_TIMEOUT"
    MADE_ROOM = "MADE_ROOM"
    TOO_MANY_RUNNING = "TOO_MANY_RUNNING"
    GIT_PROVIDER_UNAVAILABLE = "GIT_PROVIDER_UNAVAILABLE"
    INVALID_INPUT = "INVALID_INPUT"
    INVALID_STATE = "INVALID_STATE"
    GIT_SCOPE_MISSING = "GIT_SCOPE_MISSING"
    NO_REPOSITORY = "NO_REPOSITORY"
    NOTHING_TO_COMMIT = "NOTHING_TO_COMMIT"
    MERGE_IN_PROGRESS = "MERGE_IN_PROGRESS"
    CONFLICT_MARKERS = "CONFLICT_MARKERS"
    DETACHED_HEAD = "DETACHED_HEAD"
    INDEX_LOCKED = "INDEX_LOCKED"
    HEAD_MOVED = "HEAD_MOVED"
    NOTHING_TO_PUSH = "NOTHING_TO_PUSH"
    BRANCH_MOVED = "BRANCH_MOVED"
    DEFAULT_BRANCH = "DEFAULT_BRANCH"
    BRANCH_PROTECTED = "BRANCH_PROTECTED"
    BRANCH_EXISTS = "BRANCH_EXISTS"
    PUSH_REJECTED = "PUSH_REJECTED"
    PULL_REQUEST_REFUSED = "PULL_REQUEST_REFUSED"

    @property
    def message_id(self) -> str:
        """The original i18n id, e.g. ``STATUS$ERROR_LLM_AUTHENTICATION``."""
        return self.value


class AppError(Exception):
    """An expected failure.

    ``path`` points into the mutation's ``input``; ``message`` is for people and holds no secret. Each class has a
    ``code`` of its own, or overrides ``wire_code``, which is what clients see.
    """

    code: ErrorCode

    def __init__(self, message: str, *, path: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.path = path

    def wire_code(self) -> str:
        """The ``code`` in the extensions of the GraphQL error."""
        return self.code.name


class InvalidInput(AppError):
    """An input field is out of range or malformed."""

    code = ErrorCode.INVALID_INPUT


class NotFound(AppError):
    """The object does not exist, or the caller may not see it."""

    code = ErrorCode.NOT_FOUND


class SettingsNotFound(AppError):
    """The caller never saved settings."""

    code = ErrorCode.CONFIGURATION_SETTINGS_NOT_FOUND


class LLMAuthentication(AppError):
    """The model's provider needs a key and there is none, or it refused the one there is."""

    code = ErrorCode.STATUS_ERROR_LLM_AUTHENTICATION

    def __init__(self, message: str, *, llm_model: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(message, path=path)
        self.llm_model = llm_model


class GitProviderAuthentication(AppError):
    """The git host refused the token. ``provider`` is the name of the schema's ``ProviderType``."""

    code = ErrorCode.STATUS_GIT_PROVIDER_AUTHENTICATION_ERROR

    def __init__(self, message: str, *, provider: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(message, path=path)
        self.provider = provider


class GitProviderUnavailable(AppError):
    """The git host can't be reached, gives a malformed answer, or limits the rate (until ``retry_at``)."""

    code = ErrorCode.GIT_PROVIDER_UNAVAILABLE

    def __init__(
        self, message: str, *, provider: str, retry_at: datetime | None = None, path: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, path=path)
        self.provider = provider
        self.retry_at = retry_at


class GitScopeMissing(AppError):
    """The token is valid, but lacks one of ``scopes``, named as the provider names them."""

    code = ErrorCode.GIT_SCOPE_MISSING

    def __init__(self, message: str, *, provider: str, scopes: tuple[str, ...], path: tuple[str, ...] = ()) -> None:
        super().__init__(message, path=path)
        self.provider = provider
        self.scopes = scopes


class GitRefusal(AppError):
    """The repository's state, or the git host, does not allow a commit, a push or a pull request."""

    def __init__(self, message: str, *, code: ErrorCode, path: tuple[str, ...] = ()) -> None:
        super().__init__(message, path=path)
        self.code = code


class WorkspaceFailure(AppError):
    """The workspace could not be prepared: sandbox or clone failed."""

    code = ErrorCode.WORKSPACE_ERROR


class InvalidState(AppError):
    """The conversation's status does not allow this action. ``status`` is the name of that status."""

    code = ErrorCode.INVALID_STATE

    def __init__(self, message: str, *, status: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(message, path=path)
        self.status = status


class TooManyRunning(AppError):
    """The caller already runs ``limit`` conversations, and none of them waits for input."""

    code = ErrorCode.TOO_MANY_RUNNING

    def __init__(self, message: str, *, limit: int, path: tuple[str, ...] = ()) -> None:
        super().__init__(message, path=path)
        self.limit = limit


class Unauthenticated(AppError):
    """There is no caller: the token is missing, malformed, wrong or expired. It is never a user error."""

    def wire_code(self) -> str:
        """Apollo Server's code, which client libraries know."""
        return "UNAUTHENTICATED"


class StorageFull(AppError):
    """The database's disk is full, or can't be written. Nothing was changed. It is never a user error."""

    def __init__(self) -> None:
        super().__init__("The server's disk is full, or can't be written. Nothing was changed; try again later.")

    def wire_code(self) -> str:
        """A code of its own, since clients may retry once the disk has space."""
        return "STORAGE_FULL"


class SlowSubscriber(AppError):
    """A subscriber's queue of messages overflowed (back-pressure). It is never a user error."""

    def wire_code(self) -> str:
        """A code of its own, since clients may subscribe again."""
        return "SLOW_SUBSCRIBER"


class TrajectoryTooLong(AppError):
    """A log has more than ``max_bytes`` as JSON, so it can only be downloaded. It is never a user error."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            f"The trajectory is larger than {max_bytes} bytes: download it with "
            "`createDownload(input: {format: TRAJECTORY_JSON})`."
        )

    def wire_code(self) -> str:
        """A code of its own, since clients may download it."""
        return "TRAJECTORY_TOO_LONG"


class LLMFailure(AppError):
    """An LLM call failed.

    ``rate_limited``: a retry later may succeed; ``retry_after_seconds`` is the provider's hint. ``too_long``: the
    messages exceed the model's context window.
    """

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode,
        rate_limited: bool = False,
        retry_after_seconds: float | None = None,
        too_long: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.rate_limited = rate_limited
        self.retry_after_seconds = retry_after_seconds
        self.too_long = too_long


def conversation_not_found(*path: str) -> NotFound:
    """Build the error for a conversation that is absent or another caller's; the caller can't tell which."""
    return NotFound("The conversation does not exist.", path=path)
