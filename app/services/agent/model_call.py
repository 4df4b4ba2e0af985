"""Calls the LLM for a run: streams the answer, waits for rate limits, and keeps the part of a broken answer."""

import asyncio
from collections.abc import Sequence

from app.config import Config
from app.errors import LLMFailure
from app.models.conversation import MAX_TOKENS, AgentState, Problem
from app.models.event import EventSource, EventUsage, MessageBody, NewEvent
from app.services.agent.answer_stream import AnswerStream
from app.services.agent.condensation import Condenser
from app.services.agent.draft import AnswerDraft
from app.services.agent.run_log import RunLog
from app.services.llm.base import LLM, ChatMessage, Completion, Model, ToolSpec, Usage
from app.services.message import storable
from app.services.push.wakeups import Wakeups
from app.services.secrets.redaction import Redactor

RATE_LIMIT_MAX_WAIT_SECONDS = 60.0


class ModelCaller:
    """Calls LLMs for runs. One instance serves all conversations."""

    def __init__(self, config: Config, wakeups: Wakeups, llm: LLM, condenser: Condenser) -> None:
        self._config = config
        self._wakeups = wakeups
        self._llm = llm
        self._condenser = condenser

    async def complete(
        self,
        run_log: RunLog,
        model: Model,
        instructions: str,
        history: Sequence[ChatMessage],
        redactor: Redactor,
        tools: Sequence[ToolSpec],
    ) -> Completion:
        """Request one answer. Waits and retries after a rate limit; condenses a history that is too long, once.

        If the call fails or is cancelled, the text streamed so far is kept as a partial message. Raises LLMFailure.
        """
        is_shorter, attempt = False, 0
        while True:
            stream, draft = self._stream(run_log, model, history, redactor)
            try:
                completion = await self._llm.complete(model, history, tools=tools, on_text=stream.write)
                await draft.end()
            except LLMFailure as failure:
                if failure.too_long and not is_shorter and not stream.text:
                    stream.abandon()
                    is_shorter = True
                    history = await self._condenser.history(
                        run_log, model, instructions, tools, redactor, is_too_long=True
                    )
                    continue
                if failure.rate_limited and attempt < self._config.llm_rate_limit_retries and not stream.text:
                    stream.abandon()
                    await self._wait_for_rate_limit(run_log, failure, attempt, redactor)
                    attempt += 1
                    continue
                await self._keep(run_log, model, history, stream, draft, redactor)
                raise LLMFailure(redactor.text(failure.message), code=failure.code) from None
            except asyncio.CancelledError:
                # Text that users have already read must not vanish when they stop the agent.
                await asyncio.shield(self._keep(run_log, model, history, stream, draft, redactor))
                raise
            except Exception:
                await self._keep(run_log, model, history, stream, draft, redactor)
                raise
            stream.close()
            return completion

    def _stream(
        self, run_log: RunLog, model: Model, history: Sequence[ChatMessage], redactor: Redactor
    ) -> tuple[AnswerStream, AnswerDraft]:
        draft = AnswerDraft(run_log, lambda text: usage_of(model, self._llm.estimate(model, history, text)))
        return AnswerStream(self._wakeups, run_log.conversation_id, redactor, draft.add), draft

    async def _keep(
        self,
        run_log: RunLog,
        model: Model,
        history: Sequence[ChatMessage],
        stream: AnswerStream,
        draft: AnswerDraft,
        redactor: Redactor,
    ) -> None:
        """Append the streamed part of an interrupted answer to the log, as a partial message."""
        await draft.end()
        if not stream.text.strip():
            stream.abandon()
            return
        stream.close()
        body = MessageBody(redactor.text(storable(stream.text)), is_partial=True)
        used = usage_of(model, self._llm.estimate(model, history, stream.text))
        await run_log.keep(NewEvent(EventSource.AGENT, body, used))

    async def _wait_for_rate_limit(
        self, run_log: RunLog, failure: LLMFailure, attempt: int, redactor: Redactor
    ) -> None:
        pause = self._config.llm_rate_limit_wait_seconds * 2**attempt
        pause = min(max(pause, failure.retry_after_seconds or 0), RATE_LIMIT_MAX_WAIT_SECONDS)
        message = f"{redactor.text(failure.message)} Trying again in {pause:.0f} s."
        await run_log.set_state(AgentState.RATE_LIMITED, Problem(failure.code, message))
        await asyncio.sleep(pause)
        await run_log.set_state(AgentState.RUNNING)


def usage_of(model: Model, used: Usage) -> EventUsage:
    prompt, answered = (min(max(count, 0), MAX_TOKENS) for count in (used.prompt_tokens, used.completion_tokens))
    return EventUsage(model.name, prompt, answered, used.cost_usd)
