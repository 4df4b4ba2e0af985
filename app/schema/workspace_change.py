"""GraphQL type of the subscription to a workspace's changes."""

from uuid import UUID

import strawberry

from app.schema import workspace
from app.schema.node import conversation_id
from app.schema.workspace import MAX_LINE, Workspace
from app.services.workspace_feed import WorkspaceChange as ChangeOfWorkspace


@strawberry.type(
    description="That a workspace changed, and how much is different from what was cloned. The counts are null where "
    "there is no workspace on this server, or no sandbox in which it could be compared."
)
class WorkspaceChange:
    conversation_id: strawberry.ID = strawberry.field(description="The conversation.")
    workspace: Workspace | None = strawberry.field(
        description="The workspace; null before the first start has prepared it. Its `changes` are made when asked for."
    )
    changed_files: int | None = strawberry.field(description="`totalCount` of its `changes`.")
    additions: int | None = strawberry.field(description="The sum of their lines that are new.")
    deletions: int | None = strawberry.field(description="The sum of their lines that are gone.")


def convert(key: UUID, change: ChangeOfWorkspace) -> WorkspaceChange:
    """Build the GraphQL object of a change."""
    counts = change.counts
    return WorkspaceChange(
        conversation_id=conversation_id(key),
        workspace=workspace.convert(change.workspace) if change.workspace is not None else None,
        changed_files=counts.files if counts is not None else None,
        additions=min(counts.additions, MAX_LINE) if counts is not None else None,
        deletions=min(counts.deletions, MAX_LINE) if counts is not None else None,
    )
