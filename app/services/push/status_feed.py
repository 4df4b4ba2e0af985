"""The source of subscriptions to statuses: a snapshot of the current ones, then every change, in order."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog

from app.models.conversation import Conversation, ConversationRepository
from app.models.database.database import Database, is_outage
from app.models.owner import OwnerRepository
from app.models.search.filter import ConversationFilter
from app.models.search.order import ConversationOrder
from app.models.search.query import ConversationQuery, ConversationSearch, Position
from app.models.status_change import StatusChange, StatusChangeRepository
from app.services.clock import Clock
from app.services.outage import until_answered
from app.services.push.progress import Progress
from app.services.push.wakeups import POLL_SECONDS, Wakeups, status_topic

log = structlog.get_logger(__name__)

BATCH = 200
KEPT_UPDATES = 1000
SNAPSHOT_PAGE = 100
# Seconds of a database outage after which subscriptions end with an error.
MAX_OUTAGE_SECONDS = 300.0

_OVERLAID = {"status", "agent_state", "reason_code", "reason_message", "updated_at"}


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """A conversation as it was after a change; ``previous_status`` is ``None`` in the snapshot."""

    sequence: int
    conversation_id: UUID
    conversation: Conversation | None
    deleted_conversation_id: UUID | None
    previous_status: str | None
    occurred_at: datetime


class StatusFeed:
    """Follows the statuses of an owner's conversations.

    Subscribers of one owner share one reader, which buffers the newest updates: a change that wakes 1,000 subscribers
    costs two statements. Each subscriber consumes the buffer at its own pace; one that falls behind reads from rows.
    """

    def __init__(self, database: Database, wakeups: Wakeups, clock: Clock, max_age_seconds: int | None) -> None:
        self._database = database
        self._wakeups = wakeups
        self._clock = clock
        self._max_age = timedelta(seconds=max_age_seconds) if max_age_seconds is not None else None
        self._tails: dict[str, _Tail] = {}

    async def follow(
        self, owner_id: str, ids: tuple[UUID, ...] | None, progress: Progress
    ) -> AsyncGenerator[StatusUpdate]:
        """Yield the status of each conversation (``None``: all of the owner's), then every change and deletion.

        Other owners' conversations are skipped. A change that the snapshot already contains is not yielded again.
        Positions are the owner's status sequences.
        """
        followed_ids = frozenset(ids) if ids is not None else None
        async with self._tail(owner_id) as tail:
            cursor = tail.head if progress.position is None else progress.position
            shown: dict[UUID, int] = {}
            if progress.position is None:
                async for conversation in self._snapshot(owner_id, ids):
                    if conversation.status_sequence > cursor:
                        shown[conversation.id] = conversation.status_sequence
                    yield _snapshot_update(conversation)
            while True:
                updates = tail.behind(cursor)
                if updates is None:
                    updates = await until_answered(partial(tail.read, cursor), MAX_OUTAGE_SECONDS)
                for update in updates:
                    cursor = update.sequence
                    if _is_news(update, followed_ids, shown):
                        progress.position = cursor
                        yield update
                if not updates:
                    # The snapshot may be ahead of the shared reader; until that catches up, positions can't be shared.
                    if cursor >= max(shown.values(), default=0) and progress.level(cursor):
                        return
                    await tail.changed()

    @contextlib.asynccontextmanager
    async def _tail(self, owner_id: str) -> AsyncGenerator["_Tail"]:
        tail = self._tails.get(owner_id)
        if tail is None:
            tail = self._tails[owner_id] = _Tail(
                owner_id, self._database, self._wakeups, lambda: self._tails.pop(owner_id, None)
            )
        async with tail.follower():
            yield tail

    async def _snapshot(self, owner_id: str, ids: tuple[UUID, ...] | None) -> AsyncGenerator[Conversation]:
        if ids is not None:
            conversations = await until_answered(partial(self._get_many, owner_id, ids), MAX_OUTAGE_SECONDS)
            for conversation in conversations:
                if conversation is not None:
                    yield conversation
            return
        visible_after = self._clock() - self._max_age if self._max_age is not None else None
        query = ConversationQuery(SNAPSHOT_PAGE, None, ConversationFilter(visible_after=visible_after))
        while True:
            rows = await until_answered(partial(self._page, owner_id, query), MAX_OUTAGE_SECONDS)
            for conversation in rows[:SNAPSHOT_PAGE]:
                yield conversation
            if len(rows) <= SNAPSHOT_PAGE:
                return
            last = rows[SNAPSHOT_PAGE - 1]
            query = ConversationQuery(
                SNAPSHOT_PAGE, Position(last.created_at, last.id), query.filter, ConversationOrder()
            )

    async def _get_many(self, owner_id: str, ids: tuple[UUID, ...]) -> list[Conversation | None]:
        async with self._database.read() as session:
            return await ConversationRepository(session).get_many(owner_id, ids)

    async def _page(self, owner_id: str, query: ConversationQuery) -> list[Conversation]:
        async with self._database.read() as session:
            return list(await ConversationSearch(session).page(owner_id, query))


class _Tail:
    """The buffer of one owner's newest updates, which one task reads for all followers."""

    def __init__(self, owner_id: str, database: Database, wakeups: Wakeups, on_abandoned: Callable[[], object]) -> None:
        self._owner_id = owner_id
        self._database = database
        self._wakeups = wakeups
        self._on_abandoned = on_abandoned
        self._followers = 0
        self._updates: deque[StatusUpdate] = deque(maxlen=KEPT_UPDATES)
        self._kept_from = 0
        self._next: asyncio.Future[None] | None = None
        self._started = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.head = 0

    @contextlib.asynccontextmanager
    async def follower(self) -> AsyncGenerator[None]:
        self._followers += 1
        try:
            async with self._started:
                if self._task is None:
                    await self._start()
            yield
        finally:
            self._followers -= 1
            if not self._followers:
                self._on_abandoned()
                if self._task is not None:
                    self._task.cancel()

    def behind(self, cursor: int) -> list[StatusUpdate] | None:
        """Return the buffered updates after the cursor; ``None`` if some of them have left the buffer."""
        if cursor >= self.head:
            return []
        if cursor < self._kept_from:
            return None
        newer: list[StatusUpdate] = []
        for update in reversed(self._updates):
            if update.sequence <= cursor:
                break
            newer.append(update)
        newer.reverse()
        return newer

    async def read(self, cursor: int) -> list[StatusUpdate]:
        """Read the next batch of updates after the cursor from the database."""
        async with self._database.read() as session:
            changes = await StatusChangeRepository(session).after(self._owner_id, cursor, BATCH)
            ids = list({change.conversation_id for change in changes})
            rows = await ConversationRepository(session).get_many(self._owner_id, ids) if ids else []
        conversations = {row.id: row for row in rows if row is not None}
        return [_update(change, conversations.get(change.conversation_id)) for change in changes]

    async def changed(self) -> None:
        """Wait until the buffer has a new update."""
        if self._next is None or self._next.done():
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._next)

    async def _start(self) -> None:
        listening = asyncio.Event()
        self._task = asyncio.create_task(self._read_on(listening), name="status-tail")
        try:
            await listening.wait()
            self.head = await until_answered(self._last, MAX_OUTAGE_SECONDS)
        except BaseException:
            self._task.cancel()
            self._task = None
            raise
        self._kept_from = self.head

    async def _last(self) -> int:
        async with self._database.read() as session:
            return await OwnerRepository(session).status_sequence(self._owner_id)

    async def _read_on(self, listening: asyncio.Event) -> None:
        with self._wakeups.listen(status_topic(self._owner_id)) as listener:
            listening.set()
            async with self._started:
                pass
            while True:
                await listener.wait(POLL_SECONDS)
                try:
                    await self._catch_up()
                except Exception as error:  # Whatever it was, the followers wait for this task: it has to go on.
                    if is_outage(error):
                        log.warning("status_feed.database_unreachable", error=type(error).__name__)
                    else:
                        log.exception("status_feed.failed")

    async def _catch_up(self) -> None:
        while updates := await self.read(self.head):
            for update in updates:
                if len(self._updates) == KEPT_UPDATES:
                    self._kept_from = self._updates[0].sequence
                self._updates.append(update)
            self.head = updates[-1].sequence
            if self._next is not None and not self._next.done():
                self._next.set_result(None)


