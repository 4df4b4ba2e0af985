"""The sandbox for a single machine: namespaces by bubblewrap, limits by prlimit.

If the server is root, each conversation's processes run as a user of their own. That user may not enter the workspace's
parent directories, so root bind-mounts the workspace to a path that everybody may enter, in a mount namespace of that
process.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self
from uuid import UUID, uuid4

from app.services.filesystem.tree import hand_over, prepare
from app.services.sandbox import script
from app.services.sandbox.base import CommandLimits, CommandResult, OnOutput, SandboxUnavailable
from app.services.sandbox.identity import sandbox_uid
from app.services.sandbox.output import Output
from app.services.sandbox.process import run_to_end
from app.services.sandbox.seccomp import refuse_keys
from app.services.sandbox.watchdog import Watchdog

PROGRAMS = ("bwrap", "choom", "nice", "prlimit", "bash", "timeout")
ROOT_PROGRAMS = ("setpriv", "unshare", "mount", "sh")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CHECK_LIMITS = CommandLimits(
    wall_seconds=10,
    cpu_seconds=10,
    memory_bytes=1024**3,
    processes=32,
    file_bytes=1024**2,
    workspace_bytes=1024**3,
    output_characters=1000,
)
# Address space limit as a multiple of the memory limit, since runtimes reserve far more than they ever touch.
RESERVED_PER_MEMORY = 8
MAX_OPEN_FILES = 1024
# Prefix of the name of a sandbox's first process, by which left-over sandboxes are recognised.
MARK = "parley-sandbox-"
# The parts of /etc that programs need. Others may contain passwords, such as package managers' settings.
ETC = ("alternatives", "ca-certificates", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types")
ETC_PATTERNS = ("java-*", "ssl/certs", "ssl/openssl.cnf")
# These files list the kernel's keys, also the server's.
KEYS = ("/proc/keys", "/proc/key-users")
ETC_FILES = {
    "/etc/passwd": f"agent:x:{script.UID}:{script.UID}:Agent:{script.ENVIRONMENT['HOME']}:/bin/bash\n",
    "/etc/group": f"agent:x:{script.UID}:\n",
    "/etc/hosts": "127.0.0.1 localhost sandbox\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "/etc/gitconfig": "[user]\n\tname = Agent\n\temail = agent@localhost\n[init]\n\tdefaultBranch = main\n",
}
# The first process in the sandbox, with which the system ends all others. It reaps orphans, too.
# $1 is a pipe that the server alone can write to, and never does: it is at its end once the server is gone or kills the
# command. Until bubblewrap has asked the system to be killed with its parent, which it has by now, nothing else tells.
GUARD = """\
read -t 0 -u "$1" && exit 137
eval "exec $1<&-"
shift
"$@"
exit $?
"""
# Prefixes of messages about a sandbox that could not be created, as opposed to a command that failed.
FAILURES = ("bwrap: ", "setpriv: ", "unshare: ", "mount: ", "choom: ", "nice: ", "prlimit: ")
TMP = "/tmp"  # noqa: S108  Every system has it and everybody can walk to it; nothing is written there.


class BubblewrapSandbox:
    """``Sandbox`` by namespaces, one set for each command, which ends with the command or with this process."""

    name = "bubblewrap"

    def __init__(self, search_path: str = SYSTEM_PATH) -> None:
        self._search_path = search_path

    async def check(self) -> None:
        """Run a trial command. Raises SandboxUnavailable if its output is wrong."""
        directory = await asyncio.to_thread(tempfile.mkdtemp, prefix="parley-sandbox-")
        try:
            result = await self._run(uuid4(), Path(directory), "echo $((6 * 7))", script.WORKSPACE, CHECK_LIMITS)
        except OSError as error:
            raise SandboxUnavailable(f"bubblewrap can't be started: {error.strerror}.") from None
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        if result.output != "42\n" or result.exit_code != 0:
            output = " ".join(result.output.split())[:200]
            raise SandboxUnavailable(f"bubblewrap does not work here: {result.limit or output}.")

    async def run(
        self,
        conversation_id: UUID,
        workspace: Path,
        command: str,
        *,
        directory: str,
        limits: CommandLimits,
        on_output: OnOutput | None = None,
    ) -> CommandResult:
        """Run a bash command. Raises SandboxUnavailable, or OSError if the workspace can't be used."""
        result = await self._run(conversation_id, workspace, command, directory, limits, on_output)
        if result.exit_code != 0 and result.output.startswith(FAILURES):
            # The command itself may have printed such a message, so the sandbox is checked.
            await self.check()
        return result

    async def _run(
        self,
        conversation_id: UUID,
        workspace: Path,
        command: str,
        directory: str,
        limits: CommandLimits,
        on_output: OnOutput | None = None,
    ) -> CommandResult:
        uid = sandbox_uid(conversation_id)
        programs = _find_programs(self._search_path, is_root=uid is not None)
        await asyncio.to_thread(prepare, workspace, uid)
        output = Output()
        watchdog = await asyncio.to_thread(Watchdog, workspace, limits)
        with _pipes(ETC_FILES) as files, _filter() as filters, _Lifeline() as lifeline:
            name = f"{MARK}{uuid4()}"
            guard = ["/bin/bash", "-c", GUARD, name, str(lifeline.reading)]
            inside = [*guard, *script.program(directory, command, limits)]
            arguments = [*_outside(programs, workspace, uid), *_inside(workspace, uid, files, filters, limits), *inside]
            try:
                ended = await run_to_end(
                    arguments,
                    output,
                    wall_seconds=limits.wall_seconds,
                    look=watchdog.look,
                    environment={},
                    pass_fds=[*files, *filters, lifeline.reading],
                    on_output=on_output,
                    before_kill=lifeline.cut,
                )
            except asyncio.CancelledError:
                _kill_orphans(name)
                raise
        return await asyncio.to_thread(script.result, workspace, uid, limits, output, ended)

    async def adopt(self, conversation_id: UUID, workspace: Path) -> None:
        """Change the files' owner to the conversation's user, if the server is root."""
        uid = sandbox_uid(conversation_id)
        if uid is not None:
            await asyncio.to_thread(hand_over, workspace, uid)

    async def sweep(self) -> None:
        """Kill half-created sandboxes, in which no command runs yet, of a server that was killed meanwhile."""
        await asyncio.to_thread(_kill_orphans, MARK)


