"""Access to single files of a workspace for untrusted callers: no path can escape from it.

A path is resolved one component at a time. Each is opened relative to the directory before it, with ``O_NOFOLLOW``.
Symbolic links are resolved here as the sandbox would: ``/workspace`` is the root, and other targets are refused.
"""

import errno
import os
import stat
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from uuid import uuid4

from app.services.filesystem.excerpt import Excerpt, read_lines
from app.services.filesystem.tree import open_up

ROOT = "/workspace"
MAX_PATH_CHARACTERS = 4096
MAX_LINKS = 20
MAX_DEPTH = 100
# Limit on the entries of one directory. A command is ended if its workspace has more than 500,000.
MAX_NAMES = 1_000_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a named pipe would wait for its other end.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Make = Callable[[str, int], int]
"""Creates a directory inside an open directory (its descriptor), and returns the new directory's descriptor."""


class WorkspacePathError(Exception):
    """The path escapes from the workspace, or is of the wrong file type. The message is for the agent."""


class AbsentPath(WorkspacePathError):
    """The path does not exist."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A directory entry. ``kind`` is ``directory``, ``file``, ``link`` or ``other``; ``bytes`` is a file's size.

    ``target`` is the target of a link, where it was read.
    """

    name: str
    kind: str
    bytes: int
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Sorted entries of a directory; ``is_cut`` if the limit left some out."""

    entries: list[Entry]
    is_cut: bool


class WorkspaceFiles:
    """The files of one workspace. Blocking: call it in a thread. Every method may raise WorkspacePathError and OSError.

    Paths are as the sandbox has them: absolute under ``/workspace``, or relative to it.
    ``owner`` is the user and group that new files and directories are given; None: the server's own.
    """

    def __init__(self, root: Path, owner: int | None) -> None:
        self._root = root
        self._owner = owner

    def read(self, path: str, max_bytes: int) -> bytes:
        """Read a regular file. Raises WorkspacePathError if it is larger than ``max_bytes``."""
        with self._parent(path) as (directory, name):
            opened = _open(name, _READ, directory, path)
            try:
                status = os.fstat(opened)
                _check_regular(status, path)
                content = b"" if status.st_size > max_bytes else _read_all(opened, max_bytes + 1)
            finally:
                os.close(opened)
            if status.st_size > max_bytes or len(content) > max_bytes:
                raise WorkspacePathError(f"{path} is larger than {max_bytes} bytes.")
            return content

    def write(self, path: str, content: bytes) -> bool:
        """Write a file atomically, and create missing directories. Returns whether the file is new."""
        with self._parent(path, is_made=True) as (directory, name):
            mode: int | None = None
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                _check_regular(status, path)
                mode = stat.S_IMODE(status.st_mode) & 0o777
            temporary = f".parley-{uuid4().hex}"
            opened = os.open(temporary, _CREATE, 0o644 if mode is None else mode, dir_fd=directory)
            try:
                with open(opened, "wb") as file:  # noqa: PTH123  It is a descriptor.
                    self.give(opened)
                    if mode is not None:
                        os.fchmod(opened, mode)
                    file.write(content)
                os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=directory)
                raise
            return mode is None

    def remove(self, path: str) -> None:
        """Delete a file; a symbolic link is followed first."""
        with self._parent(path) as (directory, name):
            os.unlink(name, dir_fd=directory)

    def list(self, path: str, limit: int) -> Listing:
        """List up to ``limit`` entries, sorted by name. If there are more, it is arbitrary which ones are listed."""
        with self._directory(path) as directory:
            listed: list[Entry] = []
            with os.scandir(directory) as entries:
                for entry in entries:
                    if len(listed) == limit:
                        return Listing(sorted(listed, key=_by_name), is_cut=True)
                    listed.append(_entry(entry))
            return Listing(sorted(listed, key=_by_name), is_cut=False)

    def page(self, path: str, after: str | None, limit: int, max_names: int = MAX_NAMES) -> Listing:
        """List a page of a directory: the entries after the name ``after``, ordered by their bytes.

        It needs constant memory. A directory with more than ``max_names`` entries is an error.
        """
        behind = os.fsencode(after) if after is not None else b""
        with self._directory(path) as directory:
            with os.scandir(directory) as entries:
                seen = (os.fsencode(entry.name) for entry in _bounded(entries, path, max_names) if _is_shown(entry))
                names = nsmallest(limit + 1, (name for name in seen if name > behind))
            entries_or_none = [_look(os.fsdecode(name), directory) for name in names[:limit]]
        return Listing([entry for entry in entries_or_none if entry is not None], is_cut=len(names) > limit)

    def look(self, path: str) -> Entry:
        """Return the entry at the path, with links resolved, and the link's target if it is one."""
        walk = _PathWalk(self._root, path, _names(path))
        try:
            name = walk.to_last()
            if name is None:
                return Entry("", "directory", 0)
            entry = _look(name, walk.directory)
        finally:
            walk.close()
        if entry is None:
            raise AbsentPath(f"{path} does not exist.")
        return entry

    def head(self, path: str, max_bytes: int) -> bytes:
        """Read the beginning of a regular file."""
        with self._file(path) as opened:
            return _read_all(opened, max_bytes)

    def lines(self, path: str, first: int, last: int | None, *, max_bytes: int, max_scanned: int) -> Excerpt:
        """Read lines of a regular file, counted from 1, in constant memory. ``last``: ``None`` for all that follow."""
        with self._file(path) as opened:
            return read_lines(opened, first, last, max_bytes, max_scanned)

    def open(self, path: str) -> int:
        """Open a regular file, and return its descriptor, which the caller closes."""
        with self._file(path) as opened:
            return os.dup(opened)

    def open_directory(self, path: str) -> int:
        """Open a directory, and return its descriptor, which the caller closes."""
        with self._directory(path) as opened:
            return os.dup(opened)

    def open_parent(self, path: str) -> tuple[int, str]:
        """Open a file's directory, creating it if needed; return its descriptor, which the caller closes, and the name.

        The name is that of a regular file or does not exist. Raises WorkspacePathError for other file types.
        """
        with self._parent(path, is_made=True) as (directory, name):
            with suppress(FileNotFoundError):
                _check_regular(os.stat(name, dir_fd=directory, follow_symlinks=False), path)
            return os.dup(directory), name

    @contextmanager
    def _file(self, path: str) -> Generator[int]:
        """Open a regular file for reading, and yield its descriptor."""
        with self._parent(path) as (directory, name):
            opened = _open(name, _READ, directory, path)
            try:
                _check_regular(os.fstat(opened), path)
                yield opened
            finally:
                os.close(opened)

    @contextmanager
    def _directory(self, path: str) -> Generator[int]:
        """Open the directory at the path, with links resolved, and yield its descriptor."""
        walk = _PathWalk(self._root, path, _names(path))
        try:
            name = walk.to_last()
            if name is not None:
                walk.enter(name)
            yield walk.directory
        finally:
            walk.close()

    @contextmanager
    def _parent(self, path: str, *, is_made: bool = False) -> Generator[tuple[int, str]]:
        """Resolve links, and yield the final directory's descriptor and the last component, which is not a link."""
        walk = _PathWalk(self._root, path, _names(path), self._make if is_made else None)
        try:
            name = walk.to_last()
            if name is None:
                raise WorkspacePathError(f"{path} is a directory.")
            yield walk.directory, name
        finally:
            walk.close()

    def _make(self, name: str, directory: int) -> int:
        os.mkdir(name, 0o755, dir_fd=directory)
        opened = os.open(name, _DIRECTORY, dir_fd=directory)
        self.give(opened)
        return opened

    def give(self, opened: int) -> None:
        """Change the owner of an open file to ``owner``."""
        if self._owner is not None:
            os.fchown(opened, self._owner, self._owner)


