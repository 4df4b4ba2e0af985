"""Subscriptions to changes of a workspace, with counts, at most twice a second.

A workspace is only compared while somebody watches it, by a single task for all subscribers: after a tool that may have
changed files, when a command has written output, and when the log has grown, which also makes up for lost wake-ups.
Between these only the conversation's row is polled.
"""

import asyncio
import contextlib
import itertools
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from app.errors import AppError, conversation_not_found
from app.models.database.database import Database, is_outage
from app.models.rows.conversation_state import ConversationStates
from app.services.git.patch import Change
from app.services.outage import until_answered
from app.services.push.progress import Progress
from app.services.push.wakeups import POLL_SECONDS, Listener, Wakeups, tool_output_topic, workspace_topic
from app.services.workspace_contents import WorkspaceContents, WorkspaceSummary

log = structlog.get_logger(__name__)

MAX_OUTAGE_SECONDS = 300.0
MIN_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 10.0
# The pause per second of comparing, so that comparing takes at most a fifth of the time.
PAUSE_PER_SECOND = 4.0
REMEMBERED_LOOKS = 1000

LastSequence = Callable[[], Awaitable[int | None]]
"""Reads where the conversation's log ends; None once it is deleted."""


@dataclass(frozen=True, slots=True)
class ChangeCounts:
    """The numbers of changed files, and of added and deleted lines, since the clone."""

    files: int
    additions: int
    deletions: int


@dataclass(frozen=True, slots=True)
class WorkspaceChange:
    """A snapshot of a workspace. ``counts`` is None without a workspace here, or without a sandbox."""

    number: int
    workspace: WorkspaceSummary | None
    counts: ChangeCounts | None


@dataclass(frozen=True, slots=True)
class _Look:
    """The last snapshot that was published, and a hash of everything compared."""

    change: WorkspaceChange
    seen: int


class WorkspaceFeed:
    """Publishes changes of the workspaces that are watched in this process."""

    def __init__(self, database: Database, wakeups: Wakeups, contents: WorkspaceContents) -> None:
        self._states = ConversationStates(database)
        self._wakeups = wakeups
        self._contents = contents
        self._numbers = itertools.count(1)
        self._watches: dict[UUID, _Watch] = {}
        # The last looks of watches that ended: a subscription that joins others at once is not told the same again.
        self._looks: OrderedDict[UUID, _Look] = OrderedDict()

    async def follow(self, owner_id: str, conversation_id: UUID, progress: Progress) -> AsyncGenerator[WorkspaceChange]:
        """Yield a snapshot, then the newest snapshot after every change, until the deletion. Raises NotFound.

        Positions are the numbers of snapshots.
        """

        async def last_sequence() -> int | None:
            return await until_answered(
                lambda: self._states.last_sequence(owner_id, conversation_id), MAX_OUTAGE_SECONDS
            )

        if await last_sequence() is None:
            if progress.position is not None:
                return
            raise conversation_not_found("conversationId")
        async with self._watch(conversation_id, last_sequence) as watch:
            while True:
                position = progress.position or 0
                if not watch.has_news(position) and position and progress.level(position):
                    return
                change = await watch.after(position)
                if change is None:
                    return
                progress.position = change.number
                yield change

    @contextlib.asynccontextmanager
    async def _watch(self, conversation_id: UUID, last_sequence: LastSequence) -> AsyncGenerator["_Watch"]:
        watch = self._watches.get(conversation_id)
        if watch is None:
            watch = self._watches[conversation_id] = _Watch(
                conversation_id,
                self._contents,
                self._wakeups,
                lambda: next(self._numbers),
                self._looks.pop(conversation_id, None),
            )
            watch.start(last_sequence)
        watch.followers += 1
        try:
            yield watch
        finally:
            watch.followers -= 1
            if not watch.followers:
                del self._watches[conversation_id]
                if watch.look is not None:
                    self._looks[conversation_id] = watch.look
                    if len(self._looks) > REMEMBERED_LOOKS:
                        self._looks.popitem(last=False)
                await watch.stop()


class _Watch:
    """One watched workspace: a single task compares it for all subscribers."""

    def __init__(
        self,
        conversation_id: UUID,
        contents: WorkspaceContents,
        wakeups: Wakeups,
        number: Callable[[], int],
        look: _Look | None,
    ) -> None:
        self._id = conversation_id
        self._contents = contents
        self._wakeups = wakeups
        self._number = number
        self._has_looked = False
        self._is_over = False
        self._news = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self.followers = 0
        self.look = look

    def start(self, last_sequence: LastSequence) -> None:
        """Start the task."""
        self._task = asyncio.create_task(self._run(last_sequence), name="workspace-watch")

    async def stop(self) -> None:
        """Cancel the task, and wait for its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def has_news(self, position: int) -> bool:
        """Tell whether ``after`` returns at once."""
        return self._is_over or (self._has_looked and self.look is not None and self.look.change.number > position)

    async def after(self, position: int) -> WorkspaceChange | None:
        """Wait for a snapshot after the position, and return the newest; None once the conversation is deleted."""
        async with self._news:
            await self._news.wait_for(lambda: self.has_news(position))
        return None if self._is_over or self.look is None else self.look.change

    async def _run(self, last_sequence: LastSequence) -> None:
        loop = asyncio.get_running_loop()
        with (
            self._wakeups.listen(workspace_topic(self._id)) as touched,
            self._wakeups.listen(tool_output_topic(self._id)) as written,
        ):
            is_touched, is_due, looked_at = False, True, None
            while True:
                began = loop.time()
                try:
                    sequence = await last_sequence()
                    if sequence is None:
                        break
                    if is_touched or is_due or sequence != looked_at:
                        looked_at = sequence
                        await self._look(is_change=is_touched)
                except Exception as error:  # Whatever it was, the followers wait for this task: it has to go on.
                    if is_outage(error):
                        log.warning("workspace_feed.database_unreachable", error=type(error).__name__)
                    else:
                        log.exception("workspace_feed.failed", conversation_id=str(self._id))
                pause = PAUSE_PER_SECOND * (loop.time() - began)
                await asyncio.sleep(min(max(pause, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS))
                is_touched, is_due = await _woken(touched, written)
        self._is_over = True
        await self._tell()

    async def _look(self, *, is_change: bool) -> None:
        """Compare the workspace, and publish a snapshot if it is new, or with ``is_change`` anyway."""
        workspace, counts, changes = None, None, ()
        try:
            workspace = await self._contents.summary(self._id)
            if workspace is not None:
                changes = tuple(await self._contents.compare(workspace))
                counts = _count(changes)
        except (AppError, OSError):
            # There is no sandbox, or git could not compare it: then there are no counts.
            pass
        seen = hash((workspace, counts, changes))
        if is_change or self.look is None or seen != self.look.seen:
            self.look = _Look(WorkspaceChange(self._number(), workspace, counts), seen)
        self._has_looked = True
        await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


def _count(changes: Sequence[Change]) -> ChangeCounts:
    return ChangeCounts(
        len(changes),
        sum(change.additions or 0 for change in changes),
        sum(change.deletions or 0 for change in changes),
    )


async def _woken(touched: Listener, written: Listener) -> tuple[bool, bool]:
    """Wait up to ``POLL_SECONDS`` for a wake-up; return whether files were changed, and whether output came."""
    waiting = [asyncio.ensure_future(listener.wait(POLL_SECONDS)) for listener in (touched, written)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
    written.take()
    is_touched, is_written = (not task.cancelled() and task.result() for task in waiting)
    return is_touched, is_written
