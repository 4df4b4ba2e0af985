"""The mutation `commitWorkspace`."""

from typing import Annotated

import strawberry

from app.context import Context
from app.schema.commit_workspace import CommitWorkspaceInput, CommitWorkspacePayload, payload
from app.schema.node import existing_conversation_key
from app.schema.user_error import with_user_errors
from app.services.commit import CommitWorkspace

Info = strawberry.Info[Context, None]


@with_user_errors
async def create(
    info: Info,
    input: Annotated[CommitWorkspaceInput, strawberry.argument(description="Where, and what.")],  # noqa: A002  The contract's name.
) -> CommitWorkspacePayload:
    key = existing_conversation_key(input.conversation_id, "conversationId")
    paths = tuple(input.paths) if input.paths is not None else None
    command = CommitWorkspace(key, input.message, paths, idempotency_key=input.idempotency_key)
    commit = await info.context.services.commit.commit(info.context.owner_id, command)
    return payload(commit)
