"""What a git provider does, free of any provider's own terms."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from pydantic import SecretStr

from app.models.provider_account import ProviderType

T = TypeVar("T")


class RepositorySort(StrEnum):
    """What a list of repositories is ordered by: newest push or change first, or by full name."""

    PUSHED = "PUSHED"
    UPDATED = "UPDATED"
    FULL_NAME = "FULL_NAME"


@dataclass(frozen=True, slots=True)
class GitAccess:
    """Where to ask, and as whom. ``host``: null for the provider's public one. ``token``: null for a stranger."""

    host: str | None = None
    token: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class RemoteRepository:
    """A repository as its provider tells of it. ``clone_url`` is http(s) and holds no credentials."""

    external_id: str
    name_with_owner: str
    url: str
    clone_url: str
    is_private: bool
    default_branch_name: str | None


@dataclass(frozen=True, slots=True)
class RemoteBranch:
    """A branch as its provider tells of it."""

    name: str
    commit_sha: str
    is_protected: bool


@dataclass(frozen=True, slots=True)
class RemoteEdge(Generic[T]):
    """An entry of a list, and the cursor that goes on behind it."""

    cursor: str
    node: T


@dataclass(frozen=True, slots=True)
class RemotePage(Generic[T]):
    """A part of a list."""

    edges: list[RemoteEdge[T]]
    has_next_page: bool


@dataclass(frozen=True, slots=True)
class CloneSource:
    """What git needs in order to clone: an http(s) URL without credentials, and those apart from it."""

    url: str
    user: str | None = None
    password: SecretStr | None = None


class GitProvider(Protocol):
    """A kind of git host. Every call is bounded in time.

    All raise ``GitProviderAuthentication`` where the token is refused, ``GitProviderUnavailable`` where the host can't
    be reached, limits the rate or answers nonsense, and ``InvalidInput`` for a host that this server does not call or
    a cursor that is none.
    """

    @property
    def type(self) -> ProviderType:
        """Which kind."""
        ...

    def host(self, access: GitAccess) -> str:
        """The host that is asked, such as ``github.com``."""
        ...

    def git_login(self, access: GitAccess) -> tuple[str, SecretStr] | None:
        """The user name and the password that git gives; ``None`` for a stranger."""
        ...

    async def check_host(self, host: str) -> None:
        """Raise ``InvalidInput`` unless callers may name this host."""
        ...

    async def login(self, access: GitAccess) -> str:
        """Whom the token belongs to."""
        ...

    async def repositories(
        self, access: GitAccess, *, query: str | None, sort: RepositorySort, first: int, after: str | None
    ) -> RemotePage[RemoteRepository]:
        """The token owner's repositories; with a query those, own and public, that it finds. ``first``: 1 to 100."""
        ...

    async def repository(self, access: GitAccess, name_with_owner: str) -> RemoteRepository | None:
        """One repository; ``None`` where it is absent or not to be seen."""
        ...

    async def branches(
        self, access: GitAccess, name_with_owner: str, *, query: str | None, first: int, after: str | None
    ) -> RemotePage[RemoteBranch]:
        """A repository's branches; with a query those whose name contains it. ``first``: 1 to 100."""
        ...

    async def branch(self, access: GitAccess, name_with_owner: str, name: str) -> RemoteBranch | None:
        """One branch; ``None`` where it is absent."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
