"""Root fields about conversations: queries, mutations and the subscription `conversationStatusChanged`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import strawberry

from app.context import Context
from app.errors import NotFound
from app.execution.selection import selected_names
from app.models.search.filter import SHOWN
from app.models.search.order import NEWEST_FIRST
from app.models.search.query import ConversationQuery
from app.schema import event
from app.schema.connection import check_count, conversation_cursor, parse_conversation_cursor
from app.schema.conversation import (
    Conversation,
    ConversationConnection,
    ConversationEdge,
    ConversationStatusChange,
    CreateConversationInput,
    CreateConversationPayload,
    DeleteConversationInput,
    DeleteConversationPayload,
    RenameConversationInput,
    RenameConversationPayload,
    SendMessageInput,
    SendMessagePayload,
    StartConversationInput,
    StartConversationPayload,
    StopConversationInput,
    StopConversationPayload,
    convert,
    status_change,
)
from app.schema.conversation_connection import RowConnection, RowConversation
from app.schema.conversation_filter import ConversationFilter, ConversationOrder
from app.schema.node import conversation_id, conversation_key, existing_conversation_key
from app.schema.rows.conversation import columns_for
from app.schema.scalar import invalid
from app.schema.suggested_task import task_reference
from app.schema.user_error import with_user_errors
from app.services.conversation import SendMessage
from app.services.lifecycle.creation import CreateConversation
from app.services.suggested_task import TaskReference

Info = strawberry.Info[Context, None]
DEFAULT_FIRST = 20
MAX_IDS = 100


async def get(
    info: Info,
    id: Annotated[strawberry.ID, strawberry.argument(description="The conversation.")],  # noqa: A002  The contract's name.
) -> Conversation | None:
    key = conversation_key(id)
    context = info.context
    if key is None:
        return None
    row = await context.services.conversation.get_row(context.owner_id, key, columns_for(selected_names(info)))
    return RowConversation.of(row) if row is not None else None


async def search(
    info: Info,
    first: Annotated[int | None, strawberry.argument(description="The page's size, 1 to 100.")] = DEFAULT_FIRST,
    after: Annotated[str | None, strawberry.argument(description="Only what stands behind this cursor.")] = None,
    filter: Annotated[ConversationFilter | None, strawberry.argument(description="Only these.")] = None,  # noqa: A002  The contract's name.
    order_by: Annotated[
        ConversationOrder | None, strawberry.argument(description="In this order; the newest first by default.")
    ] = ConversationOrder(),  # noqa: B008  It is immutable in use, and the schema shows it as the default.
) -> ConversationConnection:
    order = order_by.to_model() if order_by is not None else NEWEST_FIRST
    query = ConversationQuery(
        first=check_count("first", first, DEFAULT_FIRST),
        after=parse_conversation_cursor(after, order) if after is not None else None,
        filter=filter.to_model() if filter is not None else SHOWN,
        order=order,
    )
    context = info.context
    columns = columns_for(selected_names(info), order)
    page = await context.services.conversation.search(context.owner_id, query, columns)
    return RowConnection.of(page, query)


@with_user_errors
async def create(
    info: Info,
    input: Annotated[CreateConversationInput, strawberry.argument(description="The conversation's beginning.")],  # noqa: A002  The contract's name.
) -> CreateConversationPayload:
    command = CreateConversation(
        title=input.title,
        message=input.initial_message.to_message() if input.initial_message is not None else None,
        repository=input.repository.to_choice() if input.repository is not None else None,
        branch_name=input.branch_name,
        task=_task(input.suggested_task_id),
        trigger=input.trigger,
        attach_conversation_id=input.attach_conversation_id,
        replay=input.replay,
        idempotency_key=input.idempotency_key,
    )
    row = await info.context.services.conversation.create(info.context.owner_id, command)
    conversation = convert(row)
    cursor = conversation_cursor(row, NEWEST_FIRST)
    return CreateConversationPayload(
        conversation=conversation, conversation_edge=ConversationEdge(cursor=cursor, node=conversation)
    )


def _task(text: str | None) -> TaskReference | None:
    reference = task_reference(text) if text is not None else None
    if text is not None and reference is None:
        raise NotFound("The task does not exist.", path=("suggestedTaskId",))
    return reference


@with_user_errors
async def rename(
    info: Info,
    input: Annotated[RenameConversationInput, strawberry.argument(description="Which, and its title.")],  # noqa: A002  The contract's name.
) -> RenameConversationPayload:
    key = existing_conversation_key(input.id, "id")
    row = await info.context.services.conversation.rename(info.context.owner_id, key, input.title)
    return RenameConversationPayload(conversation=RowConversation.of(row))


@with_user_errors
async def delete(
    info: Info,
    input: Annotated[DeleteConversationInput, strawberry.argument(description="Which.")],  # noqa: A002  The contract's name.
) -> DeleteConversationPayload:
    key = existing_conversation_key(input.id, "id")
    await info.context.services.conversation.delete(info.context.owner_id, key)
    return DeleteConversationPayload(deleted_conversation_id=conversation_id(key))


@with_user_errors
async def start(
    info: Info,
    input: Annotated[StartConversationInput, strawberry.argument(description="Which.")],  # noqa: A002  The contract's name.
) -> StartConversationPayload:
    key = existing_conversation_key(input.id, "id")
    row = await info.context.services.conversation.start(info.context.owner_id, key)
    return StartConversationPayload(conversation=convert(row))


@with_user_errors
async def stop(
    info: Info,
    input: Annotated[StopConversationInput, strawberry.argument(description="Which.")],  # noqa: A002  The contract's name.
) -> StopConversationPayload:
    key = existing_conversation_key(input.id, "id")
    row = await info.context.services.conversation.stop(info.context.owner_id, key)
    return StopConversationPayload(conversation=convert(row))


@with_user_errors
async def send_message(
    info: Info,
    input: Annotated[SendMessageInput, strawberry.argument(description="To which, and what.")],  # noqa: A002  The contract's name.
) -> SendMessagePayload:
    key = existing_conversation_key(input.conversation_id, "conversationId")
    command = SendMessage(key, input.message.to_message(), input.idempotency_key)
    row, message_event = await info.context.services.conversation.send_message(info.context.owner_id, command)
    return SendMessagePayload(event_edge=event.edge(message_event), conversation=convert(row))


async def status_changed(
    info: Info,
    conversation_ids: Annotated[
        list[strawberry.ID] | None,
        strawberry.argument(description="At most 100. Null: all of the caller's."),
    ] = None,
) -> AsyncGenerator[ConversationStatusChange]:
    if conversation_ids is not None and len(conversation_ids) > MAX_IDS:
        raise invalid(f"`conversationIds` has at most {MAX_IDS} ids.")
    keys = None
    if conversation_ids is not None:
        parsed = (conversation_key(each) for each in conversation_ids)
        keys = tuple(dict.fromkeys(key for key in parsed if key is not None))
    context = info.context
    async with aclosing(context.services.status.follow(context.owner_id, keys, context.progress)) as updates:
        async for update in updates:
            yield status_change(update)
