"""Prices of answers, from a price list that is made here."""

from types import ModuleType

import pytest

from app.services.llm.providers import Route
from app.services.llm.usage import cost_usd


def library(prices: dict[str, float]) -> tuple[ModuleType, list[str]]:
    """A library with these prices of a token, and the names of the models whose price it has been asked for."""
    asked: list[str] = []

    def cost_per_token(*, model: str, prompt_tokens: int, completion_tokens: int, usage_object: object) -> object:
        asked.append(model)
        assert usage_object is None
        return prices[model] * prompt_tokens, prices[model] * completion_tokens

    made = ModuleType("library")
    listed = {name: {"input_cost_per_token": price} for name, price in prices.items() if name != "unknown"}
    vars(made).update(cost_per_token=cost_per_token, model_cost=listed)
    return made, asked


def route(name: str) -> Route:
    return Route("openai", name)


def test_every_answer_of_a_model_with_a_price_is_priced_by_its_own_tokens() -> None:
    litellm, _ = library({"priced": 0.5, "free": 0.0})
    assert cost_usd(litellm, route("priced"), 2, 4, None) == pytest.approx(3.0)
    assert cost_usd(litellm, route("priced"), 4, 4, None) == pytest.approx(4.0)
    assert [cost_usd(litellm, route("free"), tokens, tokens, None) for tokens in (0, 1)] == [0.0, 0.0]


@pytest.mark.parametrize("name", ["missing", "unknown"])
def test_the_price_of_a_model_that_has_none_is_looked_for_once(name: str) -> None:
    # litellm raises an error for one of these, and returns 0 for the other.
    litellm, asked = library({"unknown": 0.0})
    assert [cost_usd(litellm, route(name), 3, 4, None) for _ in range(3)] == [None, None, None]
    assert asked == [name]
