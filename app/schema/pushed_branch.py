"""GraphQL types of pushed branches, with input and payload of `pushBranch`."""

import strawberry

from app.schema.scalar import URI
from app.schema.user_error import PushBranchError
from app.services import pushed_branch as services


@strawberry.type(description="A branch at the git host, as it was pushed.")
class PushedBranch:
    name: str = strawberry.field(description="Such as `fix/typo`, without `refs/heads/`.")
    commit_sha: str = strawberry.field(description="The branch's last commit.")
    url: URI = strawberry.field(description="Its page for people.")


@strawberry.input(description="The branch to push, and its conditions.")
class PushBranchInput:
    conversation_id: strawberry.ID = strawberry.field(description="The conversation.")
    branch_name: str = strawberry.field(description="The branch at the git host, which may not exist yet.")
    expected_head_sha: str | None = strawberry.field(
        default=None,
        description="The commit that is meant: where the workspace's last commit is another one, nothing is pushed. "
        "Null or omitted: whatever it is, unless the agent is at work.",
    )
    replaced_commit_sha: str | None = strawberry.field(
        default=None,
        description="Force the push, if the branch at the git host is at this commit, which the push replaces. "
        "Null or omitted: a branch that has commits of others is left alone.",
    )
    to_default_branch: bool = strawberry.field(
        default=False, description="Allows pushing to the repository's default branch."
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Same key within 24 h returns the first result again, whatever was committed or pushed since.",
    )


@strawberry.type(description="The result of `pushBranch`.")
class PushBranchPayload:
    pushed_branch: PushedBranch | None = strawberry.field(default=None, description="The branch at the git host.")
    user_errors: list[PushBranchError] = strawberry.field(
        default_factory=list, description="Why nothing was pushed; empty when it was."
    )


def convert(pushed: services.Pushed) -> PushedBranch:
    """Build the GraphQL object of a branch that was pushed."""
    return PushedBranch(name=pushed.branch, commit_sha=pushed.commit, url=URI(pushed.url))
