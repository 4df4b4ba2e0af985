"""Single calls of a model through LiteLLM, as a caller with a key makes them."""

import pytest
from pydantic import SecretStr

from app.errors import LLMFailure
from app.services.llm.base import ChatMessage, Completion, Model, Role
from app.services.llm.litellm import LiteLLM
from tests.support.scripted_llm import Reply, ScriptedLLM

HELLO = (ChatMessage(Role.USER, "Hello"),)


async def answer_of(llm: LiteLLM, name: str, url: str | None) -> Completion:
    """Return the model's answer to "Hello"."""
    return await llm.complete(Model(name, SecretStr("sk-of-the-caller"), url), HELLO)


async def failure_of(llm: LiteLLM, name: str, url: str | None) -> LLMFailure:
    """Return the failure of such a call, which must not be answered."""
    with pytest.raises(LLMFailure) as caught:
        await answer_of(llm, name, url)
    return caught.value


async def answer(llm: LiteLLM, server: ScriptedLLM, reply: Reply, model: str = "openai/scripted") -> Completion:
    """Have the server answer every request with ``reply``, and return what is read of it."""
    # Some clients ask for the model's size first.
    server.default = lambda _body: reply
    return await answer_of(llm, model, server.url)
