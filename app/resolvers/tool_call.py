"""Tool calls: the user's answer."""

from typing import Annotated

import strawberry

from app.context import Context
from app.errors import AppError
from app.schema.conversation import convert
from app.schema.node import EventKey, conversation_key, parse_id
from app.schema.tool_call import RespondToToolCallInput, RespondToToolCallPayload
from app.schema.user_error import not_found, of_error
from app.services.tool_call import RespondToToolCall

Info = strawberry.Info[Context, None]


async def respond(
    info: Info,
    input: Annotated[RespondToToolCallInput, strawberry.argument(description="Which call, and the answer.")],  # noqa: A002  The contract's name.
) -> RespondToToolCallPayload:
    key, call = conversation_key(input.conversation_id), parse_id(input.tool_call_id)
    if key is None:
        return RespondToToolCallPayload(user_errors=[not_found("conversationId")])
    if not isinstance(call, EventKey) or call.conversation_id != key:
        return RespondToToolCallPayload(user_errors=[not_found("toolCallId", what="tool call")])
    command = RespondToToolCall(key, call.sequence, input.approved, input.reason)
    try:
        row = await info.context.services.tool_call.respond(info.context.owner_id, command)
    except AppError as error:
        return RespondToToolCallPayload(user_errors=[of_error(error)])
    return RespondToToolCallPayload(conversation=convert(row))
