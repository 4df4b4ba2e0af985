"""The tokens and costs of an answer: the provider's counts, or the library's, at the library's prices."""

import asyncio
import math
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import cast

from app.services.llm.assembly import Answer, Tokens
from app.services.llm.base import Usage
from app.services.llm.counts import MAX_COUNT
from app.services.llm.providers import Route

# Models that the cache of priced and unpriced ones holds.
MAX_MODELS = 1000


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
    if not _has_price(litellm, target.name):
        return None
    # A provider's counts of cached tokens and the like may be inconsistent. Then only the totals are priced.
    for usage in (tokens, None) if tokens is not None else (None,):
        cost = _cost(litellm, target.name, prompt, answered, usage)
        if cost is not None:
            return cost
    return None


@lru_cache(maxsize=MAX_MODELS)
def _has_price(litellm: ModuleType, name: str) -> bool:
    """Tell whether a token of the model has a price. litellm searches 0.5 ms for a price that it does not have."""
    return _cost(litellm, name, 1, 1, None) is not None


def _cost(litellm: ModuleType, name: str, prompt: int, answered: int, usage: Tokens | None) -> float | None:
    try:
        costs = litellm.cost_per_token(model=name, prompt_tokens=prompt, completion_tokens=answered, usage_object=usage)
        cost = float(sum(costs))
    except Exception:  # noqa: BLE001  it raises several kinds where it has no price, and an answer is worth more
        return None
    is_price = cost > 0 or (cost == 0 and (not prompt + answered or _is_free(litellm, name)))
    return cost if math.isfinite(cost) and is_price else None


def _is_free(litellm: ModuleType, name: str) -> bool:
    """Tell whether costs of 0 are the real price: litellm also returns 0 for models that it has no price of."""
    listed = cast("Mapping[str, Mapping[str, object]]", litellm.model_cost)
    entry = listed.get(name) or listed.get(name.partition("/")[2]) or {}
    return any("cost" in key or "pricing" in key for key in entry)


def _counted(litellm: ModuleType, request: Mapping[str, object], text: str) -> tuple[int, int]:
    try:
        prompt = litellm.token_counter(model=request["model"], messages=request["messages"])
        return int(prompt), int(litellm.token_counter(model=request["model"], text=text))
    except Exception:  # noqa: BLE001  a tokenizer's fault must not cost the answer
        return 0, 0
