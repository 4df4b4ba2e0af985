"""Workspaces: one directory per conversation, cloned when a run starts, and removed with retries after a deletion.

Instances on one PostgreSQL have data directories of their own. A deletion is recorded in the database, and each
instance compares its directories with the records: at its start, when it is woken, and periodically.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol
from uuid import UUID
from weakref import WeakValueDictionary

import structlog

from app.errors import AppError, InvalidInput, WorkspaceFailure
from app.models.conversation import Conversation, ConversationRepository
from app.models.database.database import Database
from app.models.git_repository import GitRepositoryRepository
from app.models.merge_base import MergeBaseRepository
from app.models.workspace_removal import WorkspaceRemovalRepository
from app.services.clock import Clock
from app.services.filesystem.tree import measure, remove_tree
from app.services.git.base import CloneSource
from app.services.git.checkout import clone_branch, merge_remote
from app.services.git.clone import GitCloner
from app.services.sandbox.shell import Shell
from app.services.sandbox.watchdog import MIN_FREE_BYTES

log = structlog.get_logger(__name__)

FIRST_RETRY = timedelta(seconds=5)
LAST_RETRY = timedelta(hours=1)
# Number of workspaces that one statement looks up.
REMOVALS_AT_ONCE = 500
# An instance that was away for longer keeps the workspaces of conversations that were deleted before.
REMOVAL_LIFETIME = timedelta(days=90)
PARTIAL = ".partial"
# A directory for the ids of cloned commits, outside of the workspaces, so that agents can't change them.
CLONED = "cloned"
# The files that messages name.
ATTACHMENTS = "attachments"

Tell = Callable[[str], Awaitable[None]]
"""Is called with a sentence for the user when a stage of preparing a workspace begins."""


class CloneSources(Protocol):
    """The part of ``RepositoryService`` that cloning needs."""

    async def clone_source(self, owner_id: str, repository_id: UUID) -> CloneSource:
        """Return the arguments of a clone of an owner's repository. Raises ``NotFound`` and other ``AppError``s."""
        ...

    async def moved_source(self, owner_id: str, repository_id: UUID, failure: WorkspaceFailure) -> CloneSource:
        """Return the new clone source of a repository that git could not clone, if it was moved or renamed.

        Otherwise raises ``WorkspaceFailure``: ``failure`` itself, or a better reason that the provider's answer gives.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Failure:
    """A removal that failed in this process, with the number of failures in a row."""

    attempts: int
    next_attempt_at: datetime


class WorkspaceService:
    """Creates and removes the directories under ``<data_dir>/workspaces``."""

    def __init__(
        self,
        root: Path,
        database: Database,
        clock: Clock,
        *,
        cloner: GitCloner,
        sources: CloneSources,
        shell: Shell,
    ) -> None:
        self._root = root
        self._cloned = root.with_name(CLONED)
        self._attached = root.with_name(ATTACHMENTS)
        self._database = database
        self._clock = clock
        self._cloner = cloner
        self._sources = sources
        self._shell = shell
        self._failures: dict[UUID, _Failure] = {}
        self._removing: set[UUID] = set()
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    def path(self, conversation_id: UUID) -> Path:
        """Return the path of the conversation's workspace, which may not exist."""
        return self._root / str(conversation_id)

    def lock(self, conversation_id: UUID) -> asyncio.Lock:
        """Return the lock under which this process commits, pushes and proposes what is in the workspace."""
        return self._locks.setdefault(conversation_id, asyncio.Lock())

    def is_prepared(self, conversation_id: UUID) -> bool | None:
        """Tell whether the workspace is complete; ``None`` if nothing of it exists. It blocks: call it in a thread."""
        path = self.path(conversation_id)
        return True if path.is_dir() else False if _partial(path).is_dir() else None

    def cloned_commits(self, conversation_id: UUID) -> tuple[str, ...]:
        """Return the commit that was cloned, then that of the branch to be merged. It blocks: call it in a thread.

        Both are at the git host, so a push needs nothing below them. Nothing is returned where none was cloned.
        """
        try:
            return tuple(self._base_path(conversation_id).read_text().split())
        except FileNotFoundError:
            return ()

    def check_room(self, conversation_id: UUID, size: int, max_bytes: int) -> None:
        """Check that ``size`` more bytes fit into the workspace and on the disk. It blocks: call it in a thread.

        Raises InvalidInput, WorkspaceFailure and OSError.
        """
        path = self.path(conversation_id)
        present = measure(path)
        if present.is_too_large or present.bytes + size > max_bytes:
            raise InvalidInput(f"The workspace would be larger than {max_bytes} bytes.", path=("sizeBytes",))
        system = os.statvfs(path)
        if system.f_bavail * system.f_frsize - size < MIN_FREE_BYTES:
            raise WorkspaceFailure("The server's disk has no room for it.")

    def _base_path(self, conversation_id: UUID) -> Path:
        return self._cloned / str(conversation_id)

    async def prepare(self, conversation: Conversation, tell: Tell) -> Path:
        """Create the workspace unless it exists, with a clone of the conversation's repository.

        It is created atomically, so a crash never leaves half a clone in its place. ``tell`` is called with the stages
        of cloning. Raises OSError, or AppError if the repository can't be cloned.
        """
        path = self.path(conversation.id)
        if conversation.repository_id is None:
            await asyncio.to_thread(path.mkdir, mode=0o700, parents=True, exist_ok=True)
            await self._adopt(conversation.id, path)
        elif not await asyncio.to_thread(path.is_dir):
            await self._clone(conversation, conversation.repository_id, path, tell)
        return path

    async def discard(self, conversation_id: UUID) -> None:
        """Remove the workspace of a conversation that was deleted while the workspace was created."""
        path = self.path(conversation_id)
        await self._remove_quietly(path)
        await asyncio.to_thread(self._base_path(conversation_id).unlink, missing_ok=True)

    async def remove(self, conversation_id: UUID) -> bool:
        """Carry out a recorded removal. False if it failed, and will be retried, or is already in progress."""
        if conversation_id in self._removing:
            return False
        self._removing.add(conversation_id)
        path = self.path(conversation_id)
        try:
            await asyncio.to_thread(remove_tree, path)
            await asyncio.to_thread(remove_tree, _partial(path))
            await asyncio.to_thread(remove_tree, self._attached / str(conversation_id))
            await asyncio.to_thread(self._base_path(conversation_id).unlink, missing_ok=True)
        except OSError as error:
            log.warning("workspace.removal_failed", conversation_id=str(conversation_id), error=type(error).__name__)
            await self._put_off(conversation_id)
            return False
        finally:
            self._removing.discard(conversation_id)
        self._failures.pop(conversation_id, None)
        if self._database.is_sqlite:
            # On SQLite this is the only instance, so there is no other data directory.
            async with self._database.write() as session:
                await WorkspaceRemovalRepository(session).delete(conversation_id)
        return True

    async def retry_removals(self, *, at_once: bool = False) -> None:
        """Remove the local workspaces of deleted conversations, whichever instance deleted them.

        A failed removal is retried when its back-off is over, or with ``at_once`` immediately.
        """
        here = await asyncio.to_thread(_conversations_in, self._root, self._cloned, self._attached)
        for start in range(0, len(here), REMOVALS_AT_ONCE):
            async with self._database.read() as session:
                removals = await WorkspaceRemovalRepository(session).among(here[start : start + REMOVALS_AT_ONCE])
            for conversation_id in removals:
                failure = self._failures.get(conversation_id)
                if at_once or failure is None or failure.next_attempt_at <= self._clock():
                    await self.remove(conversation_id)
        async with self._database.write() as session:
            await WorkspaceRemovalRepository(session).delete_before(self._clock() - REMOVAL_LIFETIME)

    async def _clone(self, conversation: Conversation, repository_id: UUID, path: Path, tell: Tell) -> None:
        async with self._database.read() as session:
            [repository] = await GitRepositoryRepository(session).get_many(conversation.owner_id, [repository_id])
        if repository is None:
            raise WorkspaceFailure("The conversation's repository is not known any more.")
        await tell("Preparing the sandbox.")
        branch = conversation.branch_name
        source = await self._sources.clone_source(conversation.owner_id, repository_id)
        is_default = conversation.branch_is_default
        named = f", branch {branch}" if branch is not None else ""
        await tell(f"Cloning {repository.name_with_owner}{named}.")
        # The clone is made in a sibling directory, and renamed when it is complete.
        partial = _partial(path)
        try:
            await asyncio.to_thread(remove_tree, partial)
            await asyncio.to_thread(self._root.mkdir, mode=0o700, parents=True, exist_ok=True)
            try:
                outcome = await clone_branch(self._cloner, source, partial, branch, is_default=is_default)
            except WorkspaceFailure as failure:
                source = await self._sources.moved_source(conversation.owner_id, repository_id, failure)
                await tell(f"{repository.name_with_owner} has moved to {source.url}, which is cloned.")
                await asyncio.to_thread(remove_tree, partial)
                outcome = await clone_branch(self._cloner, source, partial, branch, is_default=is_default)
            await asyncio.to_thread(partial.chmod, 0o700)
            merged = await self._fetch_merge_base(conversation, source, partial, outcome.branch, tell)
            await self._adopt(conversation.id, partial)
            if outcome.branch != branch:
                async with self._database.write() as session:
                    await ConversationRepository(session).set_branch(conversation.id, outcome.branch)
            if outcome.note is not None:
                await tell(outcome.note)
            await asyncio.to_thread(self._cloned.mkdir, mode=0o700, exist_ok=True)
            await asyncio.to_thread(self._base_path(conversation.id).write_text, f"{outcome.commit or ''} {merged}\n")
            await asyncio.to_thread(partial.rename, path)
        except BaseException:
            await asyncio.shield(self._remove_quietly(partial))
            raise
        await tell("The workspace is ready.")

    async def _fetch_merge_base(
        self, conversation: Conversation, source: CloneSource, directory: Path, branch: str | None, tell: Tell
    ) -> str:
        """Fetch the branch that is to be merged, and both histories, since a merge needs a common commit.

        Returns its commit if that is in the repository which was cloned, else "". A failure is told to the user only:
        what the agent lacks then is no reason not to begin.
        """
        async with self._database.read() as session:
            base = await MergeBaseRepository(session).get(conversation.id)
        if base is None or branch is None:
            return ""
        is_same = base.repository_id == conversation.repository_id
        remote = merge_remote(is_fork=not is_same)
        try:
            base_source = source
            if not is_same:
                base_source = await self._sources.clone_source(conversation.owner_id, base.repository_id)
            await self._cloner.fetch(source, directory, branch, "origin")
            commit = await self._cloner.fetch(base_source, directory, base.branch_name, remote)
        except AppError as failure:
            await tell(f"The base branch {base.branch_name} can't be fetched: {failure.message}")
            return ""
        await tell(f"The base branch is there as {remote}/{base.branch_name}, with the history of both.")
        return commit if is_same else ""

    async def _adopt(self, conversation_id: UUID, path: Path) -> None:
        if self._shell.sandbox is not None:
            await self._shell.sandbox.adopt(conversation_id, path)

    async def _remove_quietly(self, path: Path) -> None:
        try:
            await asyncio.to_thread(remove_tree, path)
        except OSError as error:
            log.warning("workspace.not_discarded", conversation_id=path.name, error=type(error).__name__)

    async def _put_off(self, conversation_id: UUID) -> None:
        failure = self._failures.get(conversation_id)
        attempts = failure.attempts + 1 if failure is not None else 1
        pause = min(FIRST_RETRY * 2 ** min(attempts - 1, 20), LAST_RETRY)
        failure = self._failures[conversation_id] = _Failure(attempts, self._clock() + pause)
        async with self._database.write() as session:
            removal = await WorkspaceRemovalRepository(session).get(conversation_id)
            if removal is not None:
                removal.attempts += 1
                removal.next_attempt_at = failure.next_attempt_at


def _partial(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)


def _conversations_in(*roots: Path) -> list[UUID]:
    """Return the ids of conversations that have something there, such as a workspace, complete or not."""
    ids: set[UUID] = set()
    for root in roots:
        paths = list(root.iterdir()) if root.is_dir() else []
        for path in paths:
            with suppress(ValueError):
                ids.add(UUID(path.name.removesuffix(PARTIAL)))
    return list(ids)
