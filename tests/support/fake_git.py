"""An in-memory git provider: a test sets its repositories, and can read which methods were called."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from pydantic import SecretStr

from app.errors import GitProviderAuthentication, GitProviderUnavailable, InvalidInput
from app.models.provider_account import ProviderType
from app.models.pull_request import PullRequestState
from app.services.git.base import (
    GitAccess,
    NewPullRequest,
    RemoteBranch,
    RemoteEdge,
    RemotePage,
    RemotePullRequest,
    RemoteRepository,
    RemoteTask,
    RepositorySort,
)

T = TypeVar("T")
TOKEN = "git-token-of-a-test-0123456789"
PUBLIC_HOST = "git.example.com"
OTHER_HOST = "git.internal.example"


def repository(number: int, name: str | None = None, *, default_branch: str | None = "main") -> RemoteRepository:
    """Build a private repository of the token's owner."""
    name = name or f"ada/engine-{number}"
    url = f"https://{PUBLIC_HOST}/{name}"
    return RemoteRepository(str(number), name, url, f"{url}.git", is_private=True, default_branch_name=default_branch)


@dataclass
class FakeGitProvider:
    """``GitProvider`` with the repositories in ``found``, each with the branches ``names``; ``TOKEN`` is Ada's.

    With ``is_down`` every call fails, with ``retry_at`` in the error. ``calls`` has the names of the called methods.
    """

    type: ProviderType = ProviderType.GITHUB
    found: list[RemoteRepository] = field(default_factory=list[RemoteRepository])
    names: list[str] = field(default_factory=lambda: ["main", "next"])
    tasks: list[RemoteTask] = field(default_factory=list[RemoteTask])
    clone_url: str | None = None
    owner: str = "ada"
    is_down: bool = False
    retry_at: datetime | None = None
    calls: list[str] = field(default_factory=list[str])
    accesses: list[GitAccess] = field(default_factory=list[GitAccess])
    proposed: list[RemotePullRequest] = field(default_factory=list[RemotePullRequest])

    def host(self, access: GitAccess) -> str:
        return access.host or PUBLIC_HOST

    def git_login(self, access: GitAccess) -> tuple[str, SecretStr] | None:
        return ("x-access-token", access.token) if access.token is not None else None

    async def check_host(self, host: str) -> None:
        if host != OTHER_HOST:
            raise InvalidInput(f"This server does not call {host}.")

    async def login(self, access: GitAccess) -> str:
        self._call("login", access)
        return self.owner

    async def repositories(
        self, access: GitAccess, *, query: str | None, sort: RepositorySort, first: int, after: str | None
    ) -> RemotePage[RemoteRepository]:
        self._call("repositories", access)
        matches = [self._shown(seen) for seen in self.found if (query or "") in seen.name_with_owner]
        if sort is RepositorySort.FULL_NAME:
            matches.sort(key=lambda seen: seen.name_with_owner)
        return _page(matches, first, after)

    async def repository(self, access: GitAccess, name_with_owner: str) -> RemoteRepository | None:
        self._call("repository", access)
        if "/" not in name_with_owner:
            raise InvalidInput("A repository's name is owner/name.")
        return next((self._shown(seen) for seen in self.found if seen.name_with_owner == name_with_owner), None)

    async def branches(
        self, access: GitAccess, name_with_owner: str, *, query: str | None, first: int, after: str | None
    ) -> RemotePage[RemoteBranch]:
        self._call("branches", access)
        return _page([self._branch(name) for name in self.names if (query or "") in name], first, after)

    async def branch(self, access: GitAccess, name_with_owner: str, name: str) -> RemoteBranch | None:
        self._call("branch", access)
        return self._branch(name) if name in self.names else None

    async def find_pull_request(
        self, access: GitAccess, name_with_owner: str, head_branch: str, base_branch: str
    ) -> RemotePullRequest | None:
        self._call("find_pull_request", access)
        wanted = (head_branch, base_branch, PullRequestState.OPEN)
        matches = [seen for seen in self.proposed if (seen.head_branch, seen.base_branch, seen.state) == wanted]
        return matches[0] if matches else None

    async def create_pull_request(
        self, access: GitAccess, name_with_owner: str, new: NewPullRequest
    ) -> RemotePullRequest | None:
        self._call("create_pull_request", access)
        if await self.find_pull_request(access, name_with_owner, new.head_branch, new.base_branch) is not None:
            return None
        number = len(self.proposed) + 1
        url = f"https://{PUBLIC_HOST}/{name_with_owner}/pull/{number}"
        created = RemotePullRequest(
            number, url, PullRequestState.OPEN, new.title, new.head_branch, new.base_branch, new.is_draft
        )
        self.proposed.append(created)
        return created

    async def pull_request(self, access: GitAccess, name_with_owner: str, number: int) -> RemotePullRequest | None:
        self._call("pull_request", access)
        return next((seen for seen in self.proposed if seen.number == number), None)

    async def suggested_tasks(self, access: GitAccess) -> list[RemoteTask]:
        self._call("suggested_tasks", access)
        return list(self.tasks)

    async def close(self) -> None:
        self.calls.append("close")

    def _shown(self, seen: RemoteRepository) -> RemoteRepository:
        return replace(seen, clone_url=self.clone_url) if self.clone_url else seen

    def _branch(self, name: str) -> RemoteBranch:
        return RemoteBranch(name, f"{len(name):040x}", is_protected=name == "main")

    def _call(self, name: str, access: GitAccess) -> None:
        self.calls.append(name)
        self.accesses.append(access)
        if self.is_down:
            raise GitProviderUnavailable("The git host is down.", provider=self.type, retry_at=self.retry_at)
        if access.token is not None and access.token.get_secret_value() != TOKEN:
            raise GitProviderAuthentication("The git host refused the token.", provider=self.type)


def _page(nodes: Sequence[T], first: int, after: str | None) -> RemotePage[T]:
    if after is not None and not after.isdecimal():
        raise InvalidInput("The cursor is not of this list.", path=("after",))
    start = int(after) if after is not None else 0
    edges = [RemoteEdge(str(start + number), node) for number, node in enumerate(nodes[start : start + first], 1)]
    return RemotePage(edges, start + first < len(nodes))
