"""The inside of a sandbox, for all implementations: its paths, the shell script around a command, kept outputs."""

import contextlib
from pathlib import Path

from app.services.filesystem.files import WorkspaceFiles, WorkspacePathError
from app.services.sandbox.base import CommandLimits, CommandResult
from app.services.sandbox.output import Output, shorten
from app.services.sandbox.process import Ended

WORKSPACE = "/workspace"
UID = 1000
MAX_DIRECTORY_BYTES = 4096
# Linux limits a single argument to 128 KiB.
MAX_COMMAND_BYTES = 100_000
MAX_KEPT_OUTPUTS = 20
DIRECTORY_FILE = f"{WORKSPACE}/.parley/directory"
OUTPUT_DIRECTORY = f"{WORKSPACE}/.parley/output"

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
    "HOME": f"{WORKSPACE}/.parley/home",
    "USER": "agent",
    "LOGNAME": "agent",
    "SHELL": "/bin/bash",
    "TMPDIR": "/tmp",  # noqa: S108  The sandbox's own.
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
}

# $1 is the working directory, $2 the command. When the shell ends, the new directory is stored in a file: a pipe would
# block without a reader. If the command replaces the EXIT trap, the stored directory stays the earlier one.
SCRIPT = f"""\
mkdir -p {WORKSPACE}/.parley/home {OUTPUT_DIRECTORY} && [ -e {WORKSPACE}/.parley/.gitignore ] ||
  echo '*' > {WORKSPACE}/.parley/.gitignore
cd -P -- "$1" 2>/dev/null && [[ $PWD/ == {WORKSPACE}/* ]] || cd {WORKSPACE}
trap '[ -f {DIRECTORY_FILE} ] || rm -rf {DIRECTORY_FILE}; pwd -P > {DIRECTORY_FILE}' EXIT
eval "$2"
"""


def program(directory: str, command: str, limits: CommandLimits) -> list[str]:
    """Return the command line inside the sandbox. ``timeout`` ends it even if the server is gone or hangs."""
    seconds = f"{limits.wall_seconds + 5:g}"
    return ["timeout", "--signal=KILL", seconds, "/bin/bash", "-c", SCRIPT, "bash", directory, command]


def last_directory(files: WorkspaceFiles) -> str:
    """Return the stored working directory of the last command; ``/workspace`` if it is invalid.

    The command may have forged it, which is harmless: the next command starts there inside the sandbox.
    """
    try:
        text = files.read(DIRECTORY_FILE, MAX_DIRECTORY_BYTES).decode().removesuffix("\n")
    except (WorkspacePathError, OSError, UnicodeDecodeError):
        return WORKSPACE
    is_inside = f"{text}/".startswith(f"{WORKSPACE}/")
    return text if is_inside and text.isprintable() and ".." not in text.split("/") else WORKSPACE


def result(workspace: Path, owner: int | None, limits: CommandLimits, output: Output, ended: Ended) -> CommandResult:
    """Build the result of a command; output that is too long is stored in the workspace."""
    files = WorkspaceFiles(workspace, owner)
    text, where = output.text(), None
    is_long = len(text) > limits.output_characters
    if is_long:
        where = _keep(files, output.whole())
        text = shorten(text, limits.output_characters, where)
    code = ended.exit_code if ended.exit_code >= 0 else 128 - ended.exit_code
    return CommandResult(code, text, is_long, where, ended.limit, last_directory(files))


def _keep(files: WorkspaceFiles, whole: bytes) -> str | None:
    """Store output in the workspace under the next number, and remove the oldest ones; ``None`` if that fails."""
    try:
        numbers = sorted(_numbers(files))
        for number in numbers[: max(0, len(numbers) - MAX_KEPT_OUTPUTS + 1)]:
            with contextlib.suppress(WorkspacePathError, OSError):
                files.remove(f"{OUTPUT_DIRECTORY}/{number}.txt")
        path = f"{OUTPUT_DIRECTORY}/{numbers[-1] + 1 if numbers else 1}.txt"
        files.write(path, whole)
    except (WorkspacePathError, OSError):
        return None
    return path


def _numbers(files: WorkspaceFiles) -> list[int]:
    try:
        names = [entry.name for entry in files.list(OUTPUT_DIRECTORY, MAX_KEPT_OUTPUTS * 50).entries]
    except WorkspacePathError:
        return []
    stems = [name.removesuffix(".txt") for name in names if name.endswith(".txt")]
    return [int(stem) for stem in stems if stem.isascii() and stem.isdecimal() and len(stem) <= 9]  # noqa: PLR2004  Forged ones could be long.
