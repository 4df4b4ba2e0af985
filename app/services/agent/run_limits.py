"""Checks a run against the limits in the user's settings: LLM calls (maxIterations) and costs (maxBudgetUsd)."""

from collections.abc import Sequence

from app.errors import ErrorCode
from app.models.conversation import Conversation, Problem
from app.models.event import Event
from app.models.settings import Settings


def limit_reached(conversation: Conversation, events: Sequence[Event], settings: Settings) -> Problem | None:
    """Return the reason to pause a run that has reached a limit; else ``None``."""
    calls = sum(event.llm_model is not None for event in events)
    if calls >= settings.max_iterations:
        message = f"The agent called the LLM {calls} times for one message, which is the limit (maxIterations)."
        return Problem(ErrorCode.LIMIT_REACHED, message)
    budget, spent = settings.max_budget_usd, conversation.cost_usd - conversation.budget_from_usd
    if budget is not None and spent >= budget:
        message = f"The conversation has cost {spent:.4f} USD, and the limit is {budget:.4f} USD (maxBudgetUsd)."
        return Problem(ErrorCode.LIMIT_REACHED, message)
    unpriced = [event.llm_model for event in events if event.llm_model is not None and event.cost_usd is None]
    if budget is not None and unpriced:
        return unpriced_model(unpriced[-1], budget)
    return None


def unpriced_model(llm_model: str, budget_usd: float) -> Problem:
    """Return the reason to pause: with a model of unknown price, the budget can't be enforced."""
    message = (
        f"The price of {llm_model} is not known, so the limit of {budget_usd:.4f} USD can't hold (maxBudgetUsd). "
        "The agent pauses behind each call of the LLM. Without the limit, or with a model of known price, it goes on."
    )
    return Problem(ErrorCode.LIMIT_REACHED, message)
