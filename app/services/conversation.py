"""Conversations: created, found, talked to, started, stopped, renamed and deleted, for their owner."""

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
from app.models.conversation import (
    LIVE_STATUSES,
    Conversation,
    ConversationRepository,
    ConversationStatus,
    fold,
)
from app.models.database.database import Database
from app.models.database.row import Rows
from app.models.database.unit_of_work import Writes, made
from app.models.event import Event, EventRepository, MessageBody
from app.models.idempotency import IdempotencyKey
from app.models.owner import OwnerRepository
from app.models.replay import encode_events, new_replay
from app.models.rows.conversation import ConversationRow, ConversationRows
from app.models.run_writes import RunWrites
from app.models.search.query import ConversationFilter, ConversationQuery, ConversationSearch
from app.models.workspace_removal import WorkspaceRemoval, WorkspaceRemovalRepository
from app.services import trajectory
from app.services.agent.engine import RunEngine
from app.services.background import BackgroundTasks
from app.services.clock import Clock
from app.services.export import LogExport
from app.services.idempotency import Idempotency, Key
from app.services.lifecycle import moves
from app.services.lifecycle.capacity import make_room
from app.services.lifecycle.creation import CreateConversation, check_creation, check_task, with_task
from app.services.lifecycle.title import TitleService, checked_title, default_title, truncated_title
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
# What a row begins with, unless something is given.
_NEW: dict[str, Any] = {
    name: field.default for name, field in Conversation.model_fields.items() if not field.is_required()
}


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
    """A trajectory that may be played. ``text``: its events, as they are stored."""

    text: str
    last_run: int
    first_user_text: str | None


def _checked(replay: object) -> _PlayableTrajectory:
    """Raises InvalidInput."""
    events = trajectory.check(replay)
    return _PlayableTrajectory(encode_events(events), trajectory.last_run(events), trajectory.first_user_text(events))


