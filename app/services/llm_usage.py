"""What an answer used: the provider's counts, else the library's, and what they cost by its prices."""

import asyncio
from collections.abc import Mapping
from types import ModuleType

from app.services.chat import Usage
from app.services.llm_assembly import Answer, Tokens
from app.services.llm_providers import Route


async def usage_of(litellm: ModuleType, target: Route, request: Mapping[str, object], answer: Answer) -> Usage:
    """Counted here, in a thread, where the provider tells no counts."""
    tokens = answer.tokens
    prompt = (tokens.prompt_tokens if tokens else None) or 0
    answered = (tokens.completion_tokens if tokens else None) or 0
    if not prompt and not answered:
        prompt, answered = await asyncio.to_thread(_counted, litellm, request, "".join(answer.text))
    return Usage(prompt, answered, cost_of(litellm, target, prompt, answered, tokens))


def cost_of(litellm: ModuleType, target: Route, prompt: int, answered: int, tokens: Tokens | None) -> float | None:
    """In USD; ``None`` where the library has no price."""
    try:
        costs = litellm.cost_per_token(
            model=target.name, prompt_tokens=prompt, completion_tokens=answered, usage_object=tokens
        )
        return float(sum(costs))
    except Exception:  # noqa: BLE001  it raises several kinds where it has no price, and an answer is worth more
        return None


def _counted(litellm: ModuleType, request: Mapping[str, object], text: str) -> tuple[int, int]:
    try:
        prompt = litellm.token_counter(model=request["model"], messages=request["messages"])
        return int(prompt), int(litellm.token_counter(model=request["model"], text=text))
    except Exception:  # noqa: BLE001  a tokenizer's fault must not cost the answer
        return 0, 0
