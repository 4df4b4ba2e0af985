"""The mutation that makes a URL for a download."""

from typing import Annotated

import strawberry

from app.context import Context
from app.schema.download import CreateDownloadInput, CreateDownloadPayload, convert
from app.schema.node import existing_conversation_key
from app.schema.user_error import with_user_errors

Info = strawberry.Info[Context, None]


@with_user_errors
async def create(
    info: Info,
    input: Annotated[CreateDownloadInput, strawberry.argument(description="The files to download.")],  # noqa: A002  The contract's name.
) -> CreateDownloadPayload:
    key = existing_conversation_key(input.conversation_id, "conversationId")
    context = info.context
    made = await context.services.download.create(
        context.owner_id, key, input.format, input.paths, context.workspace_reads
    )
    return CreateDownloadPayload(download=convert(made))
