"""Files that messages name: copied out of the workspace, so that neither the agent nor a later upload changes them.

They are stored by their SHA-256 under ``<data_dir>/attachments/<conversation>``, and removed with the workspace.
"""

import hashlib
import mimetypes
import os
from contextlib import suppress
from pathlib import Path, PurePosixPath
from uuid import UUID, uuid4

from app.errors import InvalidInput
from app.models.event import Attachment
from app.services.filesystem.files import WorkspaceFiles
from app.services.filesystem.names import shown

MAX_BYTES = 20 * 1024 * 1024
# Of all attachments of a conversation.
MAX_TOTAL_BYTES = 500 * 1024 * 1024
_PIECE_BYTES = 256 * 1024
_HEAD_BYTES = 16
_TYPES = mimetypes.MimeTypes(filenames=())
_IMAGES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


class AttachmentStore:
    """Blocking: call it in a thread. Callers must have checked the owner."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def keep(self, conversation_id: UUID, files: WorkspaceFiles, path: str) -> Attachment:
        """Copy a file of the workspace. Raises InvalidInput if it is too large, WorkspacePathError and OSError."""
        directory = self._root / str(conversation_id)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = files.open(path)
        draft = directory / f".{uuid4().hex}"
        try:
            size, digest, head = _copy(opened, draft, MAX_TOTAL_BYTES - _size(directory))
            draft.rename(directory / digest)
        finally:
            os.close(opened)
            with suppress(FileNotFoundError):
                draft.unlink()
        name = shown(PurePosixPath(path).name)
        return Attachment(name, _media_type(name, head), size, digest, shown(path))

    def open(self, conversation_id: UUID, digest: str) -> int:
        """Open an attachment, and return its descriptor, which the caller closes. Raises FileNotFoundError."""
        return os.open(self._root / str(conversation_id) / digest, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def read(self, conversation_id: UUID, digest: str) -> bytes:
        """Read an attachment. Raises FileNotFoundError."""
        with os.fdopen(self.open(conversation_id, digest), "rb") as file:
            return file.read(MAX_BYTES)


def _copy(opened: int, target: Path, room: int) -> tuple[int, str, bytes]:
    """Copy an open file; return its size, SHA-256 and first bytes. Raises InvalidInput beyond the limits."""
    digest, size, head = hashlib.sha256(), 0, b""
    with target.open("xb") as copy:
        while piece := os.read(opened, _PIECE_BYTES):
            size += len(piece)
            head = head or piece[:_HEAD_BYTES]
            if size > MAX_BYTES:
                raise InvalidInput(f"An attachment has at most {MAX_BYTES} bytes.")
            if size > room:
                raise InvalidInput(f"The attachments of a conversation have at most {MAX_TOTAL_BYTES} bytes together.")
            digest.update(piece)
            copy.write(piece)
    return size, digest.hexdigest(), head


def _size(directory: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(directory))


def _media_type(name: str, head: bytes) -> str:
    """Tell images by their content, since models refuse what is none; other files by their name."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    image = next((kind for start, kind in _IMAGES.items() if head.startswith(start)), None)
    if image is not None:
        return image
    guessed, _ = _TYPES.guess_type(f"/{name}")
    return guessed if guessed is not None and not guessed.startswith("image/") else "application/octet-stream"
