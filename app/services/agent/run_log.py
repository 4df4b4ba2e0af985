"""What a run writes: events and states, refused as soon as the run is no longer the active one."""

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
    """The run is not the conversation's active one, or has been begun anew elsewhere: it may write nothing more."""


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands. ``is_replay``: it has a trajectory left to play."""

    conversation: Conversation
    events: list[Event]
    is_replay: bool


class RunLog:
    """One attempt's view of its run and conversation.

    A later attempt at the same run, begun where this one was taken for dead, ends this one: only one of them writes.
    ``attempt`` is null for one that is about to begin, whichever it will be.
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
        """True if the run has ended in this transaction and no other run follows."""
        self.condensation: tuple[Event | None, Condensation | None] | None = None
        """What stands for the beginning of the history, once it was read: nobody else changes it meanwhile."""
        self._has_draft = False
        # What was read and written of the log, as long as that ends where it did then.
        self._seen_sequence = 0
        self._events: list[Event] | None = None
        self._dialogue: list[Event] | None = None
        self._new_calls = set[int]()
        self._fresh: RunState | None = None

    def now(self) -> datetime:
        """The time."""
        return self._clock()

    async def is_active(self) -> bool:
        """Whether the run may still write."""
        found = await ConversationStates(self._database).active_run(self.conversation_id)
        return found is not None and self._is_mine(*found)

    async def exists(self) -> bool:
        """Whether the conversation is still there."""
        return await RunReads(self._database).conversation(self.conversation_id) is not None

    async def read(self) -> RunState:
        """The conversation, and the run's own events without state changes. Raises RunEnded."""
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            return fresh
        reads = RunReads(self._database)
        found, is_replay = await reads.conversation_and_replay(self.conversation_id)
        conversation = self._must_be_active(found)
        if self._events is None or conversation.last_sequence != self._seen_sequence:
            self._forget()
            self._seen_sequence = conversation.last_sequence
            self._events = await reads.of_run(self.conversation_id, self.run)
        return RunState(conversation, list(self._events), is_replay)

    def go_on_from(self, state: RunState) -> None:
        """Take for read what was read and written at the beginning of the attempt."""
        self._fresh = state
        self._seen_sequence = state.conversation.last_sequence
        self._events = list(state.events)

    async def dialogue(self) -> list[Event]:
        """What was said and done up to this run, as far as the agent is told."""
        if self._dialogue is None and self.run == 1 and self._events is not None:
            self._dialogue = self._events[-MAX_EVENTS:]
        if self._dialogue is None:
            self._dialogue = await RunReads(self._database).dialogue(self.conversation_id, self.run, MAX_EVENTS)
        return list(self._dialogue)

    def take_new_call(self, sequence: int) -> bool:
        """Whether a tool call was appended here and not taken before, so that nothing is known of it elsewhere."""
        is_new = sequence in self._new_calls
        self._new_calls.discard(sequence)
        return is_new

    @asynccontextmanager
    async def writing(self, *, keeps_status: bool = False) -> AsyncGenerator[tuple[AsyncSession, Conversation]]:
        """A transaction with the conversation locked; its readers are told after the commit. Raises RunEnded.

        ``keeps_status``: no status changes in it, so that it need not wait for the owner's other conversations.
        """
        async with self._database.write() as session:
            if keeps_status:
                conversation = await ConversationRepository(session).lock_for_run(self.conversation_id)
            else:
                conversation = await moves.lock_for_run(session, self.conversation_id)
            active, before = self._must_be_active(conversation), _Mark(conversation)
            yield session, active
        self._tell(before, active)

    @asynccontextmanager
    async def stepping(self, *, keeps_status: bool = False) -> AsyncGenerator[tuple[UnitOfWork, Conversation]]:
        """As ``writing``, by statements that are compiled once: for what each run does."""
        async with self._database.unit_of_work() as unit:
            conversation = await RunWrites(unit).lock(self.conversation_id, with_owner=not keeps_status)
            active, before = self._must_be_active(conversation), _Mark(conversation)
            yield unit, active
        if before.last_sequence == self._seen_sequence:
            self._seen_sequence = active.last_sequence
        self._tell(before, active)

    async def append(self, events: Sequence[NewEvent]) -> None:
        """Append events, and add their usage to the conversation's: once, however often the database goes away.

        Raises RunEnded.
        """
        now, sequences = self.now(), list[int]()

        async def write() -> None:
            async with self._answering(keeps_status=True) as (session, conversation):
                for sequence in sequences:
                    # The answer to an earlier commit may have been lost, rather than the commit.
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
        """Append what was under way when the run was stopped, unless another attempt has answered it or will."""
        async with self._database.unit_of_work() as unit:
            conversation = await RunWrites(unit).lock(self.conversation_id, with_owner=True)
            if conversation is None or (conversation.active_run == self.run and not self._is_active(conversation)):
                return
            # The one answer that another attempt can have written is there before the lock is given.
            if is_answered(await RunReads(self._database).of_run(self.conversation_id, self.run)):
                return
            append_with_usage(unit, conversation, self.run, [event], self.now())
            await self._discard_draft(unit)
        self._wakeups.publish(events_topic(self.conversation_id))

    async def keep_draft(self, number: int, text: str, used: EventUsage) -> None:
        """Keep a piece of an answer that is being written, until the answer or what came of it is appended."""
        if self.attempt is not None:
            self._has_draft = True
            await Drafts(self._database).add(self.conversation_id, self.run, self.attempt, number, text, used)

    def _answering(
        self, *, keeps_status: bool = False
    ) -> AbstractAsyncContextManager[tuple[AsyncSession | UnitOfWork, Conversation]]:
        """An answer that took long enough for a draft is none of the many."""
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
        """Write the agent's state; the conversation as it is then. Raises RunEnded."""
        async with self.stepping() as (unit, conversation):
            await moves.work(unit, conversation, self.now(), agent_state, problem, is_logged=is_logged)
        return conversation

    async def finish(
        self, events: Sequence[NewEvent] = (), problem: Problem | None = None, used: EventUsage | None = None
    ) -> None:
        """End the run with its last events. One that was queued becomes the active one.

        With a problem the agent pauses, unless another user message is queued already. ``used`` is what was spent on no
        event. Is done again after an outage, which it bears: a run that has ended writes nothing more. Raises RunEnded.
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
        """``finish`` inside a transaction that is open already. ``is_logged``: whether the state becomes an event."""
        await moves.end_run(session, conversation, self.now(), self.run, problem, is_logged=is_logged)

    async def fail(self, problem: Problem) -> None:
        """End the run in ERROR; again after an outage, as ``finish`` does. Raises RunEnded."""

        async def write() -> None:
            async with self.stepping() as (unit, conversation):
                await moves.fail(unit, conversation, self.now(), problem)

        await until_answered(write)

    def _remember(self, rows: Sequence[Event]) -> None:
        """Note what was appended. Where somebody else has appended too, ``read`` sees that."""
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

    def _tell(self, before: "_Mark", conversation: Conversation) -> None:
        if conversation.status_sequence != before.status_sequence:
            self._wakeups.publish(status_topic(conversation.owner_id))
        if conversation.last_sequence != before.last_sequence:
            self._wakeups.publish(events_topic(self.conversation_id))

    def _is_active(self, conversation: Conversation | None) -> bool:
        return conversation is not None and self._is_mine(conversation.active_run, conversation.run_attempts)

    def _is_mine(self, active_run: int | None, attempts: int) -> bool:
        return active_run == self.run and (self.attempt is None or attempts == self.attempt)


class _Mark:
    """Where a conversation's logs ended before something was written."""

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
    """Add what one LLM call took to a locked conversation."""
    conversation.llm_model = llm_model
    conversation.prompt_tokens = min(conversation.prompt_tokens + prompt_tokens, MAX_TOKENS)
    conversation.completion_tokens = min(conversation.completion_tokens + completion_tokens, MAX_TOKENS)
    if cost_usd is None:
        conversation.is_cost_known = False
    else:
        conversation.cost_usd += cost_usd
