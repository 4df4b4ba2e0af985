"""The agent's loop: history to messages, LLM, tools, events; until the agent has answered.

The log is the loop's only state. ``advance`` reads it, does one thing and writes it down in one transaction, so a run
that was cut off anywhere goes on where its log ends: nothing is lost, nothing comes twice.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, cast
from uuid import UUID

import structlog

from app.config import Config
from app.errors import AppError, ErrorCode, LLMFailure, StorageFull
from app.logs import new_reference_id
from app.models.conversation import (
    MAX_TOKENS,
    AgentState,
    Conversation,
    ConversationStatus,
    Problem,
)
from app.models.database.database import Database, is_outage
from app.models.event import (
    Event,
    EventSource,
    EventUsage,
    MessageBody,
    NewEvent,
    ToolCallBody,
    decode_body,
)
from app.models.rows.conversation_state import ConversationStates
from app.models.settings import Settings
from app.services.agent.answer_stream import AnswerStream
from app.services.agent.argument_text import is_whole, parse_arguments
from app.services.agent.calls import CallRunner
from app.services.agent.condensation import Condenser
from app.services.agent.draft import AnswerDraft, recover
from app.services.agent.history import is_answered, unanswered_calls
from app.services.agent.instructions import InstructionService
from app.services.agent.replay import ReplayPlayer
from app.services.agent.run_log import RunEnded, RunLog, RunState
from app.services.agent.stuck import stuck
from app.services.agent.tools import Toolbox
from app.services.clock import Clock
from app.services.lifecycle import moves
from app.services.llm.base import LLM, ChatMessage, Completion, Ending, Model, Usage
from app.services.message import storable, storable_json
from app.services.push.wakeups import Wakeups
from app.services.secrets.redaction import JSONValue, Redactor
from app.services.settings import SettingsService
from app.services.workspace import WorkspaceService

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 20
MAX_TOOL_CALLS = 50
MAX_NAME_CHARS = 200
# litellm hides the signatures of thoughts in them.
MAX_ID_CHARS = 20_000
RATE_LIMIT_MAX_WAIT_SECONDS = 60.0


class Outcome(StrEnum):
    """What an advance left to do."""

    CONTINUE = "continue"
    """The run has more to do."""
    ENDED = "ended"
    """The run is over."""


class AgentLoop:
    """Advances runs. One instance serves all conversations."""

    def __init__(
        self,
        config: Config,
        database: Database,
        wakeups: Wakeups,
        clock: Clock,
        *,
        llm: LLM,
        settings: SettingsService,
        workspace: WorkspaceService,
        toolbox: Toolbox,
    ) -> None:
        self._config = config
        self._database = database
        self._wakeups = wakeups
        self._clock = clock
        self._llm = llm
        self._settings = settings
        self._workspace = workspace
        self._toolbox = toolbox
        self._instructions = InstructionService(database, workspace, toolbox)
        self._condenser = Condenser(config, database, llm)
        self._calls = CallRunner(database, wakeups, settings, toolbox)
        self._replay = ReplayPlayer(database)

    def log_of(self, conversation_id: UUID, run: int, attempt: int | None = None) -> RunLog:
        """An attempt's view of its conversation."""
        return RunLog(self._database, self._wakeups, self._clock, conversation_id, run, attempt)

    async def active_run(self, conversation_id: UUID) -> int | None:
        """The conversation's active run."""
        found = await ConversationStates(self._database).active_run(conversation_id)
        return found[0] if found is not None else None

    async def begin(self, conversation_id: UUID, run: int) -> RunLog | None:
        """Begin an attempt at the run; its view of the conversation.

        ``None`` when the run is over, or has ended the server too often.
        """
        first, is_ready = self.log_of(conversation_id, run), False
        try:
            state = await first.read()
            is_ready = await self._is_ready_at_once(state)
            async with first.stepping(keeps_status=not is_ready) as (unit, conversation):
                attempt = moves.begin_attempt(conversation)
                waits = conversation.agent_state == AgentState.AWAITING_USER_CONFIRMATION
                if is_ready:
                    await moves.work(unit, conversation, first.now(), *self._first_state(conversation))
            if attempt > 1:
                async with first.writing(keeps_status=True) as (session, conversation):
                    await recover(session, conversation, first.now())
            run_log = self.log_of(conversation_id, run, attempt)
            # A server may be restarted any number of times while a call waits for its user.
            if attempt <= MAX_ATTEMPTS or waits:
                if is_ready:
                    run_log.go_on_from(replace(state, conversation=conversation))
                return run_log
            log.error("run.given_up", conversation_id=str(conversation_id), run=run, attempts=attempt)
            problem = Problem(_INTERNAL, f"The run was begun {attempt} times and never came to an end.")
            await run_log.fail(problem)
        except RunEnded:
            # Its workspace was made here, perhaps behind the conversation's deletion.
            if is_ready and not await first.exists():
                await self._workspace.discard(conversation_id)
        return None

    async def _is_ready_at_once(self, state: RunState) -> bool:
        """Whether a first attempt can begin with the agent at work: nothing is to be cloned or played.

        The workspace is there then.
        """
        conversation = state.conversation
        is_new = conversation.status == ConversationStatus.STARTING and not conversation.run_attempts
        if not is_new or conversation.repository_id is not None or state.is_replay or is_answered(state.events):
            return False
        try:
            await self._workspace.prepare(conversation, _tell_nobody)
        except OSError:
            # The run meets it again, and tells.
            return False
        return True

    def _first_state(self, conversation: Conversation) -> tuple[AgentState, Problem | None]:
        """The agent's state when it begins to work on a user's message, and what is to be said about it."""
        shortcoming = self._toolbox.shortcoming
        is_ready = self._llm.is_ready(conversation.llm_model or "")
        problem = Problem(ErrorCode.WORKSPACE_ERROR, shortcoming) if shortcoming else None
        return AgentState.RUNNING if is_ready else AgentState.LOADING, problem

    async def advance(self, run_log: RunLog) -> Outcome:
        """Do the next thing of the run whose attempt ``begin`` has begun.

        Expected failures become the conversation's status; unexpected ones as well, masked, with the reference of the
        log entry that tells them. Raises what ``is_outage`` knows: then the same call may succeed later.
        """
        try:
            try:
                return await self._advance(run_log)
            except (RunEnded, StorageFull):
                raise
            except AppError as error:
                problem = Problem(error.code, error.message)
            except Exception as error:  # A run that dies must not leave a conversation that seems to run.
                if is_outage(error):
                    raise
                reference = new_reference_id()
                log.exception(
                    "run.failed", conversation_id=str(run_log.conversation_id), run=run_log.run, reference=reference
                )
                problem = Problem(_INTERNAL, f"Unexpected {type(error).__name__}; reference {reference}.")
            await run_log.fail(problem)
        except RunEnded:
            pass
        return Outcome.ENDED

    async def _advance(self, run_log: RunLog) -> Outcome:
        state = await run_log.read()
        conversation, events = state.conversation, state.events
        if conversation.status == ConversationStatus.STARTING:
            prepared = await self._prepare(run_log, state)
            if isinstance(prepared, Outcome):
                return prepared
            conversation = prepared
        elif state.is_replay:
            await self._replay.play(run_log)
            return Outcome.ENDED
        if is_answered(events):
            return await self._finish(run_log)
        calls = unanswered_calls(events)
        if calls:
            await self._calls.run(run_log, conversation, *calls[0])
            return Outcome.CONTINUE
        saved, secrets = await self._settings.with_secrets(conversation.owner_id)
        settings, model = await self._settings.model_of(saved)
        problem = _limit_reached(conversation, events, settings) or stuck(events)
        if problem is not None:
            return await self._finish(run_log, problem=problem)
        instructions = await self._instructions.get(conversation, settings.max_iterations)
        return await self._ask(run_log, conversation, model, instructions, settings.max_budget_usd, Redactor(secrets))

    async def _prepare(self, run_log: RunLog, state: RunState) -> Outcome | Conversation:
        """Make the workspace; the conversation as it is then, where the run goes on with its events at once."""
        conversation, events = state.conversation, state.events
        said = {body.text for event in events if isinstance(body := decode_body(event), MessageBody)}

        async def tell(stage: str) -> None:
            # A run that was cut off while it cloned has said how far it was.
            if stage not in said:
                await run_log.append([NewEvent(EventSource.ENVIRONMENT, MessageBody(stage))])

        try:
            await self._workspace.prepare(conversation, tell)
        except OSError as error:
            log.warning("workspace.not_prepared", conversation_id=str(conversation.id), exc_info=error)
            await run_log.fail(Problem(ErrorCode.WORKSPACE_ERROR, f"The workspace can't be made: {error.strerror}."))
            return Outcome.ENDED
        try:
            # None of the run's events has come since but those told above; whether it has ended is told by writing.
            if state.is_replay:
                await run_log.set_state(AgentState.RUNNING, is_logged=False)
                return Outcome.CONTINUE
            agent_state, problem = self._first_state(conversation)
            if problem is not None or not is_answered(events):
                conversation = await run_log.set_state(agent_state, problem)
            if is_answered(events):
                return await self._finish(run_log)
        except RunEnded:
            if not await run_log.exists():
                await self._workspace.discard(conversation.id)
            raise
        return conversation

    async def _ask(
        self,
        run_log: RunLog,
        conversation: Conversation,
        model: Model,
        instructions: str,
        budget_usd: float | None,
        redactor: Redactor,
    ) -> Outcome:
        is_ready = self._llm.is_ready(model.name)
        if not is_ready:
            await run_log.set_state(AgentState.LOADING)
            await self._llm.ready(model.name)
        if not is_ready or conversation.agent_state != AgentState.RUNNING:
            await run_log.set_state(AgentState.RUNNING)
        history = await self._condenser.history(run_log, model, instructions, self._toolbox.specs, redactor)
        completion = await self._complete(run_log, model, instructions, history, redactor)
        if completion.is_empty and completion.ending is Ending.WHOLE:
            # Some models fall silent now and then, and speak when they are asked again.
            first = completion.usage
            completion = await self._complete(run_log, model, instructions, history, redactor)
            completion = replace(completion, usage=first + completion.usage)
        return await self._record(run_log, model, completion, redactor, budget_usd)

    async def _complete(
        self, run_log: RunLog, model: Model, instructions: str, history: Sequence[ChatMessage], redactor: Redactor
    ) -> Completion:
        """One answer. A rate limit is waited for, and a history that is too long is made shorter, once."""
        tools = self._toolbox.specs
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
                # What people have read must not vanish when they stop the agent.
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
        draft = AnswerDraft(run_log, lambda text: _used(model, self._llm.estimate(model, history, text)))
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
        """Keep what was streamed of an answer whose rest will never come."""
        await draft.end()
        if not stream.text.strip():
            stream.abandon()
            return
        stream.close()
        body = MessageBody(redactor.text(storable(stream.text)), is_partial=True)
        used = _used(model, self._llm.estimate(model, history, stream.text))
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

    async def _record(
        self, run_log: RunLog, model: Model, completion: Completion, redactor: Redactor, budget_usd: float | None
    ) -> Outcome:
        usage = _used(model, completion.usage)
        text = redactor.text(storable(completion.text))
        problem = _shortcoming(completion)
        if problem is None and budget_usd is not None and usage.cost_usd is None:
            problem = _unpriced(model.name, budget_usd)
        if not completion.tool_calls:
            is_partial = completion.ending is not Ending.WHOLE
            answer = (
                [NewEvent(EventSource.AGENT, MessageBody(text, is_partial=is_partial), usage)] if text.strip() else []
            )
            return await self._finish(run_log, answer, problem, None if answer else usage)
        calls: list[NewEvent] = []
        asked = completion.tool_calls[:MAX_TOOL_CALLS]
        for number, call in enumerate(asked):
            is_last = number == len(completion.tool_calls) - 1
            body = ToolCallBody(
                redactor.text(storable(call.id))[:MAX_ID_CHARS],
                redactor.text(storable(call.name))[:MAX_NAME_CHARS],
                cast("dict[str, Any]", redactor.json(parse_arguments(call.arguments))),
                text if number == 0 and text else None,
                is_cut=is_last and completion.ending is not Ending.WHOLE and not is_whole(call.arguments),
                call_fields=_kept_fields(call.provider_fields, redactor),
                answer_fields=_kept_fields(completion.provider_fields, redactor) if number == 0 else None,
            )
            calls.append(NewEvent(EventSource.AGENT, body, usage if number == 0 else None))
        await run_log.append(calls)
        return Outcome.CONTINUE

    @staticmethod
    async def _finish(
        run_log: RunLog, events: Sequence[NewEvent] = (), problem: Problem | None = None, used: EventUsage | None = None
    ) -> Outcome:
        await run_log.finish(events, problem, used)
        return Outcome.ENDED


