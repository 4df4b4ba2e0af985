"""Uploads of files to workspaces by signed URLs.

As for downloads, a ticket holds the owner, the conversation, the path, the size and the expiry.
"""

import asyncio
import os
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
from app.services.blocking import finish_in_thread
from app.services.clock import Clock
from app.services.filesystem.files import WorkspaceFiles
from app.services.filesystem.incoming import IncomingFile
from app.services.filesystem.path_walk import WorkspacePathError
from app.services.filesystem.tree import measure
from app.services.push.wakeups import Wakeups, workspace_topic
from app.services.sandbox.identity import sandbox_uid
from app.services.sandbox.watchdog import MIN_FREE_BYTES
from app.services.ticket import TicketRefused, Tickets
from app.services.workspace import WorkspaceService
from app.services.workspace_contents import checked_path

LIFETIME = timedelta(minutes=5)
DIRECTORY = "uploads"
MAX_PATH_BYTES = 4096
# Names that belong to git and to the server, at any depth.
RESERVED = frozenset({".git", ".parley"})
REMEMBERED_TICKETS = 100_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """The claims of a ticket: one file of ``size`` bytes at ``path``. ``number`` is a nonce."""

    owner_id: str
    conversation_id: UUID
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

    def __init__(self, file: IncomingFile, request: UploadRequest) -> None:
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
        max_bytes: int,
        workspace_bytes: int,
    ) -> None:
        self._states = ConversationStates(database)
        self._tickets = tickets
        self._clock = clock
        self._wakeups = wakeups
        self._workspace = workspace
        self._max_bytes = max_bytes
        self._workspace_bytes = workspace_bytes
        # Reserved bytes of running uploads, which are not part of the measured size yet.
        self._coming: Counter[UUID] = Counter()
        # Nonces of used tickets. A set in this process suffices, since a workspace belongs to one instance.
        self._used: OrderedDict[str, None] = OrderedDict()

    async def create(self, owner_id: str, conversation_id: UUID, path: str, size: int) -> Upload:
        """Check path, size and quota, and sign a URL. Raises NotFound, InvalidInput and WorkspaceFailure."""
        if await self._states.last_sequence(owner_id, conversation_id) is None:
            raise conversation_not_found("conversationId")
        if not 0 <= size <= self._max_bytes:
            raise InvalidInput(f"An upload has at most {self._max_bytes} bytes.", path=("sizeBytes",))
        request = UploadRequest(owner_id, conversation_id, _destination(path), size, uuid4().hex)
        await self._check_room(request)
        expires_at = self._clock() + LIFETIME
        claims = {
            "owner": owner_id,
            "conversation": str(conversation_id),
            "path": request.path.encode("utf-8", "surrogateescape").decode("latin-1"),
            "size": size,
            "number": request.number,
        }
        return Upload(f"uploads?ticket={self._tickets.sign(claims, expires_at)}", expires_at, request)

    async def admit(self, ticket: str) -> UploadRequest:
        """Verify a ticket that was not used yet. Raises TicketRefused and NotFound."""
        claims = self._tickets.verify(ticket)
        path = claims["path"].encode("latin-1").decode("utf-8", "surrogateescape")
        request = UploadRequest(claims["owner"], UUID(claims["conversation"]), path, claims["size"], claims["number"])
        if request.number in self._used:
            raise TicketRefused("The ticket has been used: ask for another one.")
        if await self._states.last_sequence(request.owner_id, request.conversation_id) is None:
            raise conversation_not_found()
        return request

    @asynccontextmanager
    async def receiving(self, request: UploadRequest) -> AsyncGenerator[Receiver]:
        """Receive one upload. Unless ``finish`` succeeds, nothing is changed, and the ticket can be used again.

        Raises TicketRefused, NotFound, InvalidInput and WorkspaceFailure.
        """
        if request.number in self._used:
            raise TicketRefused("The ticket has been used: ask for another one.")
        self._used[request.number] = None
        if len(self._used) > REMEMBERED_TICKETS:
            self._used.popitem(last=False)
        self._coming[request.conversation_id] += request.size
        receiver: Receiver | None = None
        try:
            await self._check_room(request, counted=request.size)
            uid = sandbox_uid(request.conversation_id)
            files = WorkspaceFiles(self._workspace.path(request.conversation_id), uid)
            file = await _in_thread(lambda: IncomingFile(files, request.path))
            try:
                receiver = Receiver(file, request)
                yield receiver
                if await self._states.last_sequence(request.owner_id, request.conversation_id) is None:
                    raise conversation_not_found()
            finally:
                await finish_in_thread(file.close)
            self._wakeups.publish(workspace_topic(request.conversation_id))
        finally:
            self._coming[request.conversation_id] -= request.size
            if not self._coming[request.conversation_id]:
                del self._coming[request.conversation_id]
            if receiver is None or not receiver.is_done:
                self._used.pop(request.number, None)

    async def _check_room(self, request: UploadRequest, counted: int = 0) -> None:
        """Check the quota and the disk. ``counted``: bytes of this upload that are already reserved.

        Raises NotFound, InvalidInput and WorkspaceFailure.
        """
        path = self._workspace.path(request.conversation_id)
        if not await asyncio.to_thread(self._workspace.is_prepared, request.conversation_id):
            raise NotFound("The workspace is not there, or not whole yet.", path=("conversationId",))
        coming = self._coming[request.conversation_id] - counted
        size = await _in_thread(lambda: measure(path))
        if size.is_too_large or size.bytes + coming + request.size > self._workspace_bytes:
            message = f"The workspace would be larger than {self._workspace_bytes} bytes."
            raise InvalidInput(message, path=("sizeBytes",))
        system = await _in_thread(lambda: os.statvfs(path))
        if system.f_bavail * system.f_frsize - coming - request.size < MIN_FREE_BYTES:
            raise WorkspaceFailure("The server's disk has no room for it.")


def _destination(path: str) -> str:
    """Normalize the path; a bare file name is put into ``uploads``. Raises InvalidInput."""
    name = checked_path(path, "path")
    if not name or name.endswith("/") or path.endswith("/"):
        raise InvalidInput("The path is that of a file.", path=("path",))
    if len(name.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES:
        raise InvalidInput(f"A path has at most {MAX_PATH_BYTES} bytes.", path=("path",))
    if RESERVED & set(name.split("/")):
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
        raise WorkspaceFailure(f"The workspace can't be written: {error.strerror}.") from None
