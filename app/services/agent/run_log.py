"""Reads and writes a conversation's log for a run, fenced: only the latest attempt at the active run may write."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.condensation import Condensation
from app.models.conversation import MAX_TOKENS, AgentState, Conversation, ConversationRepository, Problem
from app.models.database.database import Database
from app.models.database.unit_of_work import UnitOfWork, Writes
from app.models.draft import DraftRepository, Drafts
from app.models.event import Event, EventKind, EventRepository, EventUsage, NewEvent
from app.models.rows.conversation_state import ConversationStates
from app.models.run_reads import RunReads
from app.models.run_writes import RunWrites
from app.services.agent.history import MAX_EVENTS, is_answered
from app.services.clock import Clock
from app.services.event import append
from app.services.lifecycle import moves
from app.services.outage import until_answered
from app.services.push.wakeups import Wakeups, events_topic, status_topic


class RunEnded(Exception):
    """The run is no longer active, or a later attempt at it has begun; this attempt must not write any more."""


@dataclass(frozen=True, slots=True)
class RunState:
    """The conversation and the run's events. ``is_replay``: part of a trajectory is still to be played."""

    conversation: Conversation
    events: list[Event]
    is_replay: bool


class RunLog:
    """The log of one attempt at a run.

    If another instance takes this attempt for dead and begins a later one, writes of this one raise RunEnded: the
    attempt's number is the fencing token. ``attempt`` is None before the attempt has begun.

    What this attempt has read and written is cached, and read again only if somebody else has appended an event.
    """

    def __init__(
        self, database: Database, wakeups: Wakeups, clock: Clock, conversation_id: UUID, run: int, attempt: int | None
    ) -> None:
        self._database = database
        self._wakeups = wakeups
        self._clock = clock
        self.conversation_id = conversation_id
        self.run = run
        self.attempt = attempt
        self.is_last = False
        """True once this attempt has ended its run and no queued run has become active."""
        self.condensation: tuple[Event | None, Condensation | None] | None = None
        """The first user message and the summary of the oldest events, cached; only the run itself changes them."""
        self._has_draft = False
        # The cache, which is valid as long as the log ends at this sequence.
        self._seen_sequence = 0
        self._events: list[Event] | None = None
        self._dialogue: list[Event] | None = None
        self._new_calls = set[int]()
        self._fresh: RunState | None = None

    def now(self) -> datetime:
        """Return the current time from the clock."""
        return self._clock()

    async def is_active(self) -> bool:
        """Tell whether this attempt may still write."""
        run_and_attempts = await ConversationStates(self._database).active_run(self.conversation_id)
        return run_and_attempts is not None and self._is_mine(*run_and_attempts)

    async def exists(self) -> bool:
        """Tell whether the conversation has not been deleted."""
        return await RunReads(self._database).conversation(self.conversation_id) is not None

    async def read(self) -> RunState:
        """Read the conversation and the run's own events, without state changes. Raises RunEnded."""
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            return fresh
        reads = RunReads(self._database)
        row, is_replay = await reads.conversation_and_replay(self.conversation_id)
        conversation = self._must_be_active(row)
        if self._events is None or conversation.last_sequence != self._seen_sequence:
            self._forget()
            self._seen_sequence = conversation.last_sequence
            self._events = await reads.of_run(self.conversation_id, self.run)
        return RunState(conversation, list(self._events), is_replay)

    def go_on_from(self, state: RunState) -> None:
        """Have the next ``read`` return this state, which the beginning of the attempt has read and written."""
        self._fresh = state
        self._seen_sequence = state.conversation.last_sequence
        self._events = list(state.events)

    async def dialogue(self) -> list[Event]:
        """Read the last events of this run and of earlier ones, whose messages and calls the LLM is sent."""
        if self._dialogue is None and self.run == 1 and self._events is not None:
            self._dialogue = self._events[-MAX_EVENTS:]
        if self._dialogue is None:
            self._dialogue = await RunReads(self._database).dialogue(self.conversation_id, self.run, MAX_EVENTS)
        return list(self._dialogue)

    def take_new_call(self, sequence: int) -> bool:
        """Tell, the first time only, whether this attempt appended the call: then it has no ``ToolCall`` row yet."""
        is_new = sequence in self._new_calls
        self._new_calls.discard(sequence)
        return is_new

    @asynccontextmanager
    async def writing(self, *, keeps_status: bool = False) -> AsyncGenerator[tuple[AsyncSession, Conversation]]:
        """Open a transaction with the conversation locked, and wake subscribers after the commit. Raises RunEnded.

        ``keeps_status``: the status does not change, so the lock on the owner's row is not needed.
        """
        async with self._database.write() as session:
            if keeps_status:
                conversation = await ConversationRepository(session).lock_for_run(self.conversation_id)
            else:
                conversation = await moves.lock_for_run(session, self.conversation_id)
            active, before = self._must_be_active(conversation), _Sequences(conversation)
            yield session, active
        self._tell(before, active)

    @asynccontextmanager
    async def stepping(self, *, keeps_status: bool = False) -> AsyncGenerator[tuple[UnitOfWork, Conversation]]:
        """Open a transaction like ``writing``, but with compiled statements, which are cheaper. Most steps use it."""
        async with self._database.unit_of_work() as unit:
            conversation = await RunWrites(unit).lock(self.conversation_id, with_owner=not keeps_status)
            active, before = self._must_be_active(conversation), _Sequences(conversation)
            yield unit, active
        if before.last_sequence == self._seen_sequence:
            self._seen_sequence = active.last_sequence
        self._tell(before, active)

    async def append(self, events: Sequence[NewEvent]) -> None:
        """Append events, and add their usage to the conversation's. Raises RunEnded.

        Retried until the database answers; an attempt whose commit succeeded unnoticed is recognised by its events.
        """
        now, sequences = self.now(), list[int]()

        async def write() -> None:
            async with self._answering(keeps_status=True) as (session, conversation):
                for sequence in sequences:
                    # An earlier commit may have succeeded although its answer was lost.
                    writes = RunWrites(session) if isinstance(session, UnitOfWork) else EventRepository(session)
                    if await writes.is_of(conversation.id, sequence, self.run, events[0], now):
                        return
                sequences.append(conversation.last_sequence + 1)
                rows = append_with_usage(session, conversation, self.run, events, now)
                await self._discard_draft(session)
            self._has_draft = False
            self._remember(rows)

        if events:
            await until_answered(write)

    async def keep(self, event: NewEvent) -> None:
        """Append the partial answer of a stopped run, unless a later attempt has answered or is still working."""
        async with self._database.unit_of_work() as unit:
            conversation = await RunWrites(unit).lock(self.conversation_id, with_owner=True)
            if conversation is None or (conversation.active_run == self.run and not self._is_active(conversation)):
                return
            # This transaction has the lock, so an answer of another attempt would already be committed.
            if is_answered(await RunReads(self._database).of_run(self.conversation_id, self.run)):
                return
            append_with_usage(unit, conversation, self.run, [event], self.now())
            await self._discard_draft(unit)
        self._wakeups.publish(events_topic(self.conversation_id))

    async def keep_draft(self, number: int, text: str, used: EventUsage) -> None:
        """Store a piece of a streaming answer; it is deleted when the complete or partial answer is appended."""
        if self.attempt is not None:
            self._has_draft = True
            await Drafts(self._database).add(self.conversation_id, self.run, self.attempt, number, text, used)

    def _answering(
        self, *, keeps_status: bool = False
    ) -> AbstractAsyncContextManager[tuple[AsyncSession | UnitOfWork, Conversation]]:
        """Use compiled statements for short answers; the rare ones with a draft to delete use the ORM."""
        return self.writing(keeps_status=keeps_status) if self._has_draft else self.stepping(keeps_status=keeps_status)

    async def _discard_draft(self, session: Writes) -> None:
        if self._has_draft and self.attempt is not None:
            if isinstance(session, UnitOfWork):
                RunWrites(session).discard_draft(self.conversation_id, self.run, self.attempt)
            else:
                await DraftRepository(session).discard(self.conversation_id, self.run, self.attempt)

    async def set_state(
        self, agent_state: AgentState, problem: Problem | None = None, *, is_logged: bool = True
    ) -> Conversation:
        """Write the agent's state, and return the updated conversation. Raises RunEnded."""
        async with self.stepping() as (unit, conversation):
            await moves.work(unit, conversation, self.now(), agent_state, problem, is_logged=is_logged)
        return conversation

    async def finish(
        self, events: Sequence[NewEvent] = (), problem: Problem | None = None, used: EventUsage | None = None
    ) -> None:
        """End the run with its last events; the next queued run, if any, becomes active. Raises RunEnded.

        With a problem the agent pauses, unless another user message is queued. ``used`` is usage that belongs to no
        event. Retried until the database answers, which is safe: if an unnoticed commit has ended the run, the retry
        raises RunEnded.
        """

        async def write() -> None:
            async with self._answering() as (session, conversation):
                append_with_usage(session, conversation, self.run, events, self.now())
                await self._discard_draft(session)
                if used is not None:
                    add_usage(conversation, used.llm_model, used.prompt_tokens, used.completion_tokens, used.cost_usd)
                await self.end(session, conversation, problem)
            self._forget()
            self.is_last = conversation.active_run is None

        await until_answered(write)

    async def end(
        self,
        session: Writes,
        conversation: Conversation,
        problem: Problem | None = None,
        *,
        is_logged: bool = True,
    ) -> None:
        """End the run in an open transaction. ``is_logged``: the new state of the agent is appended as an event."""
        await moves.end_run(session, conversation, self.now(), self.run, problem, is_logged=is_logged)

    async def fail(self, problem: Problem) -> None:
        """End the run with the status ERROR, retried like ``finish``. Raises RunEnded."""

        async def write() -> None:
            async with self.stepping() as (unit, conversation):
                await moves.fail(unit, conversation, self.now(), problem)

        await until_answered(write)

    def _remember(self, rows: Sequence[Event]) -> None:
        """Add appended rows to the cache. ``read`` notices if somebody else has appended as well."""
        self._new_calls.update(row.sequence for row in rows if row.kind == EventKind.TOOL_CALL)
        if self._events is not None:
            self._events += rows
        if self._dialogue is not None:
            self._dialogue = [*self._dialogue, *rows][-MAX_EVENTS:]

    def _forget(self) -> None:
        self._events = self._dialogue = None

    def _must_be_active(self, conversation: Conversation | None) -> Conversation:
        if conversation is None or not self._is_active(conversation):
            raise RunEnded
        return conversation

    def _tell(self, before: "_Sequences", conversation: Conversation) -> None:
        if conversation.status_sequence != before.status_sequence:
            self._wakeups.publish(status_topic(conversation.owner_id))
        if conversation.last_sequence != before.last_sequence:
            self._wakeups.publish(events_topic(self.conversation_id))

    def _is_active(self, conversation: Conversation | None) -> bool:
        return conversation is not None and self._is_mine(conversation.active_run, conversation.run_attempts)

    def _is_mine(self, active_run: int | None, attempts: int) -> bool:
        return active_run == self.run and (self.attempt is None or attempts == self.attempt)


