"""The mutation by which a user marks events as read."""

from typing import Annotated

import strawberry

from app.context import Context
from app.schema.conversation import convert
from app.schema.node import EventKey, existing_conversation_key, parse_id
from app.schema.read_mark import MarkReadInput, MarkReadPayload
from app.schema.user_error import with_user_errors
from app.services.read_mark import event_not_found

Info = strawberry.Info[Context, None]


@with_user_errors
async def mark(
    info: Info,
    input: Annotated[MarkReadInput, strawberry.argument(description="Which events.")],  # noqa: A002  The contract's name.
) -> MarkReadPayload:
    key = existing_conversation_key(input.conversation_id, "conversationId")
    sequence = None
    if input.event_id is not None:
        event = parse_id(input.event_id)
        if not isinstance(event, EventKey) or event.conversation_id != key:
            raise event_not_found()
        sequence = event.sequence
    row = await info.context.services.read_mark.mark(info.context.owner_id, key, sequence)
    return MarkReadPayload(conversation=convert(row))
