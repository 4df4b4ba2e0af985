"""Commits of a workspace's working tree, made by git in the sandbox.

Like ``working_tree``, git gets a directory, a configuration and an index of its own there, so there are no hooks,
filters, includes or signing programs that an agent could have set. Objects are written into the workspace's repository,
the branch moves there under git's own lock, and the workspace's index is replaced by that of the commit.

``.git/index.lock`` is held meanwhile, so other git commands of the workspace wait or fail. It begins with a mark, by
which a lock that a killed server left behind is told from one of the agent's.
"""

import asyncio
import base64
import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from app.errors import ErrorCode, GitRefusal, InvalidInput, WorkspaceFailure
from app.services.filesystem.files import WorkspaceFiles, WorkspacePathError
from app.services.git.sandboxed import SandboxGit, SandboxScript
from app.services.git.working_tree import MAX_COMMAND_BYTES, quoted

WALL_SECONDS = 20.0
MAX_DIFF_BYTES = 64 * 1024 * 1024
LOCK_MARK = "parley commit"
LOCK = ".git/index.lock"
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

REFUSALS = {
    "repository": (ErrorCode.NO_REPOSITORY, "The workspace has no git repository."),
    "merge": (
        ErrorCode.MERGE_IN_PROGRESS,
        "A merge, rebase, cherry-pick or revert has not come to an end in the workspace.",
    ),
    "markers": (ErrorCode.CONFLICT_MARKERS, "A changed file has the markers of a merge conflict."),
    "locked": (
        ErrorCode.INDEX_LOCKED,
        "The workspace's .git/index.lock exists: git runs there, or was killed and left it behind.",
    ),
    "nothing": (ErrorCode.NOTHING_TO_COMMIT, "Nothing is different from the last commit."),
    "moved": (ErrorCode.HEAD_MOVED, "The branch moved while it was committed to: try again."),
}
PATHS = "paths"
_NO_PATH = "Git can't commit one of the paths: it does not exist, is ignored, or is no file."

# Takes $format, $tree (the last commit, or empty), $ref, $paths and $message (base64), $subject, and git's variables of
# author and committer.
SCRIPT = f"""\
[ -d .git/objects ] && [ -d .git/refs ] && [ ! -L .git ] && [ ! -L .git/objects ] && [ ! -L .git/refs ] ||
  refuse repository
for state in MERGE_HEAD CHERRY_PICK_HEAD REVERT_HEAD rebase-merge rebase-apply sequencer; do
  [ ! -e ".git/$state" ] || refuse merge
done
lock={LOCK}
if ! (set -C; echo '{LOCK_MARK}' > "$lock"); then
  [ -f "$lock" ] && [ ! -L "$lock" ] && [ "$(head -c 100 "$lock")" = '{LOCK_MARK}' ] || refuse locked
fi
trap 'rm -f "$lock"' EXIT
g init -q --template= --object-format="$format" || fail 'git could not be set up'
mkdir -p "$GIT_DIR/info"
echo /.parley/ > "$GIT_DIR/info/exclude"
export GIT_OBJECT_DIRECTORY=/workspace/.git/objects
if [ -f .git/index ] && [ ! -L .git/index ]; then
  [ -z "$(GIT_INDEX_FILE=/workspace/.git/index g ls-files -u | head -c 1)" ] || refuse merge
fi
if [ -n "$tree" ]; then
  base=$(g rev-parse --verify --quiet "$tree^{{tree}}") || fail 'the last commit can'"'"'t be read'
else
  base=$(g hash-object -t tree --stdin </dev/null)
fi
g read-tree "$base" || fail 'the last commit can'"'"'t be read'
closed() {{
  find . -path ./.git -prune -o \\( -type p -o -type s -o -type f ! -readable \\) -printf '%P\\0' |
    g update-index -z --force-remove --stdin
}}
if [ -n "$paths" ]; then
  printf %s "$paths" | base64 -d | g add -A --pathspec-from-file=- --pathspec-file-nul >/dev/null || refuse paths
else
  closed
  g add -A --ignore-errors -- . >/dev/null
  [ $? -le 1 ] || fail 'the files can'"'"'t be read'
  closed
fi
new=$(g write-tree) || fail 'the files can'"'"'t be written as objects'
[ "$new" != "$base" ] || refuse nothing
d() {{ g diff --no-ext-diff --no-textconv --no-color --ignore-submodules=dirty --cached -U0 "$base"; }}
d | head -c {MAX_DIFF_BYTES} | grep -aE '^(diff --git |\\+<<<<<<< |\\+>>>>>>> )' | cut -c 1-9 | (
  while read -r line; do
    case $line in
      diff*) begins= ;;
      +\\<*) begins=1 ;;
      +\\>*) [ -z "$begins" ] || exit 1 ;;
    esac
  done
) || refuse markers
commit=$(printf %s "$message" | base64 -d | g commit-tree "$new" ${{tree:+-p "$tree"}}) || fail 'git made no commit'
mkdir -p .git/logs
rm -rf "$GIT_DIR/refs" "$GIT_DIR/logs"
ln -s /workspace/.git/refs "$GIT_DIR/refs"
ln -s /workspace/.git/logs "$GIT_DIR/logs"
[ ! -f .git/packed-refs ] || ln -s /workspace/.git/packed-refs "$GIT_DIR/packed-refs"
printf 'ref: %s\\n' "$ref" > "$GIT_DIR/HEAD"
old=${{tree:-$(printf '%*s' "${{#commit}}" '' | tr ' ' 0)}}
g -c core.logAllRefUpdates=always update-ref -m "commit: $subject" "$ref" "$commit" "$old" || refuse moved
g update-index -q --refresh
cat "$GIT_DIR/index" >| "$lock" && mv -f "$lock" .git/index
trap - EXIT
echo "$commit"
"""


