"""Compares a workspace with a commit, by git in the sandbox.

The workspace's own repository is not trusted: git gets a new directory in the sandbox's ``/tmp``, with its own
configuration and index, and reads only objects from the workspace. So an agent can't make it use hooks, filters,
textconv, external diffs, includes, replaced objects or flags of an index. The output is bounded, and in base64, since
names need not be valid UTF-8.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from app.errors import WorkspaceFailure
from app.services.git.patch import Change, parse_changes, section_of
from app.services.sandbox.base import CommandLimits, CommandResult, SandboxUnavailable
from app.services.sandbox.output import MAX_OUTPUT_BYTES
from app.services.sandbox.shell import Shell

WALL_SECONDS = 20.0
MAX_DIFF_BYTES = 100_000
MAX_LISTING_BYTES = 11 * 1024 * 1024
# Limit on a patch, whose base64 fits into the output of one command.
MAX_PATCH_BYTES = 11 * 1024 * 1024
# Larger files are compared, but as binary files, without their lines.
MAX_COMPARED_BYTES = 16 * 1024 * 1024
# Limit on the length of one command; the system allows 128 KiB.
MAX_COMMAND_BYTES = 60_000
# Limit on the diffs in the output of one command.
MAX_DIFFS_AT_ONCE = 100
FAILED = "!"
NO_GIT = "git is not installed in the sandbox"
FAILURE = "Git could not look at the workspace"
NO_BASE = "the workspace's repository does not hold the commit any more"

SETUP = f"""\
trap - EXIT
exec 2>/dev/null
fail() {{ printf '%s%s\\n' '{FAILED}' "$1"; exit 0; }}
command -v git >/dev/null || fail '{NO_GIT}'
unset ${{!GIT_@}}
export HOME=/nonexistent XDG_CONFIG_HOME=/nonexistent LC_ALL=C GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null \
GIT_ATTR_NOSYSTEM=1 GIT_NO_REPLACE_OBJECTS=1 GIT_TERMINAL_PROMPT=0 GIT_LITERAL_PATHSPECS=1 \
GIT_DIR=/tmp/parley.git GIT_WORK_TREE=/workspace
g() {{ git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.untrackedCache=false \
-c core.attributesFile=/dev/null -c core.excludesFile=/dev/null -c core.bigFileThreshold={MAX_COMPARED_BYTES} \
-c core.commitGraph=false -c core.multiPackIndex=false -c protocol.allow=never -c gc.auto=0 -c safe.directory='*' \
"$@"; }}
d() {{ g diff --no-ext-diff --no-textconv --no-color --ignore-submodules=dirty --find-renames --find-copies -l1000 \
--raw -z "$@"; }}
p() {{ g diff --no-ext-diff --no-textconv --no-color --ignore-submodules=dirty --find-renames -l1000 --binary \
--full-index "$@"; }}
cd /workspace || fail 'there is no workspace'
"""
# Uses $format.
OBJECTS = """\
g init -q --template= --object-format="$format" || fail 'git could not be set up'
mkdir -p "$GIT_DIR/info" "$GIT_DIR/objects/info"
[ -d .git/objects ] && echo /workspace/.git/objects > "$GIT_DIR/objects/info/alternates"
"""
# Uses $tree (empty: a tree without files). Git would block on pipes, and fail on unreadable files.
INDEX = """\
echo /.parley/ > "$GIT_DIR/info/exclude"
[ -n "$tree" ] || tree=$(g hash-object -t tree --stdin </dev/null)
g read-tree "$tree" || fail 'the workspace'"'"'s repository does not hold the commit any more'
closed() {
  find . -path ./.git -prune -o \\( -type p -o -type s -o -type f ! -readable \\) -printf '%P\\0' |
    g update-index -z --force-remove --stdin
}
closed
g add --intent-to-add --ignore-errors -- . >/dev/null
closed
"""


class ChangesSince(StrEnum):
    """The commit that a workspace is compared with."""

    CLONED = "CLONED"
    COMMITTED = "COMMITTED"


@dataclass(frozen=True, slots=True)
class Tree:
    """A workspace, and the commit that it is compared with (``None``: an empty tree)."""

    conversation_id: UUID
    path: Path
    commit: str | None


@dataclass(frozen=True, slots=True)
class Diff:
    """A unified diff of one file. ``is_cut``: it has more than ``MAX_DIFF_BYTES``."""

    text: str
    is_cut: bool


class WorkingTreeReader:
    """Runs git in the sandbox. Every method may raise WorkspaceFailure, for example if there is no sandbox."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def changes(self, tree: Tree) -> list[Change]:
        """List the changes, ordered by the bytes of their paths, with untracked files and without ignored ones."""
        listing = f'd --no-abbrev --numstat "$tree" | head -c {MAX_LISTING_BYTES + 1} | base64 -w0; echo\n'
        [raw] = await self._run(tree, listing, 1)
        if len(raw) > MAX_LISTING_BYTES:
            raise WorkspaceFailure("The workspace has more changes than can be listed.")
        return parse_changes(raw)

    async def diffs(self, tree: Tree, changes: Sequence[Change], context_lines: int) -> list[Diff]:
        """Return the diff of each change; it is empty if the file has no change any more."""
        diffs: list[Diff] = []
        batch: list[str] = []
        for change in changes:
            command = _diff_command(change, context_lines)
            if batch and (len(batch) == MAX_DIFFS_AT_ONCE or sum(map(len, batch)) + len(command) > MAX_COMMAND_BYTES):
                diffs += await self._diffs(tree, changes[len(diffs) : len(diffs) + len(batch)], batch)
                batch = []
            batch.append(command)
        return diffs + await self._diffs(tree, changes[len(diffs) :], batch)

    async def patch(self, tree: Tree, paths: Sequence[bytes]) -> bytes:
        """Build a patch of all changes, or of those at ``paths``, for ``git apply``; binary files are included."""
        named = " ".join(map(quoted, paths))
        command = f"""{{ p "$tree" -- {named}; echo $? >/tmp/parley.status; }} | head -c {MAX_PATCH_BYTES + 1} |
base64 -w0; echo; base64 -w0 </tmp/parley.status; echo
"""
        patch, status = await self._run(tree, command, 2)
        if len(patch) > MAX_PATCH_BYTES:
            raise WorkspaceFailure(f"The patch is larger than {MAX_PATCH_BYTES} bytes: name some paths, or take a ZIP.")
        if status.strip() != b"0":
            raise WorkspaceFailure("Git could not compare the workspace.")
        return patch

    async def _diffs(self, tree: Tree, changes: Sequence[Change], commands: list[str]) -> list[Diff]:
        if not commands:
            return []
        outputs = await self._run(tree, "".join(commands), len(commands))
        return [_diff(raw, change) for raw, change in zip(outputs, changes, strict=True)]

    async def objects(self, tree: Tree, command: str, lines: int) -> list[bytes]:
        """Run a command that only needs the workspace's objects, and decode its output of ``lines`` lines in base64."""
        sha = tree.commit or ""
        variables = f"format={'sha256' if len(sha) == 64 else 'sha1'} tree={sha}\n"  # noqa: PLR2004  SHA-256 in hex.
        result = await run_in_sandbox(
            self._shell,
            tree.conversation_id,
            tree.path,
            f"{SETUP}{variables}{OBJECTS}{command}",
            _within(self._shell.limits),
            refusal="Changes can't be shown",
            failure=FAILURE,
        )
        printed = result.output.split("\n")[:-1]
        if result.exit_code != 0 or len(printed) != lines:
            raise WorkspaceFailure(f"{FAILURE}.")
        try:
            return [base64.b64decode(line, validate=True) for line in printed]
        except binascii.Error:
            raise WorkspaceFailure(f"{FAILURE}.") from None

    async def _run(self, tree: Tree, command: str, lines: int) -> list[bytes]:
        """Run like ``objects``, with an index of the tree and the untracked files."""
        return await self.objects(tree, INDEX + command, lines)


