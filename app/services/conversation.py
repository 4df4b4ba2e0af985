"""Use cases of conversations: create, read, search, send a message, start, stop, rename and delete."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import conversation_not_found
from app.models.conversation import LIVE_STATUSES, Conversation, ConversationRepository
from app.models.database.database import Database
from app.models.database.row import Rows
from app.models.database.unit_of_work import Writes
from app.models.event import Event, MessageBody
from app.models.merge_base import MergeBase
from app.models.owner import OwnerRepository
from app.models.replay import encode_events, new_replay
from app.models.rows.conversation import ConversationRow, ConversationRows
from app.models.run_writes import RunWrites
from app.models.search.filter import ConversationFilter
from app.models.search.query import ConversationQuery, ConversationSearch
from app.models.workspace_removal import WorkspaceRemoval, WorkspaceRemovalRepository
from app.services import trajectory
from app.services.agent.engine import RunEngine
from app.services.background import BackgroundTasks
from app.services.clock import Clock
from app.services.export import LogExport
from app.services.idempotency import Idempotency, Key
from app.services.lifecycle import moves
from app.services.lifecycle.attachments import MessageFiles, NamedFiles
from app.services.lifecycle.capacity import make_room
from app.services.lifecycle.creation import CreateConversation, check_creation, check_task, new_conversation, with_task
from app.services.lifecycle.earlier import created, sent
from app.services.lifecycle.title import TitleService, checked_title
from app.services.message import Message
from app.services.push.wakeups import (
    Wakeups,
    deltas_topic,
    removals_topic,
    tool_output_topic,
    workspace_topic,
)
from app.services.repository import RepositoryService
from app.services.settings import SettingsService
from app.services.suggested_task import SuggestedTaskService
from app.services.workspace import WorkspaceService

log = structlog.get_logger(__name__)

REMOVAL_WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class SendMessage:
    """A user's message to a conversation."""

    conversation_id: UUID
    message: Message
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """Conversations in the order asked for."""

    rows: Rows[ConversationRow]
    has_next_page: bool


@dataclass(frozen=True, slots=True)
class _PlayableTrajectory:
    """A validated trajectory. ``text`` has its events as they are stored."""

    text: str
    last_run: int
    first_user_text: str | None


def _checked(replay: object) -> _PlayableTrajectory:
    """Validate a trajectory. Raises InvalidInput."""
    events = trajectory.check(replay)
    return _PlayableTrajectory(encode_events(events), trajectory.last_run(events), trajectory.first_user_text(events))


def _body(message: Message, named: NamedFiles) -> MessageBody:
    return MessageBody(message.text, message.image_urls, attachments=named.attachments)


