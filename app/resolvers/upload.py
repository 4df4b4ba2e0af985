"""The mutation that makes a URL for an upload."""

from typing import Annotated

import strawberry

from app.context import Context
from app.schema.node import existing_conversation_key
from app.schema.upload import CreateUploadInput, CreateUploadPayload, payload
from app.schema.user_error import with_user_errors

Info = strawberry.Info[Context, None]


@with_user_errors
async def create(
    info: Info,
    input: Annotated[CreateUploadInput, strawberry.argument(description="The file to upload.")],  # noqa: A002  The contract's name.
) -> CreateUploadPayload:
    given = input.conversation_id
    key = existing_conversation_key(given, "conversationId") if given is not None else None
    context = info.context
    context.workspace_reads.read()
    made = await context.services.upload.create(context.owner_id, key, input.path, input.size_bytes)
    return payload(made)
