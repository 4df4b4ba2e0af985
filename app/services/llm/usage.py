"""The tokens and costs of an answer: the provider's counts, or the library's, at the library's prices."""

import asyncio
import math
from collections.abc import Mapping
from types import ModuleType
from typing import cast

from app.services.llm.assembly import Answer, Tokens
from app.services.llm.base import Usage
from app.services.llm.counts import MAX_COUNT
from app.services.llm.providers import Route


async def usage_of(litellm: ModuleType, target: Route, request: Mapping[str, object], answer: Answer) -> Usage:
    """Return tokens and costs. If the provider sends no counts, the library counts in a thread."""
    tokens = answer.tokens
    # Each count was checked, but litellm may have added several.
    prompt = min((tokens.prompt_tokens if tokens else None) or 0, MAX_COUNT)
    answered = min((tokens.completion_tokens if tokens else None) or 0, MAX_COUNT)
    if not prompt and not answered:
        prompt, answered = await asyncio.to_thread(_counted, litellm, request, "".join(answer.text))
    return Usage(prompt, answered, cost_usd(litellm, target, prompt, answered, tokens))


def cost_usd(litellm: ModuleType, target: Route, prompt: int, answered: int, tokens: Tokens | None) -> float | None:
    """Return the costs by litellm's price list; ``None`` if the model is not in it."""
    # A provider's counts of cached tokens and the like may be inconsistent. Then only the totals are priced.
    for usage in (tokens, None) if tokens is not None else (None,):
        try:
            costs = litellm.cost_per_token(
                model=target.name, prompt_tokens=prompt, completion_tokens=answered, usage_object=usage
            )
            cost = float(sum(costs))
        except Exception:  # noqa: BLE001  it raises several kinds where it has no price, and an answer is worth more
            cost = math.nan
        if math.isfinite(cost) and (cost > 0 or (cost == 0 and _is_free(litellm, target, prompt + answered))):
            return cost
    return None


def _is_free(litellm: ModuleType, target: Route, tokens: int) -> bool:
    """Tell whether costs of 0 are the real price: litellm also returns 0 for models that it has no price of."""
    listed = cast("Mapping[str, Mapping[str, object]]", litellm.model_cost)
    entry = listed.get(target.name) or listed.get(target.name.partition("/")[2]) or {}
    return not tokens or any("cost" in name or "pricing" in name for name in entry)


def _counted(litellm: ModuleType, request: Mapping[str, object], text: str) -> tuple[int, int]:
    try:
        prompt = litellm.token_counter(model=request["model"], messages=request["messages"])
        return int(prompt), int(litellm.token_counter(model=request["model"], text=text))
    except Exception:  # noqa: BLE001  a tokenizer's fault must not cost the answer
        return 0, 0
