"""Pushes a commit from a bare repository of the server's own, which lives as long as the push.

A workspace's repository is an agent's, so the server never runs git there: it takes a pack out of it, has git check
every object (as ``transfer.fsckObjects`` does), and pushes from here. The token is in the environment of git's own
process only, as when cloning. Every push names what the branch has to be before it (``--force-with-lease``), so what
somebody else pushed meanwhile is never lost.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app.config import Config
from app.errors import ErrorCode, GitRefusal, WorkspaceFailure
from app.services.filesystem.tree import remove_tree
from app.services.git.base import CloneSource
from app.services.git.clone import reason_of
from app.services.git.head import SHA
from app.services.git.process import GitStarter, kill, read_errors, read_output

LOCAL_SECONDS = 300.0
MAX_LISTING_BYTES = 1024 * 1024
MAX_REPORT_BYTES = 256 * 1024
MEMORY_BYTES = 2 * 1024**3
BIG_FILE_BYTES = 16 * 1024 * 1024
_HEAD = "refs/heads/"


@dataclass(frozen=True, slots=True)
class RemoteRefs:
    """A branch at the git host, and the name of the default branch; ``None`` for what does not exist."""

    sha: str | None
    default_branch: str | None


@dataclass(frozen=True, slots=True)
class PushReport:
    """The end of a push: git's line about the branch, and what it and the host said besides."""

    is_pushed: bool
    line: str
    said: str


class GitPusher:
    """Runs git for pushes. ``root`` is the directory of the bare repositories."""

    def __init__(self, config: Config, root: Path) -> None:
        self._git = GitStarter(config)
        self._root = root
        self._look_seconds = config.git_timeout_seconds
        self._timeout_seconds = config.clone_timeout_seconds
        self._max_bytes = config.push_max_bytes

    async def sweep(self) -> None:
        """Remove what an earlier process of this server left behind."""
        await asyncio.to_thread(remove_tree, self._root)

    async def refs(self, source: CloneSource, branch: str) -> RemoteRefs:
        """Ask the host for the branch and its default branch. Raises WorkspaceFailure."""
        reference = _HEAD + branch
        listing = ["ls-remote", "--symref", "--", source.url, "HEAD", reference]
        process = await self._git.start(*listing, source=source, stdout=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(self._look_seconds):
                output, errors = await asyncio.gather(read_output(process, MAX_LISTING_BYTES), read_errors(process))
                await process.wait()
        except TimeoutError:
            raise WorkspaceFailure("The git host does not answer in time.") from None
        finally:
            await kill(process)
        if process.returncode:
            raise WorkspaceFailure(reason_of(errors, source, branch))
        return _refs(output.decode("utf-8", "replace"), reference)

    @asynccontextmanager
    async def repository(self, head: str, shallow: list[str]) -> AsyncGenerator["BareRepository"]:
        """Make an empty bare repository, and remove it at the end of the block. Raises WorkspaceFailure."""
        try:
            await asyncio.to_thread(self._root.mkdir, mode=0o700, parents=True, exist_ok=True)
            path = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._root))
        except OSError as error:
            raise WorkspaceFailure(f"Nothing can be pushed now: {error.strerror}.") from None
        try:
            bare = BareRepository(path / "bare.git", self._git, self._timeout_seconds, self._max_bytes)
            await bare.make(head, shallow)
            yield bare
        finally:
            await asyncio.shield(asyncio.to_thread(remove_tree, path))


