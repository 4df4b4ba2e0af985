"""The GraphQL type of token counts and costs of LLM calls."""

import strawberry

from app.schema.scalar import Long


@strawberry.type(description="The tokens and cost of LLM calls.")
class TokenUsage:
    prompt_tokens: Long = strawberry.field(description="Tokens that were sent, at most 2**53 - 1.")
    completion_tokens: Long = strawberry.field(description="Tokens that were answered, at most 2**53 - 1.")
    cost_usd: float | None = strawberry.field(description="US dollars; null when the model's price is unknown.")

    @classmethod
    def of_columns(
        cls,
        prompt_tokens: int,
        completion_tokens: int,
        cost_usd: float | None,
        is_cost_known: bool,  # noqa: FBT001  A column among others.
    ) -> "TokenUsage":
        """Build from a conversation's columns."""
        cost = cost_usd if is_cost_known else None
        return cls(prompt_tokens=Long(prompt_tokens), completion_tokens=Long(completion_tokens), cost_usd=cost)
