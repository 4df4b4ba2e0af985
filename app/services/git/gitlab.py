"""GitLab, on gitlab.com and on hosts of one's own: REST API v4."""

from urllib.parse import quote

from pydantic import BaseModel, Field, SecretStr, TypeAdapter

from app.services.git.base import GitAccess, RemoteBranch, RemotePage, RemoteRepository, RepositorySort
from app.services.git.hosts import checked_branch, checked_name, checked_query, default_branch
from app.services.git.paging import PAGE_SIZE, ProviderPage, take
from app.services.git.rest import RESTProvider

_ORDER = {
    RepositorySort.PUSHED: ("last_activity_at", "desc"),
    RepositorySort.UPDATED: ("updated_at", "desc"),
    RepositorySort.FULL_NAME: ("path", "asc"),
}


class _User(BaseModel):
    username: str = Field(min_length=1, max_length=200)


class _Project(BaseModel):
    id: int
    path_with_namespace: str = Field(max_length=400)
    visibility: str | None = None
    default_branch: str | None = None


class _Commit(BaseModel):
    id: str = Field(max_length=64)


class _Branch(BaseModel):
    name: str = Field(max_length=255)
    commit: _Commit
    protected: bool = False


_USER = TypeAdapter(_User)
_PROJECT = TypeAdapter(_Project)
_PROJECTS = TypeAdapter(list[_Project])
_BRANCH = TypeAdapter(_Branch)
_BRANCHES = TypeAdapter(list[_Branch])


class GitLab(RESTProvider):
    """Asks GitLab. Errors are those of ``GitProvider``."""

    def git_login(self, access: GitAccess) -> tuple[str, SecretStr] | None:
        """Any name will do beside a token; this one is documented for OAuth tokens too."""
        return ("oauth2", access.token) if access.token is not None else None

    async def login(self, access: GitAccess) -> str:
        """Whom the token belongs to."""
        user = await self.one(access, self.api(access, "/user"), _USER)
        if user is None:
            raise self.client.unavailable("It has no API there.")
        return user.username

    async def repositories(
        self, access: GitAccess, *, query: str | None, sort: RepositorySort, first: int, after: str | None
    ) -> RemotePage[RemoteRepository]:
        """The projects that the owner is a member of; with a query all visible ones that it finds."""
        text = checked_query(query)
        if not text and access.token is None:
            raise self.client.refused("Only a token has repositories of its own.")
        order, direction = _ORDER[sort]
        scope = {"search": text, "search_namespaces": "true"} if text else {"membership": "true"}

        async def fetch(token: str) -> ProviderPage[RemoteRepository]:
            url = self.api(access, "/projects", **scope, order_by=order, sort=direction, per_page=PAGE_SIZE, page=token)
            return await self.linked(
                access, url, _PROJECTS, lambda found: [self._repository(access, project) for project in found]
            )

        return await take((self.type, self.host(access), "repositories", text, sort), fetch, first=first, after=after)

    async def repository(self, access: GitAccess, name_with_owner: str) -> RemoteRepository | None:
        """One project, in groups of any depth."""
        project = await self.one(access, self.api(access, _path(name_with_owner)), _PROJECT)
        return None if project is None else self._repository(access, project)

    async def branches(
        self, access: GitAccess, name_with_owner: str, *, query: str | None, first: int, after: str | None
    ) -> RemotePage[RemoteBranch]:
        """By name. GitLab itself searches."""
        path, text = _path(name_with_owner), checked_query(query)

        async def fetch(token: str) -> ProviderPage[RemoteBranch]:
            url = self.api(access, f"{path}/repository/branches", search=text, per_page=PAGE_SIZE, page=token)
            return await self.linked(access, url, _BRANCHES, lambda found: [_branch(branch) for branch in found])

        return await take((self.type, self.host(access), name_with_owner, text), fetch, first=first, after=after)

    async def branch(self, access: GitAccess, name_with_owner: str, name: str) -> RemoteBranch | None:
        """One branch; ``None`` where it is absent."""
        path = f"{_path(name_with_owner)}/repository/branches/{quote(checked_branch(name), safe='')}"
        found = await self.one(access, self.api(access, path), _BRANCH)
        return None if found is None else _branch(found)

    def _repository(self, access: GitAccess, project: _Project) -> RemoteRepository:
        url = f"{self.origin(access)}/{quote(project.path_with_namespace)}"
        return RemoteRepository(
            external_id=str(project.id),
            name_with_owner=project.path_with_namespace,
            url=url,
            clone_url=f"{url}.git",
            # A stranger is shown public projects only, and is not told their visibility.
            is_private=project.visibility not in (None, "public"),
            default_branch_name=default_branch(project.default_branch),
        )


def _path(name: str) -> str:
    return f"/projects/{quote(checked_name(name, nested=True), safe='')}"


def _branch(branch: _Branch) -> RemoteBranch:
    return RemoteBranch(branch.name, branch.commit.id, branch.protected)