def _find_programs(search_path: str, *, is_root: bool) -> dict[str, str]:
    names = PROGRAMS + ROOT_PROGRAMS if is_root else PROGRAMS
    paths = {name: shutil.which(name, path=search_path) for name in names}
    missing = [name for name, path in paths.items() if path is None]
    if "bwrap" in missing:
        raise SandboxUnavailable("bubblewrap is not installed (on Debian and Ubuntu: apt-get install bubblewrap).")
    if missing:
        raise SandboxUnavailable(f"the sandbox needs the programs {', '.join(missing)}, which are not installed.")
    return {name: path for name, path in paths.items() if path is not None}


def _kill_orphans(mark: str) -> None:
    """Kill sandboxes with the mark among their arguments whose parent process is gone.

    bubblewrap's second process waits for the first one, for ever if that was killed before it set up user ids.
    """
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and mark.encode() in _read(path / "cmdline"):
            fields = dict(line.split(b":", 1) for line in _read(path / "status").splitlines() if b":" in line)
            is_inside = len(fields.get(b"NSpid", b"").split()) > 1
            parent = Path("/proc", fields.get(b"PPid", b"0").strip().decode(), "cmdline")
            if is_inside and mark.encode() not in _read(parent):
                with suppress(OSError):
                    os.kill(int(path.name), signal.SIGKILL)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _outside(programs: dict[str, str], workspace: Path, uid: int | None) -> list[str]:
    """Return the command that starts bubblewrap: preferred by the OOM killer, with lower priority than the server."""
    first = [programs["choom"], "-n", "1000", "--", programs["nice"], "-n", "10"]
    if uid is None:
        return [*first, programs["bwrap"]]
    bind = f'{programs["mount"]} --bind -- "$1" {TMP} && shift && exec "$@"'
    own_mounts = [programs["unshare"], "--mount", "--propagation", "private", "--"]
    own_user = [programs["setpriv"], "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--"]
    return [*first, *own_mounts, programs["sh"], "-c", bind, "sh", str(workspace), *own_user, programs["bwrap"]]


