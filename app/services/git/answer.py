"""Validates what git hosts answer before it is stored: callers choose the host, so an answer may contain anything."""

from app.errors import GitProviderUnavailable, InvalidInput
from app.models.git_repository import BRANCH_NAME_MAX_LENGTH, NAME_WITH_OWNER_MAX_LENGTH
from app.models.provider_account import ProviderType
from app.models.pull_request import PULL_REQUEST_TITLE_MAX_LENGTH
from app.services.git.base import RemoteBranch, RemotePullRequest, RemoteRepository
from app.services.message import check_storable

EXTERNAL_ID_MAX_LENGTH = 200
URL_MAX_LENGTH = 2000
COMMIT_SHA_MAX_LENGTH = 64


def check_repository(provider: ProviderType, seen: RemoteRepository) -> None:
    """Raise GitProviderUnavailable if one of the repository's texts does not fit its column."""
    check_text(provider, seen.external_id, EXTERNAL_ID_MAX_LENGTH)
    check_text(provider, seen.name_with_owner, NAME_WITH_OWNER_MAX_LENGTH)
    check_text(provider, seen.url, URL_MAX_LENGTH)
    check_text(provider, seen.clone_url, URL_MAX_LENGTH)
    check_text(provider, seen.default_branch_name or "", BRANCH_NAME_MAX_LENGTH)


def check_branch(provider: ProviderType, seen: RemoteBranch) -> None:
    """Raise GitProviderUnavailable if one of the branch's texts does not fit its column."""
    check_text(provider, seen.name, BRANCH_NAME_MAX_LENGTH)
    check_text(provider, seen.commit_sha, COMMIT_SHA_MAX_LENGTH)


def check_pull_request(provider: ProviderType, seen: RemotePullRequest) -> None:
    """Raise GitProviderUnavailable if one of the pull request's texts does not fit its column; its title is cut."""
    check_text(provider, seen.title[:PULL_REQUEST_TITLE_MAX_LENGTH], PULL_REQUEST_TITLE_MAX_LENGTH)
    check_text(provider, seen.url, URL_MAX_LENGTH)
    check_text(provider, seen.head_branch, BRANCH_NAME_MAX_LENGTH)
    check_text(provider, seen.base_branch, BRANCH_NAME_MAX_LENGTH)


def check_text(provider: ProviderType, text: str, max_length: int) -> None:
    """Raise GitProviderUnavailable for a text that is too long, or has NUL characters or lone surrogates."""
    try:
        check_storable(text)
    except InvalidInput:
        raise _nonsense(provider) from None
    if len(text) > max_length:
        raise _nonsense(provider)


def _nonsense(provider: ProviderType) -> GitProviderUnavailable:
    message = f"{provider} can't be used now. It answers what its API does not document."
    return GitProviderUnavailable(message, provider=provider)
