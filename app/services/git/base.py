"""The protocol of git providers, and the types of its arguments and results, independent of any one provider."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from pydantic import SecretStr

from app.models.provider_account import ProviderType
from app.models.pull_request import PullRequestState

T = TypeVar("T")


class RepositorySort(StrEnum):
    """Order of a list of repositories: newest push first, newest change first, or by full name."""

    PUSHED = "PUSHED"
    UPDATED = "UPDATED"
    FULL_NAME = "FULL_NAME"


@dataclass(frozen=True, slots=True)
class GitAccess:
    """Host and token of a call. ``host`` is ``None`` for the provider's public host, ``token`` for anonymous access."""

    host: str | None = None
    token: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class RemoteRepository:
    """A repository in a provider's answer. ``clone_url`` is http(s) and has no credentials in it."""

    external_id: str
    name_with_owner: str
    url: str
    clone_url: str
    is_private: bool
    default_branch_name: str | None


@dataclass(frozen=True, slots=True)
class RemoteBranch:
    """A branch in a provider's answer."""

    name: str
    commit_sha: str
    is_protected: bool


class TaskKind(StrEnum):
    """Kinds of suggested tasks. A pull request has the first of the first three that applies."""

    MERGE_CONFLICTS = "MERGE_CONFLICTS"
    FAILING_CHECKS = "FAILING_CHECKS"
    UNRESOLVED_COMMENTS = "UNRESOLVED_COMMENTS"
    OPEN_ISSUE = "OPEN_ISSUE"


@dataclass(frozen=True, slots=True)
class RemoteTask:
    """A suggested task in a provider's answer: an open pull request of the token's owner, or an issue assigned to them.

    ``clone_name`` and ``branch_name`` are the head of a pull request, which may be in a fork. For an issue the clone is
    of the repository itself, and both branches are ``None``.
    """

    kind: TaskKind
    repository_name: str
    number: int
    title: str
    url: str
    clone_name: str
    branch_name: str | None = None
    base_branch_name: str | None = None


@dataclass(frozen=True, slots=True)
class RemotePullRequest:
    """A pull request in a provider's answer. ``url`` is its page for people."""

    number: int
    url: str
    state: PullRequestState
    title: str
    head_branch: str
    base_branch: str
    is_draft: bool


@dataclass(frozen=True, slots=True)
class NewPullRequest:
    """Arguments of a new pull request, between branches of one repository."""

    title: str
    body: str
    head_branch: str
    base_branch: str
    is_draft: bool


@dataclass(frozen=True, slots=True)
class RemoteEdge(Generic[T]):
    """An entry of a page, with the cursor of the entries after it."""

    cursor: str
    node: T


@dataclass(frozen=True, slots=True)
class RemotePage(Generic[T]):
    """A page; if it is empty, ``has_next_page`` is false, since there is no cursor to continue from."""

    edges: list[RemoteEdge[T]]
    has_next_page: bool


@dataclass(frozen=True, slots=True)
class CloneSource:
    """Arguments of a clone: an http(s) URL without credentials, and the user name and password, if there are any."""

    url: str
    user: str | None = None
    password: SecretStr | None = None


class GitProvider(Protocol):
    """The API of one git hosting product. Every call has a timeout.

    All calls raise ``GitProviderAuthentication`` if the token is refused; ``GitProviderUnavailable`` if the host can't
    be reached, limits the rate or gives a malformed answer; and ``InvalidInput`` for a host that this server must not
    call or a malformed cursor.
    """

    @property
    def type(self) -> ProviderType:
        """The product whose API this is."""
        ...

    def host(self, access: GitAccess) -> str:
        """Return the host that a call goes to, such as ``github.com``."""
        ...

    def git_login(self, access: GitAccess) -> tuple[str, SecretStr] | None:
        """Return user name and password for git over HTTP; ``None`` for anonymous access."""
        ...

    async def check_host(self, host: str) -> None:
        """Raise ``InvalidInput`` unless callers may name this host."""
        ...

    async def login(self, access: GitAccess) -> str:
        """Return the user name of the token's owner, and thereby check the token."""
        ...

    async def repositories(
        self, access: GitAccess, *, query: str | None, sort: RepositorySort, first: int, after: str | None
    ) -> RemotePage[RemoteRepository]:
        """Return a page of the token owner's repositories, or with a query, of own and public matches.

        ``first`` is 1 to 100.
        """
        ...

    async def repository(self, access: GitAccess, name_with_owner: str) -> RemoteRepository | None:
        """Return one repository; ``None`` if it is absent or the token may not see it."""
        ...

    async def branches(
        self, access: GitAccess, name_with_owner: str, *, query: str | None, first: int, after: str | None
    ) -> RemotePage[RemoteBranch]:
        """Return a page of a repository's branches, or with a query, of those whose name contains it.

        ``first`` is 1 to 100.
        """
        ...

    async def branch(self, access: GitAccess, name_with_owner: str, name: str) -> RemoteBranch | None:
        """Return one branch; ``None`` if it is absent."""
        ...

    async def find_pull_request(
        self, access: GitAccess, name_with_owner: str, head_branch: str, base_branch: str
    ) -> RemotePullRequest | None:
        """Return the open pull request between these branches of the repository; ``None`` if there is none."""
        ...

    async def create_pull_request(
        self, access: GitAccess, name_with_owner: str, new: NewPullRequest
    ) -> RemotePullRequest | None:
        """Create a pull request; ``None`` if there is one between these branches already. It is tried once only.

        Raises ``GitScopeMissing`` and ``GitRefusal`` too.
        """
        ...

    async def pull_request(self, access: GitAccess, name_with_owner: str, number: int) -> RemotePullRequest | None:
        """Return one pull request; ``None`` if it is absent."""
        ...

    async def suggested_tasks(self, access: GitAccess) -> list[RemoteTask]:
        """Return up to 100 tasks of the token's owner, pull requests first, the last changed first.

        Entries that are malformed, or whose head repository was deleted, are left out.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
