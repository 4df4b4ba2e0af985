"""Pull requests on GitHub, by REST."""

from urllib.parse import quote

import orjson
from pydantic import BaseModel, Field, TypeAdapter

from app.models.pull_request import PullRequestState
from app.services.git.base import GitAccess, NewPullRequest, RemotePullRequest
from app.services.git.hosts import checked_branch, checked_name
from app.services.git.paging import PAGE_SIZE
from app.services.git.proposals.refusal import is_created, parse_refusal, refusal_error
from app.services.git.rest import RESTProvider

SCOPES = ("repo", "Pull requests: write")


class _PullRequestRepositoryJSON(BaseModel):
    id: int


class _PullRequestBranchJSON(BaseModel):
    ref: str = Field(max_length=255)
    # Null where the repository of a fork was deleted.
    repo: _PullRequestRepositoryJSON | None = None


class _PullRequestJSON(BaseModel):
    number: int = Field(ge=1, lt=2**31)
    state: str
    title: str
    draft: bool = False
    merged_at: str | None = None
    head: _PullRequestBranchJSON
    base: _PullRequestBranchJSON


class _FaultJSON(BaseModel):
    field: str | None = None
    code: str | None = None
    message: str | None = None


class _RefusalJSON(BaseModel):
    message: str = ""
    # Some endpoints list sentences instead of objects.
    errors: list[_FaultJSON | str] = Field(default_factory=list[_FaultJSON | str])


_PULL_REQUEST = TypeAdapter(_PullRequestJSON)
_PULL_REQUESTS = TypeAdapter(list[_PullRequestJSON])
_REFUSAL = TypeAdapter(_RefusalJSON)


async def find(
    provider: RESTProvider, access: GitAccess, name_with_owner: str, head_branch: str, base_branch: str
) -> RemotePullRequest | None:
    """Return the open pull request between these branches of the repository."""
    path, owner = f"{_path(name_with_owner)}/pulls", name_with_owner.partition("/")[0]
    head, base = f"{owner}:{checked_branch(head_branch)}", checked_branch(base_branch)
    url = provider.api(access, path, state="open", head=head, base=base, per_page=PAGE_SIZE)
    rows = await provider.one(access, url, _PULL_REQUESTS) or []
    # GitHub ignores a `head` that it does not understand.
    matches = [
        row
        for row in rows
        if (row.head.ref, row.base.ref) == (head_branch, base_branch) and row.head.repo == row.base.repo
    ]
    return _shown(provider, access, name_with_owner, matches[0]) if matches else None


async def create(
    provider: RESTProvider, access: GitAccess, name_with_owner: str, new: NewPullRequest
) -> RemotePullRequest | None:
    """Create a pull request; ``None`` if there is one already, which GitHub tells by 422 and a parse_refusal."""
    fields = {
        "title": new.title,
        "body": new.body,
        "head": new.head_branch,
        "base": new.base_branch,
        "draft": new.is_draft,
    }
    url = provider.api(access, f"{_path(name_with_owner)}/pulls")
    answer = await provider.client.create(url, provider.headers(access), orjson.dumps(fields))
    if is_created(answer):
        return _shown(provider, access, name_with_owner, provider.client.read(_PULL_REQUEST, answer))
    refusal = parse_refusal(_REFUSAL, answer) or _RefusalJSON()
    faults = [fault if isinstance(fault, str) else _told(fault) for fault in refusal.errors]
    if any("pull request already exists" in fault for fault in faults):
        return None
    reason = " ".join(fault for fault in faults if fault) or refusal.message
    raise refusal_error(provider, answer, SCOPES, reason)


async def get(provider: RESTProvider, access: GitAccess, name_with_owner: str, number: int) -> RemotePullRequest | None:
    """Return one pull request."""
    row = await provider.one(access, provider.api(access, f"{_path(name_with_owner)}/pulls/{number:d}"), _PULL_REQUEST)
    return None if row is None else _shown(provider, access, name_with_owner, row)


def _shown(provider: RESTProvider, access: GitAccess, name: str, row: _PullRequestJSON) -> RemotePullRequest:
    state = PullRequestState.OPEN if row.state == "open" else PullRequestState.CLOSED
    return RemotePullRequest(
        number=row.number,
        url=f"{provider.origin(access)}/{quote(name)}/pull/{row.number}",
        state=PullRequestState.MERGED if row.merged_at is not None else state,
        title=row.title,
        head_branch=row.head.ref,
        base_branch=row.base.ref,
        is_draft=row.draft,
    )


def _path(name: str) -> str:
    return f"/repos/{checked_name(name)}"


def _told(fault: _FaultJSON) -> str:
    """A parse_refusal about an error; those of codes other than `custom` have no message."""
    return fault.message or (f"{fault.field} is {fault.code}." if fault.field else "")
