"""Input and payload of `respondToToolCall`, by which a user approves or rejects a tool call."""

import strawberry

from app.schema.conversation import Conversation
from app.schema.user_error import RespondToToolCallError


@strawberry.input(description="The answer to a tool call that waits for confirmation.")
class RespondToToolCallInput:
    conversation_id: strawberry.ID = strawberry.field(description="The conversation.")
    tool_call_id: strawberry.ID = strawberry.field(description="The `ToolCallEvent` that waits.")
    approved: bool = strawberry.field(description="True: the agent may run the tool.")
    reason: str | None = strawberry.field(
        default=None, description="Told to the agent when not approved; at most 2,000 characters."
    )


@strawberry.type(description="The result of `respondToToolCall`.")
class RespondToToolCallPayload:
    conversation: Conversation | None = strawberry.field(default=None, description="The conversation, which goes on.")
    user_errors: list[RespondToToolCallError] = strawberry.field(
        default_factory=list, description="Why the answer was not taken; empty when it was."
    )
