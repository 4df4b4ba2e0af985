"""GraphQL types of pull requests, with input and payload of `createPullRequest`."""

from collections.abc import Sequence
from typing import Annotated

import strawberry

from app.models import pull_request as models
from app.models.pull_request import PullRequestState
from app.schema.connection import PageInfo, name_cursor, parse_name_cursor
from app.schema.node import Node, pull_request_id
from app.schema.scalar import URI, invalid
from app.schema.user_error import CreatePullRequestError

DEFAULT_FIRST = 20

First = Annotated[int | None, strawberry.argument(description="The page's size, 1 to 100.")]
After = Annotated[str | None, strawberry.argument(description="Only what stands behind this cursor.")]


@strawberry.type(description="A pull request (GitLab: merge request), as its provider last told of it.")
class PullRequest(Node):
    number: int = strawberry.field(description="Its number in the repository.")
    url: URI = strawberry.field(description="Its page for people.")
    state: PullRequestState = strawberry.field(description="The current state.")
    title: str = strawberry.field(description="Its title; GitLab marks drafts there.")
    head_branch_name: str = strawberry.field(description="The branch with the commits.")
    base_branch_name: str = strawberry.field(description="The branch that they are meant for.")
    is_draft: bool = strawberry.field(description="True if it is a draft, which can't be merged yet.")


@strawberry.type(description="A pull request and its place in a list.")
class PullRequestEdge:
    cursor: str = strawberry.field(description="Opaque; valid for the same list.")
    node: PullRequest = strawberry.field(description="The pull request.")


@strawberry.type(description="A page of pull requests, newest first.")
class PullRequestConnection:
    edges: list[PullRequestEdge] = strawberry.field(description="The pull requests with their cursors.")
    nodes: list[PullRequest] = strawberry.field(description="Shortcut for `edges { node }`.")
    page_info: PageInfo = strawberry.field(description="The page's position in the connection.")
    total_count: int = strawberry.field(description="The number of all pull requests.")


@strawberry.input(description="The pull request to open.")
class CreatePullRequestInput:
    conversation_id: strawberry.ID = strawberry.field(description="The conversation.")
    title: str | None = strawberry.field(
        default=None,
        description="At most 255 characters. Null, omitted or blank: the model makes one from the first message and "
        "the diff; where it fails, it is the conversation's.",
    )
    body: str | None = strawberry.field(
        default=None,
        description="Markdown, at most 50,000 characters. Null, omitted or blank: the model makes one; where it fails, "
        "the changed files are listed.",
    )
    is_draft: bool = strawberry.field(default=False, description="True if it is a draft, which can't be merged yet.")
    base_branch_name: str | None = strawberry.field(
        default=None,
        description="The branch that the commits are meant for. Null or omitted: the one that was cloned, else the "
        "repository's default branch.",
    )
    head_branch_name: str | None = strawberry.field(
        default=None, description="A branch that `pushBranch` pushed. Null or omitted: the one that was pushed last."
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="Same key within 24 h returns the first result again, whatever became of it."
    )


@strawberry.type(description="The result of `createPullRequest`.")
class CreatePullRequestPayload:
    pull_request: PullRequest | None = strawberry.field(default=None, description="The pull request.")
    user_errors: list[CreatePullRequestError] = strawberry.field(
        default_factory=list, description="Why there is none; empty when there is."
    )


def convert(row: models.PullRequest) -> PullRequest:
    """Build the GraphQL object of a row. A state that only a newer release knows becomes CLOSED."""
    return PullRequest(
        id=pull_request_id(row.id),
        number=row.number,
        url=URI(row.url),
        state=PullRequestState.__members__.get(row.state, PullRequestState.CLOSED),
        title=row.title,
        head_branch_name=row.head_branch_name,
        base_branch_name=row.base_branch_name,
        is_draft=row.is_draft,
    )


def connection(rows: Sequence[models.PullRequest], first: int, after: str | None) -> PullRequestConnection:
    """Build a page of all of a conversation's pull requests. Raises an expected error for a bad cursor."""
    start = 0
    if after is not None:
        name = parse_name_cursor(after)
        positions = [number for number, row in enumerate(rows, 1) if str(row.id) == name]
        if not positions:
            raise invalid("The cursor is none of this list.")
        start = positions[0]
    page = rows[start : start + first]
    edges = [PullRequestEdge(cursor=name_cursor(str(row.id)), node=convert(row)) for row in page]
    return PullRequestConnection(
        edges=edges,
        nodes=[edge.node for edge in edges],
        page_info=PageInfo(
            has_next_page=len(rows) > start + first,
            has_previous_page=after is not None,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
        total_count=len(rows),
    )
