"""An in-process LLM for situations that a real provider does not produce on request."""

from collections.abc import Sequence

from app.services.llm.base import LLM, ChatMessage, Completion, Model, OnText, ToolSpec, Usage
from tests.support.scripted_llm import Gate


class FakeLLM(LLM):
    """``LLM`` whose loading the test controls, and which then answers or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.loaded = Gate()
        self.is_loaded = False
        self.warmed_up: list[str] = []
        self.error = error

    def is_ready(self, model_name: str) -> bool:
        return self.is_loaded

    def load(self) -> None:
        """Finish loading, so that ``ready`` returns."""
        self.is_loaded = True
        self.loaded.release()

    def warm_up(self, model_name: str) -> None:
        self.warmed_up.append(model_name)

    async def ready(self, model_name: str) -> None:
        await self.loaded.pass_through()

    async def close(self) -> None:
        """Do nothing, since there are no connections."""

    async def complete(
        self,
        model: Model,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[ToolSpec] = (),
        max_tokens: int | None = None,
        timeout_seconds: float | None = None,
        on_text: OnText | None = None,
    ) -> Completion:
        if self.error is not None:
            raise self.error
        return Completion("Loaded", (), Usage(1, 1, 0.0))

    def estimate(self, model: Model, messages: Sequence[ChatMessage], text: str) -> Usage:
        return Usage(1, 1, 0.0)

    async def context_tokens(self, model_name: str, base_url: str | None) -> int | None:
        return None

    async def requires_api_key(self, model_name: str, base_url: str | None) -> bool:
        return False

    async def validate(self, model_name: str, base_url: str | None) -> None:
        """Accept every model."""