def _inside(
    workspace: Path, uid: int | None, files: dict[int, str], filters: Sequence[int], limits: CommandLimits
) -> list[str]:
    """Return bubblewrap's arguments: the system's programs read-only, the workspace writable, nothing else."""
    bound = TMP if uid is not None else str(workspace)
    return [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL", "--clearenv"),
        *("--die-with-parent", "--as-pid-1", "--new-session", "--hostname", "sandbox"),
        *("--uid", str(script.UID), "--gid", str(script.UID)),
        *_system(),
        *(part for fd, path in files.items() for part in ("--perms", "0444", "--file", str(fd), path)),
        *("--proc", "/proc", "--dev", "/dev"),
        *(part for path in KEYS if Path(path).exists() for part in ("--ro-bind", "/dev/null", path)),
        *(part for fd in filters for part in ("--seccomp", str(fd))),
        *("--size", str(limits.memory_bytes // 4), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108
        *("--size", str(limits.memory_bytes // 2), "--perms", "1777", "--tmpfs", "/tmp"),  # noqa: S108
        *("--bind", bound, script.WORKSPACE, "--remount-ro", "/", "--chdir", script.WORKSPACE),
        *(part for name, value in script.ENVIRONMENT.items() for part in ("--setenv", name, value)),
        *("--", "/usr/bin/prlimit"),
        # Set inside the user namespace, where Linux counts only this sandbox's processes.
        f"--nproc={limits.processes}",
        f"--cpu={limits.cpu_seconds}",
        f"--data={limits.memory_bytes}",
        f"--as={limits.memory_bytes * RESERVED_PER_MEMORY}",
        f"--fsize={limits.file_bytes}",
        f"--nofile={MAX_OPEN_FILES}",
        "--core=0",
        "--",
    ]


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    etc = Path("/etc")
    found = [etc / name for name in ETC] + [path for pattern in ETC_PATTERNS for path in sorted(etc.glob(pattern))]
    for path in found:
        if path.exists():
            yield from ("--ro-bind", str(path), str(path))


class _Lifeline:
    """A pipe whose read end goes into the sandbox, which dies when the write end is closed, also by our own end."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()
        self._is_cut = False

    def cut(self) -> None:
        """Close the write end, so that the sandbox ends."""
        if not self._is_cut:
            self._is_cut = True
            os.close(self._writing)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        os.close(self.reading)


@contextmanager
def _pipes(contents: dict[str, str]) -> Generator[dict[int, str]]:
    """Create pipes from which bubblewrap reads files' contents, and yield their descriptors with the files' paths."""
    opened: dict[int, str] = {}
    try:
        for path, content in contents.items():
            reading, writing = os.pipe()
            opened[reading] = path
            # Each content is far smaller than a pipe's buffer, so this never blocks.
            os.write(writing, content.encode())
            os.close(writing)
        yield opened
    finally:
        _close(list(opened))


@contextmanager
def _filter() -> Generator[list[int]]:
    """Yield the descriptor from which bubblewrap reads the seccomp filter; empty if there is none for this machine."""
    program = refuse_keys()
    if program is None:
        yield []
        return
    reading, writing = os.pipe()
    try:
        # The filter is far smaller than a pipe's buffer, so this never blocks.
        os.write(writing, program)
        os.close(writing)
        yield [reading]
    finally:
        os.close(reading)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
