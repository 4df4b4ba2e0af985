"""The scripted model's server, and the client that calls it, for all tests of the package."""

from collections.abc import AsyncIterator, Iterator

import pytest

from app.config import Config
from app.services.llm.litellm import LiteLLM
from tests.support.scripted_llm import ScriptedLLM


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedLLM]:
    with ScriptedLLM() as scripted:
        yield scripted


@pytest.fixture
def server(running: ScriptedLLM) -> ScriptedLLM:
    """A server with an empty script and no recorded requests."""
    running.reset()
    return running


@pytest.fixture
async def llm() -> AsyncIterator[LiteLLM]:
    """The client with the default limits, which may call loopback addresses and hardly pauses before a retry."""
    service = LiteLLM(Config(_env_file=None), retry_pause_seconds=0.001)  # pyright: ignore[reportCallIssue]
    await service.ready("openai/gpt-4o")
    yield service
    await service.close()