class _PathWalk:
    """The resolution of one path: a stack of open directories, from the workspace down to the current one."""

    def __init__(self, root: Path, path: str, names: list[str], make: Make | None = None) -> None:
        self._path = path
        self._names = names
        self._make = make
        self._links = 0
        try:
            self._open = [_open_root(root)]
        except FileNotFoundError:
            raise AbsentPath("There is no workspace.") from None

    @property
    def directory(self) -> int:
        """The descriptor of the current directory."""
        return self._open[-1]

    def close(self) -> None:
        """Close all descriptors."""
        for opened in self._open:
            os.close(opened)

    def to_last(self) -> str | None:
        """Enter all directories but the last component, and return that.

        It is not a link, and may not exist. Returns ``None`` if the path ends in ``..`` or at the root.
        """
        while self._names:
            name = self._names.pop(0)
            if name == "..":
                if len(self._open) == 1:
                    raise WorkspacePathError(f"{self._path} leads out of the workspace.")
                os.close(self._open.pop())
            elif (target := self._link(name)) is not None:
                self._follow(target)
            elif self._names:
                self.enter(name)
            else:
                return name
        return None

    def enter(self, name: str) -> None:
        """Open a subdirectory, and make it the current one."""
        if len(self._open) > MAX_DEPTH:
            raise WorkspacePathError(f"{self._path} is too deep.")
        try:
            self._open.append(os.open(name, _DIRECTORY, dir_fd=self.directory))
        except FileNotFoundError:
            if self._make is None:
                raise AbsentPath(f"{self._path} does not exist.") from None
            self._open.append(self._make(name, self.directory))
        except OSError as error:
            raise _error(error, self._path) from None

    def _link(self, name: str) -> str | None:
        """Return a symbolic link's target; ``None`` for anything else, also for a missing file."""
        try:
            return os.readlink(name, dir_fd=self.directory)
        except OSError as error:
            if error.errno in {errno.EINVAL, errno.ENOENT}:
                return None
            raise _error(error, self._path) from None

    def _follow(self, target: str) -> None:
        self._links += 1
        if self._links > MAX_LINKS:
            raise WorkspacePathError(f"{self._path} has too many symbolic links.")
        if target.startswith("/"):
            while len(self._open) > 1:
                os.close(self._open.pop())
        try:
            names = _names(target)
        except WorkspacePathError:
            raise WorkspacePathError(f"{self._path} is a symbolic link that leads out of the workspace.") from None
        self._names = names + self._names
        if len(self._names) > MAX_PATH_CHARACTERS:
            raise WorkspacePathError(f"{self._path} is too long.")