@dataclass(frozen=True, slots=True)
class Signature:
    """Name and e-mail address of an author."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class CommitTarget:
    """The branch of a workspace, and its last commit, None before the first one."""

    conversation_id: UUID
    path: Path
    branch: str
    head: str | None


@dataclass(frozen=True, slots=True)
class NewCommit:
    """Arguments of a commit. ``paths`` are relative to the workspace, in bytes; None for all changes."""

    message: str
    author: Signature
    at: datetime
    paths: Sequence[bytes] | None = None


class Committer:
    """Makes commits."""

    def __init__(self, git: SandboxGit) -> None:
        self._git = git

    async def commit(self, target: CommitTarget, new: NewCommit) -> str:
        """Commit, and return the commit's hash. Raises GitRefusal, WorkspaceFailure, and InvalidInput for a path."""
        refusals = {**REFUSALS, PATHS: (ErrorCode.INVALID_INPUT, _NO_PATH)}
        script = SandboxScript(_variables(target, new) + SCRIPT, refusals, WALL_SECONDS)
        try:
            sha = await self._run(target, script)
        except GitRefusal as refusal:
            if refusal.code is ErrorCode.INVALID_INPUT:
                raise InvalidInput(refusal.message, path=("paths",)) from None
            raise
        if not _SHA.fullmatch(sha):
            raise WorkspaceFailure("Git failed in the workspace.")
        return sha

    async def _run(self, target: CommitTarget, script: SandboxScript) -> str:
        try:
            return await self._git.run(target.conversation_id, target.path, script)
        except (WorkspaceFailure, asyncio.CancelledError):
            # A script that was killed did not remove its lock.
            await asyncio.shield(asyncio.to_thread(_release, target.path))
            raise


def _release(workspace: Path) -> None:
    files = WorkspaceFiles(workspace, None)
    with contextlib.suppress(WorkspacePathError, OSError):
        if files.head(LOCK, len(LOCK_MARK)) == LOCK_MARK.encode():
            files.remove(LOCK)


def _variables(target: CommitTarget, new: NewCommit) -> str:
    """The assignments before the script. Raises InvalidInput for more paths than a command line holds."""
    paths = b"" if new.paths is None else b"\x00".join(new.paths)
    sha = target.head or ""
    date = f"@{int(new.at.timestamp())} +0000"
    identity = {"NAME": new.author.name, "EMAIL": new.author.email, "DATE": date}
    exported = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in identity.items()}
    values = {
        "format": "sha256" if len(sha) == 64 else "sha1",  # noqa: PLR2004  SHA-256 in hex.
        "tree": sha,
        "ref": f"refs/heads/{target.branch}",
        "paths": base64.b64encode(paths).decode(),
        "message": base64.b64encode(new.message.encode()).decode(),
        "subject": new.message.partition("\n")[0],
    }
    if len(values["paths"]) + len(values["message"]) > MAX_COMMAND_BYTES:
        raise InvalidInput("The paths are too long together: name directories, or fewer files.", path=("paths",))
    lines = [f"{name}={quoted(value.encode())}\n" for name, value in values.items()]
    return "".join(lines) + "".join(f"export {name}={quoted(value.encode())}\n" for name, value in exported.items())
