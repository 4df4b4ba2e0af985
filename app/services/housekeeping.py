"""Periodic maintenance: lost runs and drafts, idle conversations, what has expired, old workspaces, the title index."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import structlog

from app.errors import ErrorCode
from app.models.conversation import AgentState, Conversation, ConversationRepository, Problem
from app.models.database.database import Database, is_outage
from app.models.draft import DraftRepository
from app.models.search import title_grams
from app.models.status_change import StatusChangeRepository
from app.services.agent.draft import recover
from app.services.agent.engine import RunEngine
from app.services.clock import Clock
from app.services.idempotency import Idempotency
from app.services.lifecycle import moves
from app.services.push.wakeups import (
    Wakeups,
    deltas_topic,
    events_topic,
    removals_topic,
    status_topic,
    tool_output_topic,
)
from app.services.staged_upload import StagedUploads
from app.services.workspace import WorkspaceService

log = structlog.get_logger(__name__)

MAX_INTERVAL_SECONDS = 30.0
BATCH = 200
# Deletions in one round: as many as 60 runs a second make necessary.
RUN_BATCHES = 10
STATUS_CHANGE_LIFETIME = timedelta(hours=1)
# Seconds in which deletions are collected before workspaces are removed.
REMOVALS_PAUSE_SECONDS = 1.0
RECONCILE_AFTER = timedelta(seconds=30)


class Housekeeping:
    """Runs the maintenance jobs periodically. Each job is a public method too, so that tests can run it directly."""

    def __init__(
        self,
        database: Database,
        wakeups: Wakeups,
        clock: Clock,
        engine: RunEngine,
        workspace: WorkspaceService,
        staged: StagedUploads,
        *,
        idle_close_seconds: float | None,
        run_history_seconds: float,
    ) -> None:
        self._database = database
        self._wakeups = wakeups
        self._clock = clock
        self._engine = engine
        self._workspace = workspace
        self._staged = staged
        self._idempotency = Idempotency(database, clock)
        self._idle = timedelta(seconds=idle_close_seconds) if idle_close_seconds is not None else None
        self._history = timedelta(seconds=run_history_seconds)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Recover runs and drafts of the last process, then start the periodic tasks."""
        await self.reconcile(at_start=True)
        await self.keep_drafts(at_start=True)
        self._tasks = [
            asyncio.create_task(self._go_round(), name="housekeeping"),
            asyncio.create_task(self._remove_workspaces(), name="removals"),
        ]

    async def close(self) -> None:
        """Cancel the periodic tasks, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def reconcile(self, *, at_start: bool = False) -> None:
        """Submit active runs that the engine does not know.

        A run is lost if the process dies between the commit and the submission. Except at the start, only runs without
        a change for ``RECONCILE_AFTER`` are checked.
        """
        after: UUID | None = None
        while True:
            async with self._database.read() as session:
                batch = await ConversationRepository(session).with_active_run(after, BATCH)
            for conversation in batch:
                is_silent = conversation.updated_at < self._clock() - RECONCILE_AFTER
                if conversation.active_run is not None and (at_start or is_silent):
                    await self._revive(conversation, conversation.active_run)
            if len(batch) < BATCH:
                return
            after = batch[-1].id

    async def keep_drafts(self, *, at_start: bool = False) -> None:
        """Turn drafts of dead attempts into partial messages, if the server died before it could write them.

        Another instance may be about to do so, so only conversations without a change for ``RECONCILE_AFTER`` are
        handled; on SQLite there is no other instance, so at the start all are.
        """
        after: UUID | None = None
        while True:
            async with self._database.read() as session:
                batch = await DraftRepository(session).conversations_with_left(after, BATCH)
            for conversation in batch:
                is_silent = conversation.updated_at < self._clock() - RECONCILE_AFTER
                if is_silent or (at_start and self._database.is_sqlite):
                    await self._keep_drafts_of(conversation)
            if len(batch) < BATCH:
                return
            after = batch[-1].id

    async def close_idle(self) -> None:
        """Stop conversations that have waited for input too long, unless a subscription here follows them."""
        if self._idle is None:
            return
        await self._keep_watched()
        async with self._database.read() as session:
            idle = await ConversationRepository(session).waiting_since(self._clock() - self._idle, BATCH)
        for conversation in idle:
            await self._close(conversation)

    async def forget(self) -> None:
        """Delete expired status changes, which every subscriber has read, and expired idempotency keys."""
        async with self._database.write() as session:
            await StatusChangeRepository(session).delete_before(self._clock() - STATUS_CHANGE_LIFETIME)
        await self._idempotency.forget_expired()

    async def forget_runs(self) -> None:
        """Delete the engine's rows of runs that have been over for long, some of them in each round."""
        before = self._clock() - self._history
        for _ in range(RUN_BATCHES):
            if await self._engine.forget(before, BATCH) < BATCH:
                return

    async def forget_uploads(self) -> None:
        """Remove uploads that no message has named in time, some of them in each round."""
        await asyncio.to_thread(self._staged.sweep, BATCH)

    async def index_titles(self) -> None:
        """Index the titles that have changed."""
        await title_grams.catch_up(self._database)

    def _is_watched(self, conversation: Conversation) -> bool:
        key = conversation.id
        topics = (events_topic(key), deltas_topic(key), tool_output_topic(key), status_topic(conversation.owner_id))
        return any(self._wakeups.has_listener(topic) for topic in topics)

    async def _keep_watched(self) -> None:
        """Restart the idle timeout of conversations that are followed here, so that no other instance stops them."""
        if self._idle is None:
            return
        half = self._clock() - self._idle / 2
        async with self._database.read() as session:
            waiting = await ConversationRepository(session).waiting_since(half, BATCH)
        for conversation in waiting:
            if self._is_watched(conversation):
                async with self._database.write() as session:
                    locked = await moves.lock(session, conversation)
                    if locked is not None and locked.waiting_since is not None:
                        locked.waiting_since = self._clock()

    async def _close(self, conversation: Conversation) -> None:
        async with self._database.write() as session:
            locked = await moves.lock(session, conversation)
            if locked is None or self._idle is None or locked.waiting_since is None or _is_at_work(locked):
                return
            if locked.waiting_since >= self._clock() - self._idle:
                return
            reason = f"Stopped after waiting {self._idle.total_seconds():.0f} s for input."
            await moves.stop(session, locked, self._clock(), Problem(ErrorCode.IDLE_TIMEOUT, reason))
        moves.announce(self._wakeups, conversation)

    async def _revive(self, conversation: Conversation, run: int) -> None:
        if not await self._engine.is_alive(conversation.id, run):
            await self._engine.submit(conversation.id, run, conversation.run_attempts)

    async def _keep_drafts_of(self, conversation: Conversation) -> None:
        async with self._database.write() as session:
            locked = await moves.lock(session, conversation)
            if locked is None or not await recover(session, locked, self._clock()):
                return
        self._wakeups.publish(events_topic(conversation.id))

    async def _go_round(self) -> None:
        interval = MAX_INTERVAL_SECONDS
        if self._idle is not None:
            interval = min(interval, max(self._idle.total_seconds() / 4, 0.1))
        while True:
            await asyncio.sleep(interval)
            for chore in self._chores():
                await _try(chore)

    def _chores(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        return (
            self.reconcile,
            self.keep_drafts,
            self.close_idle,
            self.forget,
            self.forget_runs,
            self.forget_uploads,
            self.index_titles,
        )

    async def _remove_workspaces(self) -> None:
        with self._wakeups.listen(removals_topic()) as listener:
            while True:
                await _try(self._workspace.retry_removals)
                await asyncio.sleep(REMOVALS_PAUSE_SECONDS)
                await listener.wait(MAX_INTERVAL_SECONDS)


async def _try(chore: Callable[[], Awaitable[None]]) -> None:
    """Run a job, and log its exception, so that the other jobs still run."""
    try:
        await chore()
    except Exception as error:  # Whatever it is, the next round tries again.
        name = getattr(chore, "__name__", "chore")
        if is_outage(error):
            log.warning("housekeeping.database_unreachable", chore=name)
        else:
            log.exception("housekeeping.failed", chore=name)


def _is_at_work(conversation: Conversation) -> bool:
    """Tell whether the agent works. A run whose tool call awaits confirmation does not count, since it can't go on."""
    return conversation.active_run is not None and conversation.agent_state != AgentState.AWAITING_USER_CONFIRMATION
