"""Downloads of files, archives, patches and logs by signed URLs.

Downloads are stateless: a ticket holds the owner, the conversation, the format, the paths and the expiry. The
conversation is looked up when a download starts and every two seconds while it runs, so a deletion aborts it.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from app.errors import InvalidInput, NotFound, WorkspaceFailure, conversation_not_found
from app.models.conversation import Conversation, ConversationRepository
from app.models.database.database import Database
from app.models.rows.conversation_state import ConversationStates
from app.services.attachment import AttachmentStore
from app.services.blocking import finish_in_thread
from app.services.clock import Clock
from app.services.export import LogExport
from app.services.filesystem.archive import tar_pieces, zip_pieces
from app.services.filesystem.files import AbsentPath, WorkspaceFiles, WorkspacePathError
from app.services.filesystem.members import PIECE_BYTES, MemberBounds, TooLarge, count, members, outermost
from app.services.filesystem.names import shown
from app.services.push.wakeups import POLL_SECONDS
from app.services.ticket import Tickets
from app.services.workspace_contents import ReadBudget, WorkspaceContents, checked_path

LIFETIME = timedelta(minutes=5)
MAX_PATHS = 100
# Of all paths together; they are part of the URL.
MAX_PATH_BYTES = 8 * 1024
MAX_TAR_ENTRIES = 500_000
# Its directory stays in memory until the end: 0.7 KB for each.
MAX_ZIP_ENTRIES = 50_000
# Concurrent steps of all downloads in this process; a step reads or compresses up to 1 MiB in a thread.
MAX_STEPS = 4

T = TypeVar("T")


class DownloadFormat(StrEnum):
    """The content of a download and its file format."""

    FILE = "FILE"
    ZIP = "ZIP"
    TAR_GZ = "TAR_GZ"
    PATCH = "PATCH"
    TRAJECTORY_JSON = "TRAJECTORY_JSON"
    TRAJECTORY_MARKDOWN = "TRAJECTORY_MARKDOWN"


# Media type, and file name with the beginning of the conversation's id; those of a file are its own.
_KINDS = {
    DownloadFormat.FILE: ("application/octet-stream", "{}"),
    DownloadFormat.ZIP: ("application/zip", "workspace-{}.zip"),
    DownloadFormat.TAR_GZ: ("application/gzip", "workspace-{}.tar.gz"),
    DownloadFormat.PATCH: ("text/x-patch; charset=utf-8", "changes-{}.patch"),
    DownloadFormat.TRAJECTORY_JSON: ("application/json", "trajectory-{}.json"),
    DownloadFormat.TRAJECTORY_MARKDOWN: ("text/markdown; charset=utf-8", "trajectory-{}.md"),
}
_LOGS = (DownloadFormat.TRAJECTORY_JSON, DownloadFormat.TRAJECTORY_MARKDOWN)
_MAX_ENTRIES = {DownloadFormat.ZIP: MAX_ZIP_ENTRIES, DownloadFormat.TAR_GZ: MAX_TAR_ENTRIES}


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """The claims of a ticket. ``paths`` are relative to the workspace, with surrogates for invalid UTF-8."""

    owner_id: str
    conversation_id: UUID
    format: DownloadFormat
    paths: tuple[str, ...]
    attachment: str = ""
    """SHA-256 of an attachment, which is downloaded in the place of the workspace's file."""

    @property
    def media_type(self) -> str:
        """The Content-Type."""
        return _KINDS[self.format][0]

    @property
    def file_name(self) -> str:
        """The file name; invalid UTF-8 in it is quoted as git quotes paths."""
        if self.format is DownloadFormat.FILE:
            return shown(self.paths[0].rpartition("/")[2])
        return _KINDS[self.format][1].format(str(self.conversation_id)[:8])


@dataclass(frozen=True, slots=True)
class Download:
    """A signed URL, relative to that of ``/graphql``, with its expiry."""

    url: str
    expires_at: datetime
    request: DownloadRequest


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open file with its size. ``version`` changes whenever the content may have changed (an ETag)."""

    opened: int
    size: int
    version: str

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.opened)


class DownloadBroken(Exception):
    """The body can't be completed after it began, so the connection has to be aborted."""


