"""Operations on whole workspaces: measuring, changing the owner and removing, whatever a command created in them.

Paths are relative to open directories, symbolic links are never followed, and nothing recurses: a command can nest
directories so deep that their path exceeds the system's limit.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MAX_ENTRIES = 500_000
BLOCK_BYTES = 512
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Size:
    """Disk usage of a tree. ``is_too_large``: more than ``MAX_ENTRIES`` entries, or nested too deep to measure."""

    bytes: int
    entries: int
    is_too_large: bool


def measure(root: Path) -> Size:
    """Measure a tree, which may change meanwhile. A file with several hard links counts once."""
    total, entries = 0, 0
    seen: set[tuple[int, int]] = set()
    try:
        for entry in _walk(root):
            entries += 1
            if entries > MAX_ENTRIES:
                return Size(total, entries, is_too_large=True)
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    if (status.st_dev, status.st_ino) in seen:
                        continue
                    seen.add((status.st_dev, status.st_ino))
                total += status.st_blocks * BLOCK_BYTES
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return Size(total, entries, is_too_large=True)
        raise
    return Size(total, entries, is_too_large=False)


def hand_over(root: Path, uid: int) -> None:
    """Change owner and group of a tree, both to ``uid``. Raises OSError. No command may run in the tree meanwhile."""
    os.chown(root, uid, uid, follow_symlinks=False)
    for entry in _walk(root):
        os.chown(entry.path, uid, uid, follow_symlinks=False)


def prepare(root: Path, uid: int | None) -> None:
    """Make a workspace accessible to its commands: give it to their user, and restore removed permissions.

    ``uid`` is that user, ``None`` if it is the server's own. Raises OSError.
    """
    status = root.stat()
    if uid is not None and status.st_uid != uid:
        hand_over(root, uid)
    if status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
        open_up(root)


def remove_tree(root: Path) -> None:
    """Remove a tree, if it exists. Raises OSError, also if a command adds or moves files meanwhile."""
    if not os.path.lexists(root):
        return
    descent = _Descent(_entered(root))
    try:
        descent.clear()
    finally:
        descent.close()
    root.rmdir()


class _Descent:
    """Empties a directory, depth first, with one directory open at a time, whatever the depth.

    Each operation takes one name relative to the open directory, so that all of them take linear time. The way back is
    ``..``, which is checked against the directory that it came from.
    """

    def __init__(self, opened: int) -> None:
        self._opened = opened
        self._levels: list[tuple[tuple[int, int], list[str]]] = []
        """The directories down to the open one: their identity, and the subdirectories that are still to be removed."""

    def clear(self) -> None:
        """Remove everything in the directory. Raises OSError."""
        self._begin()
        while True:
            _, names = self._levels[-1]
            if names:
                self._move(_entered(names[-1], self._opened))
                self._begin()
                continue
            self._levels.pop()
            if not self._levels:
                return
            self._move(os.open("..", DIRECTORY, dir_fd=self._opened))
            identity, names = self._levels[-1]
            if _identity(self._opened) != identity:
                raise OSError(errno.EBUSY, "A directory was moved while its tree was removed")
            os.rmdir(names.pop(), dir_fd=self._opened)

    def close(self) -> None:
        """Close the directory that is open."""
        os.close(self._opened)

    def _begin(self) -> None:
        self._levels.append((_identity(self._opened), _empty(self._opened)))

    def _move(self, opened: int) -> None:
        os.close(self._opened)
        self._opened = opened


def _entered(path: Path | str, directory: int | None = None) -> int:
    """Open a directory whose owner may then do everything in it."""
    try:
        opened = os.open(path, DIRECTORY, dir_fd=directory)
    except PermissionError:
        open_up(path, directory)
        opened = os.open(path, DIRECTORY, dir_fd=directory)
    if os.fstat(opened).st_mode & stat.S_IRWXU != stat.S_IRWXU:
        os.fchmod(opened, stat.S_IRWXU)
    return opened


def _identity(opened: int) -> tuple[int, int]:
    status = os.fstat(opened)
    return status.st_dev, status.st_ino


def _empty(directory: int) -> list[str]:
    """Delete everything but directories, and return the names of those."""
    directories: list[str] = []
    with os.scandir(directory) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in names:
        if is_directory:
            directories.append(name)
        else:
            os.unlink(name, dir_fd=directory)
    return directories


def open_up(path: Path | str, directory: int | None = None) -> None:
    """Give a directory's owner all permissions, without following a link that replaces it meanwhile."""
    opened = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        Path(f"/proc/self/fd/{opened}").chmod(stat.S_IRWXU)
    finally:
        os.close(opened)


def _walk(root: Path) -> Iterator["os.DirEntry[str]"]:
    """Yield every entry below ``root``, skipping those that vanish or can't be opened."""
    waiting = [str(root)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            continue
