"""The REST API v4 of GitLab, on gitlab.com and self-managed hosts."""

from urllib.parse import quote

import orjson
from pydantic import BaseModel, Field, SecretStr, TypeAdapter

from app.models.pull_request import PullRequestState
from app.services.git.base import (
    GitAccess,
    NewPullRequest,
    RemoteBranch,
    RemotePage,
    RemotePullRequest,
    RemoteRepository,
    RepositorySort,
)
from app.services.git.hosts import checked_branch, checked_name, checked_query, default_branch
from app.services.git.paging import PAGE_SIZE, ProviderPage, take
from app.services.git.rest import CREATED, RESTProvider

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


class _MergeRequest(BaseModel):
    iid: int = Field(ge=1, lt=2**31)
    state: str
    title: str
    draft: bool = False
    source_branch: str = Field(max_length=255)
    target_branch: str = Field(max_length=255)
    # Null where the project of a fork was deleted.
    source_project_id: int | None = None
    target_project_id: int


class _Refusal(BaseModel):
    # A sentence, several, or several for each field.
    message: str | list[str] | dict[str, list[str]] = ""
    error: str | None = None
    scope: str | None = None


_USER = TypeAdapter(_User)
_PROJECT = TypeAdapter(_Project)
_PROJECTS = TypeAdapter(list[_Project])
_BRANCH = TypeAdapter(_Branch)
_BRANCHES = TypeAdapter(list[_Branch])
_MERGE_REQUEST = TypeAdapter(_MergeRequest)
_MERGE_REQUESTS = TypeAdapter(list[_MergeRequest])
_REFUSAL = TypeAdapter(_Refusal)
_CONFLICT = 409
_MAX_TITLE_CHARS = 255
_STATES = {"closed": PullRequestState.CLOSED, "merged": PullRequestState.MERGED}


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
        """Return the open merge request between these branches of the project."""
        source, target = checked_branch(head_branch), checked_branch(base_branch)
        path = f"{_path(name_with_owner)}/merge_requests"
        url = self.api(access, path, state="opened", source_branch=source, target_branch=target, per_page=PAGE_SIZE)
        rows = await self.one(access, url, _MERGE_REQUESTS) or []
        matches = [
            row
            for row in rows
            if (row.source_branch, row.target_branch) == (source, target)
            and row.source_project_id == row.target_project_id
        ]
        return self._merge_request(access, name_with_owner, matches[0]) if matches else None

    async def create_pull_request(
        self, access: GitAccess, name_with_owner: str, new: NewPullRequest
    ) -> RemotePullRequest | None:
        """Create a merge request, as a draft by its title; ``None`` if there is one already, which is status 409."""
        is_marked = new.title.lower().startswith("draft:")
        title = f"Draft: {new.title}" if new.is_draft and not is_marked else new.title
        fields = {
            "title": title[:_MAX_TITLE_CHARS],
            "description": new.body,
            "source_branch": new.head_branch,
            "target_branch": new.base_branch,
        }
        url = self.api(access, f"{_path(name_with_owner)}/merge_requests")
        answer = await self.client.create(url, self.headers(access), orjson.dumps(fields))
        if answer.status in CREATED:
            return self._merge_request(access, name_with_owner, self.client.read(_MERGE_REQUEST, answer))
        if answer.status == _CONFLICT:
            return None
        refusal = self.said(_REFUSAL, answer) or _Refusal()
        scopes = (refusal.scope,) if refusal.error == "insufficient_scope" and refusal.scope else ("api",)
        raise self.refused_creation(answer, scopes, _sentences(refusal.message))

    async def pull_request(self, access: GitAccess, name_with_owner: str, number: int) -> RemotePullRequest | None:
        """Return one merge request; its number is what GitLab calls ``iid``."""
        path = f"{_path(name_with_owner)}/merge_requests/{number:d}"
        row = await self.one(access, self.api(access, path), _MERGE_REQUEST)
        return None if row is None else self._merge_request(access, name_with_owner, row)

    def _merge_request(self, access: GitAccess, name: str, row: _MergeRequest) -> RemotePullRequest:
        return RemotePullRequest(
            number=row.iid,
            url=f"{self.origin(access)}/{quote(name)}/-/merge_requests/{row.iid}",
            state=_STATES.get(row.state, PullRequestState.OPEN),
            title=row.title,
            head_branch=row.source_branch,
            base_branch=row.target_branch,
            is_draft=row.draft,
        )

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


def _sentences(message: str | list[str] | dict[str, list[str]]) -> str:
    if isinstance(message, dict):
        return " ".join(f"{field} {fault}." for field, faults in message.items() for fault in faults)
    return message if isinstance(message, str) else " ".join(message)


def _branch(branch: _Branch) -> RemoteBranch:
    return RemoteBranch(branch.name, branch.commit.id, branch.protected)