class DownloadService:
    """Signs tickets for downloads, and streams the content of a verified one."""

    def __init__(
        self,
        database: Database,
        tickets: Tickets,
        clock: Clock,
        *,
        workspace: WorkspaceContents,
        export: LogExport,
        attachments: AttachmentStore,
        max_bytes: int,
    ) -> None:
        self._database = database
        self._states = ConversationStates(database)
        self._tickets = tickets
        self._clock = clock
        self._workspace = workspace
        self._export = export
        self._attachments = attachments
        self._max_bytes = max_bytes
        self._steps = asyncio.Semaphore(MAX_STEPS)
        # Counting 500,000 entries holds Python's lock for seconds.
        self._counting = asyncio.Lock()

    async def create(
        self, owner_id: str, conversation_id: UUID, wanted: DownloadFormat, paths: list[str], budget: ReadBudget
    ) -> Download:
        """Check that the content exists and is within bounds, and sign a URL for it.

        Raises NotFound, InvalidInput and WorkspaceFailure.
        """
        conversation = await self._conversation(owner_id, conversation_id)
        if conversation is None:
            raise conversation_not_found("conversationId")
        request = DownloadRequest(owner_id, conversation_id, wanted, _checked(wanted, paths))
        if wanted not in _LOGS and not await asyncio.to_thread(self._workspace.is_ready, conversation_id):
            raise NotFound("The workspace is not there, or not whole yet.", path=("conversationId",))
        if wanted is DownloadFormat.FILE:
            try:
                entry = await self._workspace.file(conversation_id, request.paths[0], budget)
            except InvalidInput as error:
                raise InvalidInput(error.message, path=("paths", "0")) from None
            if entry is None or entry.kind != "file":
                raise NotFound("There is no such file.", path=("paths", "0"))
        elif wanted in _MAX_ENTRIES:
            budget.read()
            async with self._counting:
                await self._in_files(request, lambda files: count(files, request.paths, self._bounds(request)))
        return self.sign(request)

    def sign(self, request: DownloadRequest) -> Download:
        """Sign a URL without checking that the content exists."""
        expires_at = self._clock() + LIFETIME
        claims: dict[str, object] = {
            "owner": request.owner_id,
            "conversation": str(request.conversation_id),
            "format": request.format.value,
            "paths": [path.encode("utf-8", "surrogateescape").decode("latin-1") for path in request.paths],
        }
        if request.attachment:
            claims["attachment"] = request.attachment
        return Download(f"downloads?ticket={self._tickets.sign(claims, expires_at)}", expires_at, request)

    def sign_attachment(self, owner_id: str, conversation_id: UUID, digest: str, name: str) -> Download:
        """Sign a URL for an attachment."""
        return self.sign(DownloadRequest(owner_id, conversation_id, DownloadFormat.FILE, (name,), digest))

    async def admit(self, ticket: str) -> DownloadRequest:
        """Verify a ticket. Raises TicketRefused, and NotFound if the conversation was deleted."""
        request = _request(self._tickets.verify(ticket))
        if await self._is_gone(request):
            raise conversation_not_found()
        return request

    async def open(self, request: DownloadRequest) -> OpenFile:
        """Open the file of a ``FILE`` request, which the caller closes.

        Raises InvalidInput, NotFound and WorkspaceFailure.
        """

        def look(files: WorkspaceFiles) -> OpenFile:
            if request.attachment:
                opened = self._attachments.open(request.conversation_id, request.attachment)
            else:
                opened = files.open(request.paths[0])
            status = os.fstat(opened)
            return OpenFile(opened, status.st_size, f"{status.st_ino:x}-{status.st_ctime_ns:x}-{status.st_size:x}")

        return await self._in_files(request, look)

    async def part(self, request: DownloadRequest, file: OpenFile, first: int, last: int) -> AsyncGenerator[bytes]:
        """Stream the bytes of a file from ``first`` to ``last``. Raises DownloadBroken if it was truncated."""

        def read() -> Generator[bytes]:
            at = first
            while at <= last:
                piece = os.pread(file.opened, min(PIECE_BYTES, last - at + 1), at)
                if not piece:
                    raise DownloadBroken
                at += len(piece)
                yield piece

        async with aclosing(self._pull(request, read())) as pieces:
            async for piece in pieces:
                yield piece

    async def stream(self, request: DownloadRequest) -> AsyncGenerator[bytes]:
        """Stream an archive, a patch or a log.

        Raises the errors of ``open`` before the first chunk, and DownloadBroken afterwards.
        """
        if request.format in _LOGS:
            source = self._log(request)
        elif request.format is DownloadFormat.PATCH:
            source = self._patch(request)
        else:
            source = self._archive(request)
        async with aclosing(source) as pieces:
            async for piece in pieces:
                yield piece

    async def _archive(self, request: DownloadRequest) -> AsyncGenerator[bytes]:
        files = self._workspace.files(request.conversation_id)
        # Errors before the first byte can still be answered with a status of their own.
        await self._in_files(request, lambda found: [found.look(path) for path in request.paths])
        found = members(files, request.paths, self._bounds(request))
        pieces = zip_pieces(found) if request.format is DownloadFormat.ZIP else tar_pieces(found)
        async with aclosing(self._pull(request, pieces)) as pulled:
            async for piece in pulled:
                yield piece

    async def _patch(self, request: DownloadRequest) -> AsyncGenerator[bytes]:
        paths = [path.encode("utf-8", "surrogateescape") for path in request.paths]
        patch = await self._workspace.patch(request.conversation_id, paths)
        for start in range(0, max(1, len(patch)), PIECE_BYTES):
            yield patch[start : start + PIECE_BYTES]

    async def _log(self, request: DownloadRequest) -> AsyncGenerator[bytes]:
        conversation = await self._conversation(request.owner_id, request.conversation_id)
        if conversation is None:
            raise conversation_not_found()
        is_json = request.format is DownloadFormat.TRAJECTORY_JSON
        source = self._export.json(conversation) if is_json else self._export.markdown(conversation)
        checked_at = time.monotonic()
        async with aclosing(source) as pieces:
            async for piece in pieces:
                checked_at = await self._check(request, checked_at)
                yield piece

    async def _pull(self, request: DownloadRequest, pieces: Generator[bytes]) -> AsyncGenerator[bytes]:
        """Iterate a blocking generator, each step in a thread, so that no thread waits for a slow client."""
        checked_at = time.monotonic()
        try:
            while True:
                async with self._steps:
                    piece = await finish_in_thread(lambda: next(pieces, None))
                if piece is None:
                    return
                checked_at = await self._check(request, checked_at)
                if piece:
                    yield piece
        except (TooLarge, WorkspacePathError, OSError) as error:
            raise DownloadBroken(str(error)) from None
        finally:
            await finish_in_thread(pieces.close)

    async def _check(self, request: DownloadRequest, checked_at: float) -> float:
        """Raise DownloadBroken if the conversation was deleted, which is queried every two seconds."""
        now = time.monotonic()
        if now - checked_at < POLL_SECONDS:
            return checked_at
        if await self._is_gone(request):
            raise DownloadBroken("The conversation was deleted.")
        return now

    async def _conversation(self, owner_id: str, conversation_id: UUID) -> Conversation | None:
        async with self._database.read() as session:
            return await ConversationRepository(session).get(owner_id, conversation_id)

    async def _is_gone(self, request: DownloadRequest) -> bool:
        return await self._states.last_sequence(request.owner_id, request.conversation_id) is None

    def _bounds(self, request: DownloadRequest) -> MemberBounds:
        return MemberBounds(_MAX_ENTRIES[request.format], self._max_bytes)

    async def _in_files(self, request: DownloadRequest, work: Callable[[WorkspaceFiles], T]) -> T:
        files = self._workspace.files(request.conversation_id)
        try:
            async with self._steps:
                return await finish_in_thread(lambda: work(files))
        except AbsentPath as error:
            raise NotFound(str(error), path=("paths",)) from None
        except FileNotFoundError:
            raise NotFound("The file is not here.", path=("paths",)) from None
        except (WorkspacePathError, TooLarge) as error:
            raise InvalidInput(str(error), path=("paths",)) from None
        except OSError as error:
            raise WorkspaceFailure(f"The workspace can't be read: {error.strerror}.") from None


