"""Suggested tasks on GitHub, by one query of its GraphQL API."""

from urllib.parse import quote

import orjson
from pydantic import BaseModel, Field, TypeAdapter

from app.services.git.base import GitAccess, RemoteTask
from app.services.git.rest import RESTProvider
from app.services.git.tasks.task import issue, kind_of, pull_request, well_formed

_QUERY = """query {
  viewer {
    pullRequests(states: OPEN, first: 50, orderBy: {field: UPDATED_AT, direction: DESC}) {
      nodes {
        number title mergeable headRefName baseRefName
        repository { nameWithOwner }
        headRepository { nameWithOwner }
        commits(last: 1) { nodes { commit { statusCheckRollup { state } } } }
        reviewThreads(first: 50) { nodes { isResolved } }
      }
    }
  }
  search(type: ISSUE, first: 50, query: "is:issue is:open archived:false assignee:@me sort:updated-desc") {
    nodes { ... on Issue { number title repository { nameWithOwner } } }
  }
}"""
_FAILED = frozenset({"FAILURE", "ERROR"})


class _RepositoryJSON(BaseModel):
    name: str = Field(alias="nameWithOwner")


class _RollupJSON(BaseModel):
    state: str


class _CommitJSON(BaseModel):
    rollup: _RollupJSON | None = Field(default=None, alias="statusCheckRollup")


class _CommitNodeJSON(BaseModel):
    commit: _CommitJSON


class _CommitsJSON(BaseModel):
    nodes: list[_CommitNodeJSON | None]


class _ThreadJSON(BaseModel):
    is_resolved: bool = Field(alias="isResolved")


class _ThreadsJSON(BaseModel):
    nodes: list[_ThreadJSON | None]


class _PullRequestJSON(BaseModel):
    number: int
    title: str
    mergeable: str
    head: str = Field(alias="headRefName")
    base: str = Field(alias="baseRefName")
    repository: _RepositoryJSON
    head_repository: _RepositoryJSON | None = Field(alias="headRepository")
    commits: _CommitsJSON
    threads: _ThreadsJSON = Field(alias="reviewThreads")


class _PullRequestsJSON(BaseModel):
    nodes: list[_PullRequestJSON | None]


class _ViewerJSON(BaseModel):
    pull_requests: _PullRequestsJSON = Field(alias="pullRequests")


class _IssueJSON(BaseModel):
    # Results of a search that are no issues are empty objects.
    number: int | None = None
    title: str = ""
    repository: _RepositoryJSON | None = None


class _IssuesJSON(BaseModel):
    nodes: list[_IssueJSON | None]


class _DataJSON(BaseModel):
    viewer: _ViewerJSON
    search: _IssuesJSON


class _ErrorJSON(BaseModel):
    type: str | None = None


class _AnswerJSON(BaseModel):
    data: _DataJSON | None = None
    errors: list[_ErrorJSON] = []


_ANSWER = TypeAdapter(_AnswerJSON)


async def suggested_tasks(provider: RESTProvider, access: GitAccess, graphql_url: str) -> list[RemoteTask]:
    """Ask for open pull requests and assigned issues, 50 of each, in one request."""
    body = orjson.dumps({"query": _QUERY})
    answer = provider.client.read(_ANSWER, await provider.client.post(graphql_url, provider.headers(access), body))
    if answer.data is None:
        if any(error.type in ("INSUFFICIENT_SCOPES", "FORBIDDEN") for error in answer.errors):
            raise provider.client.refused("The token does not allow this.")
        raise provider.client.unavailable("It refused the search for tasks.")
    origin = provider.origin(access)
    return well_formed(
        [
            *(_pull_request(origin, each) for each in answer.data.viewer.pull_requests.nodes if each is not None),
            *(_issue(origin, each) for each in answer.data.search.nodes if each is not None),
        ]
    )


def _pull_request(origin: str, seen: _PullRequestJSON) -> RemoteTask | None:
    rollups = [node.commit.rollup for node in seen.commits.nodes if node is not None]
    kind = kind_of(
        conflicts=seen.mergeable == "CONFLICTING",
        failing=any(rollup is not None and rollup.state in _FAILED for rollup in rollups),
        unresolved=any(thread is not None and not thread.is_resolved for thread in seen.threads.nodes),
    )
    if kind is None or seen.head_repository is None:
        return None
    return pull_request(
        kind,
        seen.number,
        seen.title,
        f"{origin}/{quote(seen.repository.name)}/pull/{seen.number}",
        repository=seen.repository.name,
        clone=seen.head_repository.name,
        branch=seen.head,
        base=seen.base,
    )


def _issue(origin: str, seen: _IssueJSON) -> RemoteTask | None:
    if seen.number is None or seen.repository is None:
        return None
    name = seen.repository.name
    return issue(seen.number, seen.title, f"{origin}/{quote(name)}/issues/{seen.number}", repository=name)
