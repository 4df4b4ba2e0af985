"""Depth-first traversal of a workspace for archives, in bounded memory.

Every entry is opened relative to its open directory and without following links, so nothing outside the workspace is
read, even if commands change it meanwhile. Skipped are entries that are no file, directory or link, that vanish, or
that can't be read; and ``.git`` and ``.parley``, unless they are named: a repository's configuration and hooks are
commands that git would run for the user who unpacks them.
"""

import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from app.services.filesystem.files import WorkspaceFiles
from app.services.filesystem.path_walk import WorkspacePathError

PIECE_BYTES = 64 * 1024
# Each level takes two descriptors while it is read.
MAX_DEPTH = 40
LEFT_OUT = frozenset({".git", ".parley"})
_FOLLOW_NOT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TooLarge(Exception):
    """The bounds are exceeded. The message is for the client."""


@dataclass(slots=True)
class MemberBounds:
    """The remaining budget of entries and of bytes of files."""

    entries: int
    bytes: int
    _limits: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self._limits = (self.entries, self.bytes)

    def take(self, size: int) -> None:
        """Count an entry. Raises TooLarge."""
        self.entries -= 1
        self.bytes -= size
        if self.entries < 0:
            raise TooLarge(f"There are more than {self._limits[0]} files and directories: name fewer of them.")
        if self.bytes < 0:
            raise TooLarge(f"The files are larger than {self._limits[1]} bytes together: name fewer of them.")


@dataclass(frozen=True, slots=True)
class Member:
    """An entry. ``path`` is relative, with surrogates for what is no UTF-8. ``opened`` reads a file, else it is -1.

    Where ``opened`` is a descriptor, it is valid until the next member is asked for.
    """

    path: str
    status: os.stat_result
    opened: int = -1
    target: str | None = None

    @property
    def is_file(self) -> bool:
        """True for a regular file."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def mode(self) -> int:
        """Normalized permissions: 0755 or 0644, and 0777 for links; no setuid or sticky bits."""
        if self.target is not None:
            return 0o777
        return 0o755 if stat.S_ISDIR(self.status.st_mode) or self.status.st_mode & stat.S_IXUSR else 0o644

    def pieces(self) -> Iterator[bytes]:
        """Read the content in chunks, at most the size at the time of opening; less if the file was truncated."""
        left = self.status.st_size
        while left > 0 and (piece := os.read(self.opened, min(left, PIECE_BYTES))):
            left -= len(piece)
            yield piece


def members(files: WorkspaceFiles, paths: Sequence[str], bounds: MemberBounds) -> Generator[Member]:
    """Generate the entries at the paths and below them; without paths those of the whole workspace. Blocking.

    Paths are relative, and of those within each other only the outer ones may be given. A link that is named is
    resolved within the workspace. Raises WorkspacePathError, TooLarge and OSError.
    """
    for path in paths:
        entry = files.look(path)
        if entry.kind == "directory":
            opened = files.open_directory(path)
            yield from _within(opened, path, bounds)
        elif entry.kind == "file":
            yield from _file(files.open(path), path, bounds)
        else:
            raise WorkspacePathError(f"{path} is no file or directory.")
    if not paths:
        yield from _within(files.open_directory(os.curdir), "", bounds)


def outermost(paths: Sequence[str]) -> tuple[str, ...]:
    """Remove duplicates, and paths that are below another one."""
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda each: each.split("/")):
        if not kept or not (path == kept[-1] or path.startswith(f"{kept[-1]}/")):
            kept.append(path)
    return tuple(kept)


def _within(opened: int, path: str, bounds: MemberBounds) -> Generator[Member]:
    """Generate an open directory, which is closed at the end, and everything below it."""
    stack: list[tuple[int, str, Iterator[os.DirEntry[str]]]] = []
    try:
        stack.append((opened, path, _entries(opened)))
        if path:
            bounds.take(0)
            yield Member(path, os.fstat(opened))
        while stack:
            directory, prefix, entries = stack[-1]
            entry = next(entries, None)
            if entry is None:
                os.close(stack.pop()[0])
                continue
            if entry.name in LEFT_OUT:
                continue
            name = f"{prefix}/{entry.name}" if prefix else entry.name
            if not entry.is_dir(follow_symlinks=False):
                yield from _leaf(entry, directory, name, bounds)
            elif (below := _opened(entry.name, directory, _DIRECTORY)) >= 0:
                stack.append((below, name, _entries(below)))
                bounds.take(0)
                if len(stack) > MAX_DEPTH:
                    raise TooLarge(f"Directories are nested more than {MAX_DEPTH} deep: name some of them.")
                yield Member(name, os.fstat(below))
    finally:
        for directory, _, _ in stack:
            os.close(directory)


def _leaf(entry: "os.DirEntry[str]", directory: int, path: str, bounds: MemberBounds) -> Generator[Member]:
    """Generate the member of a file or link; nothing for other types."""
    if entry.is_symlink():
        yield from _link(entry.name, directory, path, bounds)
    elif entry.is_file(follow_symlinks=False):
        yield from _file(_opened(entry.name, directory, _FOLLOW_NOT), path, bounds)


def _file(opened: int, path: str, bounds: MemberBounds) -> Generator[Member]:
    if opened < 0:
        return
    try:
        status = os.fstat(opened)
        # Something else may have taken the file's place.
        if stat.S_ISREG(status.st_mode):
            bounds.take(status.st_size)
            yield Member(path, status, opened)
    finally:
        os.close(opened)


def _link(name: str, directory: int, path: str, bounds: MemberBounds) -> Generator[Member]:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        target = os.readlink(name, dir_fd=directory)
    except OSError:
        return
    bounds.take(0)
    yield Member(path, status, target=target)


def _entries(directory: int) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(directory) as entries:
        yield from entries


def _opened(name: str, directory: int, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=directory)
    except OSError:
        return -1


def count(files: WorkspaceFiles, paths: Sequence[str], bounds: MemberBounds) -> None:
    """Raise TooLarge where the bounds are exceeded now, and what ``members`` raises."""
    with closing(members(files, paths, bounds)) as found:
        for _ in found:
            pass
