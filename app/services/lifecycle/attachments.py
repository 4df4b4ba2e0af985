"""The files that a message names: copied from the workspace, or uploads that are put into it.

An upload is validated first, then named in the message's event, and moved to the conversation's attachments after the
commit, so that a message that was refused uses none up. The next run copies it into the workspace, which may not be
there before, and makes up for a move that a crash prevented.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID
from weakref import WeakValueDictionary

import structlog

from app.errors import AppError, InvalidInput, NotFound, WorkspaceFailure
from app.models.conversation import Conversation
from app.models.database.database import Database
from app.models.event import Attachment, MessageBody
from app.models.rows.conversation_state import ConversationStates
from app.services.attachment import MAX_TOTAL_BYTES, AttachmentStore, ReceivedFile
from app.services.blocking import finish_in_thread
from app.services.filesystem.files import WorkspaceFiles
from app.services.filesystem.path_walk import AbsentPath, WorkspacePathError
from app.services.message import MAX_ATTACHMENTS, Message
from app.services.push.wakeups import Wakeups, workspace_topic
from app.services.sandbox.identity import sandbox_uid
from app.services.staged_upload import StagedUploads
from app.services.workspace import WorkspaceService
from app.services.workspace_contents import checked_path

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """The attachments of a message in its order, and the uploads among them, which are not moved yet."""

    attachments: tuple[Attachment, ...] = ()
    uploads: tuple[ReceivedFile, ...] = ()


class MessageFiles:
    """Finds, keeps and places the files that messages name."""

    def __init__(
        self,
        database: Database,
        wakeups: Wakeups,
        *,
        store: AttachmentStore,
        staged: StagedUploads,
        workspace: WorkspaceService,
        workspace_bytes: int,
    ) -> None:
        self._states = ConversationStates(database)
        self._wakeups = wakeups
        self._store = store
        self._staged = staged
        self._workspace = workspace
        self._workspace_bytes = workspace_bytes
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def held(self, owner_id: str, message: Message | None) -> AsyncGenerator[None]:
        """Lock the uploads that a message names, so that two requests can't use the same one, nor race for a key.

        Locks in this process suffice, since staged uploads belong to one instance.
        """
        choices = message.attachments if message is not None else ()
        named = {choice.upload_id for choice in choices if choice.upload_id is not None}
        async with AsyncExitStack() as stack:
            # A message with more is refused. Everybody locks in the same order.
            for upload_id in sorted(named)[:MAX_ATTACHMENTS]:
                await stack.enter_async_context(self._locks.setdefault((owner_id, upload_id), asyncio.Lock()))
            yield

    async def first(self, owner_id: str, message: Message | None) -> NamedFiles:
        """Find the uploads that a first message names. Raises InvalidInput and NotFound; nothing is written."""
        if message is None or not message.attachments:
            return NamedFiles()
        for number, choice in enumerate(message.attachments):
            if choice.upload_id is None:
                text = "The workspace is not there yet: give the file to `createUpload`, and its `uploadId` here."
                raise InvalidInput(text, path=("initialMessage", "attachments", str(number), "path"))
        uploads = await asyncio.to_thread(self._uploads, owner_id, message, "initialMessage")
        named = NamedFiles(tuple(upload.attachment for upload in uploads.values()), tuple(uploads.values()))
        _check_paths(named.attachments, set(uploads), "initialMessage")
        return named

    async def later(self, owner_id: str, conversation_id: UUID, message: Message) -> NamedFiles:
        """Find the uploads that a message names, and copy the files of the workspace.

        Raises InvalidInput, NotFound and WorkspaceFailure; copies made until then are kept.
        """
        if not message.attachments:
            return NamedFiles()
        uploads = await asyncio.to_thread(self._uploads, owner_id, message, "message")
        if uploads:
            size = await asyncio.to_thread(self._store.size, conversation_id)
            if size + sum(upload.attachment.size for upload in uploads.values()) > MAX_TOTAL_BYTES:
                text = f"The attachments of a conversation have at most {MAX_TOTAL_BYTES} bytes together."
                raise InvalidInput(text, path=("message", "attachments"))
        files = WorkspaceFiles(self._workspace.path(conversation_id), None)
        paths = {
            number: checked_path(choice.path, "message", "attachments", str(number), "path")
            for number, choice in enumerate(message.attachments)
            if choice.path is not None
        }
        attachments = [
            uploads[number].attachment
            if number in uploads
            else await self._keep(conversation_id, files, paths[number], number)
            for number in range(len(message.attachments))
        ]
        _check_paths(attachments, set(uploads), "message")
        return NamedFiles(tuple(attachments), tuple(uploads.values()))

    async def move(self, owner_id: str, conversation_id: UUID, sequence: int, named: NamedFiles) -> None:
        """Move the uploads of a message to the conversation's attachments, after the commit.

        What fails is left to the run.
        """
        if not named.uploads:
            return
        await finish_in_thread(lambda: self._move(conversation_id, sequence, named.uploads))
        if await self._states.last_sequence(owner_id, conversation_id) is None:
            # It was deleted meanwhile, with the attachments that were there.
            await finish_in_thread(lambda: self._store.remove(conversation_id))

    async def place(self, conversation: Conversation, sequence: int, message: MessageBody) -> list[str]:
        """Copy the uploads of messages up to this one into the workspace, unless that was done.

        Returns a sentence for the user about each that is not there. It needs one system call if there was never an
        attachment.
        """
        named = [attachment for attachment in message.attachments if attachment.digest]
        if not named and not self._store.has_any(conversation.id):
            return []
        try:
            told, is_changed = await finish_in_thread(lambda: self._place(conversation, sequence, named))
        except OSError as error:
            log.warning("attachment.not_placed", conversation_id=str(conversation.id), error=type(error).__name__)
            return [f"The attached files can't be read: {error.strerror}."]
        if is_changed:
            self._wakeups.publish(workspace_topic(conversation.id))
        return told

    async def _keep(self, conversation_id: UUID, files: WorkspaceFiles, path: str, number: int) -> Attachment:
        place = ("message", "attachments", str(number), "path")
        try:
            return await asyncio.to_thread(self._store.keep, conversation_id, files, path or os.curdir)
        except AbsentPath as error:
            raise NotFound(str(error), path=place) from None
        except (WorkspacePathError, InvalidInput) as error:
            raise InvalidInput(str(error), path=place) from None
        except OSError as error:
            raise WorkspaceFailure(f"The workspace can't be read: {error.strerror}.") from None

    def _uploads(self, owner_id: str, message: Message, field: str) -> dict[int, ReceivedFile]:
        """Return the uploads by their number among the attachments."""
        uploads: dict[int, ReceivedFile] = {}
        seen: set[str] = set()
        for number, choice in enumerate(message.attachments):
            if choice.upload_id is None:
                continue
            place = (field, "attachments", str(number), "uploadId")
            if choice.upload_id in seen:
                raise InvalidInput("A message names an upload once.", path=place)
            seen.add(choice.upload_id)
            upload = self._staged.get(owner_id, choice.upload_id)
            if upload is None:
                text = "There is no such upload: it is not complete, used, older than a day, or does not exist."
                raise NotFound(text, path=place)
            uploads[number] = upload
        return uploads

    def _move(self, conversation_id: UUID, sequence: int, uploads: Sequence[ReceivedFile]) -> None:
        for upload in uploads:
            try:
                self._store.take(conversation_id, sequence, upload)
            except OSError as error:
                log.warning("attachment.not_moved", conversation_id=str(conversation_id), error=type(error).__name__)

    def _place(self, conversation: Conversation, sequence: int, named: Sequence[Attachment]) -> tuple[list[str], bool]:
        store, conversation_id = self._store, conversation.id
        # This also makes up for a move that a crash interrupted.
        store.waiting(conversation_id, sequence)
        missing = [each for each in named if not store.has(conversation_id, each.digest)]
        if missing:
            staged = self._staged.get_all(conversation.owner_id)
            self._move(conversation_id, sequence, [upload for upload in staged if upload.attachment in missing])
        told = [
            f"{each.path} is not there: this server does not have the file."
            for each in missing
            if not store.has(conversation_id, each.digest)
        ]
        waiting = store.waiting(conversation_id, sequence)
        if waiting:
            told += self._copy(conversation_id, [upload.attachment for upload in waiting])
        for upload in waiting:
            store.forget(upload)
        return told, bool(waiting)

    def _copy(self, conversation_id: UUID, attachments: Sequence[Attachment]) -> list[str]:
        """Copy attachments into the workspace, and return a sentence about each that can't be there."""
        told: list[str] = []
        files = WorkspaceFiles(self._workspace.path(conversation_id), sandbox_uid(conversation_id))
        try:
            size = sum(attachment.size for attachment in attachments)
            self._workspace.check_room(conversation_id, size, self._workspace_bytes)
        except (AppError, OSError) as error:
            return [_unplaced(attachment, error) for attachment in attachments]
        for attachment in attachments:
            try:
                self._store.place(conversation_id, attachment, files)
            except (WorkspacePathError, OSError) as error:
                told.append(_unplaced(attachment, error))
        return told


def _unplaced(attachment: Attachment, error: Exception) -> str:
    reason = f"{error.strerror}." if isinstance(error, OSError) else str(error)
    return f"{attachment.path} can't be put into the workspace: {reason}"


def _check_paths(attachments: Sequence[Attachment], uploads: Container[int], field: str) -> None:
    """Raise InvalidInput if an upload has the path of another attachment, or one that is above or below it.

    ``uploads`` are the numbers of those among the attachments.
    """
    for number, attachment in enumerate(attachments):
        for earlier in range(number):
            is_upload = number in uploads or earlier in uploads
            paths = (f"{attachment.path}/", f"{attachments[earlier].path}/")
            if is_upload and (paths[0].startswith(paths[1]) or paths[1].startswith(paths[0])):
                text = f"{attachment.path} and {attachments[earlier].path} can't both be in the workspace."
                raise InvalidInput(text, path=(field, "attachments", str(number)))
