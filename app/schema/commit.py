"""GraphQL types of commits, with input and payload of `commitWorkspace`."""

from datetime import datetime

import strawberry

from app.schema.user_error import CommitWorkspaceError
from app.services import commit as services


@strawberry.type(description="A commit in a workspace.")
class Commit:
    sha: str = strawberry.field(description="The commit's hash.")
    parent_sha: str | None = strawberry.field(description="The commit before it; null for a repository's first one.")
    branch_name: str = strawberry.field(description="The branch that it was made on.")
    message: str = strawberry.field(description="The whole message, trailers included.")
    author_name: str = strawberry.field(description="The author's name.")
    author_email: str = strawberry.field(description="The author's e-mail address.")
    committed_at: datetime = strawberry.field(description="When it was made.")


@strawberry.input(description="What is to be committed.")
class CommitWorkspaceInput:
    conversation_id: strawberry.ID = strawberry.field(description="The conversation.")
    message: str | None = strawberry.field(
        default=None,
        description="At most 10,000 characters. Null, omitted or blank: the model makes one from the diff; where it "
        "fails, the names of the files do.",
    )
    paths: list[str] | None = strawberry.field(
        default=None,
        description="Files and directories in the workspace, at most 500; everything else stays uncommitted. Null or "
        "omitted: all changes, untracked files included and ignored ones not.",
    )


@strawberry.type(description="What came of it.")
class CommitWorkspacePayload:
    commit: Commit | None = strawberry.field(default=None, description="The new commit.")
    user_errors: list[CommitWorkspaceError] = strawberry.field(
        default_factory=list, description="Why nothing was committed; empty when it was."
    )


def convert(commit: services.Commit) -> Commit:
    """Build the GraphQL object of a commit that was made."""
    return Commit(
        sha=commit.sha,
        parent_sha=commit.parent,
        branch_name=commit.branch,
        message=commit.message,
        author_name=commit.author.name,
        author_email=commit.author.email,
        committed_at=commit.committed_at,
    )
