"""Git repositories and branches: read from their provider with the owner's token, and cached in the database."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar
from uuid import UUID

from app.errors import AppError, GitProviderAuthentication, InvalidInput, NotFound, WorkspaceFailure
from app.models.database.database import Database
from app.models.git_repository import GitBranch, GitRepository, GitRepositoryRepository
from app.models.owner import OwnerRepository
from app.models.provider_account import ProviderAccount, ProviderType
from app.services.clock import Clock
from app.services.git.answer import check_branch, check_repository
from app.services.git.base import (
    CloneSource,
    GitAccess,
    GitProvider,
    RemoteBranch,
    RemotePage,
    RemoteRepository,
    RepositorySort,
)
from app.services.git.call_budget import CallBudget
from app.services.git.clone import ABSENT, REDIRECTS, REFUSED, GitCloner
from app.services.git.hosts import checked_branch
from app.services.message import check_storable
from app.services.provider_account import ProviderAccountService

FRESH = timedelta(seconds=60)
QUERY_MAX_LENGTH = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RepositoryQuery:
    """A page of repositories of one provider; without ``query``, of the caller's own."""

    provider: ProviderType
    first: int
    query: str | None = None
    sort: RepositorySort = RepositorySort.PUSHED
    after: str | None = None


@dataclass(frozen=True, slots=True)
class BranchQuery:
    """A page of a repository's branches; with ``query``, of those whose name contains it."""

    first: int
    query: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True)
class RepositoryChoice:
    """A reference to a repository, by id or by provider and name."""

    id: UUID | None = None
    provider: ProviderType | None = None
    name_with_owner: str | None = None


@dataclass(frozen=True, slots=True)
class MergeChoice:
    """A branch that is to be merged into the cloned one. ``repository``: ``None`` for that of the clone."""

    branch_name: str
    repository: RepositoryChoice | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows with their cursors, in the order of the provider's answer."""

    edges: list[tuple[str, T]]
    has_next_page: bool


