"""Subscriptions to a conversation's events, to the text of an answer while it streams, and to the output of tools."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import strawberry

from app.context import Context
from app.schema import event
from app.schema.connection import parse_event_cursor
from app.schema.event import EventEdge, MessageDelta, ToolOutputDelta
from app.schema.node import event_id, existing_conversation_key

Info = strawberry.Info[Context, None]
ConversationId = Annotated[strawberry.ID, strawberry.argument(description="The conversation.")]


async def follow(
    info: Info,
    conversation_id: ConversationId,
    after: Annotated[
        str | None,
        strawberry.argument(
            description='The last cursor that was seen. Null: only new events; "": from the first one.'
        ),
    ] = None,
) -> AsyncGenerator[EventEdge]:
    key = existing_conversation_key(conversation_id, "conversationId")
    sequence = parse_event_cursor(after) if after is not None else None
    context = info.context
    async with aclosing(context.services.event.follow(context.owner_id, key, sequence, context.progress)) as rows:
        async for row in rows:
            yield event.edge(row)


async def deltas(info: Info, conversation_id: ConversationId) -> AsyncGenerator[MessageDelta]:
    key = existing_conversation_key(conversation_id, "conversationId")
    context = info.context
    async with aclosing(context.services.event.deltas(context.owner_id, key, context.progress)) as pieces:
        async for piece in pieces:
            yield MessageDelta(answer_id=strawberry.ID(piece.answer_id), text=piece.text)


async def tool_output_deltas(info: Info, conversation_id: ConversationId) -> AsyncGenerator[ToolOutputDelta]:
    key = existing_conversation_key(conversation_id, "conversationId")
    context = info.context
    async with aclosing(context.services.event.tool_deltas(context.owner_id, key, context.progress)) as pieces:
        async for piece in pieces:
            yield ToolOutputDelta(tool_call_id=event_id(key, piece.call_sequence), text=piece.text)
