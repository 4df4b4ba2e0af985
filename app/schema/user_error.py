"""User errors: expected failures of mutations, returned in the payload's ``userErrors`` instead of GraphQL errors."""

from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from functools import wraps
from typing import Annotated, Any, ParamSpec, TypeVar, get_args, get_type_hints

import strawberry

from app import errors
from app.errors import AppError, ErrorCode
from app.models.conversation import ConversationStatus
from app.models.provider_account import ProviderType

P = ParamSpec("P")
T = TypeVar("T")


@strawberry.interface(description="An expected failure, returned as data. `path` points into `input`.")
class UserError:
    code: ErrorCode = strawberry.field(description="Machine-readable reason.")
    message_id: str = strawberry.field(description="Original i18n id, e.g. `CONFIGURATION$SETTINGS_NOT_FOUND`.")
    message: str = strawberry.field(description="For people; may change.")
    path: list[str] = strawberry.field(description="The path of the invalid field in `input`.")


@strawberry.type(description="The caller never saved settings.")
class SettingsNotFoundError(UserError):
    pass


@strawberry.type(description="The API key is missing, or the LLM provider refused it.")
class LlmAuthenticationError(UserError):
    llm_model: str = strawberry.field(description="The model that the key is for.")


@strawberry.type(description="No token is stored for the git provider, or it refused the token.")
class GitProviderAuthenticationError(UserError):
    provider: ProviderType = strawberry.field(description="The provider that the token is for.")


@strawberry.type(description="The git provider can't be reached, or limits the rate.")
class GitProviderUnavailableError(UserError):
    provider: ProviderType = strawberry.field(description="The provider that was asked.")
    retry_at: datetime | None = strawberry.field(description="When the provider's rate limit ends, where it said so.")


@strawberry.type(description="The object does not exist or the caller may not see it.")
class NotFoundError(UserError):
    pass


@strawberry.type(description="An input field is out of range or malformed.")
class InvalidInputError(UserError):
    pass


@strawberry.type(description="The caller already runs as many conversations as the server allows.")
class TooManyRunningError(UserError):
    limit: int = strawberry.field(description="The number of conversations that may run.")


@strawberry.type(description="The conversation's status does not allow this action.")
class InvalidStateError(UserError):
    status: ConversationStatus = strawberry.field(description="The conversation's status.")


@strawberry.type(description="The token for the git provider lacks a scope.")
class GitScopeMissingError(UserError):
    provider: ProviderType = strawberry.field(description="The provider that the token is for.")
    scopes: list[str] = strawberry.field(description="One of these is needed, as the provider names them.")


@strawberry.type(description="The repository's state, or the git host, does not allow it; `code` says why.")
class GitRefusalError(UserError):
    pass


@strawberry.type(description="The workspace or its sandbox can't be used.")
class WorkspaceFailureError(UserError):
    pass


CreateConversationError = Annotated[
    SettingsNotFoundError
    | LlmAuthenticationError
    | GitProviderAuthenticationError
    | GitProviderUnavailableError
    | NotFoundError
    | InvalidInputError
    | TooManyRunningError,
    strawberry.union("CreateConversationError", description="Why a conversation was not created."),
]
RenameConversationError = Annotated[
    NotFoundError | InvalidInputError,
    strawberry.union("RenameConversationError", description="Why a conversation was not renamed."),
]
DeleteConversationError = Annotated[
    NotFoundError, strawberry.union("DeleteConversationError", description="Why a conversation was not deleted.")
]
UpdateConversationsError = Annotated[
    NotFoundError | InvalidInputError,
    strawberry.union("UpdateConversationsError", description="Why a conversation, or none of them, was changed."),
]
DeleteConversationsError = Annotated[
    NotFoundError | InvalidInputError,
    strawberry.union("DeleteConversationsError", description="Why a conversation, or none of them, was deleted."),
]
MarkReadError = Annotated[NotFoundError, strawberry.union("MarkReadError", description="Why nothing was marked.")]
StartConversationError = Annotated[
    SettingsNotFoundError | LlmAuthenticationError | NotFoundError | InvalidStateError | TooManyRunningError,
    strawberry.union("StartConversationError", description="Why a conversation was not started."),
]
StopConversationError = Annotated[
    NotFoundError | InvalidStateError,
    strawberry.union("StopConversationError", description="Why a conversation was not stopped."),
]
SendMessageError = Annotated[
    SettingsNotFoundError
    | LlmAuthenticationError
    | NotFoundError
    | InvalidInputError
    | InvalidStateError
    | TooManyRunningError,
    strawberry.union("SendMessageError", description="Why a message was not sent."),
]
CreateDownloadError = Annotated[
    NotFoundError | InvalidInputError,
    strawberry.union("CreateDownloadError", description="Why there is no download."),
]
CreateUploadError = Annotated[
    NotFoundError | InvalidInputError,
    strawberry.union("CreateUploadError", description="Why there is no upload."),
]
UpdateSettingsError = Annotated[
    InvalidInputError | LlmAuthenticationError,
    strawberry.union("UpdateSettingsError", description="Why settings were not saved."),
]

