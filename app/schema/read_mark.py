"""Input and payload of `markRead`."""

import strawberry

from app.schema.conversation import Conversation
from app.schema.user_error import MarkReadError


@strawberry.input(description="Which events were read.")
class MarkReadInput:
    conversation_id: strawberry.ID = strawberry.field(description="The conversation.")
    event_id: strawberry.ID | None = strawberry.field(
        default=None, description="The last event that was read. Null or omitted: the last one there is."
    )


@strawberry.type(description="The result of `markRead`.")
class MarkReadPayload:
    conversation: Conversation | None = strawberry.field(default=None, description="The conversation.")
    user_errors: list[MarkReadError] = strawberry.field(
        default_factory=list, description="Why nothing was marked; empty when it was, or was before."
    )
