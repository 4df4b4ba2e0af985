"""Runs a script with git in the sandbox, and reads the one line that it prints: a result, a refusal or a failure."""

from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from app.errors import ErrorCode, GitRefusal, WorkspaceFailure
from app.services.git.working_tree import SETUP, run_in_sandbox
from app.services.sandbox.shell import Shell

REFUSED = "?"
FAILURE = "Git failed in the workspace"
# Behind working_tree.SETUP: what an agent can write beside the objects to speed git up is not believed, and ``refuse``
# ends the script with one of the refusals that its caller knows.
REFUSE = f"""\
export GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=core.commitGraph GIT_CONFIG_VALUE_0=false \
GIT_CONFIG_KEY_1=core.multiPackIndex GIT_CONFIG_VALUE_1=false
refuse() {{ printf '%s%s\\n' '{REFUSED}' "$1"; exit 0; }}
"""


@dataclass(frozen=True, slots=True)
class SandboxScript:
    """A bash script that begins where ``working_tree.SETUP`` ends.

    It prints one line. ``refuse NAME`` ends it with a refusal, of which ``refusals`` has the code and the message.
    ``file_bytes`` is the limit on a file that it writes; None: that of an agent's commands.
    """

    text: str
    refusals: dict[str, tuple[ErrorCode, str]]
    wall_seconds: float
    file_bytes: int | None = None


class SandboxGit:
    """Runs scripts in the workspaces of conversations."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def run(self, conversation_id: UUID, path: Path, script: SandboxScript) -> str:
        """The line that the script printed. Raises WorkspaceFailure and GitRefusal."""
        granted = self._shell.limits
        limits = replace(
            granted,
            wall_seconds=script.wall_seconds,
            # A workspace that is full already can still be committed and pushed.
            workspace_bytes=2**62,
            file_bytes=granted.file_bytes if script.file_bytes is None else script.file_bytes,
        )
        result = await run_in_sandbox(
            self._shell,
            conversation_id,
            path,
            f"{SETUP}{REFUSE}{script.text}",
            limits,
            refusal="Git can't run in the workspace",
            failure=FAILURE,
        )
        line, newline, rest = result.output.partition("\n")
        refusal = script.refusals.get(line.removeprefix(REFUSED).strip()) if line.startswith(REFUSED) else None
        if refusal is not None:
            raise GitRefusal(refusal[1], code=refusal[0])
        if result.exit_code != 0 or not newline or rest:
            raise WorkspaceFailure(f"{FAILURE}.")
        return line
