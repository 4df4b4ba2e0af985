"""The API of GitHub and GitHub Enterprise Server: REST 2022-11-28, and GraphQL v4 to search branches."""

from collections.abc import Mapping
from urllib.parse import quote

import orjson
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
from app.services.git.proposals import github as proposals
from app.services.git.rest import RESTProvider
from app.services.git.tasks import github as tasks

_REFS = """query ($owner: String!, $name: String!, $query: String!, $after: String) {
  repository(owner: $owner, name: $name) {
    refs(refPrefix: "refs/heads/", query: $query, first: 100, after: $after) {
      nodes { name target { oid } branchProtectionRule { id } }
      pageInfo { hasNextPage endCursor }
    }
  }
}"""
# Without a token GitHub allows 60 requests an hour, so anonymous callers can't search all branches.
_SCANNED_PAGES = 3


class _UserJSON(BaseModel):
    login: str = Field(min_length=1, max_length=200)


class _RepositoryJSON(BaseModel):
    id: int
    full_name: str = Field(max_length=400)
    private: bool
    default_branch: str | None = None


class _SearchResults(BaseModel):
    items: list[_RepositoryJSON]


class _CommitJSON(BaseModel):
    sha: str = Field(max_length=64)


class _BranchJSON(BaseModel):
    name: str = Field(max_length=255)
    commit: _CommitJSON
    protected: bool = False


class _TargetJSON(BaseModel):
    oid: str = Field(max_length=64)


class _Ref(BaseModel):
    name: str = Field(max_length=255)
    target: _TargetJSON
    branchProtectionRule: object | None = None  # noqa: N815  # The API's own name.


class _PageInfoJSON(BaseModel):
    hasNextPage: bool  # noqa: N815  # The API's own name.
    endCursor: str | None = Field(default=None, max_length=500)  # noqa: N815  # The API's own name.


class _Refs(BaseModel):
    nodes: list[_Ref]
    pageInfo: _PageInfoJSON  # noqa: N815  # The API's own name.


class _RefsOwner(BaseModel):
    refs: _Refs | None


class _RefsData(BaseModel):
    repository: _RefsOwner | None


class _RefsAnswer(BaseModel):
    data: _RefsData | None = None


_USER = TypeAdapter(_UserJSON)
_REPOSITORY = TypeAdapter(_RepositoryJSON)
_REPOSITORIES = TypeAdapter(list[_RepositoryJSON])
_SEARCH_RESULTS = TypeAdapter(_SearchResults)
_BRANCH = TypeAdapter(_BranchJSON)
_BRANCHES = TypeAdapter(list[_BranchJSON])
_REFS_ANSWER = TypeAdapter(_RefsAnswer)