SetProviderTokenError = Annotated[
    InvalidInputError | GitProviderAuthenticationError | GitProviderUnavailableError,
    strawberry.union("SetProviderTokenError", description="Why a token was not stored."),
]
RemoveProviderTokenError = Annotated[
    NotFoundError, strawberry.union("RemoveProviderTokenError", description="Why a token was not removed.")
]

RespondToToolCallError = Annotated[
    NotFoundError | InvalidInputError | InvalidStateError,
    strawberry.union("RespondToToolCallError", description="Why an answer to a tool call was not taken."),
]

CommitWorkspaceError = Annotated[
    NotFoundError | InvalidInputError | InvalidStateError | GitRefusalError | WorkspaceFailureError,
    strawberry.union("CommitWorkspaceError", description="Why nothing was committed."),
]
PushBranchError = Annotated[
    NotFoundError
    | InvalidInputError
    | InvalidStateError
    | GitProviderAuthenticationError
    | GitProviderUnavailableError
    | GitScopeMissingError
    | GitRefusalError
    | WorkspaceFailureError,
    strawberry.union("PushBranchError", description="Why nothing was pushed."),
]
CreatePullRequestError = Annotated[
    NotFoundError
    | InvalidInputError
    | GitProviderAuthenticationError
    | GitProviderUnavailableError
    | GitScopeMissingError
    | GitRefusalError
    | WorkspaceFailureError,
    strawberry.union("CreatePullRequestError", description="Why there is no pull request."),
]


# User errors that add no field to the interface.
_PLAIN: dict[type[AppError], type[UserError]] = {
    errors.SettingsNotFound: SettingsNotFoundError,
    errors.NotFound: NotFoundError,
    errors.InvalidInput: InvalidInputError,
    errors.GitRefusal: GitRefusalError,
    errors.WorkspaceFailure: WorkspaceFailureError,
}
# These are not caused by the input, so they stay GraphQL errors, with a code but without a user error type.
_NEVER_USER_ERRORS = (errors.StorageFull, errors.Unauthenticated, errors.SlowSubscriber, errors.TrajectoryTooLong)


def of_error(error: AppError) -> Any:  # noqa: ANN401  Each payload takes a union of its own.
    """Convert an expected failure to its user error. An error without a user error type is raised again."""
    if isinstance(error, _NEVER_USER_ERRORS):
        raise error
    if isinstance(error, errors.Unauthenticated | errors.SlowSubscriber | errors.TrajectoryTooLong):
        raise error
    head: dict[str, Any] = {
        "code": error.code,
        "message_id": error.code.message_id,
        "message": error.message,
        "path": list(error.path),
    }
    match error:
        case errors.LLMAuthentication():
            return LlmAuthenticationError(**head, llm_model=error.llm_model)
        case errors.GitProviderAuthentication():
            return GitProviderAuthenticationError(**head, provider=ProviderType(error.provider))
        case errors.GitProviderUnavailable():
            return GitProviderUnavailableError(**head, provider=ProviderType(error.provider), retry_at=error.retry_at)
        case errors.GitScopeMissing():
            provider = ProviderType(error.provider)
            return GitScopeMissingError(**head, provider=provider, scopes=list(error.scopes))
        case errors.TooManyRunning():
            return TooManyRunningError(**head, limit=error.limit)
        case errors.InvalidState():
            status = ConversationStatus.__members__.get(error.status, ConversationStatus.ERROR)
            return InvalidStateError(**head, status=status)
        case _ if type(error) in _PLAIN:
            return _PLAIN[type(error)](**head)
        case _:
            raise error


def with_user_errors(mutation: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorate a mutation so that an expected failure becomes a payload with ``userErrors`` instead of an exception.

    The payload's class is taken from the mutation's return annotation, and needs no argument but ``user_errors``. A
    failure whose user error the payload does not list stays an exception.
    """
    payload: Callable[..., T] = mutation.__annotations__["return"]
    [listed] = get_args(get_type_hints(payload)["user_errors"])
    accepted = get_args(listed) or (listed,)

    @wraps(mutation)
    async def resolver(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await mutation(*args, **kwargs)
        except AppError as error:
            user_error = of_error(error)
            if not isinstance(user_error, accepted):
                raise
            return payload(user_errors=[user_error])

    return resolver