async def _tell_nobody(stage: str) -> None:
    """Of a workspace that is made of nothing."""
    del stage


_INTERNAL = ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR


def _used(model: Model, used: Usage) -> EventUsage:
    prompt, answered = (min(max(count, 0), MAX_TOKENS) for count in (used.prompt_tokens, used.completion_tokens))
    return EventUsage(model.name, prompt, answered, used.cost_usd)


def _kept_fields(fields: Mapping[str, object], redactor: Redactor) -> Mapping[str, Any] | None:
    """What a provider wants back, as it can be stored; ``None`` where that is nothing."""
    try:
        kept = redactor.json(storable_json(cast("JSONValue", fields)))
    except RecursionError:
        return None
    return cast("Mapping[str, Any]", kept) or None


def _shortcoming(completion: Completion) -> Problem | None:
    """Why the agent pauses behind an answer."""
    if completion.ending is Ending.CUT:
        message = "The model's answer was cut off at the limit on its length. A message such as “Go on” continues it."
        return Problem(ErrorCode.LIMIT_REACHED, message)
    if completion.ending is Ending.FILTERED:
        message = "The model's provider ended the answer with its content filter."
        return Problem(ErrorCode.STATUS_ERROR_LLM_CONTENT_POLICY_VIOLATION, message)
    if completion.is_empty:
        return Problem(_INTERNAL, "The model gave an empty answer, twice. Send a message to ask it again.")
    return None


def _limit_reached(conversation: Conversation, events: Sequence[Event], settings: Settings) -> Problem | None:
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
        return _unpriced(unpriced[-1], budget)
    return None


def _unpriced(llm_model: str, budget_usd: float) -> Problem:
    """The answer is kept, but nobody knows what the next one would add to the costs."""
    message = (
        f"The price of {llm_model} is not known, so the limit of {budget_usd:.4f} USD can't hold (maxBudgetUsd). "
        "The agent pauses behind each call of the LLM. Without the limit, or with a model of known price, it goes on."
    )
    return Problem(ErrorCode.LIMIT_REACHED, message)
