"""The mutation `createPullRequest`."""

from typing import Annotated

import strawberry

from app.context import Context
from app.schema.node import existing_conversation_key
from app.schema.pull_request import CreatePullRequestInput, CreatePullRequestPayload, convert
from app.schema.user_error import with_user_errors
from app.services.pull_request import CreatePullRequest

Info = strawberry.Info[Context, None]


@with_user_errors
async def create(
    info: Info,
    input: Annotated[CreatePullRequestInput, strawberry.argument(description="The pull request and its conversation.")],  # noqa: A002  The contract's name.
) -> CreatePullRequestPayload:
    command = CreatePullRequest(
        existing_conversation_key(input.conversation_id, "conversationId"),
        title=input.title,
        body=input.body,
        head_branch=input.head_branch_name,
        base_branch=input.base_branch_name,
        is_draft=input.is_draft,
        idempotency_key=input.idempotency_key,
    )
    context = info.context
    row = await context.services.pull_request.create(context.owner_id, command, context.git_calls)
    return CreatePullRequestPayload(pull_request=convert(row))
