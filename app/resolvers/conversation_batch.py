"""Root fields that change many conversations."""

from typing import Annotated

import strawberry

from app.context import Context
from app.schema.conversation_batch import (
    DeleteConversationsInput,
    DeleteConversationsPayload,
    UpdateConversationsInput,
    UpdateConversationsPayload,
    delete_result,
    update_result,
)
from app.schema.node import conversation_key
from app.schema.user_error import with_user_errors

Info = strawberry.Info[Context, None]


@with_user_errors
async def update(
    info: Info,
    input: Annotated[UpdateConversationsInput, strawberry.argument(description="Which, and what changes.")],  # noqa: A002  The contract's name.
) -> UpdateConversationsPayload:
    context, keys = info.context, [conversation_key(each) for each in input.ids]
    outcomes = await context.services.conversation_batch.update(context.owner_id, keys, input.to_command())
    return UpdateConversationsPayload(results=[update_result(outcome) for outcome in outcomes])


@with_user_errors
async def delete(
    info: Info,
    input: Annotated[DeleteConversationsInput, strawberry.argument(description="Which.")],  # noqa: A002  The contract's name.
) -> DeleteConversationsPayload:
    context, keys = info.context, [conversation_key(each) for each in input.ids]
    outcomes = await context.services.conversation_batch.delete(context.owner_id, keys)
    return DeleteConversationsPayload(results=[delete_result(outcome) for outcome in outcomes])