async def run_in_sandbox(
    shell: Shell,
    conversation_id: UUID,
    path: Path,
    command: str,
    limits: CommandLimits,
    *,
    refusal: str,
    failure: str,
) -> CommandResult:
    """Run a script that begins with ``SETUP`` in a workspace.

    Raises WorkspaceFailure, which begins with ``refusal`` if there is no sandbox, and with ``failure`` if the script
    called ``fail`` or exceeded a limit.
    """
    if shell.sandbox is None:
        raise WorkspaceFailure(f"{refusal} without a sandbox: {shell.absence}")
    try:
        result = await shell.sandbox.run(conversation_id, path, command, directory="/workspace", limits=limits)
    except (SandboxUnavailable, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise WorkspaceFailure(f"{refusal} without a sandbox: {reason}") from None
    if result.limit is not None:
        raise WorkspaceFailure(f"{failure}: {result.limit}.")
    if result.output.startswith(FAILED):
        raise WorkspaceFailure(f"{failure}: {result.output.removeprefix(FAILED).strip()[:200]}.")
    return result


def _within(limits: CommandLimits) -> CommandLimits:
    """Return the agent's limits, with a shorter time, and none on the workspace, since nothing is written to it."""
    return replace(
        limits,
        wall_seconds=min(limits.wall_seconds, WALL_SECONDS),
        workspace_bytes=2**62,
        output_characters=MAX_OUTPUT_BYTES,
    )


def _diff_command(change: Change, context_lines: int) -> str:
    paths = " ".join(map(quoted, change.related))
    return f'd -p -U{context_lines:d} "$tree" -- {paths} | head -c {MAX_DIFF_BYTES + 1} | base64 -w0; echo\n'


def quoted(path: bytes) -> str:
    """Quote bytes as a word of bash, in ASCII."""
    return "$'" + "".join(chr(code) if chr(code).isalnum() and code < 128 else f"\\{code:03o}" for code in path) + "'"  # noqa: PLR2004  ASCII.


def _diff(raw: bytes, change: Change) -> Diff:
    is_cut = len(raw) > MAX_DIFF_BYTES
    section, is_last = section_of(raw, change)
    is_cut = is_cut and is_last
    if is_cut:
        section = section[: section.rfind(b"\n") + 1]
    return Diff(section.decode("utf-8", "replace"), is_cut)
