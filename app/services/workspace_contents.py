"""Reads the contents of workspaces for their owners: files directly, and differences by git in the sandbox."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from app.errors import InvalidInput, WorkspaceFailure
from app.services.filesystem.excerpt import Excerpt
from app.services.filesystem.files import Entry, Listing, WorkspaceFiles
from app.services.filesystem.names import meant
from app.services.filesystem.path_walk import ROOT, AbsentPath, WorkspacePathError
from app.services.filesystem.tree import measure
from app.services.git.head import Head, read_head
from app.services.git.history import HistoryPage, HistoryReader
from app.services.git.patch import Change
from app.services.git.working_tree import ChangesSince, Diff, Tree, WorkingTreeReader
from app.services.workspace import WorkspaceService

MAX_TEXT_BYTES = 100_000
MAX_SCANNED_BYTES = 64 * 1024 * 1024
# Like git, treat a file with a null byte among this many first bytes as binary.
HEAD_BYTES = 8000
# Limits on concurrent work, for all callers together.
MAX_READING = 8
MAX_COMPARING = 2
# Limits for one operation.
MAX_READS = 1000
MAX_COMPARISONS = 20
WINDOW_SECONDS = 60.0

T = TypeVar("T")


class WorkspaceState(StrEnum):
    """The state of a workspace."""

    PREPARING = "PREPARING"
    READY = "READY"


@dataclass(frozen=True, slots=True)
class WorkspaceSummary:
    """A workspace's state. ``base_commit`` is the commit that was cloned, if one was.

    ``known_commits`` are those that the git host has: that one, and the last one of a branch that is to be merged.
    """

    conversation_id: UUID
    state: WorkspaceState
    base_commit: str | None
    head: Head
    known_commits: tuple[str, ...] = ()


class ReadBudget:
    """The budget of reads in workspaces: for each operation, or for each minute of a subscription."""

    def __init__(self) -> None:
        self._reads = MAX_READS
        self._comparisons = MAX_COMPARISONS
        self._since = time.monotonic()

    def read(self) -> None:
        """Count one read of a file or directory. Raises InvalidInput if the budget is used up."""
        self._begin()
        self._reads -= 1
        if self._reads < 0:
            raise InvalidInput(f"One request may look at {MAX_READS} files and directories: ask for less at once.")

    def compare(self) -> None:
        """Count one run of git. Raises InvalidInput if the budget is used up."""
        self._begin()
        self._comparisons -= 1
        if self._comparisons < 0:
            raise InvalidInput(f"One request may compare workspaces {MAX_COMPARISONS} times: ask for less at once.")

    def _begin(self) -> None:
        now = time.monotonic()
        if now - self._since > WINDOW_SECONDS:
            self._reads, self._comparisons, self._since = MAX_READS, MAX_COMPARISONS, now


class WorkspaceContents:
    """Reads workspaces. The caller must have checked that the conversation is the user's."""

    def __init__(self, workspace: WorkspaceService, reader: WorkingTreeReader) -> None:
        self._workspace = workspace
        self._reader = reader
        self._history = HistoryReader(reader)
        self._reading = asyncio.Semaphore(MAX_READING)
        self._comparing = asyncio.Semaphore(MAX_COMPARING)

    async def get(self, conversation_id: UUID, budget: ReadBudget) -> WorkspaceSummary | None:
        """Return the workspace's summary; ``None`` if this data directory has no such workspace."""
        budget.read()
        return await self.summary(conversation_id)

    async def summary(self, conversation_id: UUID) -> WorkspaceSummary | None:
        """Like ``get``, without a budget, for the server's own use."""
        return await self._in_thread(lambda: self._summary(conversation_id))

    async def size(self, conversation_id: UUID, budget: ReadBudget) -> int:
        """Measure the workspace on the disk, in bytes."""
        budget.read()

        def count() -> int:
            try:
                return measure(self._workspace.path(conversation_id)).bytes
            except FileNotFoundError:
                return 0

        return await self._in_thread(count)

    async def entries(
        self, conversation_id: UUID, path: str, after: str | None, limit: int, budget: ReadBudget
    ) -> Listing:
        """Read a page of a directory's entries. Raises InvalidInput if the path is no directory in the workspace."""
        budget.read()
        return await self._in_files(conversation_id, lambda files: files.page(_inside(path), after, limit))

    async def file(self, conversation_id: UUID, path: str, budget: ReadBudget) -> Entry | None:
        """Return the entry at a path; ``None`` if there is none. Raises InvalidInput if it is outside."""
        budget.read()

        def look(files: WorkspaceFiles) -> Entry | None:
            try:
                return files.look(_inside(path))
            except AbsentPath:
                return None

        return await self._in_files(conversation_id, look)

    async def head_of(self, conversation_id: UUID, path: str, budget: ReadBudget) -> bytes:
        """Read the beginning of a file. Raises InvalidInput."""
        budget.read()
        return await self._in_files(conversation_id, lambda files: files.head(path, HEAD_BYTES))

    async def text(
        self, conversation_id: UUID, path: str, first: int, last: int | None, budget: ReadBudget
    ) -> Excerpt | None:
        """Read lines of a file; ``None`` if it is binary. Raises InvalidInput."""
        budget.read()

        def read(files: WorkspaceFiles) -> Excerpt | None:
            if is_binary(files.head(path, HEAD_BYTES)):
                return None
            return files.lines(path, first, last, max_bytes=MAX_TEXT_BYTES, max_scanned=MAX_SCANNED_BYTES)

        return await self._in_files(conversation_id, read)

    async def changes(self, workspace: WorkspaceSummary, since: ChangesSince, budget: ReadBudget) -> list[Change]:
        """List the changed files, compared by git in the sandbox. Raises WorkspaceFailure."""
        if workspace.state is WorkspaceState.READY:
            budget.compare()
        return await self.compare(workspace, since)

    async def compare(self, workspace: WorkspaceSummary, since: ChangesSince = ChangesSince.CLONED) -> list[Change]:
        """Like ``changes``, without a budget, for the server's own use."""
        if workspace.state is not WorkspaceState.READY:
            return []
        async with self._comparing:
            return await self._reader.changes(self._tree(workspace, since))

    async def diffs(
        self,
        workspace: WorkspaceSummary,
        since: ChangesSince,
        changes: Sequence[Change],
        context_lines: int,
        budget: ReadBudget,
    ) -> list[Diff]:
        """Compute the diff of each change, all with one run of git. Raises WorkspaceFailure."""
        budget.compare()
        async with self._comparing:
            return await self._reader.diffs(self._tree(workspace, since), changes, context_lines)

    async def commits(
        self, workspace: WorkspaceSummary, after: str | None, count: int, budget: ReadBudget
    ) -> HistoryPage:
        """Read a page of commits, those since the clone first. Raises WorkspaceFailure and InvalidInput."""
        if workspace.head.commit is None:
            return HistoryPage([], has_more=False)
        budget.compare()
        async with self._comparing:
            tree = self._tree(workspace, ChangesSince.COMMITTED)
            return await self._history.page(tree, workspace.base_commit, after, count)

    async def patch(self, conversation_id: UUID, paths: Sequence[bytes]) -> bytes:
        """Build a patch of all changes since the clone, for ``git apply``. Raises WorkspaceFailure."""
        workspace = await self.summary(conversation_id)
        if workspace is None or workspace.state is not WorkspaceState.READY:
            raise WorkspaceFailure("The workspace is not there, or not whole yet.")
        async with self._comparing:
            return await self._reader.patch(self._tree(workspace, ChangesSince.CLONED), paths)

    def is_ready(self, conversation_id: UUID) -> bool:
        """Tell whether this instance has the complete workspace. Blocking."""
        return self._workspace.is_prepared(conversation_id) is True

    def files(self, conversation_id: UUID) -> WorkspaceFiles:
        """Return access to the workspace's files, for streaming."""
        return WorkspaceFiles(self._workspace.path(conversation_id), None)

    def _tree(self, workspace: WorkspaceSummary, since: ChangesSince) -> Tree:
        commit = workspace.base_commit if since is ChangesSince.CLONED else workspace.head.commit
        return Tree(workspace.conversation_id, self._workspace.path(workspace.conversation_id), commit)

    def _summary(self, conversation_id: UUID) -> WorkspaceSummary | None:
        is_prepared = self._workspace.is_prepared(conversation_id)
        if is_prepared is None:
            return None
        if not is_prepared:
            return WorkspaceSummary(conversation_id, WorkspaceState.PREPARING, None, Head())
        known = self._workspace.cloned_commits(conversation_id)
        head = read_head(self.files(conversation_id))
        return WorkspaceSummary(conversation_id, WorkspaceState.READY, known[0] if known else None, head, known)

    async def _in_files(self, conversation_id: UUID, work: Callable[[WorkspaceFiles], T]) -> T:
        try:
            return await self._in_thread(lambda: work(self.files(conversation_id)))
        except WorkspacePathError as error:
            raise InvalidInput(str(error)) from None
        except OSError as error:
            raise WorkspaceFailure(f"The workspace can't be read: {error.strerror}.") from None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        async with self._reading:
            return await asyncio.to_thread(work)


