"""Copies the files of the workspace that a message names, so that they stay as they were sent."""

import asyncio
import os
from uuid import UUID

from app.errors import InvalidInput, NotFound, WorkspaceFailure
from app.models.event import Attachment
from app.services.attachment import AttachmentStore
from app.services.filesystem.files import WorkspaceFiles
from app.services.filesystem.path_walk import AbsentPath, WorkspacePathError
from app.services.message import Message
from app.services.workspace_contents import checked_path


async def attach(
    store: AttachmentStore, files: WorkspaceFiles, conversation_id: UUID, message: Message
) -> tuple[Attachment, ...]:
    """Copy the named files. Raises InvalidInput, NotFound and WorkspaceFailure; copies made until then are kept."""
    places = [("message", "attachments", str(number), "path") for number in range(len(message.attachment_paths))]
    paths = [checked_path(path, *place) for path, place in zip(message.attachment_paths, places, strict=True)]
    attached: list[Attachment] = []
    for path, place in zip(paths, places, strict=True):
        try:
            attached.append(await asyncio.to_thread(store.keep, conversation_id, files, path or os.curdir))
        except AbsentPath as error:
            raise NotFound(str(error), path=place) from None
        except (WorkspacePathError, InvalidInput) as error:
            raise InvalidInput(str(error), path=place) from None
        except OSError as error:
            raise WorkspaceFailure(f"The workspace can't be read: {error.strerror}.") from None
    return tuple(attached)
