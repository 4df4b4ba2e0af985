"""The configured sandbox, if it works on this machine, or the reason why it does not."""

import structlog

from app.config import Config, SandboxKind
from app.services.sandbox.base import CommandLimits, Sandbox, SandboxUnavailable
from app.services.sandbox.bubblewrap import BubblewrapSandbox
from app.services.sandbox.docker import DockerSandbox

log = structlog.get_logger(__name__)


def build_sandbox(config: Config) -> Sandbox | None:
    """Build the configured sandbox; ``None`` if the configuration turns it off."""
    match config.sandbox:
        case SandboxKind.BUBBLEWRAP:
            return BubblewrapSandbox()
        case SandboxKind.DOCKER:
            return DockerSandbox(config.sandbox_docker_image, config.data_dir)
        case SandboxKind.NONE:
            return None


def command_limits(config: Config) -> CommandLimits:
    """Return the configured limits of a command."""
    return CommandLimits(
        wall_seconds=config.command_timeout_seconds,
        cpu_seconds=config.command_cpu_seconds,
        memory_bytes=config.command_memory_bytes,
        processes=config.command_processes,
        file_bytes=config.command_file_bytes,
        workspace_bytes=config.workspace_max_bytes,
        output_characters=config.command_output_characters,
    )


class Shell:
    """The sandbox of agents' commands. ``sandbox`` is ``None`` until ``start`` has checked that it works."""

    def __init__(self, sandbox: Sandbox | None, limits: CommandLimits) -> None:
        self._candidate = sandbox
        self.limits = limits
        self.sandbox: Sandbox | None = None
        self.absence: str | None = "it was not looked for yet."
        """The reason why there is no sandbox, as the end of a sentence; ``None`` if there is one."""

    async def start(self) -> None:
        """Check the sandbox, and kill what an earlier process left behind."""
        if self._candidate is None:
            self.absence = "the operator has turned it off (PARLEY_SANDBOX=none)."
            return
        try:
            await self._candidate.check()
            await self._candidate.sweep()
        except (SandboxUnavailable, OSError) as error:
            self.absence = str(error)
            log.warning("sandbox.unavailable", sandbox=self._candidate.name, reason=str(error))
            return
        self.sandbox, self.absence = self._candidate, None

    def describe(self) -> str:
        """Describe the sandbox in one line for the operator."""
        if self.sandbox is not None:
            return f"Agents run commands in a sandbox: {self.sandbox.name}."
        return f"Agents have no shell: {self.absence}"
