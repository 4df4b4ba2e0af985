"""Use cases for many conversations at once: tag, pin, archive and delete them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import AppError, InvalidInput, NotFound, conversation_not_found
from app.models.conversation import Conversation, ConversationRepository
from app.models.database.database import Database
from app.models.owner import OwnerRepository
from app.models.search.walk import NARROW_MAX_ROWS
from app.models.tag import TagRepository, fold_tag
from app.services.agent.engine import RunEngine
from app.services.clock import Clock
from app.services.conversation import REMOVAL_WAIT_SECONDS, ConversationService
from app.services.lifecycle import moves
from app.services.push.wakeups import Wakeups
from app.services.tag import MAX_TAGS, checked_tags

T = TypeVar("T")

log = structlog.get_logger(__name__)

MAX_IDS = 100
MAX_PINNED = NARROW_MAX_ROWS
"""Pinned conversations of one owner: so few are read at once for a page, whatever its order."""


@dataclass(frozen=True, slots=True)
class UpdateConversations:
    """Changes to many conversations; ``None`` and empty lists change nothing."""

    add_tags: Sequence[str] = ()
    remove_tags: Sequence[str] = ()
    is_pinned: bool | None = None
    is_archived: bool | None = None


@dataclass(frozen=True, slots=True)
class _Changes:
    """Validated changes. Tags are by their folded form."""

    added: Mapping[str, str]
    removed: frozenset[str]
    is_pinned: bool | None
    is_archived: bool | None


def _checked(ids: Sequence[UUID | None], command: UpdateConversations) -> _Changes:
    """Raise InvalidInput unless all conversations could be changed so."""
    _check_count(ids)
    added = checked_tags(command.add_tags, "addTags")
    removed = frozenset(checked_tags(command.remove_tags, "removeTags"))
    for name in added.keys() & removed:
        raise InvalidInput(f"The tag {added[name]} is both added and removed.", path=("removeTags",))
    return _Changes(added, removed, command.is_pinned, command.is_archived)


def _check_count(ids: Sequence[UUID | None]) -> None:
    if not 1 <= len(ids) <= MAX_IDS:
        raise InvalidInput(f"`ids` has 1 to {MAX_IDS} ids; these are {len(ids)}.", path=("ids",))


class ConversationBatchService:
    """Each id gets a result of its own: its conversation, or an expected failure. A doubled id gets it twice."""

    def __init__(
        self, database: Database, wakeups: Wakeups, clock: Clock, engine: RunEngine, conversation: ConversationService
    ) -> None:
        self._database = database
        self._wakeups = wakeups
        self._clock = clock
        self._engine = engine
        self._conversation = conversation

    async def update(
        self, owner_id: str, ids: Sequence[UUID | None], command: UpdateConversations
    ) -> list[Conversation | AppError]:
        """Change conversations in one transaction; ``None`` is an id that no conversation can have.

        What is archived is stopped. Raises InvalidInput if nothing can be changed so.
        """
        changes, now = _checked(ids, command), self._clock()
        results: dict[UUID, Conversation | AppError] = {}
        changed: list[Conversation] = []
        stopped: list[Conversation] = []
        async with self._database.write() as session:
            await OwnerRepository(session).lock(owner_id)
            rows = await ConversationRepository(session).lock_many(owner_id, [key for key in ids if key is not None])
            pinned = await ConversationRepository(session).count_pinned(owner_id) if changes.is_pinned else 0
            for conversation in rows:
                results[conversation.id] = conversation
                status = conversation.status
                pins = changes.is_pinned is True and not conversation.is_pinned
                try:
                    if not await _apply(session, conversation, changes, now, can_be_pinned=pinned < MAX_PINNED):
                        continue
                except InvalidInput as error:
                    results[conversation.id] = error
                    continue
                pinned += pins
                changed.append(conversation)
                if conversation.status != status:
                    stopped.append(conversation)
        log.info("conversations.updated", count=len(changed), stopped=len(stopped))
        moves.announce(self._wakeups, *changed)
        await asyncio.gather(*(self._engine.let_go(conversation.id) for conversation in stopped))
        return [_result(results, key, number) for number, key in enumerate(ids)]

    async def delete(self, owner_id: str, ids: Sequence[UUID | None]) -> list[UUID | AppError]:
        """Delete conversations, each in a transaction of its own, since a long log takes long to delete.

        Raises InvalidInput for too many ids.
        """
        _check_count(ids)
        results: dict[UUID, UUID | AppError] = {}
        removals: set[asyncio.Task[Any]] = set()
        for key in dict.fromkeys(ids):
            if key is None:
                continue
            try:
                removals |= await self._conversation.begin_deletion(owner_id, key)
            except NotFound:
                continue
            results[key] = key
        if removals:
            await asyncio.wait(removals, timeout=REMOVAL_WAIT_SECONDS)
        self._conversation.announce_removals()
        return [_result(results, key, number) for number, key in enumerate(ids)]


async def _apply(
    session: AsyncSession, conversation: Conversation, changes: _Changes, now: datetime, *, can_be_pinned: bool
) -> bool:
    """Change one conversation, and tell whether anything was different. Raises InvalidInput before any change."""
    tags = {fold_tag(name): name for name in conversation.tags}
    wanted = {name: shown for name, shown in tags.items() if name not in changes.removed}
    wanted = dict(changes.added) | wanted
    if len(wanted) > MAX_TAGS and len(wanted) > len(tags):
        raise InvalidInput(f"A conversation has at most {MAX_TAGS} tags.", path=("addTags",))
    pins = changes.is_pinned is not None and changes.is_pinned != conversation.is_pinned
    if pins and changes.is_pinned and not can_be_pinned:
        raise InvalidInput(f"At most {MAX_PINNED} conversations can be pinned.", path=("isPinned",))
    archives = changes.is_archived is not None and changes.is_archived != conversation.is_archived
    if not pins and not archives and wanted.keys() == tags.keys():
        return False
    await TagRepository(session).remove(conversation.owner_id, conversation.id, tags.keys() - wanted.keys())
    TagRepository(session).add(conversation.owner_id, conversation.id, wanted.keys() - tags.keys())
    conversation.tags = [wanted[name] for name in sorted(wanted)]
    conversation.is_pinned = conversation.is_pinned if changes.is_pinned is None else changes.is_pinned
    if archives and changes.is_archived:
        conversation.archive(now)
    elif archives:
        conversation.unarchive()
    await moves.organise(session, conversation, now)
    return True


def _result(results: Mapping[UUID, T | AppError], key: UUID | None, number: int) -> T | AppError:
    found = results.get(key) if key is not None else None
    return conversation_not_found("ids", str(number)) if found is None else found
