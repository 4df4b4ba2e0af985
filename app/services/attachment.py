"""Files that messages name: copied out of the workspace, so that neither the agent nor a later upload changes them.

They are stored by their SHA-256 under ``<data_dir>/attachments/<conversation>``, and removed with the workspace. An
upload that is still to be put into the workspace has a directory there, ``<sequence of the message>.<upload id>``.
"""

import hashlib
import mimetypes
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from uuid import UUID, uuid4

import orjson

from app.errors import InvalidInput
from app.models.event import Attachment
from app.services.filesystem.files import WorkspaceFiles
from app.services.filesystem.incoming import IncomingFile
from app.services.filesystem.names import meant, shown
from app.services.filesystem.tree import remove_tree

MAX_BYTES = 20 * 1024 * 1024
# Of all attachments of a conversation.
MAX_TOTAL_BYTES = 500 * 1024 * 1024
CONTENT = "content"
HEAD_BYTES = 16
_ABOUT = "about.json"
_PIECE_BYTES = 256 * 1024
_TYPES = mimetypes.MimeTypes(filenames=())
_IMAGES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A complete upload: a directory with its ``content`` and its description."""

    directory: Path
    attachment: Attachment


def describe(directory: Path, path: str, size: int, digest: str, head: bytes) -> None:
    """Write the description, which completes an upload. ``head`` is the content's beginning. Raises OSError."""
    attachment = new_attachment(path, size, digest, head)
    WorkspaceFiles(directory, None).write(_ABOUT, orjson.dumps(asdict(attachment)))


def received(directory: Path) -> ReceivedFile | None:
    """Return the upload in a directory; ``None`` if it is not complete or not there. Blocking."""
    try:
        return ReceivedFile(directory, Attachment(**orjson.loads((directory / _ABOUT).read_bytes())))
    except (OSError, ValueError, TypeError):
        return None


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
        return new_attachment(path, size, digest, head)

    def take(self, conversation_id: UUID, sequence: int, upload: ReceivedFile) -> None:
        """Move the upload of a message here; then it waits for the workspace.

        Does nothing if it was moved before. Raises OSError.
        """
        directory = self._root / str(conversation_id)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        moved = directory / f"{sequence:010}.{upload.directory.name}"
        with suppress(FileNotFoundError):
            upload.directory.rename(moved)
        self._store(moved, upload.attachment)

    def has(self, conversation_id: UUID, digest: str) -> bool:
        """Tell whether the conversation has the attachment here."""
        return (self._root / str(conversation_id) / digest).is_file()

    def has_any(self, conversation_id: UUID) -> bool:
        """Tell whether the conversation ever had an attachment here. One system call."""
        return (self._root / str(conversation_id)).is_dir()

    def waiting(self, conversation_id: UUID, sequence: int) -> list[ReceivedFile]:
        """Return the uploads of messages up to this one that are still to be put into the workspace, in order.

        Makes up for a move that was interrupted. Raises OSError.
        """
        root = self._root / str(conversation_id)
        if not root.is_dir():
            return []
        with os.scandir(root) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        due = [name for name in names if name <= f"{sequence:010}/"]
        uploads = [upload for name in due if (upload := received(root / name)) is not None]
        for upload in uploads:
            self._store(upload.directory, upload.attachment)
        return uploads

    def place(self, conversation_id: UUID, attachment: Attachment, files: WorkspaceFiles) -> None:
        """Copy an attachment to its path in the workspace. Raises WorkspacePathError and OSError."""
        opened = self.open(conversation_id, attachment.digest)
        try:
            file = IncomingFile(files, meant(attachment.path))
            try:
                while piece := os.read(opened, _PIECE_BYTES):
                    file.write(piece)
                file.finish()
            finally:
                file.close()
        finally:
            os.close(opened)

    def forget(self, upload: ReceivedFile) -> None:
        """Have an upload wait no longer. Raises OSError."""
        remove_tree(upload.directory)

    def size(self, conversation_id: UUID) -> int:
        """Count the bytes of the conversation's attachments."""
        directory = self._root / str(conversation_id)
        return _size(directory) if directory.is_dir() else 0

    def remove(self, conversation_id: UUID) -> None:
        """Remove all attachments of a conversation. Raises OSError."""
        remove_tree(self._root / str(conversation_id))

    def open(self, conversation_id: UUID, digest: str) -> int:
        """Open an attachment, and return its descriptor, which the caller closes. Raises FileNotFoundError."""
        return os.open(self._root / str(conversation_id) / digest, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def read(self, conversation_id: UUID, digest: str) -> bytes:
        """Read an attachment. Raises FileNotFoundError."""
        with os.fdopen(self.open(conversation_id, digest), "rb") as file:
            return file.read(MAX_BYTES)

    @staticmethod
    def _store(directory: Path, attachment: Attachment) -> None:
        """Move an upload's content to its place, unless that was done before. A crash may come in between."""
        with suppress(FileNotFoundError):
            (directory / CONTENT).rename(directory.parent / attachment.digest)


def new_attachment(path: str, size: int, digest: str, head: bytes) -> Attachment:
    """Describe a file at a path in the workspace. ``head`` is its beginning."""
    name = shown(PurePosixPath(path).name)
    return Attachment(name, _media_type(name, head), size, digest, shown(path))


def _copy(opened: int, target: Path, room: int) -> tuple[int, str, bytes]:
    """Copy an open file; return its size, SHA-256 and first bytes. Raises InvalidInput beyond the limits."""
    digest, size, head = hashlib.sha256(), 0, b""
    with target.open("xb") as copy:
        while piece := os.read(opened, _PIECE_BYTES):
            size += len(piece)
            head = head or piece[:HEAD_BYTES]
            if size > MAX_BYTES:
                raise InvalidInput(f"An attachment has at most {MAX_BYTES} bytes.")
            if size > room:
                raise InvalidInput(f"The attachments of a conversation have at most {MAX_TOTAL_BYTES} bytes together.")
            digest.update(piece)
            copy.write(piece)
    return size, digest.hexdigest(), head


def _size(directory: Path) -> int:
    with os.scandir(directory) as entries:
        return sum(entry.stat().st_size for entry in entries if entry.is_file(follow_symlinks=False))


def _media_type(name: str, head: bytes) -> str:
    """Tell images by their content, since models refuse what is none; other files by their name."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    image = next((kind for start, kind in _IMAGES.items() if head.startswith(start)), None)
    if image is not None:
        return image
    guessed, _ = _TYPES.guess_type(f"/{name}")
    return guessed if guessed is not None and not guessed.startswith("image/") else "application/octet-stream"
