"""Pull requests on Bitbucket Cloud, by REST."""

from urllib.parse import quote

import orjson
from pydantic import BaseModel, Field, TypeAdapter

from app.models.pull_request import PullRequestState
from app.services.git.base import GitAccess, NewPullRequest, RemotePullRequest
from app.services.git.hosts import checked_branch, checked_name
from app.services.git.proposals.refusal import is_created, parse_refusal, refusal_error
from app.services.git.rest import RESTProvider

SCOPES = ("pullrequest:write", "write:pullrequest:bitbucket")
_STATES = {"OPEN": PullRequestState.OPEN, "MERGED": PullRequestState.MERGED}


class _EndBranchJSON(BaseModel):
    name: str = Field(max_length=255)


class _EndRepositoryJSON(BaseModel):
    uuid: str | None = None
    full_name: str | None = None


class _EndJSON(BaseModel):
    branch: _EndBranchJSON
    # Null where a fork was deleted.
    repository: _EndRepositoryJSON | None = None


class _PullRequestJSON(BaseModel):
    id: int = Field(ge=1, lt=2**31)
    state: str
    title: str
    draft: bool = False
    source: _EndJSON
    destination: _EndJSON


class _PullRequestsJSON(BaseModel):
    values: list[_PullRequestJSON]


class _DetailJSON(BaseModel):
    required: list[str] = Field(default_factory=list[str], max_length=20)


class _FaultJSON(BaseModel):
    message: str = ""
    # For a scope that is missing it names the scopes, for other errors it is a parse_refusal.
    detail: _DetailJSON | str | None = None
    fields: dict[str, list[str] | str] = Field(default_factory=dict[str, list[str] | str])


class _RefusalJSON(BaseModel):
    error: _FaultJSON


_PULL_REQUEST = TypeAdapter(_PullRequestJSON)
_PULL_REQUESTS = TypeAdapter(_PullRequestsJSON)
_REFUSAL = TypeAdapter(_RefusalJSON)


async def find(
    provider: RESTProvider, access: GitAccess, name_with_owner: str, head_branch: str, base_branch: str
) -> RemotePullRequest | None:
    """Return the open pull request between these branches of the repository."""
    source, target = _quoted(checked_branch(head_branch)), _quoted(checked_branch(base_branch))
    wanted = f'source.branch.name = "{source}" AND destination.branch.name = "{target}" AND state = "OPEN"'
    url = provider.api(access, f"{_path(name_with_owner)}/pullrequests", q=wanted, pagelen=50)
    page = await provider.one(access, url, _PULL_REQUESTS)
    matches = [
        row
        for row in (page.values if page is not None else [])
        if (row.source.branch.name, row.destination.branch.name) == (head_branch, base_branch)
        and row.source.repository == row.destination.repository
    ]
    return _shown(provider, access, name_with_owner, matches[0]) if matches else None


async def create(
    provider: RESTProvider, access: GitAccess, name_with_owner: str, new: NewPullRequest
) -> RemotePullRequest | None:
    """Create a pull request; ``None`` if there is one already, which Bitbucket tells by 400 and a parse_refusal."""
    fields = {
        "title": new.title,
        "description": new.body,
        "source": {"branch": {"name": new.head_branch}},
        "destination": {"branch": {"name": new.base_branch}},
        "draft": new.is_draft,
    }
    url = provider.api(access, f"{_path(name_with_owner)}/pullrequests")
    answer = await provider.client.create(url, provider.headers(access), orjson.dumps(fields))
    if is_created(answer):
        return _shown(provider, access, name_with_owner, provider.client.read(_PULL_REQUEST, answer))
    refusal = parse_refusal(_REFUSAL, answer)
    fault = refusal.error if refusal is not None else _FaultJSON()
    if "already" in fault.message.lower() and "pull request" in fault.message.lower():
        return None
    scopes = tuple(fault.detail.required) if isinstance(fault.detail, _DetailJSON) else ()
    raise refusal_error(provider, answer, scopes or SCOPES, fault.message)


async def get(provider: RESTProvider, access: GitAccess, name_with_owner: str, number: int) -> RemotePullRequest | None:
    """Return one pull request."""
    path = f"{_path(name_with_owner)}/pullrequests/{number:d}"
    row = await provider.one(access, provider.api(access, path), _PULL_REQUEST)
    return None if row is None else _shown(provider, access, name_with_owner, row)


def _shown(provider: RESTProvider, access: GitAccess, name: str, row: _PullRequestJSON) -> RemotePullRequest:
    return RemotePullRequest(
        number=row.id,
        url=f"{provider.origin(access)}/{quote(name)}/pull-requests/{row.id}",
        # DECLINED and SUPERSEDED ones are closed.
        state=_STATES.get(row.state, PullRequestState.CLOSED),
        title=row.title,
        head_branch=row.source.branch.name,
        base_branch=row.destination.branch.name,
        is_draft=row.draft,
    )


def _path(name: str) -> str:
    return f"/repositories/{checked_name(name)}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