def _is_news(update: StatusUpdate, followed_ids: frozenset[UUID] | None, shown: dict[UUID, int]) -> bool:
    if followed_ids is not None and update.conversation_id not in followed_ids:
        return False
    is_empty = update.conversation is None and update.deleted_conversation_id is None
    return not is_empty and update.sequence > shown.get(update.conversation_id, 0)


def _snapshot_update(conversation: Conversation) -> StatusUpdate:
    return StatusUpdate(
        conversation.status_sequence, conversation.id, conversation, None, None, conversation.updated_at
    )


def _update(change: StatusChange, conversation: Conversation | None) -> StatusUpdate:
    if change.is_deletion:
        return StatusUpdate(
            change.sequence,
            change.conversation_id,
            None,
            change.conversation_id,
            change.previous_status,
            change.occurred_at,
        )
    if conversation is not None:
        # The row may have changed again since, so its status is overlaid with that of this change.
        conversation = Conversation(
            **conversation.model_dump(exclude=_OVERLAID),
            status=change.status,
            agent_state=change.agent_state,
            reason_code=change.reason_code,
            reason_message=change.reason_message,
            # Tags, pins and the archive change without an update.
            updated_at=min(change.occurred_at, conversation.updated_at),
        )
    return StatusUpdate(
        change.sequence, change.conversation_id, conversation, None, change.previous_status, change.occurred_at
    )
