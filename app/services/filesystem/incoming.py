"""Atomic writing of a workspace's file in chunks: it replaces the target once it is complete.

Until then it is an unnamed temporary file (``O_TMPFILE``) where the file system supports that, so that nothing is left
behind, even if the server is killed.
"""

import errno
import os
from contextlib import suppress
from uuid import uuid4

from app.services.filesystem.files import WorkspaceFiles

_UNNAMED = getattr(os, "O_TMPFILE", 0) | os.O_WRONLY | os.O_CLOEXEC
_NAMED = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Errors of file systems without support for unnamed files.
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}
_MODE = 0o644


class IncomingFile:
    """Blocking: call it in a thread. Every method may raise OSError, the first one WorkspacePathError too."""

    def __init__(self, files: WorkspaceFiles, path: str) -> None:
        """Resolve the path and create missing directories. The directory stays open, so a rename can't redirect."""
        self._files = files
        self._directory, self._name = files.open_parent(path)
        self._temporary: str | None = None
        try:
            self._opened = self._open()
        except BaseException:
            os.close(self._directory)
            raise

    def write(self, piece: bytes) -> None:
        """Append a chunk."""
        left = memoryview(piece)
        while left:
            left = left[os.write(self._opened, left) :]

    def finish(self) -> None:
        """Set the owner and mode, and rename the file to its target, replacing an existing one."""
        self._files.give(self._opened)
        os.fchmod(self._opened, _MODE)
        if self._temporary is None:
            name = f".parley-{uuid4().hex}"
            os.link(f"/proc/self/fd/{self._opened}", name, dst_dir_fd=self._directory, follow_symlinks=True)
            self._temporary = name
        os.rename(self._temporary, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        self._temporary = None

    def close(self) -> None:
        """Close the descriptors, and discard the file unless it was finished."""
        if self._temporary is not None:
            with suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._directory)
        os.close(self._opened)
        os.close(self._directory)

    def _open(self) -> int:
        if hasattr(os, "O_TMPFILE"):
            try:
                return os.open(".", _UNNAMED, _MODE, dir_fd=self._directory)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
        self._temporary = f".parley-{uuid4().hex}"
        return os.open(self._temporary, _NAMED, _MODE, dir_fd=self._directory)
