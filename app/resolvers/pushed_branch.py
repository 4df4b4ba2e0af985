"""The mutation `pushBranch`."""

from typing import Annotated

import strawberry

from app.context import Context
from app.schema.node import existing_conversation_key
from app.schema.pushed_branch import PushBranchInput, PushBranchPayload, convert
from app.schema.user_error import with_user_errors
from app.services.pushed_branch import PushBranch

Info = strawberry.Info[Context, None]


@with_user_errors
async def push(
    info: Info,
    input: Annotated[PushBranchInput, strawberry.argument(description="The branch and its conversation.")],  # noqa: A002  The contract's name.
) -> PushBranchPayload:
    command = PushBranch(
        existing_conversation_key(input.conversation_id, "conversationId"),
        input.branch_name,
        expected_head=input.expected_head_sha,
        replaced=input.replaced_commit_sha,
        to_default_branch=input.to_default_branch,
        idempotency_key=input.idempotency_key,
    )
    return PushBranchPayload(
        pushed_branch=convert(await info.context.services.push.push(info.context.owner_id, command))
    )