def is_binary(head: bytes) -> bool:
    """Tell by a file's beginning whether it is binary."""
    return b"\x00" in head


def join(directory: str, name: str) -> str:
    """Join a directory and a name to a path relative to the workspace."""
    return f"{directory}/{name}" if directory else name


def relative(path: str) -> str:
    """Normalise a path: relative to the workspace, without ``.`` and double slashes. Raises InvalidInput."""
    try:
        inside = _inside(path)
    except WorkspacePathError as error:
        raise InvalidInput(str(error)) from None
    parts = [part for part in inside.split("/") if part not in {"", "."}]
    return "/".join(parts[1:] if inside.startswith("/") else parts)


def checked_path(path: str, *where: str) -> str:
    """Normalize like ``relative``, and refuse a path outside. Raises InvalidInput with ``where`` as its path."""
    try:
        inside, name = meant(path), relative(path)
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidInput("The path is not valid Unicode.", path=where) from None
    except WorkspacePathError as error:
        raise InvalidInput(str(error), path=where) from None
    is_elsewhere = inside.startswith("/") and not f"{inside}/".startswith(f"{ROOT}/")
    if is_elsewhere or "\x00" in name or ".." in name.split("/"):
        raise InvalidInput("A path leads into the workspace, and has no null character.", path=where)
    return name


def _inside(path: str) -> str:
    """Convert a client's path for ``WorkspaceFiles``; an empty one is the workspace itself."""
    return meant(path) or os.curdir
