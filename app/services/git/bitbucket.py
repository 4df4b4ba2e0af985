"""Bitbucket Cloud's REST API 2.0, without the endpoints across workspaces, which were removed in April 2026."""

import base64
from collections.abc import Mapping
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
from app.services.git.hosts import checked_branch, checked_name, checked_query, default_branch, page_of
from app.services.git.paging import PAGE_SIZE, ProviderPage, take
from app.services.git.proposals import bitbucket as proposals
from app.services.git.rest import RESTProvider
from app.services.git.tasks import bitbucket as tasks

_ORDER = {
    # Bitbucket has no time of the last push. A push updates the repository, so the time of the last change is used.
    RepositorySort.PUSHED: "-updated_on",
    RepositorySort.UPDATED: "-updated_on",
    RepositorySort.FULL_NAME: "full_name",
}
# Calls for one page of repositories: one lists the workspaces, each of the others reads one workspace's repositories.
_MAX_WORKSPACE_CALLS = 9


class _UserJSON(BaseModel):
    username: str | None = Field(default=None, max_length=200)
    nickname: str | None = Field(default=None, max_length=200)
    display_name: str | None = Field(default=None, max_length=200)


class _WorkspaceJSON(BaseModel):
    slug: str = Field(max_length=200)


class _Membership(BaseModel):
    workspace: _WorkspaceJSON


class _Workspaces(BaseModel):
    values: list[_Membership]


class _MainBranch(BaseModel):
    name: str | None = None


class _RepositoryJSON(BaseModel):
    uuid: str = Field(max_length=100)
    full_name: str = Field(max_length=400)
    is_private: bool
    mainbranch: _MainBranch | None = None


class _Repositories(BaseModel):
    values: list[_RepositoryJSON]
    next: str | None = Field(default=None, max_length=4000)


class _TargetJSON(BaseModel):
    hash: str = Field(max_length=64)


class _BranchJSON(BaseModel):
    name: str = Field(max_length=255)
    target: _TargetJSON


class _Branches(BaseModel):
    values: list[_BranchJSON]
    next: str | None = Field(default=None, max_length=4000)


_USER = TypeAdapter(_UserJSON)
_WORKSPACES = TypeAdapter(_Workspaces)
_REPOSITORY = TypeAdapter(_RepositoryJSON)
_REPOSITORIES = TypeAdapter(_Repositories)
_BRANCH = TypeAdapter(_BranchJSON)
_BRANCHES = TypeAdapter(_Branches)


