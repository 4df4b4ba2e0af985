"""Reads the checked-out branch and commit of a workspace's repository from its files, without running git.

An agent can write anything into these files. They are read within bounds, no path leads out of the workspace, and
malformed content is ignored.
"""

import re
from dataclasses import dataclass

from app.services.filesystem.files import WorkspaceFiles, WorkspacePathError

MAX_BRANCH_CHARACTERS = 255
MAX_REFERENCE_BYTES = 4096
MAX_PACKED_BYTES = 8 * 1024 * 1024
SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BRANCH = "refs/heads/"


@dataclass(frozen=True, slots=True)
class Head:
    """The checked-out branch (``None`` if HEAD is detached) and its last commit (``None`` before the first one)."""

    branch: str | None = None
    commit: str | None = None


def read_head(files: WorkspaceFiles) -> Head:
    """Read HEAD; both fields are ``None`` if there is no repository. It blocks: call it in a thread."""
    text = _line(files, ".git/HEAD")
    if not text.startswith("ref:"):
        return Head(commit=text if SHA.fullmatch(text) else None)
    reference = text.removeprefix("ref:").strip()
    name = reference.removeprefix(_BRANCH)
    if name == reference or not name or len(name) > MAX_BRANCH_CHARACTERS or not name.isprintable():
        return Head()
    commit = _line(files, f".git/{reference}")
    return Head(name, commit if SHA.fullmatch(commit) else _packed(files, reference))


def _line(files: WorkspaceFiles, path: str) -> str:
    try:
        return files.read(path, MAX_REFERENCE_BYTES).decode().rstrip("\n")
    except (WorkspacePathError, OSError, UnicodeDecodeError):
        return ""


def _packed(files: WorkspaceFiles, reference: str) -> str | None:
    try:
        packed = files.read(".git/packed-refs", MAX_PACKED_BYTES)
    except (WorkspacePathError, OSError):
        return None
    reference_name = reference.encode("utf-8", "surrogatepass")
    for line in packed.splitlines():
        sha, _, name = line.partition(b" ")
        if name == reference_name and SHA.fullmatch(sha.decode("ascii", "replace")):
            return sha.decode()
    return None
