"""The REST API v4 of GitLab, on gitlab.com and self-managed hosts."""

from urllib.parse import quote

from pydantic import BaseModel, Field, SecretStr, TypeAdapter

from app.services.git.base import (
    GitAccess,
    NewPullRequest,
    RemoteBranch,
    RemotePage,
    RemotePullRequest,
    RemoteRepository,
    RemoteTask,
    RepositorySort,
)
from app.services.git.hosts import checked_branch, checked_name, checked_query, default_branch
from app.services.git.paging import PAGE_SIZE, ProviderPage, take
from app.services.git.proposals import gitlab as proposals
from app.services.git.rest import RESTProvider
from app.services.git.tasks import gitlab as tasks

_ORDER = {
    RepositorySort.PUSHED: ("last_activity_at", "desc"),
    RepositorySort.UPDATED: ("updated_at", "desc"),
    RepositorySort.FULL_NAME: ("path", "asc"),
}


class _UserJSON(BaseModel):
    username: str = Field(min_length=1, max_length=200)


class _Project(BaseModel):
    id: int
    path_with_namespace: str = Field(max_length=400)
    visibility: str | None = None
    default_branch: str | None = None


class _CommitJSON(BaseModel):
    id: str = Field(max_length=64)


class _BranchJSON(BaseModel):
    name: str = Field(max_length=255)
    commit: _CommitJSON
    protected: bool = False


_USER = TypeAdapter(_UserJSON)
_PROJECT = TypeAdapter(_Project)
_PROJECTS = TypeAdapter(list[_Project])
_BRANCH = TypeAdapter(_BranchJSON)
_BRANCHES = TypeAdapter(list[_BranchJSON])


class GitLab(RESTProvider):
    """``GitProvider`` for GitLab."""

    def git_login(self, access: GitAccess) -> tuple[str, SecretStr] | None:
        """Return the token with a user name that GitLab documents for OAuth tokens; for other tokens it ignores it."""
        return ("oauth2", access.token) if access.token is not None else None

    async def login(self, access: GitAccess) -> str:
        """Return the user name of the token's owner."""
        user = await self.one(access, self.api(access, "/user"), _USER)
        if user is None:
            raise self.client.unavailable("It has no API there.")
        return user.username

    async def repositories(
        self, access: GitAccess, *, query: str | None, sort: RepositorySort, first: int, after: str | None
    ) -> RemotePage[RemoteRepository]:
        """Return the projects of which the owner is a member, or with a query, all visible matches."""
        text = checked_query(query)
        if not text and access.token is None:
            raise self.client.refused("Only a token has repositories of its own.")
        order, direction = _ORDER[sort]
        scope = {"search": text, "search_namespaces": "true"} if text else {"membership": "true"}

        async def fetch(token: str) -> ProviderPage[RemoteRepository]:
            url = self.api(access, "/projects", **scope, order_by=order, sort=direction, per_page=PAGE_SIZE, page=token)
            return await self.linked(
                access, url, _PROJECTS, lambda projects: [self._repository(access, each) for each in projects]
            )

        return await take((self.type, self.host(access), "repositories", text, sort), fetch, first=first, after=after)

    async def repository(self, access: GitAccess, name_with_owner: str) -> RemoteRepository | None:
        """Return one project, which may be in nested groups."""
        project = await self.one(access, self.api(access, _path(name_with_owner)), _PROJECT)
        return None if project is None else self._repository(access, project)

    async def branches(
        self, access: GitAccess, name_with_owner: str, *, query: str | None, first: int, after: str | None
    ) -> RemotePage[RemoteBranch]:
        """Return branches by name; GitLab filters by the query."""
        path, text = _path(name_with_owner), checked_query(query)

        async def fetch(token: str) -> ProviderPage[RemoteBranch]:
            url = self.api(access, f"{path}/repository/branches", search=text, per_page=PAGE_SIZE, page=token)
            return await self.linked(access, url, _BRANCHES, lambda rows: [_branch(row) for row in rows])

        return await take((self.type, self.host(access), name_with_owner, text), fetch, first=first, after=after)

    async def branch(self, access: GitAccess, name_with_owner: str, name: str) -> RemoteBranch | None:
        """Return one branch; ``None`` if it is absent."""
        path = f"{_path(name_with_owner)}/repository/branches/{quote(checked_branch(name), safe='')}"
        row = await self.one(access, self.api(access, path), _BRANCH)
        return None if row is None else _branch(row)

    async def find_pull_request(
        self, access: GitAccess, name_with_owner: str, head_branch: str, base_branch: str
    ) -> RemotePullRequest | None:
        """Return the open pull request between these branches of the repository."""
        return await proposals.find(self, access, name_with_owner, head_branch, base_branch)

    async def create_pull_request(
        self, access: GitAccess, name_with_owner: str, new: NewPullRequest
    ) -> RemotePullRequest | None:
        """Create a pull request; ``None`` if there is one already."""
        return await proposals.create(self, access, name_with_owner, new)

    async def pull_request(self, access: GitAccess, name_with_owner: str, number: int) -> RemotePullRequest | None:
        """Return one pull request."""
        return await proposals.get(self, access, name_with_owner, number)

    async def suggested_tasks(self, access: GitAccess) -> list[RemoteTask]:
        """Return conflicting, failing and discussed merge requests, and assigned issues, by two requests at once."""
        return await tasks.suggested_tasks(self, access)

    def _repository(self, access: GitAccess, project: _Project) -> RemoteRepository:
        url = f"{self.origin(access)}/{quote(project.path_with_namespace)}"
        return RemoteRepository(
            external_id=str(project.id),
            name_with_owner=project.path_with_namespace,
            url=url,
            clone_url=f"{url}.git",
            # Anonymous callers see only public projects, without the field `visibility`.
            is_private=project.visibility not in (None, "public"),
            default_branch_name=default_branch(project.default_branch),
        )


def _path(name: str) -> str:
    return f"/projects/{quote(checked_name(name, nested=True), safe='')}"


def _branch(branch: _BranchJSON) -> RemoteBranch:
    return RemoteBranch(branch.name, branch.commit.id, branch.protected)
