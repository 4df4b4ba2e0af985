"""Suggested tasks on Bitbucket Cloud, whose API has neither conflicts nor resolved comments.

Failing builds are told by one request for each pull request, and reviewers' open tasks by a count. Issues assigned to
somebody can't be listed across repositories.
"""

import asyncio
from collections.abc import Sequence
from urllib.parse import quote

from pydantic import BaseModel, Field, TypeAdapter

from app.services.git.base import GitAccess, RemoteTask
from app.services.git.rest import RESTProvider
from app.services.git.tasks.task import kind_of, pull_request, well_formed

MAX_WORKSPACES = 5
MAX_STATUSES = 10
_PER_PAGE = 50


class _UserJSON(BaseModel):
    uuid: str = Field(min_length=1, max_length=100)


class _BranchJSON(BaseModel):
    name: str


class _RepositoryJSON(BaseModel):
    name: str = Field(alias="full_name")


class _EndJSON(BaseModel):
    branch: _BranchJSON
    repository: _RepositoryJSON | None = None


class _PullRequestJSON(BaseModel):
    id: int
    title: str
    source: _EndJSON
    destination: _EndJSON
    task_count: int = 0


class _PullRequestsJSON(BaseModel):
    values: list[_PullRequestJSON]


class _StatusJSON(BaseModel):
    state: str


class _StatusesJSON(BaseModel):
    values: list[_StatusJSON]


_USER = TypeAdapter(_UserJSON)
_PULL_REQUESTS = TypeAdapter(_PullRequestsJSON)
_STATUSES = TypeAdapter(_StatusesJSON)


async def suggested_tasks(provider: RESTProvider, access: GitAccess, workspaces: Sequence[str]) -> list[RemoteTask]:
    """Ask the first five workspaces for the owner's pull requests, and the ten last changed of those for builds."""
    user = await provider.one(access, provider.api(access, "/user"), _USER)
    if user is None:
        raise provider.client.unavailable("It does not say whom the token belongs to.")
    pages = await asyncio.gather(*(_open(provider, access, slug, user.uuid) for slug in workspaces[:MAX_WORKSPACES]))
    pull_requests = [each for page in pages for each in page if each.destination.repository is not None]
    failing = await asyncio.gather(*(_is_failing(provider, access, each) for each in pull_requests[:MAX_STATUSES]))
    failing += [False] * (len(pull_requests) - len(failing))
    origin = provider.origin(access)
    return well_formed(_task(origin, each, is_failing) for each, is_failing in zip(pull_requests, failing, strict=True))


async def _open(provider: RESTProvider, access: GitAccess, workspace: str, user: str) -> list[_PullRequestJSON]:
    path = f"/workspaces/{quote(workspace, safe='')}/pullrequests/{quote(user, safe='')}"
    url = provider.api(access, path, state="OPEN", sort="-updated_on", pagelen=_PER_PAGE)
    page = await provider.one(access, url, _PULL_REQUESTS)
    return page.values if page is not None else []


async def _is_failing(provider: RESTProvider, access: GitAccess, seen: _PullRequestJSON) -> bool:
    name = seen.destination.repository.name if seen.destination.repository is not None else ""
    path = f"/repositories/{quote(name)}/pullrequests/{seen.id}/statuses"
    statuses = await provider.one(access, provider.api(access, path, pagelen=_PER_PAGE), _STATUSES)
    return statuses is not None and any(status.state == "FAILED" for status in statuses.values)


def _task(origin: str, seen: _PullRequestJSON, is_failing: bool) -> RemoteTask | None:  # noqa: FBT001  It goes with the first.
    kind = kind_of(conflicts=False, failing=is_failing, unresolved=seen.task_count > 0)
    if kind is None or seen.source.repository is None or seen.destination.repository is None:
        return None
    name = seen.destination.repository.name
    return pull_request(
        kind,
        seen.id,
        seen.title,
        f"{origin}/{quote(name)}/pull-requests/{seen.id}",
        repository=name,
        clone=seen.source.repository.name,
        branch=seen.source.branch.name,
        base=seen.destination.branch.name,
    )