class ConversationService:
    """Each use case validates its input, writes in one transaction, and publishes wake-ups after the commit."""

    def __init__(  # noqa: PLR0913  It is what a use case reaches, and the composition root names each of them.
        self,
        database: Database,
        wakeups: Wakeups,
        clock: Clock,
        engine: RunEngine,
        *,
        settings: SettingsService,
        export: LogExport,
        message_files: MessageFiles,
        title: TitleService,
        workspace: WorkspaceService,
        repository: RepositoryService,
        tasks: SuggestedTaskService,
        background: BackgroundTasks,
        max_concurrent: int,
        max_age_seconds: int | None,
    ) -> None:
        self._database = database
        self._rows = ConversationRows(database)
        self._wakeups = wakeups
        self._clock = clock
        self._engine = engine
        self._settings = settings
        self._export = export
        self._files = message_files
        self._title = title
        self._workspace = workspace
        self._repository = repository
        self._tasks = tasks
        self._background = background
        self._idempotency = Idempotency(database, clock)
        self._max_concurrent = max_concurrent
        self._max_age = timedelta(seconds=max_age_seconds) if max_age_seconds is not None else None

    async def get(self, owner_id: str, conversation_id: UUID) -> Conversation | None:
        """Return the conversation; ``None`` if it is absent or another owner's."""
        return (await self.get_many(owner_id, [conversation_id]))[0]

    async def get_row(
        self, owner_id: str, conversation_id: UUID, columns: frozenset[str] | None = None
    ) -> ConversationRow | None:
        """Return a read-only row with these ``columns`` (``None``: all), which is cheaper than ``get``."""
        return await self._rows.get(owner_id, conversation_id, columns)

    async def get_many(self, owner_id: str, ids: Sequence[UUID]) -> list[Conversation | None]:
        """Return conversations in the order of ``ids``, with ``None`` for those that are absent or another owner's."""
        async with self._database.read() as session:
            return await ConversationRepository(session).get_many(owner_id, ids)

    async def search(
        self, owner_id: str, query: ConversationQuery, columns: frozenset[str] | None = None
    ) -> ConversationPage:
        """Read one page with one statement. ``columns``: see ``get_row``."""
        if self._max_age is not None:
            query = replace(query, filter=self._visible(query.filter))
        rows = await self._rows.search(owner_id, query, columns)
        return ConversationPage(rows[: query.first], len(rows) > query.first)

    async def count(self, owner_id: str, conversation_filter: ConversationFilter) -> int:
        """Count the conversations that match the filter."""
        async with self._database.read() as session:
            return await ConversationSearch(session).count(owner_id, self._visible(conversation_filter))

    async def trajectory(self, owner_id: str, conversation_id: UUID) -> orjson.Fragment:
        """Export the log as a JSON document, with secrets redacted. Raises NotFound and TrajectoryTooLong."""
        return await self._export.field(await self._must_get(owner_id, conversation_id))

    async def create(self, owner_id: str, command: CreateConversation) -> Conversation:
        """Create a conversation with its first event, and start the agent.

        Raises InvalidInput, SettingsNotFound, LLMAuthentication and TooManyRunning; for the repository or task, also
        NotFound, GitProviderAuthentication and GitProviderUnavailable. Then nothing was written. Raises NotFound if an
        upload is not there, or the conversation that was created with the same idempotency key has been deleted.
        """
        async with self._files.held(owner_id, command.message):
            return await self._create(owner_id, command)

    async def _create(self, owner_id: str, command: CreateConversation) -> Conversation:
        key = Key(owner_id, "create", command.idempotency_key)
        earlier = await self._idempotency.earlier(key)
        if earlier is not None:
            async with self._database.read() as session:
                return await created(session, owner_id, earlier)
        check_task(command)
        if command.task is not None:
            task = await self._tasks.get(owner_id, command.task, self._repository.budget())
            command = with_task(command, command.task.provider, task)
        now, conversation_id = self._clock(), uuid4()
        title, message = check_creation(command, conversation_id)
        named = await self._files.first(owner_id, message)
        # In a thread, since a long trajectory takes seconds.
        replay = await asyncio.to_thread(_checked, command.replay) if command.replay is not None else None
        settings, _ = await self._settings.model(owner_id)
        repository, branch_name = None, None
        if command.repository is not None:
            repository, branch_name = await self._repository.choose(owner_id, command.repository, command.branch_name)
        base = await self._repository.merge_base(owner_id, command.merge, repository)
        conversation = new_conversation(
            command,
            owner_id,
            conversation_id,
            title,
            replayed_text=replay.first_user_text if replay is not None else None,
            repository_id=repository.id if repository is not None else None,
            branch_name=branch_name,
            llm_model=settings.llm_model,
            now=now,
        )
        stopped: list[Conversation] = []
        async with self._database.unit_of_work() as unit:
            await RunWrites(unit).lock_owner(owner_id)
            # A concurrent request may have used the same idempotency key.
            earlier = await self._idempotency.earlier(key, unit)
            if earlier is None:
                stopped = await make_room(unit, owner_id, self._max_concurrent, now)
                await self._store(unit, conversation, _body(message, named) if message else None, replay, now)
                if base is not None:
                    unit.add(MergeBase(conversation_id=conversation_id, repository_id=base[0], branch_name=base[1]))
                self._idempotency.remember(unit, key, conversation.id, None)
        if earlier is not None:
            async with self._database.read() as session:
                return await created(session, owner_id, earlier)
        log.info("conversation.created", conversation_id=str(conversation_id))
        await self._files.move(owner_id, conversation_id, 1, named)
        moves.announce(self._wakeups, conversation, *stopped)
        await self._submit(conversation)
        if message is not None:
            self._name(conversation)
        return conversation

    async def send_message(self, owner_id: str, command: SendMessage) -> tuple[Conversation, Event]:
        """Append the user's message, and queue a run for it. A stopped conversation is started.

        Raises NotFound, InvalidInput, InvalidState, SettingsNotFound, LLMAuthentication, TooManyRunning; then nothing
        was written.
        """
        async with self._files.held(owner_id, command.message):
            return await self._send(owner_id, command)

    async def _send(self, owner_id: str, command: SendMessage) -> tuple[Conversation, Event]:
        key = Key(owner_id, f"send:{command.conversation_id}", command.idempotency_key)
        earlier = await self._idempotency.earlier(key)
        if earlier is not None:
            async with self._database.read() as session:
                return await sent(session, owner_id, earlier)
        await self._must_get(owner_id, command.conversation_id, path=("conversationId",))
        command.message.check("message")
        await self._settings.model(owner_id)
        named = await self._files.later(owner_id, command.conversation_id, command.message)
        now = self._clock()
        written: tuple[list[Conversation], Event] | None = None
        async with self._database.unit_of_work() as unit:
            await RunWrites(unit).lock_owner(owner_id)
            conversation = await RunWrites(unit).lock(command.conversation_id, with_owner=False)
            if conversation is None or conversation.owner_id != owner_id:
                raise conversation_not_found("conversationId")
            earlier = await self._idempotency.earlier(key, unit)
            if earlier is None:
                written = await self._append_message(unit, conversation, _body(command.message, named), now)
                self._idempotency.remember(unit, key, conversation.id, written[1].sequence)
        if written is None:
            async with self._database.read() as session:
                return await sent(session, owner_id, earlier)
        stopped, event = written
        await self._files.move(owner_id, conversation.id, event.sequence, named)
        moves.announce(self._wakeups, conversation, *stopped)
        await self._submit(conversation)
        self._name(conversation)
        return conversation, event

    async def start(self, owner_id: str, conversation_id: UUID) -> Conversation:
        """Start a stopped or failed conversation, which then waits for input.

        Raises NotFound, InvalidState, SettingsNotFound, LLMAuthentication, TooManyRunning.
        """
        await self._must_get(owner_id, conversation_id)
        await self._settings.model(owner_id)
        now = self._clock()
        async with self._database.write() as session:
            conversation = await self._lock(session, owner_id, conversation_id)
            moves.check_start(conversation)
            stopped = await make_room(session, owner_id, self._max_concurrent, now, besides=conversation_id)
            await moves.start(session, conversation, now)
        moves.announce(self._wakeups, conversation, *stopped)
        await self._submit(conversation)
        return conversation

    async def stop(self, owner_id: str, conversation_id: UUID) -> Conversation:
        """Stop the conversation. After that its run can't append events. Raises NotFound, InvalidState."""
        now = self._clock()
        async with self._database.write() as session:
            conversation = await self._lock(session, owner_id, conversation_id)
            await moves.stop(session, conversation, now)
        log.info("conversation.stopped", conversation_id=str(conversation_id))
        moves.announce(self._wakeups, conversation)
        # Wait until the run has stored the partial answer, so that the log has it before the user's next message.
        await self._engine.let_go(conversation_id)
        return conversation

    async def rename(self, owner_id: str, conversation_id: UUID, title: str | None) -> ConversationRow:
        """Set the title. A blank one is replaced by a generated one, unless a title is set meanwhile.

        Raises NotFound, InvalidInput.
        """
        new_title = checked_title(title)
        if new_title is None:
            await self._title.name(await self._must_get(owner_id, conversation_id), or_default=True)
            renamed = await self._rows.get(owner_id, conversation_id)
        else:
            renamed = await self._rows.rename(owner_id, conversation_id, new_title, self._clock())
        if renamed is None:
            raise conversation_not_found("id")
        return renamed

    async def delete(self, owner_id: str, conversation_id: UUID) -> None:
        """Stop the run, delete the rows, and remove the workspace. Raises NotFound.

        If the workspace can't be removed, the deletion succeeds nevertheless: the removal is recorded, and retried.
        """
        if removal := await self.begin_deletion(owner_id, conversation_id):
            await asyncio.wait(removal, timeout=REMOVAL_WAIT_SECONDS)
        self.announce_removals()

    async def begin_deletion(self, owner_id: str, conversation_id: UUID) -> set[asyncio.Task[Any]]:
        """Delete the rows, and return the task that removes the workspace, unless it is left to a retry.

        The caller waits for the task, then calls ``announce_removals``. Raises NotFound.
        """
        now = self._clock()
        async with self._database.write() as session:
            conversation = await self._lock(session, owner_id, conversation_id)
            await moves.remove(session, conversation, now)
            pending = WorkspaceRemoval(conversation_id=conversation_id, next_attempt_at=now)
            WorkspaceRemovalRepository(session).add(pending)
        log.info("conversation.deleted", conversation_id=str(conversation_id))
        moves.announce(self._wakeups, conversation)
        self._wakeups.publish(deltas_topic(conversation_id))
        self._wakeups.publish(tool_output_topic(conversation_id))
        self._wakeups.publish(workspace_topic(conversation_id))
        removal = self._background.start("remove workspace", self._workspace.remove(conversation_id))
        return {removal} if removal is not None else set()

    def announce_removals(self) -> None:
        """Tell all instances to remove workspaces of deleted conversations, which may be in their data directories."""
        self._wakeups.publish(removals_topic())

    async def _store(
        self,
        session: Writes,
        conversation: Conversation,
        body: MessageBody | None,
        replay: _PlayableTrajectory | None,
        now: datetime,
    ) -> None:
        run = replay.last_run if replay is not None else 1
        await moves.create(session, conversation, now, message=body, run=run)
        if replay is not None:
            for row in new_replay(conversation.id, replay.text):
                session.add(row)

    async def _append_message(
        self, session: Writes, conversation: Conversation, body: MessageBody, now: datetime
    ) -> tuple[list[Conversation], Event]:
        stopped: list[Conversation] = []
        if conversation.status not in LIVE_STATUSES:
            stopped = await make_room(
                session, conversation.owner_id, self._max_concurrent, now, besides=conversation.id
            )
        event = await moves.receive(session, conversation, now, body)
        return stopped, event

    async def _submit(self, conversation: Conversation) -> None:
        if conversation.active_run is not None:
            await self._engine.submit(conversation.id, conversation.active_run)

    def _name(self, conversation: Conversation) -> None:
        """Generate a title in the background if the conversation has the default one."""
        if conversation.title_is_auto_generated and conversation.title_revision == 0:
            self._background.start("name conversation", self._title.name(conversation))

    def _visible(self, conversation_filter: ConversationFilter) -> ConversationFilter:
        return (
            conversation_filter
            if self._max_age is None
            else replace(conversation_filter, visible_after=self._clock() - self._max_age)
        )

    async def _must_get(self, owner_id: str, conversation_id: UUID, path: tuple[str, ...] = ("id",)) -> Conversation:
        conversation = await self.get(owner_id, conversation_id)
        if conversation is None:
            raise conversation_not_found(*path)
        return conversation

    async def _lock(
        self, session: AsyncSession, owner_id: str, conversation_id: UUID, path: tuple[str, ...] = ("id",)
    ) -> Conversation:
        await OwnerRepository(session).lock(owner_id)
        conversation = await ConversationRepository(session).lock(owner_id, conversation_id)
        if conversation is None:
            raise conversation_not_found(*path)
        return conversation