class GitHub(RESTProvider):
    """``GitProvider`` for GitHub."""

    def git_login(self, access: GitAccess) -> tuple[str, SecretStr] | None:
        """Return the token with a user name that GitHub documents for installation tokens; it ignores the name."""
        return ("x-access-token", access.token) if access.token is not None else None

    def headers(self, access: GitAccess) -> Mapping[str, str]:
        """Return the headers of authentication and of the API's version."""
        return {
            **super().headers(access),
            "accept": "application/vnd.github+json",
            "x-github-api-version": "2022-11-28",
        }

    async def login(self, access: GitAccess) -> str:
        """Return the user name of the token's owner."""
        user = await self.one(access, self.api(access, "/user"), _USER)
        if user is None:
            raise self.client.unavailable("It has no API there.")
        return user.login

    async def repositories(
        self, access: GitAccess, *, query: str | None, sort: RepositorySort, first: int, after: str | None
    ) -> RemotePage[RemoteRepository]:
        """Return the owner's repositories, or with a query, GitHub's search in names.

        The search can only be sorted by change (PUSHED, UPDATED) or relevance (FULL_NAME).
        """
        text = checked_query(query)
        if not text and access.token is None:
            raise self.client.refused("Only a token has repositories of its own.")

        async def own(token: str) -> ProviderPage[RemoteRepository]:
            url = self.api(access, "/user/repos", sort=sort.value.lower(), per_page=PAGE_SIZE, page=token)
            return await self.linked(
                access, url, _REPOSITORIES, lambda rows: [self._repository(access, row) for row in rows]
            )

        async def search(token: str) -> ProviderPage[RemoteRepository]:
            # GitHub's search can sort neither by push nor by name.
            order = "" if sort is RepositorySort.FULL_NAME else "updated"
            terms = f"{text} in:name fork:true"
            url = self.api(access, "/search/repositories", q=terms, sort=order, per_page=PAGE_SIZE, page=token)
            return await self.linked(
                access, url, _SEARCH_RESULTS, lambda results: [self._repository(access, row) for row in results.items]
            )

        name = (self.type, self.host(access), "repositories", text, sort)
        return await take(name, search if text else own, first=first, after=after)

    async def repository(self, access: GitAccess, name_with_owner: str) -> RemoteRepository | None:
        """Return one repository; the old name of a renamed one works too."""
        repository = await self.one(access, self.api(access, _path(name_with_owner)), _REPOSITORY)
        return None if repository is None else self._repository(access, repository)

    async def branches(
        self, access: GitAccess, name_with_owner: str, *, query: str | None, first: int, after: str | None
    ) -> RemotePage[RemoteBranch]:
        """Return branches by name. With a query, GraphQL searches if there is a token, since REST has no search.

        Without a token only the first 300 branches are searched. Raises ``GitProviderAuthentication`` if none of those
        matches and there are more.
        """
        path, text = _path(name_with_owner), checked_query(query)
        last_page: ProviderPage[RemoteBranch] | None = None

        async def page(token: str) -> ProviderPage[RemoteBranch]:
            nonlocal last_page
            url = self.api(access, f"{path}/branches", per_page=PAGE_SIZE, page=token)
            last_page = await self.linked(access, url, _BRANCHES, lambda rows: [_branch(row) for row in rows])
            kept = [branch for branch in last_page.items if text.lower() in branch.name.lower()]
            return ProviderPage(kept, last_page.next_token)

        async def search(token: str) -> ProviderPage[RemoteBranch]:
            return await self._search(access, name_with_owner, text, token)

        by_graphql = bool(text) and access.token is not None
        name = (self.type, self.host(access), name_with_owner, text, "graphql" if by_graphql else "rest")
        taken = await take(name, search if by_graphql else page, first=first, after=after, max_calls=_SCANNED_PAGES)
        if last_page is not None and last_page.next_token is not None and not taken.edges:
            raise self.client.refused("To search this many branches it needs a token.")
        return taken

    async def branch(self, access: GitAccess, name_with_owner: str, name: str) -> RemoteBranch | None:
        """Return one branch; ``None`` if it is absent."""
        path = f"{_path(name_with_owner)}/branches/{quote(checked_branch(name), safe='')}"
        row = await self.one(access, self.api(access, path), _BRANCH)
        # GitHub redirects the old name of a renamed branch to its new name.
        return None if row is None or row.name != name else _branch(row)

    async def _search(self, access: GitAccess, name: str, text: str, after: str) -> ProviderPage[RemoteBranch]:
        owner, _, repository = name.partition("/")
        variables = {"owner": owner, "name": repository, "query": text, "after": after or None}
        body = orjson.dumps({"query": _REFS, "variables": variables})
        response = await self.client.post(self._graphql_url(access), self.headers(access), body)
        answer = self.client.read(_REFS_ANSWER, response)
        if answer.data is None:
            raise self.client.unavailable("It refused the search.")
        if answer.data.repository is None or answer.data.repository.refs is None:
            return ProviderPage([], None)
        refs = answer.data.repository.refs
        items = [RemoteBranch(ref.name, ref.target.oid, ref.branchProtectionRule is not None) for ref in refs.nodes]
        return ProviderPage(items, refs.pageInfo.endCursor if refs.pageInfo.hasNextPage else None)

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
        """Return conflicting, failing and commented pull requests, and assigned issues, by one GraphQL request."""
        return await tasks.suggested_tasks(self, access, self._graphql_url(access))

    def _graphql_url(self, access: GitAccess) -> str:
        url = self.api(access, "/graphql")
        return f"{self.origin(access)}/api/graphql" if url.endswith("/api/v3/graphql") else url

    def _repository(self, access: GitAccess, row: _RepositoryJSON) -> RemoteRepository:
        url = f"{self.origin(access)}/{quote(row.full_name)}"
        branch = default_branch(row.default_branch)
        return RemoteRepository(str(row.id), row.full_name, url, f"{url}.git", row.private, branch)


def _path(name: str) -> str:
    return f"/repos/{checked_name(name)}"


def _branch(branch: _BranchJSON) -> RemoteBranch:
    return RemoteBranch(branch.name, branch.commit.sha, branch.protected)