def _checked(wanted: DownloadFormat, paths: list[str]) -> tuple[str, ...]:
    """Normalize and check the paths. Raises InvalidInput."""
    if wanted in _LOGS and paths:
        raise InvalidInput("A trajectory has no paths.", path=("paths",))
    if len(paths) > MAX_PATHS:
        raise InvalidInput(f"A download has at most {MAX_PATHS} paths.", path=("paths",))
    found = [checked_path(path, "paths", str(number)) for number, path in enumerate(paths)]
    if sum(len(path.encode("utf-8", "surrogateescape")) for path in found) > MAX_PATH_BYTES:
        raise InvalidInput(f"The paths have more than {MAX_PATH_BYTES} bytes together.", path=("paths",))
    if wanted is DownloadFormat.FILE and (len(found) != 1 or not found[0]):
        raise InvalidInput("A file is downloaded by its one path.", path=("paths",))
    return () if "" in found else outermost(found)


def _request(claims: Any) -> DownloadRequest:  # noqa: ANN401  They were signed here.
    paths = [path.encode("latin-1").decode("utf-8", "surrogateescape") for path in claims["paths"]]
    return DownloadRequest(
        claims["owner"],
        UUID(claims["conversation"]),
        DownloadFormat(claims["format"]),
        tuple(paths),
        claims.get("attachment", ""),
    )
