"""Input and payload of the mutation `commitWorkspace`."""

import strawberry

from app.schema.commit import Commit, convert
from app.schema.user_error import CommitWorkspaceError
from app.services import commit as services
from app.services.git.commit_object import LoggedCommit, Person


@strawberry.input(description="The changes to commit.")
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
    idempotency_key: str | None = strawberry.field(
        default=None, description="Same key within 24 h returns the first commit again instead of a second one."
    )


@strawberry.type(description="The result of `commitWorkspace`.")
class CommitWorkspacePayload:
    commit: Commit | None = strawberry.field(default=None, description="The new commit.")
    branch_name: str | None = strawberry.field(default=None, description="The branch that it was made on.")
    user_errors: list[CommitWorkspaceError] = strawberry.field(
        default_factory=list, description="Why nothing was committed; empty when it was."
    )


def payload(commit: services.Commit) -> CommitWorkspacePayload:
    """Build the payload of a commit that was made."""
    author = Person(commit.author.name, commit.author.email, commit.committed_at)
    parents = (commit.parent,) if commit.parent is not None else ()
    made = LoggedCommit(commit.sha, parents, author, author, commit.message, is_cut=False)
    return CommitWorkspacePayload(commit=convert(made), branch_name=commit.branch)
