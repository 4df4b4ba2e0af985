"""A file that one process holds at a time."""

import fcntl
from pathlib import Path
from types import TracebackType
from typing import TextIO


class AlreadyLocked(Exception):
    """Another process holds the file."""


class LockFile:
    """Held for the length of a ``with`` block; the system gives it back however the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def __enter__(self) -> None:
        """Take it. Raises AlreadyLocked."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            message = f"Another Parley process uses {self._path.with_suffix('')}. Stop it, or set PARLEY_DATA_DIR."
            raise AlreadyLocked(message) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give it back."""
        if self._file is not None:
            self._file.close()
