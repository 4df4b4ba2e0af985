"""Workspaces: one directory per conversation, and its removal, which is tried again until it succeeds."""

import asyncio
import os
import shutil
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import structlog

from app.models.database import Database
from app.models.workspace_removal import WorkspaceRemovalRepository
from app.services.clock import Clock

log = structlog.get_logger(__name__)

FIRST_RETRY = timedelta(seconds=5)
LAST_RETRY = timedelta(hours=1)
REMOVALS_PER_ROUND = 100


class WorkspaceService:
    """The directories under ``<data_dir>/workspaces``."""

    def __init__(self, root: Path, database: Database, clock: Clock) -> None:
        self._root = root
        self._database = database
        self._clock = clock

    def path(self, conversation_id: UUID) -> Path:
        """Where the conversation's workspace is, or would be."""
        return self._root / str(conversation_id)

    async def prepare(self, conversation_id: UUID) -> Path:
        """Make the workspace unless it is there. Raises OSError."""
        path = self.path(conversation_id)
        await asyncio.to_thread(path.mkdir, mode=0o700, parents=True, exist_ok=True)
        return path

    async def discard(self, conversation_id: UUID) -> None:
        """Remove a workspace that was made for a conversation which was deleted meanwhile."""
        await asyncio.to_thread(shutil.rmtree, self.path(conversation_id), ignore_errors=True)

    async def remove(self, conversation_id: UUID) -> bool:
        """Carry out a recorded removal. False when it failed: the record then names a later time."""
        try:
            await asyncio.to_thread(_remove_tree, self.path(conversation_id))
        except OSError as error:
            log.warning("workspace.removal_failed", conversation_id=str(conversation_id), error=type(error).__name__)
            await self._put_off(conversation_id)
            return False
        async with self._database.write() as session:
            await WorkspaceRemovalRepository(session).delete(conversation_id)
        return True

    async def retry_removals(self, *, at_once: bool = False) -> None:
        """Carry out the removals whose time has come (``at_once``: all of them)."""
        moment = self._clock() + (LAST_RETRY if at_once else timedelta())
        async with self._database.read() as session:
            due = await WorkspaceRemovalRepository(session).due(moment, REMOVALS_PER_ROUND)
        for removal in due:
            await self.remove(removal.conversation_id)

    async def _put_off(self, conversation_id: UUID) -> None:
        async with self._database.write() as session:
            removal = await WorkspaceRemovalRepository(session).get(conversation_id)
            if removal is not None:
                removal.attempts += 1
                pause = min(FIRST_RETRY * 2 ** min(removal.attempts - 1, 20), LAST_RETRY)
                removal.next_attempt_at = self._clock() + pause


def _remove_tree(path: Path) -> None:
    if os.path.lexists(path):
        shutil.rmtree(path)
