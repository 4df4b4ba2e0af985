"""The subscription to changes of a workspace."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import strawberry

from app.context import Context
from app.schema.node import existing_conversation_key
from app.schema.workspace_change import WorkspaceChange, convert

Info = strawberry.Info[Context, None]


async def changed(
    info: Info, conversation_id: Annotated[strawberry.ID, strawberry.argument(description="The conversation.")]
) -> AsyncGenerator[WorkspaceChange]:
    key = existing_conversation_key(conversation_id, "conversationId")
    context = info.context
    feed = context.services.workspace_feed
    async with aclosing(feed.follow(context.owner_id, key, context.progress)) as changes:
        async for change in changes:
            yield convert(key, change)
