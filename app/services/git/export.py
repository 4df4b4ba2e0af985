"""Takes a commit with all its objects out of a workspace, as one pack that git writes in the sandbox.

The pack is data: whoever uses it has git check each object. It is written into the workspace, read from there within
bounds, and removed. A shallow clone's pack ends at the commit that was cloned.
"""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from uuid import UUID, uuid4

from app.errors import ErrorCode, WorkspaceFailure
from app.services.filesystem.files import WorkspaceFiles
from app.services.filesystem.path_walk import WorkspacePathError
from app.services.git.head import SHA
from app.services.git.sandboxed import SandboxGit, SandboxScript

WALL_SECONDS = 120.0
DIRECTORY = ".parley"
MAX_SHALLOW_BYTES = 64 * 1024
_PIECE_BYTES = 1 << 20

# Takes $format, $head, $shallow and $file.
SCRIPT = """\
[ -d .git/objects ] && [ ! -L .git ] && [ ! -L .git/objects ] || refuse repository
unset GIT_WORK_TREE
g init -q --bare --template= --object-format="$format" || fail 'git could not be set up'
mkdir -p "$GIT_DIR/objects/info"
echo /workspace/.git/objects > "$GIT_DIR/objects/info/alternates"
[ -z "$shallow" ] || printf '%s\\n' $shallow > "$GIT_DIR/shallow"
mkdir -p "${file%/*}"
trap 'rm -f "$file"' EXIT
printf '%s\\n' "$head" |
  g pack-objects --revs --quiet --stdout --threads=1 --window=0 > "$file" ||
  fail 'the commits can'"'"'t be read, or are larger than the limit'
trap - EXIT
echo packed
"""
_REFUSALS = {"repository": (ErrorCode.NO_REPOSITORY, "The workspace has no git repository.")}


class CommitExport:
    """Exports commits. ``max_bytes`` is the limit on a pack."""

    def __init__(self, git: SandboxGit, max_bytes: int) -> None:
        self._git = git
        self._max_bytes = max_bytes

    async def export(self, conversation_id: UUID, path: Path, head: str, shallow: list[str], target: Path) -> None:
        """Write the pack of ``head`` to a new file. Raises GitRefusal and WorkspaceFailure."""
        name = f"{DIRECTORY}/push-{uuid4().hex}.pack"
        variables = (
            f"format={'sha256' if len(head) == 64 else 'sha1'} head={head} "  # noqa: PLR2004  SHA-256 in hex.
            f"shallow='{' '.join(shallow)}' file=/workspace/{name}\n"
        )
        script = SandboxScript(variables + SCRIPT, _REFUSALS, WALL_SECONDS, self._max_bytes)
        try:
            await self._git.run(conversation_id, path, script)
            await asyncio.to_thread(self._copy, path, name, target)
        finally:
            await asyncio.shield(asyncio.to_thread(_remove, path, name))

    def _copy(self, workspace: Path, name: str, target: Path) -> None:
        try:
            with os.fdopen(WorkspaceFiles(workspace, None).open(name), "rb") as pack, target.open("xb") as copy:
                self._copy_pieces(pack, copy)
        except WorkspacePathError as error:
            raise WorkspaceFailure(str(error)) from None
        except OSError as error:
            raise WorkspaceFailure(f"The commits can't be read: {error.strerror}.") from None

    def _copy_pieces(self, pack: BinaryIO, copy: BinaryIO) -> None:
        left = self._max_bytes
        while piece := pack.read(_PIECE_BYTES):
            left -= len(piece)
            if left < 0:
                message = f"The commits are larger than {self._max_bytes} bytes (PARLEY_PUSH_MAX_BYTES)."
                raise WorkspaceFailure(message)
            copy.write(piece)


def shallow_commits(files: WorkspaceFiles, known: Sequence[str]) -> list[str]:
    """Return the commits at which a pack may end. Blocking.

    Those are the ones that the git host is known to have; where none was noted, what the workspace's own repository
    says of its history.
    """
    if known:
        return list(known)
    try:
        lines = files.read(".git/shallow", MAX_SHALLOW_BYTES).decode("ascii", "replace").splitlines()
    except (WorkspacePathError, OSError):
        return []
    return [line for line in lines if SHA.fullmatch(line)]


def _remove(workspace: Path, name: str) -> None:
    with contextlib.suppress(WorkspacePathError, OSError):
        WorkspaceFiles(workspace, None).remove(name)
