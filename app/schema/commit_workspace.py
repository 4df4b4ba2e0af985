"""Input and payload of `commitWorkspace`."""

import strawberry

from app.schema.commit import Commit
from app.schema.user_error import CommitWorkspaceError
from app.services import commit as services

HEADLINE_MAX_LENGTH = 500


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
    branch_name: str | None = strawberry.field(default=None, description="The branch that it was made on.")
    user_errors: list[CommitWorkspaceError] = strawberry.field(
        default_factory=list, description="Why nothing was committed; empty when it was."
    )


def payload(commit: services.Commit) -> CommitWorkspacePayload:
    """Build the payload of a commit that was made."""
    headline, _, body = commit.message.partition("\n")
    return CommitWorkspacePayload(
        commit=Commit(
            sha=commit.sha,
            parent_shas=[commit.parent] if commit.parent is not None else [],
            message=commit.message,
            message_headline=headline[:HEADLINE_MAX_LENGTH],
            message_body=body.lstrip("\n"),
            is_truncated=False,
            author_name=commit.author.name,
            author_email=commit.author.email,
            # Git keeps whole seconds.
            authored_at=commit.committed_at.replace(microsecond=0),
        ),
        branch_name=commit.branch,
    )
