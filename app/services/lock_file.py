"""A lock file, which keeps two server processes from using the same data directory."""

import fcntl
from pathlib import Path
from types import TracebackType
from typing import TextIO


class AlreadyLocked(Exception):
    """Another process holds the lock. The message tells the operator what to do."""


class LockFile:
    """Context manager that holds an exclusive ``flock``, which the system releases however the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def __enter__(self) -> None:
        """Take the lock without waiting. Raises AlreadyLocked."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            message = f"Another Parley process uses {self._path.with_suffix('')}. Stop it, or set PARLEY_DATA_DIR."
            raise AlreadyLocked(message) from None

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release the lock."""
        if self._file is not None:
            self._file.close()
