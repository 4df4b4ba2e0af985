"""Uploads that belong to no conversation yet: kept for a day, until a message names them.

Each is a directory ``<data_dir>/staged/<hash of the owner>/<upload id>``. It moves to the attachments of the message's
conversation, so what is still here after that time belongs to no message.
"""

import hashlib
import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from threading import Lock

from app.errors import InvalidInput, WorkspaceFailure
from app.services.attachment import CONTENT, HEAD_BYTES, ReceivedFile, describe, received
from app.services.clock import Clock
from app.services.filesystem.files import WorkspaceFiles
from app.services.filesystem.incoming import IncomingFile
from app.services.filesystem.tree import remove_tree
from app.services.sandbox.watchdog import MIN_FREE_BYTES

DIRECTORY = "staged"
LIFETIME = timedelta(hours=24)
# Limits for each owner.
MAX_UPLOADS = 100
MAX_TOTAL_BYTES = 500 * 1024 * 1024

_ID = re.compile(r"[0-9a-f]{32}")


class StagedUploads:
    """Blocking but for ``reserve``: call it in a thread."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        # The owners' running uploads, by their announced sizes.
        self._coming: dict[str, list[int]] = {}
        self._directories = Lock()
        self._round: Iterator[Path | None] = iter(())

    def get(self, owner_id: str, upload_id: str) -> ReceivedFile | None:
        """Return a complete upload; ``None`` if it is absent, expired, used or another owner's."""
        if not _ID.fullmatch(upload_id):
            return None
        directory = self._directory(owner_id) / upload_id
        with suppress(FileNotFoundError):
            return received(directory) if not self._is_over(directory) else None
        return None

    def get_all(self, owner_id: str) -> list[ReceivedFile]:
        """Return the owner's complete uploads, in no order."""
        directory = self._directory(owner_id)
        paths = directory.iterdir() if directory.is_dir() else ()
        return [upload for path in paths if (upload := self.get(owner_id, path.name)) is not None]

    def check_room(self, owner_id: str, size: int, counted: int = 0) -> None:
        """Check the owner's limits and the disk. ``counted``: running uploads that are this one, 0 or 1.

        Raises InvalidInput and WorkspaceFailure.
        """
        sizes = [upload.attachment.size for upload in self.get_all(owner_id)]
        sizes += self._coming.get(owner_id, [])
        if len(sizes) - counted >= MAX_UPLOADS:
            message = f"A caller has at most {MAX_UPLOADS} uploads that no message has named: send them first."
            raise InvalidInput(message, path=("conversationId",))
        if sum(sizes) + (0 if counted else size) > MAX_TOTAL_BYTES:
            message = f"Uploads that no message has named have at most {MAX_TOTAL_BYTES} bytes: send them first."
            raise InvalidInput(message, path=("sizeBytes",))
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        system = os.statvfs(self._root)
        if system.f_bavail * system.f_frsize - size < MIN_FREE_BYTES:
            raise WorkspaceFailure("The server's disk has no room for it.")

    @contextmanager
    def reserve(self, owner_id: str, size: int) -> Generator[None]:
        """Count a running upload until the block ends."""
        self._coming.setdefault(owner_id, []).append(size)
        try:
            yield
        finally:
            self._coming[owner_id].remove(size)
            if not self._coming[owner_id]:
                del self._coming[owner_id]

    def begin(self, owner_id: str, upload_id: str, path: str) -> "StagedFile":
        """Open a new upload of a file that ``path`` names in the workspace. Raises OSError."""
        directory = self._directory(owner_id) / upload_id
        with self._directories:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return StagedFile(directory, path)

    def sweep(self, most: int) -> None:
        """Remove expired uploads. It looks at ``most`` directories, from where the last call ended. Raises OSError."""
        directories = list(islice(self._round, most))
        for directory in directories:
            with suppress(FileNotFoundError):
                if directory is not None and self._is_over(directory):
                    remove_tree(directory)
        if len(directories) < most:
            self._round = self._all()

    def _all(self) -> Iterator[Path | None]:
        """Yield the directories of all uploads, and None for each owner, whose directory is removed if it is empty."""
        if not self._root.is_dir():
            return
        with os.scandir(self._root) as owners:
            for owner in owners:
                if not owner.is_dir(follow_symlinks=False):
                    continue
                with os.scandir(owner.path) as uploads:
                    yield from (Path(upload.path) for upload in uploads if upload.is_dir(follow_symlinks=False))
                # It is not empty if an upload began meanwhile.
                with self._directories, suppress(OSError):
                    Path(owner.path).rmdir()
                yield None

    def _is_over(self, directory: Path) -> bool:
        """Tell by its last change, which is its completion. Raises FileNotFoundError."""
        return datetime.fromtimestamp(directory.stat().st_mtime, UTC) + LIFETIME <= self._clock()

    def _directory(self, owner_id: str) -> Path:
        return self._root / hashlib.sha256(owner_id.encode("utf-8", "surrogatepass")).hexdigest()


class StagedFile:
    """Writes one upload, like ``IncomingFile``. Blocking; every method may raise OSError."""

    def __init__(self, directory: Path, path: str) -> None:
        self._directory = directory
        self._path = path
        self._digest = hashlib.sha256()
        self._head = b""
        self._size = 0
        self._is_complete = False
        self._file = IncomingFile(WorkspaceFiles(directory, None), CONTENT)

    def write(self, piece: bytes) -> None:
        """Append a chunk."""
        self._file.write(piece)
        self._digest.update(piece)
        self._head = (self._head + piece[:HEAD_BYTES])[:HEAD_BYTES]
        self._size += len(piece)

    def finish(self) -> None:
        """Complete the upload."""
        self._file.finish()
        describe(self._directory, self._path, self._size, self._digest.hexdigest(), self._head)
        self._is_complete = True

    def close(self) -> None:
        """Close the file, and remove the upload unless it is complete."""
        self._file.close()
        if not self._is_complete:
            remove_tree(self._directory)
