"""The agent's loop: sends the history to the LLM and runs the tools it calls, until the LLM has answered.

The log is the loop's only state. ``advance`` reads it, takes one step and appends the result in one transaction. After
a crash, a run therefore continues where its log ends; no event is lost or duplicated.
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from uuid import UUID

import structlog

from app.config import Config
from app.errors import AppError, ErrorCode, StorageFull
from app.logs import new_reference_id
from app.models.conversation import (
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
    decode_body,
)
from app.models.rows.conversation_state import ConversationStates
from app.services.agent.call_runner import CallRunner
from app.services.agent.completion_events import shortcoming, tool_call_events
from app.services.agent.condensation import Condenser
from app.services.agent.draft import recover
from app.services.agent.history import is_answered, unanswered_calls
from app.services.agent.instructions import InstructionService
from app.services.agent.model_call import ModelCaller, usage_of
from app.services.agent.replay import ReplayPlayer
from app.services.agent.run_limits import limit_reached, unpriced_model
from app.services.agent.run_log import RunEnded, RunLog, RunState
from app.services.agent.stuck import stuck
from app.services.agent.tools import Toolbox
from app.services.clock import Clock
from app.services.lifecycle import moves
from app.services.lifecycle.attachments import MessageFiles
from app.services.llm.base import LLM, Completion, Ending, Model
from app.services.message import storable
from app.services.push.wakeups import Wakeups
from app.services.secrets.redaction import Redactor
from app.services.settings import SettingsService
from app.services.workspace import WorkspaceService

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 20


class Outcome(StrEnum):
    """The result of ``advance``."""

    CONTINUE = "continue"
    """The run has more to do."""
    ENDED = "ended"
    """The run is over."""


class AgentLoop:
    """Executes runs step by step. One instance serves all conversations."""

    def __init__(  # noqa: PLR0913  It is what a run reaches, and the composition root names each of them.
        self,
        config: Config,
        database: Database,
        wakeups: Wakeups,
        clock: Clock,
        *,
        llm: LLM,
        settings: SettingsService,
        workspace: WorkspaceService,
        message_files: MessageFiles,
        toolbox: Toolbox,
    ) -> None:
        self._database = database
        self._wakeups = wakeups
        self._clock = clock
        self._llm = llm
        self._settings = settings
        self._workspace = workspace
        self._files = message_files
        self._toolbox = toolbox
        self._instructions = InstructionService(database, workspace, toolbox)
        self._condenser = Condenser(config, database, llm)
        self._caller = ModelCaller(config, wakeups, llm, self._condenser)
        self._calls = CallRunner(database, wakeups, settings, toolbox)
        self._replay = ReplayPlayer(database)

    def log_of(self, conversation_id: UUID, run: int, attempt: int | None = None) -> RunLog:
        """Create the log of an attempt; ``attempt`` is None for one that has not begun yet."""
        return RunLog(self._database, self._wakeups, self._clock, conversation_id, run, attempt)

    async def active_run(self, conversation_id: UUID) -> int | None:
        """Return the number of the conversation's active run; ``None`` if no run is active."""
        run_and_attempts = await ConversationStates(self._database).active_run(conversation_id)
        return run_and_attempts[0] if run_and_attempts is not None else None

    async def begin(self, conversation_id: UUID, run: int) -> RunLog | None:
        """Start an attempt at the run, and return its log.

        Returns ``None`` if the run is over, or was attempted ``MAX_ATTEMPTS`` times: it may be what crashes the server.
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
            # The conversation may have been deleted while its workspace was created here.
            if is_ready and not await first.exists():
                await self._workspace.discard(conversation_id)
        return None

    async def _is_ready_at_once(self, state: RunState) -> bool:
        """Create the workspace if that is quick, so that the first attempt can skip the status STARTING.

        Returns False if a repository has to be cloned, a trajectory replayed, or the workspace can't be created.
        """
        conversation = state.conversation
        is_new = conversation.status == ConversationStatus.STARTING and not conversation.run_attempts
        if not is_new or conversation.repository_id is not None or state.is_replay or is_answered(state.events):
            return False
        try:
            await self._workspace.prepare(conversation, _report_nothing)
        except OSError:
            # ``_prepare`` tries again, and reports the error.
            return False
        return True

    def _first_state(self, conversation: Conversation) -> tuple[AgentState, Problem | None]:
        """Return the agent's state at the beginning of a run, and a warning if some of its tools are missing."""
        missing = self._toolbox.shortcoming
        is_ready = self._llm.is_ready(conversation.llm_model or "")
        problem = Problem(ErrorCode.WORKSPACE_ERROR, missing) if missing else None
        return AgentState.RUNNING if is_ready else AgentState.LOADING, problem

    async def advance(self, run_log: RunLog) -> Outcome:
        """Take the next step of an attempt: prepare the workspace, run one tool call, or call the LLM.

        Failures end the run in the status ERROR; unexpected ones are masked, with the reference id of a log record.
        Raises the errors that ``is_outage`` recognises: the caller may repeat the call when the database is back.
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
        if not any(event.source == EventSource.AGENT for event in events):
            await self._place_files(run_log, conversation, events)
        calls = unanswered_calls(events)
        if calls:
            await self._calls.run(run_log, conversation, *calls[0])
            return Outcome.CONTINUE
        saved, secrets = await self._settings.with_secrets(conversation.owner_id)
        settings, model = await self._settings.model_of(saved)
        problem = limit_reached(conversation, events, settings) or stuck(events)
        if problem is not None:
            return await self._finish(run_log, problem=problem)
        instructions = await self._instructions.get(conversation, settings.max_iterations)
        return await self._ask(run_log, conversation, model, instructions, settings.max_budget_usd, Redactor(secrets))

    async def _prepare(self, run_log: RunLog, state: RunState) -> Outcome | Conversation:
        """Create the workspace. Returns the updated conversation, or an outcome if this step ends here."""
        conversation, events = state.conversation, state.events
        reported = {body.text for event in events if isinstance(body := decode_body(event), MessageBody)}

        async def report(stage: str) -> None:
            # An earlier attempt that was interrupted while cloning has reported some stages already.
            if stage not in reported:
                await run_log.append([NewEvent(EventSource.ENVIRONMENT, MessageBody(stage))])

        try:
            await self._workspace.prepare(conversation, report)
        except OSError as error:
            log.warning("workspace.not_prepared", conversation_id=str(conversation.id), exc_info=error)
            await run_log.fail(Problem(ErrorCode.WORKSPACE_ERROR, f"The workspace can't be made: {error.strerror}."))
            return Outcome.ENDED
        try:
            # ``events`` is still current but for the stages above. If the run has ended, writing raises RunEnded.
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

    async def _place_files(self, run_log: RunLog, conversation: Conversation, events: Sequence[Event]) -> None:
        """Put the files that the user uploaded for messages into the workspace, before the agent's first step."""
        messages = [(event, body) for event in events if isinstance(body := decode_body(event), MessageBody)]
        said = {body.text for _, body in messages}
        for event, body in messages:
            if event.source == EventSource.USER:
                told = [
                    text for text in await self._files.place(conversation, event.sequence, body) if text not in said
                ]
                await run_log.append([NewEvent(EventSource.ENVIRONMENT, MessageBody(text)) for text in told])

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
        tools = self._toolbox.specs_for(has_repository=conversation.repository_id is not None)
        history = await self._condenser.history(run_log, model, instructions, tools, redactor)
        completion = await self._caller.complete(run_log, model, instructions, history, redactor, tools)
        if completion.is_empty and completion.ending is Ending.WHOLE:
            # Some models sometimes give an empty answer, and a good one when they are called again.
            first = completion.usage
            completion = await self._caller.complete(run_log, model, instructions, history, redactor, tools)
            completion = replace(completion, usage=first + completion.usage)
        return await self._record(run_log, model, completion, redactor, budget_usd)

    async def _record(
        self, run_log: RunLog, model: Model, completion: Completion, redactor: Redactor, budget_usd: float | None
    ) -> Outcome:
        usage = usage_of(model, completion.usage)
        text = redactor.text(storable(completion.text))
        problem = shortcoming(completion)
        if problem is None and budget_usd is not None and usage.cost_usd is None:
            problem = unpriced_model(model.name, budget_usd)
        if not completion.tool_calls:
            is_partial = completion.ending is not Ending.WHOLE
            answer = (
                [NewEvent(EventSource.AGENT, MessageBody(text, is_partial=is_partial), usage)] if text.strip() else []
            )
            return await self._finish(run_log, answer, problem, None if answer else usage)
        calls = tool_call_events(completion, text, usage, redactor)
        await run_log.append(calls)
        return Outcome.CONTINUE

    @staticmethod
    async def _finish(
        run_log: RunLog, events: Sequence[NewEvent] = (), problem: Problem | None = None, used: EventUsage | None = None
    ) -> Outcome:
        await run_log.finish(events, problem, used)
        return Outcome.ENDED


async def _report_nothing(stage: str) -> None:
    """Ignore the stage: creating an empty workspace has none worth an event."""
    del stage


_INTERNAL = ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR
