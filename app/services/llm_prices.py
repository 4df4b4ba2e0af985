"""What calls cost."""

import math
from collections.abc import Mapping
from types import ModuleType
from typing import cast

from app.services.llm_assembly import Tokens
from app.services.llm_providers import Route


def cost_usd(litellm: ModuleType, target: Route, prompt: int, answered: int, tokens: Tokens | None) -> float | None:
    """What a call cost by litellm's list of prices; ``None`` where that has no price of the model."""
    # What a provider tells of cached tokens and the like may not fit the rest: then the totals alone are priced.
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
    """Whether a cost of nothing is a price; litellm also takes the models for free that it has no price of."""
    listed = cast("Mapping[str, Mapping[str, object]]", litellm.model_cost)
    entry = listed.get(target.name) or listed.get(target.name.partition("/")[2]) or {}
    return not tokens or any("cost" in name or "pricing" in name for name in entry)