def _open_root(root: Path) -> int:
    try:
        return os.open(root, _DIRECTORY)
    except PermissionError:
        # A command closed it to its own user, who is the server's unless that is root.
        open_up(root)
        return os.open(root, _DIRECTORY)


def _names(path: str) -> list[str]:
    if not path or len(path) > MAX_PATH_CHARACTERS:
        raise WorkspacePathError(f"A path has 1 to {MAX_PATH_CHARACTERS} characters.")
    if "\x00" in path:
        raise WorkspacePathError("A path has no null character.")
    try:
        path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise WorkspacePathError("The path is not valid Unicode.") from None
    names = [name for name in path.split("/") if name not in {"", "."}]
    if path.startswith("/"):
        if names[:1] != [ROOT.strip("/")]:
            raise WorkspacePathError(f"{path} is outside {ROOT}.")
        del names[0]
    return names


def _open(name: str, flags: int, directory: int, path: str) -> int:
    try:
        return os.open(name, flags, dir_fd=directory)
    except OSError as error:
        raise _error(error, path) from None


def _error(error: OSError, path: str) -> Exception:
    """Convert an OSError that the path caused to a message for the agent; return any other error unchanged."""
    messages = {
        errno.ENOENT: "does not exist",
        errno.ENOTDIR: "is not a directory, or not in one",
        errno.ELOOP: "is a symbolic link that changes",
        errno.ENXIO: "is no regular file",
        errno.ENAMETOOLONG: "has a name that is too long",
        errno.EACCES: "may not be opened",
        errno.EISDIR: "is a directory",
    }
    message = messages.get(error.errno or 0)
    if error.errno == errno.ENOENT:
        return AbsentPath(f"{path} {message}.")
    return WorkspacePathError(f"{path} {message}.") if message else error


def _check_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise WorkspacePathError(f"{path} is a directory.")
    if not stat.S_ISREG(status.st_mode):
        raise WorkspacePathError(f"{path} is no regular file.")


def _read_all(opened: int, limit: int) -> bytes:
    """Read up to ``limit`` bytes, whatever ``stat`` said, since the file may grow while it is read."""
    pieces = bytearray()
    while len(pieces) < limit and (piece := os.read(opened, min(limit - len(pieces), 1 << 20))):
        pieces += piece
    return bytes(pieces)


def _bounded(entries: Iterable["os.DirEntry[str]"], path: str, most: int) -> Iterator["os.DirEntry[str]"]:
    for count, entry in enumerate(entries):
        if count == most:
            raise WorkspacePathError(f"{path} holds more than {most} names.")
        yield entry


def _is_shown(entry: "os.DirEntry[str]") -> bool:
    return entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False) or entry.is_symlink()


def _look(name: str, directory: int) -> Entry | None:
    """Return an entry of an open directory; ``None`` if it was removed meanwhile."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return Entry(name, "link", 0, os.readlink(name, dir_fd=directory))
    except OSError:
        return None
    if stat.S_ISREG(status.st_mode):
        return Entry(name, "file", status.st_size)
    return Entry(name, "directory" if stat.S_ISDIR(status.st_mode) else "other", 0)


def _entry(entry: "os.DirEntry[str]") -> Entry:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return Entry(entry.name, "other", 0)
    if stat.S_ISREG(status.st_mode):
        return Entry(entry.name, "file", status.st_size)
    file_type = "directory" if stat.S_ISDIR(status.st_mode) else "link" if stat.S_ISLNK(status.st_mode) else "other"
    return Entry(entry.name, file_type, 0)


def _by_name(entry: Entry) -> str:
    return entry.name
