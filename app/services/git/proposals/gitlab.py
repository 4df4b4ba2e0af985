"""Merge requests on GitLab, by REST."""

from urllib.parse import quote

import orjson
from pydantic import BaseModel, Field, TypeAdapter

from app.models.pull_request import PullRequestState
from app.services.git.base import GitAccess, NewPullRequest, RemotePullRequest
from app.services.git.hosts import checked_branch, checked_name
from app.services.git.paging import PAGE_SIZE
from app.services.git.proposals.refusal import is_created, parse_refusal, refusal_error
from app.services.git.rest import RESTProvider

SCOPES = ("api",)
_CONFLICT = 409
_MAX_TITLE_CHARS = 255
_STATES = {"closed": PullRequestState.CLOSED, "merged": PullRequestState.MERGED}


class _MergeRequestJSON(BaseModel):
    iid: int = Field(ge=1, lt=2**31)
    state: str
    title: str
    draft: bool = False
    source_branch: str = Field(max_length=255)
    target_branch: str = Field(max_length=255)
    # Null where the project of a fork was deleted.
    source_project_id: int | None = None
    target_project_id: int


class _RefusalJSON(BaseModel):
    # A parse_refusal, several, or several for each field.
    message: str | list[str] | dict[str, list[str]] = ""
    error: str | None = None
    scope: str | None = None


_MERGE_REQUEST = TypeAdapter(_MergeRequestJSON)
_MERGE_REQUESTS = TypeAdapter(list[_MergeRequestJSON])
_REFUSAL = TypeAdapter(_RefusalJSON)


async def find(
    provider: RESTProvider, access: GitAccess, name_with_owner: str, head_branch: str, base_branch: str
) -> RemotePullRequest | None:
    """Return the open merge request between these branches of the project."""
    source, target = checked_branch(head_branch), checked_branch(base_branch)
    path = f"{_path(name_with_owner)}/merge_requests"
    url = provider.api(access, path, state="opened", source_branch=source, target_branch=target, per_page=PAGE_SIZE)
    rows = await provider.one(access, url, _MERGE_REQUESTS) or []
    matches = [
        row
        for row in rows
        if (row.source_branch, row.target_branch) == (source, target) and row.source_project_id == row.target_project_id
    ]
    return _shown(provider, access, name_with_owner, matches[0]) if matches else None


async def create(
    provider: RESTProvider, access: GitAccess, name_with_owner: str, new: NewPullRequest
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
    url = provider.api(access, f"{_path(name_with_owner)}/merge_requests")
    answer = await provider.client.create(url, provider.headers(access), orjson.dumps(fields))
    if is_created(answer):
        return _shown(provider, access, name_with_owner, provider.client.read(_MERGE_REQUEST, answer))
    if answer.status == _CONFLICT:
        return None
    refusal = parse_refusal(_REFUSAL, answer) or _RefusalJSON()
    scopes = (refusal.scope,) if refusal.error == "insufficient_scope" and refusal.scope else SCOPES
    raise refusal_error(provider, answer, scopes, _sentences(refusal.message))


async def get(provider: RESTProvider, access: GitAccess, name_with_owner: str, number: int) -> RemotePullRequest | None:
    """Return one merge request; its number is what GitLab calls ``iid``."""
    path = f"{_path(name_with_owner)}/merge_requests/{number:d}"
    row = await provider.one(access, provider.api(access, path), _MERGE_REQUEST)
    return None if row is None else _shown(provider, access, name_with_owner, row)


def _shown(provider: RESTProvider, access: GitAccess, name: str, row: _MergeRequestJSON) -> RemotePullRequest:
    return RemotePullRequest(
        number=row.iid,
        url=f"{provider.origin(access)}/{quote(name)}/-/merge_requests/{row.iid}",
        state=_STATES.get(row.state, PullRequestState.OPEN),
        title=row.title,
        head_branch=row.source_branch,
        base_branch=row.target_branch,
        is_draft=row.draft,
    )


def _path(name: str) -> str:
    return f"/projects/{quote(checked_name(name, nested=True), safe='')}"


def _sentences(message: str | list[str] | dict[str, list[str]]) -> str:
    if isinstance(message, dict):
        return " ".join(f"{field} {fault}." for field, faults in message.items() for fault in faults)
    return message if isinstance(message, str) else " ".join(message)