class ConversationService:
    """The use cases. Every one checks first, then writes in one transaction, then tells others."""

    def __init__(  # noqa: PLR0913  It is what a use case reaches, and the composition root names each of them.
        self,
        database: Database,
        wakeups: Wakeups,
        clock: Clock,
        engine: RunEngine,
        *,
        settings: SettingsService,
        export: LogExport,
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
        self._title = title
        self._workspace = workspace
        self._repository = repository
        self._tasks = tasks
        self._background = background
        self._idempotency = Idempotency(database, clock)
        self._max_concurrent = max_concurrent
        self._max_age = timedelta(seconds=max_age_seconds) if max_age_seconds is not None else None

    async def get(self, owner_id: str, conversation_id: UUID) -> Conversation | None:
        """The owner's conversation, or ``None``."""
        return (await self.get_many(owner_id, [conversation_id]))[0]

    async def get_row(
        self, owner_id: str, conversation_id: UUID, columns: frozenset[str] | None = None
    ) -> ConversationRow | None:
        """As ``get``, for showing only. ``columns``: those that will be looked at, ``None`` for all."""
        return await self._rows.get(owner_id, conversation_id, columns)

    async def get_many(self, owner_id: str, ids: Sequence[UUID]) -> list[Conversation | None]:
        """In the order of ``ids``; ``None`` for what is absent or another owner's."""
        async with self._database.read() as session:
            return await ConversationRepository(session).get_many(owner_id, ids)

    async def search(
        self, owner_id: str, query: ConversationQuery, columns: frozenset[str] | None = None
    ) -> ConversationPage:
        """One page, in one statement. ``columns`` as for ``get_row``."""
        if self._max_age is not None:
            query = replace(query, filter=self._visible(query.filter))
        rows = await self._rows.search(owner_id, query, columns)
        return ConversationPage(rows[: query.first], len(rows) > query.first)

    async def count(self, owner_id: str, wanted: ConversationFilter) -> int:
        """How many conversations all pages together have."""
        async with self._database.read() as session:
            return await ConversationSearch(session).count(owner_id, self._visible(wanted))

    async def trajectory(self, owner_id: str, conversation_id: UUID) -> orjson.Fragment:
        """The whole log as one document without secrets, as JSON. Raises NotFound and TrajectoryTooLong."""
        return await self._export.field(await self._must_get(owner_id, conversation_id))

    async def create(self, owner_id: str, command: CreateConversation) -> Conversation:
        """Check, store with the first event, and start the agent.

        Raises InvalidInput, SettingsNotFound, LLMAuthentication, TooManyRunning, and of repository or task NotFound,
        GitProviderAuthentication and GitProviderUnavailable; then nothing was written. Raises NotFound where the
        idempotency key's first conversation was deleted.
        """
        key = Key(owner_id, "create", command.idempotency_key)
        earlier = await self._idempotency.earlier(key)
        if earlier is not None:
            async with self._database.read() as session:
                return await _created(session, owner_id, earlier)
        check_task(command)
        if command.task is not None:
            task = await self._tasks.get(owner_id, command.task, self._repository.budget())
            command = with_task(command, command.task.provider, task)
        now, conversation_id = self._clock(), uuid4()
        title, message = check_creation(command, conversation_id)
        # As with an export.
        replay = await asyncio.to_thread(_checked, command.replay) if command.replay is not None else None
        settings, _ = await self._settings.model(owner_id)
        repository, branch_name = None, None
        if command.repository is not None:
            repository, branch_name = await self._repository.choose(owner_id, command.repository, command.branch_name)
        told = truncated_title((replay.first_user_text if replay is not None else None) or "")
        generated = told or default_title(conversation_id)
        values: dict[str, Any] = {
            **_NEW,
            "id": conversation_id,
            "owner_id": owner_id,
            "title": title or generated,
            "title_folded": fold(title or generated),
            "title_is_auto_generated": title is None,
            # Only the default title is waiting for a better one.
            "title_revision": 1 if title or told else 0,
            "status": ConversationStatus.STOPPED,
            "trigger": command.trigger,
            "repository_id": repository.id if repository is not None else None,
            "branch_name": branch_name,
            "branch_is_default": repository is not None and command.branch_name is None,
            "llm_model": settings.llm_model,
            "created_at": now,
            "updated_at": now,
        }
        conversation = made(Conversation, values)
        stopped: list[Conversation] = []
        async with self._database.unit_of_work() as unit:
            await RunWrites(unit).lock_owner(owner_id)
            # The same key may have come twice at once.
            earlier = await self._idempotency.earlier(key, unit)
            if earlier is None:
                stopped = await make_room(unit, owner_id, self._max_concurrent, now)
                await self._store(unit, conversation, message, replay, now)
                self._idempotency.remember(unit, key, conversation.id, None)
        if earlier is not None:
            async with self._database.read() as session:
                return await _created(session, owner_id, earlier)
        log.info("conversation.created", conversation_id=str(conversation_id))
        moves.announce(self._wakeups, conversation, *stopped)
        await self._submit(conversation)
        if message is not None:
            self._name(conversation)
        return conversation

    async def send_message(self, owner_id: str, command: SendMessage) -> tuple[Conversation, Event]:
        """Append the user's message. It is answered at once, or after those before it; a stopped conversation starts.

        Raises NotFound, InvalidInput, InvalidState, SettingsNotFound, LLMAuthentication, TooManyRunning; then nothing
        was written.
        """
        key = Key(owner_id, f"send:{command.conversation_id}", command.idempotency_key)
        earlier = await self._idempotency.earlier(key)
        if earlier is not None:
            async with self._database.read() as session:
                return await _sent(session, owner_id, earlier)
        await self._must_get(owner_id, command.conversation_id, path=("conversationId",))
        command.message.check("message")
        await self._settings.model(owner_id)
        now = self._clock()
        written: tuple[list[Conversation], Event] | None = None
        async with self._database.unit_of_work() as unit:
            await RunWrites(unit).lock_owner(owner_id)
            conversation = await RunWrites(unit).lock(command.conversation_id, with_owner=False)
            if conversation is None or conversation.owner_id != owner_id:
                raise conversation_not_found("conversationId")
            earlier = await self._idempotency.earlier(key, unit)
            if earlier is None:
                written = await self._append_message(unit, conversation, command.message, now)
                self._idempotency.remember(unit, key, conversation.id, written[1].sequence)
        if written is None:
            async with self._database.read() as session:
                return await _sent(session, owner_id, earlier)
        stopped, event = written
        moves.announce(self._wakeups, conversation, *stopped)
        await self._submit(conversation)
        self._name(conversation)
        return conversation, event

    async def start(self, owner_id: str, conversation_id: UUID) -> Conversation:
        """Bring a stopped or failed conversation back to waiting for input.

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
        """Stop at once: nothing of the run is appended after this. Raises NotFound, InvalidState."""
        now = self._clock()
        async with self._database.write() as session:
            conversation = await self._lock(session, owner_id, conversation_id)
            await moves.stop(session, conversation, now)
        log.info("conversation.stopped", conversation_id=str(conversation_id))
        moves.announce(self._wakeups, conversation)
        # What people have read of an answer stands in the log before what they say next.
        await self._engine.let_go(conversation_id)
        return conversation

    async def rename(self, owner_id: str, conversation_id: UUID, title: str | None) -> ConversationRow:
        """Give the title; a blank one means: generate it. A title written meanwhile stays.

        Raises NotFound, InvalidInput.
        """
        wanted = checked_title(title)
        if wanted is None:
            await self._title.name(await self._must_get(owner_id, conversation_id), or_default=True)
            renamed = await self._rows.get(owner_id, conversation_id)
        else:
            renamed = await self._rows.rename(owner_id, conversation_id, wanted, self._clock())
        if renamed is None:
            raise conversation_not_found("id")
        return renamed

    async def delete(self, owner_id: str, conversation_id: UUID) -> None:
        """Stop the run, delete the rows, remove the workspace. Raises NotFound.

        A workspace that can't be removed does not keep the conversation: the record of it is tried again later.
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
        if removal := self._background.start("remove workspace", self._workspace.remove(conversation_id)):
            await asyncio.wait({removal}, timeout=REMOVAL_WAIT_SECONDS)
        # The files may be in another instance's data directory.
        self._wakeups.publish(removals_topic())

    async def _store(
        self,
        session: Writes,
        conversation: Conversation,
        message: Message | None,
        replay: _PlayableTrajectory | None,
        now: datetime,
    ) -> None:
        body = MessageBody(message.text, message.image_urls) if message is not None else None
        run = replay.last_run if replay is not None else 1
        await moves.create(session, conversation, now, message=body, run=run)
        if replay is not None:
            for row in new_replay(conversation.id, replay.text):
                session.add(row)

    async def _append_message(
        self, session: Writes, conversation: Conversation, message: Message, now: datetime
    ) -> tuple[list[Conversation], Event]:
        stopped: list[Conversation] = []
        if conversation.status not in (*LIVE_STATUSES, ConversationStatus.ARCHIVED):
            stopped = await make_room(
                session, conversation.owner_id, self._max_concurrent, now, besides=conversation.id
            )
        event = await moves.receive(session, conversation, now, MessageBody(message.text, message.image_urls))
        return stopped, event

    async def _submit(self, conversation: Conversation) -> None:
        if conversation.active_run is not None:
            await self._engine.submit(conversation.id, conversation.active_run)

    def _name(self, conversation: Conversation) -> None:
        """Have a title made in the background, where there is only the default one."""
        if conversation.title_is_auto_generated and conversation.title_revision == 0:
            self._background.start("name conversation", self._title.name(conversation))

    def _visible(self, wanted: ConversationFilter) -> ConversationFilter:
        return wanted if self._max_age is None else replace(wanted, visible_after=self._clock() - self._max_age)

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


async def _created(session: AsyncSession, owner_id: str, earlier: IdempotencyKey) -> Conversation:
    conversation = await ConversationRepository(session).get(owner_id, earlier.conversation_id)
    if conversation is None:
        raise conversation_not_found("idempotencyKey")
    return conversation


async def _sent(session: AsyncSession, owner_id: str, earlier: IdempotencyKey | None) -> tuple[Conversation, Event]:
    if earlier is None:
        raise conversation_not_found("conversationId")
    conversation = await ConversationRepository(session).get(owner_id, earlier.conversation_id)
    key = (earlier.conversation_id, earlier.event_sequence or 0)
    [event] = await EventRepository(session).get_many(owner_id, [key])
    if conversation is None or event is None:
        raise conversation_not_found("conversationId")
    return conversation, event
