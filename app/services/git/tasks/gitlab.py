"""Suggested tasks on GitLab: merge requests by its GraphQL API, whose lists tell of conflicts; issues by REST."""

import asyncio
from urllib.parse import quote

import orjson
from pydantic import BaseModel, Field, TypeAdapter

from app.services.git.base import GitAccess, RemoteTask
from app.services.git.rest import RESTProvider
from app.services.git.tasks.task import issue, kind_of, pull_request, well_formed

_QUERY = """query {
  currentUser {
    authoredMergeRequests(state: opened, first: 50, sort: UPDATED_DESC) {
      nodes {
        iid title conflicts sourceBranch targetBranch
        project { fullPath }
        sourceProject { fullPath }
        headPipeline { status }
        resolvableDiscussionsCount resolvedDiscussionsCount
      }
    }
  }
}"""
_PER_PAGE = 50


class _ProjectJSON(BaseModel):
    path: str = Field(alias="fullPath")


class _PipelineJSON(BaseModel):
    status: str


class _MergeRequestJSON(BaseModel):
    number: int = Field(alias="iid")
    title: str
    conflicts: bool
    head: str = Field(alias="sourceBranch")
    base: str = Field(alias="targetBranch")
    project: _ProjectJSON
    source: _ProjectJSON | None = Field(alias="sourceProject")
    pipeline: _PipelineJSON | None = Field(alias="headPipeline")
    resolvable: int | None = Field(alias="resolvableDiscussionsCount")
    resolved: int | None = Field(alias="resolvedDiscussionsCount")


class _MergeRequestsJSON(BaseModel):
    nodes: list[_MergeRequestJSON | None]


class _UserJSON(BaseModel):
    merge_requests: _MergeRequestsJSON | None = Field(alias="authoredMergeRequests")


class _DataJSON(BaseModel):
    user: _UserJSON | None = Field(alias="currentUser")


class _AnswerJSON(BaseModel):
    data: _DataJSON | None = None


class _ReferencesJSON(BaseModel):
    full: str = Field(max_length=500)


class _IssueJSON(BaseModel):
    iid: int
    title: str
    references: _ReferencesJSON


_ANSWER = TypeAdapter(_AnswerJSON)
_ISSUES = TypeAdapter(list[_IssueJSON])


async def suggested_tasks(provider: RESTProvider, access: GitAccess) -> list[RemoteTask]:
    """Ask for opened merge requests and assigned issues, 50 of each, in two requests at once."""
    merge_requests, issues = await asyncio.gather(_merge_requests(provider, access), _issues(provider, access))
    return well_formed([*merge_requests, *issues])


async def _merge_requests(provider: RESTProvider, access: GitAccess) -> list[RemoteTask | None]:
    origin = provider.origin(access)
    body = orjson.dumps({"query": _QUERY})
    response = await provider.client.post(f"{origin}/api/graphql", provider.headers(access), body)
    answer = provider.client.read(_ANSWER, response)
    if answer.data is None:
        raise provider.client.unavailable("It refused the search for tasks.")
    if answer.data.user is None:
        raise provider.client.refused("The token does not allow this.")
    found = answer.data.user.merge_requests
    return [_merge_request(origin, each) for each in (found.nodes if found is not None else []) if each is not None]


def _merge_request(origin: str, seen: _MergeRequestJSON) -> RemoteTask | None:
    kind = kind_of(
        conflicts=seen.conflicts,
        failing=seen.pipeline is not None and seen.pipeline.status == "FAILED",
        unresolved=(seen.resolvable or 0) > (seen.resolved or 0),
    )
    if kind is None or seen.source is None:
        return None
    return pull_request(
        kind,
        seen.number,
        seen.title,
        f"{origin}/{quote(seen.project.path)}/-/merge_requests/{seen.number}",
        repository=seen.project.path,
        clone=seen.source.path,
        branch=seen.head,
        base=seen.base,
    )


async def _issues(provider: RESTProvider, access: GitAccess) -> list[RemoteTask | None]:
    url = provider.api(
        access, "/issues", scope="assigned_to_me", state="opened", order_by="updated_at", per_page=_PER_PAGE
    )
    origin = provider.origin(access)
    tasks: list[RemoteTask | None] = []
    for each in await provider.one(access, url, _ISSUES) or []:
        # The form of a reference is `group/project#12`.
        name = each.references.full.rpartition("#")[0]
        tasks.append(issue(each.iid, each.title, f"{origin}/{quote(name)}/-/issues/{each.iid}", repository=name))
    return tasks
