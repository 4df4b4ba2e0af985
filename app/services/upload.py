"""Uploads of files by signed URLs: to a workspace, or for a message that will name them.

As for downloads, a ticket holds the owner, the conversation, the path, the size and the expiry.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID, uuid4

from app.errors import InvalidInput, NotFound, WorkspaceFailure, conversation_not_found
from app.models.database.database import Database
from app.models.rows.conversation_state import ConversationStates
from app.services.attachment import MAX_BYTES
from app.services.blocking import finish_in_thread
from app.services.clock import Clock
from app.services.filesystem.files import WorkspaceFiles
from app.services.filesystem.incoming import IncomingFile
from app.services.filesystem.path_walk import MAX_DEPTH, WorkspacePathError
from app.services.push.wakeups import Wakeups, workspace_topic
from app.services.sandbox.identity import sandbox_uid
from app.services.staged_upload import StagedFile, StagedUploads
from app.services.ticket import TicketRefused, Tickets
from app.services.workspace import WorkspaceService
from app.services.workspace_contents import checked_path

LIFETIME = timedelta(minutes=5)
DIRECTORY = "uploads"
MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
# Names that belong to git and to the server, at any depth.
RESERVED = frozenset({".git", ".parley"})
REMEMBERED_TICKETS = 100_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """The claims of a ticket: one file of ``size`` bytes at ``path``.

    ``number`` is a nonce, and the upload's id if it belongs to no conversation yet.
    """

    owner_id: str
    conversation_id: UUID | None
    path: str
    size: int
    number: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A signed URL, relative to that of ``/graphql``, with its expiry."""

    url: str
    expires_at: datetime
    request: UploadRequest


class Receiver:
    """Writes the chunks of one upload."""

    def __init__(self, file: IncomingFile | StagedFile, request: UploadRequest) -> None:
        self._file = file
        self._left = request.size
        self.is_done = False

    async def write(self, piece: bytes) -> None:
        """Append a chunk. Raises InvalidInput beyond the announced size, and WorkspaceFailure."""
        self._left -= len(piece)
        if self._left < 0:
            raise InvalidInput("More came than `sizeBytes` said.")
        await _in_thread(lambda: self._file.write(piece))

    async def finish(self) -> None:
        """Move the complete file to its path. Raises InvalidInput if bytes are missing, and WorkspaceFailure."""
        if self._left:
            raise InvalidInput(f"{self._left} bytes fewer came than `sizeBytes` said.")
        await _in_thread(self._file.finish)
        self.is_done = True


