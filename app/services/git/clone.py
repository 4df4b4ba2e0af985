"""Clones a repository with the system's git, without running code from it and without writing the token to disk.

The token reaches git as a header in the environment of its own process: not in an argument, which every user of the
machine can read, and not in the repository's URL or configuration, which the agent can read. Everything else that git
would take from the machine or the repository is turned off: configuration files, hooks, templates, filters, credential
helpers, submodules, redirects and every protocol but the URL's. Needs git 2.37 or later (``http.curloptResolve``).
"""

import asyncio
import os
import re
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.config import Config
from app.errors import WorkspaceFailure
from app.services.filesystem.tree import measure
from app.services.git.base import CloneSource
from app.services.git.process import GitStarter, kill, read_errors
from app.services.secrets.redaction import Redactor

log = structlog.get_logger(__name__)

WATCH_SECONDS = 0.5
MAX_REASON_CHARACTERS = 300
LOCAL_SECONDS = 30.0

NO_BRANCH = "The repository has no branch named {branch}."
REFUSED = "The git host refused access to the repository: is a token stored, and may it read this repository?"
ABSENT = "The git host knows no such repository, or the token may not read it."
REDIRECTS = "The git host redirects, which is not followed."

# Exit code of ``git ls-remote --exit-code`` if no ref matches.
_NONE_MATCHES = 2
# Patterns of git's messages (in English, because of LC_ALL=C), and the sentences for the user.
_REASONS = (
    (re.compile(r"Remote branch (?:(?!Remote branch ).)* not found|couldn't find remote ref"), NO_BRANCH),
    (
        re.compile(
            r"^remote: [^\n]*\b(?:disabled|blocked|suspended)\b|returned error: 451", re.MULTILINE | re.IGNORECASE
        ),
        "The git host has disabled access to this repository.",
    ),
    (re.compile(r"Authentication failed|could not read Username|returned error: 40[13]"), REFUSED),
    (re.compile(r"repository '(?:(?!repository ').)*' not found|returned error: 404", re.DOTALL), ABSENT),
    (re.compile(r"No space left on device|Disk quota exceeded"), "There is no space left for the repository."),
    (re.compile(r"returned error: 30[1278]|redirect", re.IGNORECASE), REDIRECTS),
    (
        re.compile(r"Could not resolve|Failed to connect|Couldn't connect|timed? ?out|Connection refused|too slow"),
        "The git host can't be reached.",
    ),
)


@dataclass(frozen=True, slots=True)
class Checkout:
    """The HEAD of a clone. ``branch`` is ``None`` for a detached HEAD, ``commit`` for a repository without commits."""

    branch: str | None
    commit: str | None