class RepositoryService:
    """Calls providers with the owner's token, and stores their answers. ``calls`` is the request's budget of calls."""

    def __init__(
        self,
        database: Database,
        providers: Mapping[ProviderType, GitProvider],
        accounts: ProviderAccountService,
        clock: Clock,
        max_calls: int,
        *,
        cloner: GitCloner,
    ) -> None:
        self._database = database
        self._providers = providers
        self._accounts = accounts
        self._clock = clock
        self._max_calls = max_calls
        self._cloner = cloner

    def budget(self) -> CallBudget:
        """Create the budget of a new request."""
        return CallBudget(self._max_calls)

    async def search(self, owner_id: str, query: RepositoryQuery, calls: CallBudget) -> Page[GitRepository]:
        """Return a page of the owner's repositories, or with a query, of own and public matches.

        Raises InvalidInput, GitProviderAuthentication, GitProviderUnavailable.
        """
        text = _checked_query(query.query)
        provider = self._providers[query.provider]
        access = await self._accounts.access(owner_id, query.provider)
        if text is None and access.token is None:
            message = "No token is stored for this provider: store one, or search with a query."
            raise GitProviderAuthentication(message, provider=query.provider)
        async with calls.call():
            page = await provider.repositories(
                access, query=text, sort=query.sort, first=query.first, after=query.after
            )
        rows = await self._save(owner_id, provider, access, [edge.node for edge in page.edges])
        return _page(page, rows)

    async def get(
        self, owner_id: str, provider_type: ProviderType, name_with_owner: str, calls: CallBudget
    ) -> GitRepository | None:
        """Return a repository by name; ``None`` if the provider does not have it. Raises the errors of ``search``."""
        provider = self._providers[provider_type]
        access = await self._accounts.access(owner_id, provider_type)
        async with calls.call():
            repository = await provider.repository(access, name_with_owner)
        if repository is None:
            return None
        return (await self._save(owner_id, provider, access, [repository]))[0]

    async def get_many(self, owner_id: str, ids: Sequence[UUID]) -> list[GitRepository | None]:
        """Return stored repositories in the order of ``ids``, with ``None`` for those the owner never read."""
        async with self._database.read() as session:
            return await GitRepositoryRepository(session).get_many(owner_id, ids)

    async def get_many_branches(self, owner_id: str, ids: Sequence[UUID]) -> list[GitBranch | None]:
        """Return stored branches in the order of ``ids``, with ``None`` for those the owner never read."""
        async with self._database.read() as session:
            return await GitRepositoryRepository(session).get_many_branches(owner_id, ids)

    async def branches(self, repository: GitRepository, query: BranchQuery, calls: CallBudget) -> Page[GitBranch]:
        """Read a page of branches from the provider, and store them. Raises the errors of ``search``."""
        text = _checked_query(query.query)
        provider, access = await self.asked(repository)
        async with calls.call():
            page = await provider.branches(
                access, repository.name_with_owner, query=text, first=query.first, after=query.after
            )
        rows = [self._branch(repository, edge.node) for edge in page.edges]
        async with self._database.write() as session:
            saved = await GitRepositoryRepository(session).save_branches(rows)
        return _page(page, saved)

    async def default_branches(
        self, owner_id: str, ids: Sequence[UUID], calls: CallBudget
    ) -> list[GitBranch | AppError | None]:
        """Return each repository's default branch, for a batch loader, with a TTL of one minute.

        A branch that can't be read from its provider is replaced by the error, so that it fails alone.
        """
        async with self._database.read() as session:
            rows = GitRepositoryRepository(session)
            # Many conversations of a list may have the same repository.
            stored = await rows.get_many(owner_id, list(dict.fromkeys(ids)))
            repositories = {row.id: row for row in stored if row is not None and row.default_branch_name is not None}
            known = await rows.branches([(row.id, row.default_branch_name or "") for row in repositories.values()])
        fresh = self._clock() - FRESH
        branches: dict[UUID, GitBranch | AppError | None] = {
            row.repository_id: row for row in known.values() if row.seen_at >= fresh
        }
        stale = [row for row in repositories.values() if row.id not in branches]
        if stale:
            accounts = await self._accounts.search(owner_id)
            asked = await asyncio.gather(*(self._default_branch(row, accounts, calls) for row in stale))
            branches |= {row.id: answer for row, answer in zip(stale, asked, strict=True)}
        news = [answer for row in stale if isinstance(answer := branches[row.id], GitBranch)]
        if news:
            async with self._database.write() as session:
                saved = await GitRepositoryRepository(session).save_branches(news)
            branches |= {row.repository_id: row for row in saved}
        return [branches.get(repository_id) for repository_id in ids]

    async def choose(
        self, owner_id: str, choice: RepositoryChoice, branch_name: str | None
    ) -> tuple[GitRepository, str | None]:
        """Check a new conversation's repository and branch with the provider, and return the row and the branch's name.

        Raises NotFound, InvalidInput, GitProviderAuthentication, GitProviderUnavailable.
        """
        calls = self.budget()
        repository = await self._chosen(owner_id, choice, calls)
        if repository is None:
            raise NotFound("The repository does not exist, or the token may not read it.", path=("repository",))
        if branch_name is None:
            return repository, repository.default_branch_name
        checked_branch(branch_name)
        provider, access = await self.asked(repository)
        async with calls.call():
            branch = await provider.branch(access, repository.name_with_owner, branch_name)
            is_there = branch is not None or await self._git_has(provider, access, repository, branch_name)
        if not is_there:
            message = f"{repository.name_with_owner} has no branch named {branch_name[:100]}."
            raise InvalidInput(message, path=("branchName",))
        return repository, branch_name

    async def merge_base(
        self, owner_id: str, choice: MergeChoice | None, cloned: GitRepository | None
    ) -> tuple[UUID, str] | None:
        """Return repository and branch of what is to be merged into a clone, if there is one. Raises as ``choose``."""
        if choice is None or cloned is None:
            return None
        if choice.repository is None:
            return cloned.id, choice.branch_name
        repository, _ = await self.choose(owner_id, choice.repository, None)
        return repository.id, choice.branch_name

    async def clone_source(self, owner_id: str, repository_id: UUID) -> CloneSource:
        """Return the arguments of a clone of an owner's repository. Raises NotFound or GitProviderAuthentication."""
        [repository] = await self.get_many(owner_id, [repository_id])
        if repository is None:
            raise NotFound("The repository is not known any more.")
        provider, access = await self.asked(repository)
        return _source(provider, access, repository)

    async def moved_source(self, owner_id: str, repository_id: UUID, failure: WorkspaceFailure) -> CloneSource:
        """Return the new clone source of a repository that git could not clone, if it was moved or renamed.

        Otherwise raises WorkspaceFailure: ``failure`` itself, or a better reason that the provider's answer gives.
        """
        [repository] = await self.get_many(owner_id, [repository_id])
        if repository is None or failure.message not in (REFUSED, ABSENT, REDIRECTS):
            raise failure
        name = repository.name_with_owner
        try:
            provider, access = await self.asked(repository)
            async with self.budget().call():
                remote = await provider.repository(access, name)
            if remote is None:
                raise failure
            [seen] = await self._save(owner_id, provider, access, [remote])
        except AppError:
            # Without an answer from the provider, git's own message is the best reason.
            raise failure from None
        if seen.id != repository.id:
            raise WorkspaceFailure(f"{name} was moved or deleted, and another repository has its name now.")
        if seen.clone_url != repository.clone_url:
            return _source(provider, access, seen)
        if failure.message == REDIRECTS:
            raise failure
        if access.token is None:
            raise WorkspaceFailure(f"{name} is not open to everybody: store a token that may read its contents.")
        raise WorkspaceFailure(f"The token may see {name}, but not read its contents: give it that scope.")

    async def asked(self, repository: GitRepository) -> tuple[GitProvider, GitAccess]:
        """Return a repository's provider and the owner's access, with the token only if it is for the same host."""
        provider_type = ProviderType(repository.provider)
        return self._asked_with(repository, await self._accounts.access(repository.owner_id, provider_type))

    async def _git_has(
        self, provider: GitProvider, access: GitAccess, repository: GitRepository, branch_name: str
    ) -> bool:
        """Ask git itself for a branch, since providers hide some, for example from tokens with few scopes."""
        try:
            return await self._cloner.has_branch(_source(provider, access, repository), branch_name)
        except WorkspaceFailure:
            return False

    async def _chosen(self, owner_id: str, choice: RepositoryChoice, calls: CallBudget) -> GitRepository | None:
        if choice.id is not None:
            return (await self.get_many(owner_id, [choice.id]))[0]
        if choice.provider is None or choice.name_with_owner is None:
            return None
        try:
            return await self.get(owner_id, choice.provider, choice.name_with_owner, calls)
        except InvalidInput as error:
            raise InvalidInput(error.message, path=("repository",)) from None

    def _asked_with(self, repository: GitRepository, access: GitAccess) -> tuple[GitProvider, GitAccess]:
        provider = self._providers[ProviderType(repository.provider)]
        if provider.host(access) != repository.host:
            host = None if provider.host(GitAccess()) == repository.host else repository.host
            access = GitAccess(host)
        return provider, access

    async def _default_branch(
        self, repository: GitRepository, accounts: Sequence[ProviderAccount], calls: CallBudget
    ) -> GitBranch | AppError | None:
        try:
            access = self._accounts.access_of(accounts, ProviderType(repository.provider))
            provider, access = self._asked_with(repository, access)
            async with calls.call():
                branch = await provider.branch(access, repository.name_with_owner, repository.default_branch_name or "")
            return self._branch(repository, branch) if branch is not None else None
        except AppError as error:
            return error

    async def _save(
        self, owner_id: str, provider: GitProvider, access: GitAccess, repositories: list[RemoteRepository]
    ) -> list[GitRepository]:
        for seen in repositories:
            check_repository(provider.type, seen)
        now = self._clock()
        rows = [
            GitRepository(
                owner_id=owner_id,
                provider=provider.type,
                host=provider.host(access),
                external_id=seen.external_id,
                name_with_owner=seen.name_with_owner,
                url=seen.url,
                clone_url=seen.clone_url,
                is_private=seen.is_private,
                default_branch_name=seen.default_branch_name,
                seen_at=now,
            )
            for seen in repositories
        ]
        async with self._database.write() as session:
            await OwnerRepository(session).ensure(owner_id, now)
            return await GitRepositoryRepository(session).save(rows)

    def _branch(self, repository: GitRepository, seen: RemoteBranch) -> GitBranch:
        check_branch(ProviderType(repository.provider), seen)
        return GitBranch(
            repository_id=repository.id,
            name=seen.name,
            commit_sha=seen.commit_sha,
            is_protected=seen.is_protected,
            seen_at=self._clock(),
        )


def _source(provider: GitProvider, access: GitAccess, repository: GitRepository) -> CloneSource:
    user, password = provider.git_login(access) or (None, None)
    return CloneSource(repository.clone_url, user, password)


def _page(page: RemotePage[RemoteRepository] | RemotePage[RemoteBranch], rows: list[T]) -> Page[T]:
    cursors = [edge.cursor for edge in page.edges]
    return Page(list(zip(cursors, rows, strict=True)), page.has_next_page)


def _checked_query(query: str | None) -> str | None:
    """Strip a query; ``None`` if it is blank. Raises InvalidInput if it is too long or can't be stored."""
    text = (query or "").strip()
    if len(text) > QUERY_MAX_LENGTH:
        raise InvalidInput(f"`query` has at most {QUERY_MAX_LENGTH} characters.")
    check_storable(text, "query")
    return text or None