class _Sequences:
    """A conversation's last sequences before a transaction, which tell afterwards which topics to publish."""

    def __init__(self, conversation: Conversation | None) -> None:
        self.status_sequence = conversation.status_sequence if conversation is not None else 0
        self.last_sequence = conversation.last_sequence if conversation is not None else 0


def append_with_usage(
    session: Writes, conversation: Conversation, run: int, events: Sequence[NewEvent], now: datetime
) -> list[Event]:
    """Append events to a locked conversation's log, and add their usage to the conversation's."""
    rows = append(session, conversation, run, events, now)
    for usage in (event.usage for event in events if event.usage is not None):
        add_usage(conversation, usage.llm_model, usage.prompt_tokens, usage.completion_tokens, usage.cost_usd)
    return rows


def add_usage(
    conversation: Conversation, llm_model: str, prompt_tokens: int, completion_tokens: int, cost_usd: float | None
) -> None:
    """Add the usage of an LLM call to a locked conversation."""
    conversation.llm_model = llm_model
    conversation.prompt_tokens = min(conversation.prompt_tokens + prompt_tokens, MAX_TOKENS)
    conversation.completion_tokens = min(conversation.completion_tokens + completion_tokens, MAX_TOKENS)
    if cost_usd is None:
        conversation.is_cost_known = False
    else:
        conversation.cost_usd += cost_usd