class Bitbucket(RESTProvider):
    """``GitProvider`` for Bitbucket. A token with a colon is an account's name and its API token."""

    def git_login(self, access: GitAccess) -> tuple[str, SecretStr] | None:
        """Return the user names that Bitbucket documents: one for API tokens, another for access tokens."""
        token = self.token(access)
        if token is None:
            return None
        _, is_of_account, api_token = token.partition(":")
        if is_of_account:
            return "x-bitbucket-api-token-auth", SecretStr(api_token)
        return "x-token-auth", SecretStr(token)

    def headers(self, access: GitAccess) -> Mapping[str, str]:
        """Return the headers: basic authentication for API tokens, else a bearer token."""
        token = self.token(access)
        if token is None or ":" not in token:
            return super().headers(access)
        return {"accept": "application/json", "authorization": f"Basic {base64.b64encode(token.encode()).decode()}"}

    async def login(self, access: GitAccess) -> str:
        """Return the first name that Bitbucket gives: user name, nickname or display name."""
        user = await self.one(access, self.api(access, "/user"), _USER)
        login = None if user is None else user.username or user.nickname or user.display_name
        if login is None:
            raise self.client.unavailable("It does not say whom the token belongs to.")
        return login

    async def repositories(
        self, access: GitAccess, *, query: str | None, sort: RepositorySort, first: int, after: str | None
    ) -> RemotePage[RemoteRepository]:
        """Return the owner's repositories, one workspace after another; each workspace is sorted on its own.

        A query ``workspace/name`` searches that workspace, also without a token.
        """
        text = checked_query(query)
        workspace, slash, name_part = text.rpartition("/")
        if slash:
            # The workspace becomes part of a URL's path, so it must be a valid owner's name.
            checked_name(f"{workspace}/x")
        elif access.token is None:
            raise self.client.refused("Without a token, a query names a workspace: workspace/name.")
        workspaces = [workspace] if slash else await self._workspaces(access)
        name_filter = f'name ~ "{_quoted(name_part)}"' if name_part else ""

        async def fetch(token: str) -> ProviderPage[RemoteRepository]:
            slug, _, page = token.partition(" ")
            slug = slug or next(iter(workspaces), "")
            # The list ends if the owner has left the cursor's workspace.
            if slug not in workspaces:
                return ProviderPage([], None)
            role = "" if slash else "member"
            path = f"/repositories/{quote(slug, safe='')}"
            url = self.api(access, path, role=role, q=name_filter, sort=_ORDER[sort], pagelen=PAGE_SIZE, page=page)
            page = await self.one(access, url, _REPOSITORIES)
            items = [] if page is None else [self._repository(access, each) for each in page.values]
            following = None if page is None else page_of(page.next)
            if following is not None:
                return ProviderPage(items, f"{slug} {following}")
            rest = workspaces[workspaces.index(slug) + 1 :]
            return ProviderPage(items, rest[0] if rest else None)

        name = (self.type, self.host(access), "repositories", text, sort)
        return await take(name, fetch, first=first, after=after, max_calls=_MAX_WORKSPACE_CALLS)

    async def repository(self, access: GitAccess, name_with_owner: str) -> RemoteRepository | None:
        """Return one repository; ``None`` if it is absent or the token may not see it."""
        repository = await self.one(access, self.api(access, _path(name_with_owner)), _REPOSITORY)
        return None if repository is None else self._repository(access, repository)

    async def branches(
        self, access: GitAccess, name_with_owner: str, *, query: str | None, first: int, after: str | None
    ) -> RemotePage[RemoteBranch]:
        """Return branches by name; Bitbucket filters by the query."""
        path, text = f"{_path(name_with_owner)}/refs/branches", checked_query(query)
        name_filter = f'name ~ "{_quoted(text)}"' if text else ""

        async def fetch(token: str) -> ProviderPage[RemoteBranch]:
            url = self.api(access, path, q=name_filter, sort="name", pagelen=PAGE_SIZE, page=token)
            page = await self.one(access, url, _BRANCHES)
            if page is None:
                return ProviderPage([], None)
            return ProviderPage([_branch(branch) for branch in page.values], page_of(page.next))

        return await take((self.type, self.host(access), name_with_owner, text), fetch, first=first, after=after)

    async def branch(self, access: GitAccess, name_with_owner: str, name: str) -> RemoteBranch | None:
        """Return one branch; ``None`` if it is absent."""
        path = f"{_path(name_with_owner)}/refs/branches/{quote(checked_branch(name), safe='')}"
        branch = await self.one(access, self.api(access, path), _BRANCH)
        return None if branch is None else _branch(branch)

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
        """Return pull requests with failing builds or open tasks, by at most 17 requests."""
        return await tasks.suggested_tasks(self, access, await self._workspaces(access))

    async def _workspaces(self, access: GitAccess) -> list[str]:
        """Return the slugs of the owner's first hundred workspaces, sorted."""
        page = await self.one(access, self.api(access, "/user/workspaces", pagelen=PAGE_SIZE), _WORKSPACES)
        return sorted({each.workspace.slug for each in page.values}) if page is not None else []

    def _repository(self, access: GitAccess, row: _RepositoryJSON) -> RemoteRepository:
        url = f"{self.origin(access)}/{quote(row.full_name)}"
        branch = None if row.mainbranch is None else default_branch(row.mainbranch.name)
        return RemoteRepository(row.uuid, row.full_name, url, f"{url}.git", row.is_private, branch)


def _path(name: str) -> str:
    return f"/repositories/{checked_name(name)}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _branch(branch: _BranchJSON) -> RemoteBranch:
    # Only administrators can read branch restrictions, from another endpoint.
    return RemoteBranch(branch.name, branch.target.hash, is_protected=False)
