"""Limits that the system can't enforce: memory, processes and disk usage of all of a command's processes together."""

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.services.filesystem.tree import measure
from app.services.sandbox.base import CommandLimits

PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
MAX_OPEN_FILES = 20_000
# Measuring a workspace may take at most a twentieth of the time.
WORKSPACE_SECONDS = 0.5
WORKSPACE_SHARE = 20
# Disk space that stays free for the server, however a command fills the disk.
MIN_FREE_BYTES = 256 * 1024 * 1024
BLOCK_BYTES = 512


@dataclass
class _Taken:
    """Current usage of a command's processes. ``deleted`` has the sizes of open files without a name, by inode."""

    threads: int = 0
    memory_bytes: int = 0
    open_files: int = 0
    deleted: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])


class Watchdog:
    """Checks one command's limits, several times a second, in a thread.

    Memory is the private memory of all processes, plus open files without a name outside the workspace's file system.
    Those in the workspace's file system count as part of the workspace.
    """

    def __init__(self, workspace: Path, limits: CommandLimits, *, watches_processes: bool = True) -> None:
        self._workspace = workspace
        self._device = workspace.stat().st_dev
        self._limits = limits
        self._watches_processes = watches_processes
        self._deleted_bytes = 0
        self._next_measure = 0.0

    def look(self, pid: int) -> str | None:
        """Return a sentence about a limit that the descendants of ``pid`` or the workspace exceed, if any."""
        if self._watches_processes:
            limit = self._look_at_processes(pid)
            if limit is not None:
                return limit
        return self.look_at_workspace()

    def look_at_workspace(self, *, at_once: bool = False) -> str | None:
        """Return a sentence about a limit that the workspace exceeds. Unless ``at_once``, calls are throttled."""
        try:
            return self._look_at_workspace(at_once=at_once)
        except OSError as error:
            # For example, the conversation was deleted while its command ran.
            return f"its workspace can't be read any more: {error.strerror}"

    def _look_at_workspace(self, *, at_once: bool) -> str | None:
        system = os.statvfs(self._workspace)
        if system.f_bavail * system.f_frsize < MIN_FREE_BYTES:
            return f"the disk has less than {MIN_FREE_BYTES // 2**20} MiB left"
        began = time.monotonic()
        if began < self._next_measure and not at_once:
            return None
        size = measure(self._workspace)
        took = time.monotonic() - began
        self._next_measure = began + max(WORKSPACE_SECONDS, took * WORKSPACE_SHARE)
        if size.is_too_large:
            return "the workspace has too many files, or directories that are nested too deeply"
        if size.bytes + self._deleted_bytes > self._limits.workspace_bytes:
            return f"the workspace is larger than {_mebibytes(self._limits.workspace_bytes)}"
        return None

    def _look_at_processes(self, pid: int) -> str | None:
        taken = _Taken()
        for process, threads in _descendants(pid):
            taken.threads += threads
            _add(taken, process)
        in_workspace = sum(size for (device, _), size in taken.deleted.items() if device == self._device)
        memory = taken.memory_bytes + sum(taken.deleted.values()) - in_workspace
        self._deleted_bytes = in_workspace
        if memory > self._limits.memory_bytes:
            return f"its processes took more than {_mebibytes(self._limits.memory_bytes)} of memory"
        if taken.threads > self._limits.processes:
            return f"it had more than {self._limits.processes} processes"
        if taken.open_files > MAX_OPEN_FILES:
            return f"it had more than {MAX_OPEN_FILES} files open"
        return None


def _descendants(pid: int) -> Iterator[tuple[int, int]]:
    """Yield (process id, number of threads) of all descendants. The sandbox's first process adopts its orphans."""
    children: dict[int, list[tuple[int, int]]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  A path object for each would double the time.
        if not name.isdecimal():
            continue
        try:
            text = Path("/proc", name, "stat").read_bytes()
        except OSError:
            continue
        # The second field is the program's name in parentheses, which may contain anything.
        fields = text[text.rindex(b")") + 2 :].split()
        children.setdefault(int(fields[1]), []).append((int(name), int(fields[17])))
    waiting = [pid]
    while waiting:
        for child in children.pop(waiting.pop(), []):
            waiting.append(child[0])
            yield child


def _add(taken: _Taken, pid: int) -> None:
    """Add a process's usage; nothing if it has ended meanwhile."""
    try:
        for line in Path("/proc", str(pid), "status").read_text(errors="replace").splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                taken.memory_bytes += int(line.split()[1]) * 1024
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208  As above.
            taken.open_files += 1
            if taken.open_files > MAX_OPEN_FILES:
                return
            status = os.stat(f"/proc/{pid}/fd/{name}")  # noqa: PTH116  A path object for each would double the time.
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                taken.deleted[status.st_dev, status.st_ino] = status.st_blocks * BLOCK_BYTES
    except OSError:
        return


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:g} MiB"
