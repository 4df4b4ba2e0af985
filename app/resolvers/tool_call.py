"""The mutation by which a user approves or rejects a tool call."""

from typing import Annotated

import strawberry

from app.context import Context
from app.schema.conversation import convert
from app.schema.node import EventKey, existing_conversation_key, parse_id
from app.schema.tool_call import RespondToToolCallInput, RespondToToolCallPayload
from app.schema.user_error import with_user_errors
from app.services.tool_call import RespondToToolCall, tool_call_not_found

Info = strawberry.Info[Context, None]


@with_user_errors
async def respond(
    info: Info,
    input: Annotated[RespondToToolCallInput, strawberry.argument(description="Which call, and the answer.")],  # noqa: A002  The contract's name.
) -> RespondToToolCallPayload:
    key, call = existing_conversation_key(input.conversation_id, "conversationId"), parse_id(input.tool_call_id)
    if not isinstance(call, EventKey) or call.conversation_id != key:
        raise tool_call_not_found()
    command = RespondToToolCall(key, call.sequence, input.approved, input.reason)
    row = await info.context.services.tool_call.respond(info.context.owner_id, command)
    return RespondToToolCallPayload(conversation=convert(row))
