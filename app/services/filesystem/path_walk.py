"""Resolves paths in a workspace for untrusted callers, so that no path can escape from it.

A path is resolved one component at a time. Each is opened relative to the directory before it, with ``O_NOFOLLOW``.
Symbolic links are resolved here as the sandbox would: ``/workspace`` is the root, and other targets are refused.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from app.services.filesystem.tree import open_up

ROOT = "/workspace"
MAX_PATH_CHARACTERS = 4096
MAX_LINKS = 20
MAX_DEPTH = 100
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
Make = Callable[[str, int], int]
"""Creates a directory inside an open directory (its descriptor), and returns the new directory's descriptor."""


class WorkspacePathError(Exception):
    """The path escapes from the workspace, or is of the wrong file type. The message is for the agent."""


class AbsentPath(WorkspacePathError):
    """The path does not exist."""


class PathWalk:
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
            self._open.append(os.open(name, DIRECTORY, dir_fd=self.directory))
        except FileNotFoundError:
            if self._make is None:
                raise AbsentPath(f"{self._path} does not exist.") from None
            self._open.append(self._make(name, self.directory))
        except OSError as error:
            raise path_error(error, self._path) from None

    def _link(self, name: str) -> str | None:
        """Return a symbolic link's target; ``None`` for anything else, also for a missing file."""
        try:
            return os.readlink(name, dir_fd=self.directory)
        except OSError as error:
            if error.errno in {errno.EINVAL, errno.ENOENT}:
                return None
            raise path_error(error, self._path) from None

    def _follow(self, target: str) -> None:
        self._links += 1
        if self._links > MAX_LINKS:
            raise WorkspacePathError(f"{self._path} has too many symbolic links.")
        if target.startswith("/"):
            while len(self._open) > 1:
                os.close(self._open.pop())
        try:
            names = path_names(target)
        except WorkspacePathError:
            raise WorkspacePathError(f"{self._path} is a symbolic link that leads out of the workspace.") from None
        self._names = names + self._names
        if len(self._names) > MAX_PATH_CHARACTERS:
            raise WorkspacePathError(f"{self._path} is too long.")


def _open_root(root: Path) -> int:
    try:
        return os.open(root, DIRECTORY)
    except PermissionError:
        # A command closed it to its own user, who is the server's unless that is root.
        open_up(root)
        return os.open(root, DIRECTORY)


def path_names(path: str) -> list[str]:
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


def path_error(error: OSError, path: str) -> Exception:
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