class BareRepository:
    """A bare repository of the server's own."""

    def __init__(self, path: Path, git: GitStarter, timeout_seconds: float, max_bytes: int) -> None:
        self._path = path
        self._git = git
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes

    @property
    def pack(self) -> Path:
        """Where a pack is put that ``take_in`` reads."""
        return self._path.with_name("objects.pack")

    async def make(self, head: str, shallow: list[str]) -> None:
        """Create it for commits like ``head``. Raises WorkspaceFailure."""
        kind = "sha256" if len(head) == 64 else "sha1"  # noqa: PLR2004  SHA-256 in hex.
        made = ["init", "--quiet", "--bare", "--template=", f"--object-format={kind}", "--", os.fspath(self._path)]
        if await self._local(*made):
            raise WorkspaceFailure("Git could not be set up for the push.")
        if shallow:
            text = "".join(f"{sha}\n" for sha in shallow)
            await asyncio.to_thread((self._path / "shallow").write_text, text)

    async def take_in(self, head: str) -> None:
        """Take in the pack, and have git check all of its objects. Raises GitRefusal."""
        try:
            with self.pack.open("rb") as pack:
                limit = f"--max-input-size={self._max_bytes}"
                failed = await self._local(
                    "index-pack", "--stdin", "--strict", "--threads=1", limit, stdin=pack.fileno()
                )
        finally:
            await asyncio.to_thread(self.pack.unlink, missing_ok=True)
        missing = failed or await self._local("rev-list", "--objects", "--quiet", f"{head}^{{commit}}", "--")
        if missing:
            message = "Git's check of the workspace's commits failed: they are broken, or not all of them are there."
            raise GitRefusal(message, code=ErrorCode.PUSH_REJECTED)

    async def is_ancestor(self, sha: str, head: str) -> bool:
        """Tell whether ``head`` comes after ``sha``, which may be unknown here."""
        return await self._local("merge-base", "--is-ancestor", sha, head) == 0

    async def push(self, source: CloneSource, head: str, branch: str, expected: str | None) -> PushReport:
        """Push ``head`` to the branch if that is ``expected`` still (``None``: absent). Raises WorkspaceFailure."""
        reference = _HEAD + branch
        arguments = [
            f"--git-dir={self._path}",
            *("-c", "push.gpgSign=false", "-c", "push.followTags=false", "-c", "push.recurseSubmodules=no"),
            *("push", "--porcelain", "--no-verify", f"--force-with-lease={reference}:{expected or ''}"),
            *("--", source.url, f"{head}:{reference}"),
        ]
        process = await self._git.start(*arguments, source=source, stdout=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                output, errors = await asyncio.gather(read_output(process, MAX_REPORT_BYTES), read_errors(process))
                await process.wait()
        except TimeoutError:
            raise WorkspaceFailure(f"Pushing took longer than {self._timeout_seconds:.0f} s.") from None
        finally:
            await kill(process)
        lines = output.decode("utf-8", "replace").splitlines()
        line = next((each for each in lines if f":{reference}\t" in each), "")
        return PushReport(process.returncode == 0 and line[:1] in {" ", "+", "*", "="}, line, errors)

    async def _local(self, *arguments: str, stdin: int = asyncio.subprocess.DEVNULL) -> int:
        """Run git here, and return its exit code; 128 if it takes too long."""
        settings = ["-c", f"core.bigFileThreshold={BIG_FILE_BYTES}", "-c", "core.commitGraph=false"]
        git_dir = [] if arguments[0] == "init" else [f"--git-dir={self._path}"]
        process = await self._git.start_local(*git_dir, *settings, *arguments, stdin=stdin, prefix=_limited())
        try:
            async with asyncio.timeout(LOCAL_SECONDS):
                await read_errors(process)
                return await process.wait()
        except TimeoutError:
            return 128
        finally:
            await kill(process)


def _limited() -> list[str]:
    """Return a command prefix that limits memory, if ``prlimit`` is installed: packs can unfold to far more."""
    prlimit = shutil.which("prlimit")
    return [prlimit, f"--data={MEMORY_BYTES}", "--core=0", "--"] if prlimit else []


def _refs(listing: str, reference: str) -> RemoteRefs:
    sha: str | None = None
    default: str | None = None
    for line in listing.splitlines():
        value, _, name = line.partition("\t")
        if name == "HEAD" and value.startswith(f"ref: {_HEAD}"):
            default = value.removeprefix(f"ref: {_HEAD}")
        elif name == reference and SHA.fullmatch(value):
            sha = value
    return RemoteRefs(sha, default)