class UploadService:
    """Signs tickets for uploads, and receives files."""

    def __init__(
        self,
        database: Database,
        tickets: Tickets,
        clock: Clock,
        wakeups: Wakeups,
        *,
        workspace: WorkspaceService,
        staged: StagedUploads,
        max_bytes: int,
        workspace_bytes: int,
    ) -> None:
        self._states = ConversationStates(database)
        self._tickets = tickets
        self._clock = clock
        self._wakeups = wakeups
        self._workspace = workspace
        self._staged = staged
        self._max_bytes = max_bytes
        self._workspace_bytes = workspace_bytes
        # Reserved bytes of running uploads, which are not part of the measured size yet.
        self._coming: Counter[UUID] = Counter()
        # Nonces of used tickets. A set in this process suffices, since a workspace belongs to one instance.
        self._used: OrderedDict[str, None] = OrderedDict()

    async def create(self, owner_id: str, conversation_id: UUID | None, path: str, size: int) -> Upload:
        """Check path, size and room, and sign a URL. Raises NotFound, InvalidInput and WorkspaceFailure.

        Without a conversation the upload is staged until a message names it.
        """
        if conversation_id is not None:
            await self._must_have(owner_id, conversation_id)
        most = self._max_bytes if conversation_id is not None else min(self._max_bytes, MAX_BYTES)
        if not 0 <= size <= most:
            described = "An upload" if conversation_id is not None else "An upload for a message"
            raise InvalidInput(f"{described} has at most {most} bytes.", path=("sizeBytes",))
        request = UploadRequest(owner_id, conversation_id, _destination(path), size, uuid4().hex)
        if conversation_id is not None:
            await self._check_room(conversation_id, size)
        else:
            await _in_thread(lambda: self._staged.check_room(owner_id, size))
        expires_at = self._clock() + LIFETIME
        claims = {
            "owner": owner_id,
            "conversation": str(conversation_id) if conversation_id is not None else None,
            "path": request.path.encode("utf-8", "surrogateescape").decode("latin-1"),
            "size": size,
            "number": request.number,
        }
        return Upload(f"uploads?ticket={self._tickets.sign(claims, expires_at)}", expires_at, request)

    async def admit(self, ticket: str) -> UploadRequest:
        """Verify a ticket that was not used yet. Raises TicketRefused and NotFound."""
        claims = self._tickets.verify(ticket)
        path = claims["path"].encode("latin-1").decode("utf-8", "surrogateescape")
        conversation_id = UUID(claims["conversation"]) if claims["conversation"] is not None else None
        request = UploadRequest(claims["owner"], conversation_id, path, claims["size"], claims["number"])
        if request.number in self._used:
            raise _used()
        if conversation_id is not None:
            await self._must_have(request.owner_id, conversation_id)
        elif await asyncio.to_thread(self._staged.get, request.owner_id, request.number) is not None:
            # It was received before the server was started again.
            raise _used()
        return request

    @asynccontextmanager
    async def receiving(self, request: UploadRequest) -> AsyncGenerator[Receiver]:
        """Receive one upload. Unless ``finish`` succeeds, nothing is changed, and the ticket can be used again.

        Raises TicketRefused, NotFound, InvalidInput and WorkspaceFailure.
        """
        if request.number in self._used:
            raise _used()
        self._used[request.number] = None
        if len(self._used) > REMEMBERED_TICKETS:
            self._used.popitem(last=False)
        receiver: Receiver | None = None
        key = request.conversation_id
        target = self._in_workspace(request, key) if key is not None else self._in_staging(request)
        try:
            async with target as file:
                receiver = Receiver(file, request)
                yield receiver
        finally:
            if receiver is None or not receiver.is_done:
                self._used.pop(request.number, None)

    @asynccontextmanager
    async def _in_workspace(self, request: UploadRequest, conversation_id: UUID) -> AsyncGenerator[IncomingFile]:
        self._coming[conversation_id] += request.size
        try:
            await self._check_room(conversation_id, request.size, counted=request.size)
            files = WorkspaceFiles(self._workspace.path(conversation_id), sandbox_uid(conversation_id))
            file = await _in_thread(lambda: IncomingFile(files, request.path))
            try:
                yield file
                await self._must_have(request.owner_id, conversation_id)
            finally:
                await finish_in_thread(file.close)
            self._wakeups.publish(workspace_topic(conversation_id))
        finally:
            self._coming[conversation_id] -= request.size
            if not self._coming[conversation_id]:
                del self._coming[conversation_id]

    @asynccontextmanager
    async def _in_staging(self, request: UploadRequest) -> AsyncGenerator[StagedFile]:
        owner_id, staged = request.owner_id, self._staged
        with staged.reserve(owner_id, request.size):
            await _in_thread(lambda: staged.check_room(owner_id, request.size, counted=1))
            file = await _in_thread(lambda: staged.begin(owner_id, request.number, request.path))
            try:
                yield file
            finally:
                await finish_in_thread(file.close)

    async def _must_have(self, owner_id: str, conversation_id: UUID) -> None:
        if await self._states.last_sequence(owner_id, conversation_id) is None:
            raise conversation_not_found("conversationId")

    async def _check_room(self, conversation_id: UUID, size: int, counted: int = 0) -> None:
        """Check the quota and the disk. ``counted``: bytes of this upload that are already reserved.

        Raises NotFound, InvalidInput and WorkspaceFailure.
        """
        if not await asyncio.to_thread(self._workspace.is_prepared, conversation_id):
            raise NotFound("The workspace is not there, or not whole yet.", path=("conversationId",))
        coming = self._coming[conversation_id] - counted + size
        await _in_thread(lambda: self._workspace.check_room(conversation_id, coming, self._workspace_bytes))


def _used() -> TicketRefused:
    return TicketRefused("The ticket has been used: ask for another one.")


def _destination(path: str) -> str:
    """Normalize the path; a bare file name is put into ``uploads``. Raises InvalidInput."""
    name = checked_path(path, "path")
    if not name or name.endswith("/") or path.endswith("/"):
        raise InvalidInput("The path is that of a file.", path=("path",))
    if len(name.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES:
        raise InvalidInput(f"A path has at most {MAX_PATH_BYTES} bytes.", path=("path",))
    names = name.split("/")
    if len(names) > MAX_DEPTH or any(len(each.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES for each in names):
        message = f"A path has at most {MAX_DEPTH} names, of {MAX_NAME_BYTES} bytes each."
        raise InvalidInput(message, path=("path",))
    if RESERVED & set(names):
        raise InvalidInput("Nothing is uploaded to `.git` and `.parley`.", path=("path",))
    return name if "/" in path else f"{DIRECTORY}/{name}"


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await finish_in_thread(work)
    except WorkspacePathError as error:
        raise InvalidInput(str(error), path=("path",)) from None
    except FileNotFoundError:
        raise WorkspaceFailure("The workspace, or the directory of the file, is gone.") from None
    except OSError as error:
        raise WorkspaceFailure(f"The file can't be written: {error.strerror}.") from None