class GitCloner:
    """Runs ``git clone`` within the configured limits of time and size."""

    def __init__(self, config: Config) -> None:
        self._git = GitStarter(config)
        self._timeout_seconds = config.clone_timeout_seconds
        self._max_bytes = config.workspace_max_bytes
        self._look_seconds = config.git_timeout_seconds

    async def clone(self, source: CloneSource, directory: Path, *, branch: str | None) -> Checkout:
        """Clone the last commit of a branch (``None``: of the remote's HEAD) into a directory that must not exist yet.

        A repository without commits gives an empty clone. Raises ``WorkspaceFailure`` with a message for the user.
        After a failure or cancellation git's processes are gone, but the caller has to remove the directory.
        """
        await self._bounded(_clone_arguments(source, directory, branch), source, directory, branch)
        checkout = await self._checkout(directory)
        if branch is not None and checkout.branch != branch:
            # ``git clone --branch`` also accepts a tag's name, and then leaves a detached HEAD.
            raise WorkspaceFailure(NO_BRANCH.format(branch=branch))
        return checkout

    async def fetch(self, source: CloneSource, directory: Path, branch: str, remote: str) -> str:
        """Fetch a branch with its whole history into a clone, as ``refs/remotes/<remote>/<branch>``; return its commit.

        The clone has to be one that no agent has seen. Raises ``WorkspaceFailure`` as ``clone`` does.
        """
        reference = f"refs/remotes/{remote}/{branch}"
        await self._bounded(_fetch_arguments(source, directory, branch, reference), source, directory, branch)
        return await self._ask(directory, "rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}")

    async def has_branch(self, source: CloneSource, branch: str | None = None) -> bool:
        """Ask the remote for the branch; ``None`` asks for any. Raises ``WorkspaceFailure`` as ``clone`` does."""
        pattern = [f"refs/heads/{branch}"] if branch is not None else []
        listing = ["ls-remote", "--exit-code", "--heads", "--", source.url, *pattern]
        process = await self._git.start(*listing, source=source)
        try:
            async with asyncio.timeout(self._look_seconds):
                errors = await read_errors(process)
                await process.wait()
        except TimeoutError:
            raise WorkspaceFailure("The git host does not answer in time.") from None
        finally:
            await kill(process)
        if process.returncode not in (0, _NONE_MATCHES):
            raise WorkspaceFailure(reason_of(errors, source, branch))
        return process.returncode == 0

    async def _bounded(self, arguments: list[str], source: CloneSource, directory: Path, branch: str | None) -> None:
        """Run git within the limits of time and size. Raises ``WorkspaceFailure``."""
        process = await self._git.start(*arguments, source=source)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                errors, _ = await asyncio.gather(read_errors(process), self._watch(process, directory))
        except TimeoutError:
            raise WorkspaceFailure(f"Cloning took longer than {self._timeout_seconds:.0f} s.") from None
        finally:
            await kill(process)
        if process.returncode:
            raise WorkspaceFailure(reason_of(errors, source, branch))
        if await asyncio.to_thread(_bytes_of, directory) > self._max_bytes:
            raise self._too_large()

    async def _checkout(self, directory: Path) -> Checkout:
        reference = await self._ask(directory, "symbolic-ref", "--quiet", "HEAD")
        commit = await self._ask(directory, "rev-parse", "--verify", "--quiet", "HEAD")
        prefix = "refs/heads/"
        return Checkout(reference.removeprefix(prefix) if reference.startswith(prefix) else None, commit or None)

    async def _ask(self, directory: Path, *question: str) -> str:
        """Run a git query in a clone and return its one line of output; empty where git has no answer."""
        process = await self._git.start_local("-C", os.fspath(directory), *question, stdout=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(LOCAL_SECONDS):
                answer, _ = await process.communicate()
        except TimeoutError:
            raise WorkspaceFailure("The clone can't be read in time.") from None
        finally:
            await kill(process)
        return os.fsdecode(answer).rstrip("\n")

    async def _watch(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        """Wait for git to exit, and kill it when the directory exceeds the size limit."""
        while True:
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await process.wait()
            except TimeoutError:
                if await asyncio.to_thread(_bytes_of, directory) > self._max_bytes:
                    raise self._too_large() from None
            else:
                return

    def _too_large(self) -> WorkspaceFailure:
        return WorkspaceFailure(f"The repository is larger than {self._max_bytes} bytes (PARLEY_WORKSPACE_MAX_BYTES).")


def _bytes_of(directory: Path) -> int:
    """Return the size of an unfinished clone, 0 before the directory exists."""
    try:
        return measure(directory).bytes
    except FileNotFoundError:
        return 0


def _clone_arguments(source: CloneSource, directory: Path, branch: str | None) -> list[str]:
    return [
        "clone",
        "--quiet",
        "--depth=1",
        "--single-branch",
        "--no-tags",
        "--no-recurse-submodules",
        "--template=",
        *([f"--branch={branch}"] if branch is not None else []),
        "--",
        source.url,
        os.fspath(directory),
    ]


def _fetch_arguments(source: CloneSource, directory: Path, branch: str, reference: str) -> list[str]:
    return [
        "-C",
        os.fspath(directory),
        "fetch",
        "--quiet",
        # All of the history, also where the clone has it already, in which case ``--unshallow`` is an error.
        "--depth=2147483647",
        "--no-tags",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--",
        source.url,
        f"+refs/heads/{branch}:{reference}",
    ]


def reason_of(errors: str, source: CloneSource, branch: str | None) -> str:
    """Translate git's error output to a sentence for the user, with the token redacted."""
    for pattern, reason in _REASONS:
        if pattern.search(errors):
            return reason.format(branch=branch)
    redactor = Redactor([source.password] if source.password else [])
    fatal = [line for line in errors.splitlines() if line.startswith(("fatal:", "error:"))] or errors.splitlines()[-1:]
    detail = redactor.text(" ".join(fatal))[:MAX_REASON_CHARACTERS]
    return f"The repository can't be cloned: {detail or 'git ended without a reason'}."
