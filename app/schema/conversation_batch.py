"""Inputs and payloads of mutations of many conversations, which have a result for each."""

from uuid import UUID

import strawberry

from app.errors import AppError
from app.models import conversation as models
from app.schema.conversation import Conversation, convert
from app.schema.node import conversation_id
from app.schema.user_error import DeleteConversationsError, UpdateConversationsError, of_error
from app.services.conversation_batch import UpdateConversations

IDS = (
    "1 to 100 conversations. Each id gets a result of its own; one that is there twice is done once, and gets it twice."
)


@strawberry.input(description="Which conversations, and what changes. Null or omitted: it stays as it is.")
class UpdateConversationsInput:
    ids: list[strawberry.ID] = strawberry.field(description=IDS)
    add_tags: list[str] | None = strawberry.field(
        default=None,
        description="At most 20 tags of 1 to 50 characters once stripped, on one line. A tag that a conversation has "
        "already, in upper or lower case, stays as it is.",
    )
    remove_tags: list[str] | None = strawberry.field(
        default=None, description="At most 20 tags, in upper or lower case; those that are not there are no error."
    )
    is_pinned: bool | None = strawberry.field(
        default=None, description="A caller can have 1,000 conversations pinned, archived ones among them."
    )
    is_archived: bool | None = strawberry.field(
        default=None,
        description="True: left out of lists, and stopped if it starts or runs. A message to it, or its start, brings "
        "it back, as false does, which starts nothing.",
    )

    def to_command(self) -> UpdateConversations:
        """Convert without validation."""
        return UpdateConversations(self.add_tags or (), self.remove_tags or (), self.is_pinned, self.is_archived)


@strawberry.input(description="Which conversations.")
class DeleteConversationsInput:
    ids: list[strawberry.ID] = strawberry.field(description=IDS)


@strawberry.type(description="The result for one of the `ids` of `updateConversations`.")
class UpdateConversationsResult:
    conversation: Conversation | None = strawberry.field(
        default=None, description="The conversation as it is now, whether something changed or not."
    )
    user_errors: list[UpdateConversationsError] = strawberry.field(
        default_factory=list, description="Why this one was not changed at all; empty when it was."
    )


@strawberry.type(description="The result for one of the `ids` of `deleteConversations`.")
class DeleteConversationsResult:
    deleted_conversation_id: strawberry.ID | None = strawberry.field(
        default=None, description="For the eviction from caches."
    )
    user_errors: list[DeleteConversationsError] = strawberry.field(
        default_factory=list, description="Why this one was not deleted; empty when it was."
    )


@strawberry.type(description="The result of `updateConversations`.")
class UpdateConversationsPayload:
    results: list[UpdateConversationsResult] = strawberry.field(
        default_factory=list, description="One for each of `ids`, in their order; none where `userErrors` has a reason."
    )
    user_errors: list[UpdateConversationsError] = strawberry.field(
        default_factory=list, description="Why none of the conversations was changed; empty otherwise."
    )


@strawberry.type(description="The result of `deleteConversations`.")
class DeleteConversationsPayload:
    results: list[DeleteConversationsResult] = strawberry.field(
        default_factory=list, description="One for each of `ids`, in their order; none where `userErrors` has a reason."
    )
    user_errors: list[DeleteConversationsError] = strawberry.field(
        default_factory=list, description="Why none of the conversations was deleted; empty otherwise."
    )


def update_result(outcome: models.Conversation | AppError) -> UpdateConversationsResult:
    """Build the result for one id."""
    if isinstance(outcome, AppError):
        return UpdateConversationsResult(user_errors=[of_error(outcome)])
    return UpdateConversationsResult(conversation=convert(outcome))


def delete_result(outcome: UUID | AppError) -> DeleteConversationsResult:
    """Build the result for one id."""
    if isinstance(outcome, AppError):
        return DeleteConversationsResult(user_errors=[of_error(outcome)])
    return DeleteConversationsResult(deleted_conversation_id=conversation_id(outcome))
