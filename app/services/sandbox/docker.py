"""The sandbox by a Docker engine: each command runs in a container of its own.

It uses the command line of Docker 28. The engine enforces the limits of memory, processes and CPU time; the size of the
workspace is watched here.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID, uuid4

from app.services.filesystem.tree import hand_over, prepare
from app.services.sandbox import script
from app.services.sandbox.base import CommandLimits, CommandResult, OnOutput, SandboxUnavailable
from app.services.sandbox.identity import sandbox_uid
from app.services.sandbox.output import Output
from app.services.sandbox.process import run_to_end
from app.services.sandbox.watchdog import Watchdog

ENGINE_TIMEOUT_SECONDS = 20.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_SWEPT = 1000
MAX_OPEN_FILES = 1024
LABEL = "parley.server"
# Environment variables by which the client finds its engine; containers do not get them.
CLIENT_VARIABLES = (
    "PATH",
    "HOME",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
)
# Exit codes of the client itself: the engine failed, or the image lacks the program.
CLIENT_FAILURES = (125, 126, 127)


class DockerSandbox:
    """``Sandbox`` by the ``docker`` program in PATH. A label from ``data_dir`` marks this server's containers."""

    name = "docker"

    def __init__(self, image: str, data_dir: Path, environment: Mapping[str, str] | None = None) -> None:
        self._image = image
        self._label = hashlib.sha256(str(data_dir.absolute()).encode()).hexdigest()[:16]
        source = os.environ if environment is None else environment
        self._environment = {name: source[name] for name in CLIENT_VARIABLES if name in source}

    async def check(self) -> None:
        """Check that the engine answers and has the image, which is not pulled, since that can take minutes."""
        await self._ask("version", "--format", "{{.Server.Version}}", failure="the Docker engine does not answer")
        failure = f"there is no image {self._image} (docker pull)"
        await self._ask("image", "inspect", "--format", "{{.Id}}", self._image, failure=failure)

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
        container = f"parley-{uuid4()}"
        uid = sandbox_uid(conversation_id)
        await asyncio.to_thread(prepare, workspace, uid)
        arguments = [self._program(), *self._container(container, workspace, uid, limits)]
        arguments += [self._image, *script.program(directory, command, limits)]
        output = Output()
        watchdog = await asyncio.to_thread(Watchdog, workspace, limits, watches_processes=False)
        is_over = False
        try:
            ended = await run_to_end(
                arguments,
                output,
                wall_seconds=limits.wall_seconds,
                look=watchdog.look,
                environment=self._environment,
                on_output=on_output,
            )
            is_over = ended.exit_code >= 0 and ended.limit is None
        finally:
            # Killing the client does not end its container.
            if not is_over:
                await asyncio.shield(self._remove([container]))
        result = await asyncio.to_thread(script.result, workspace, uid, limits, output, ended)
        if result.exit_code in CLIENT_FAILURES and result.output.startswith(("docker: ", "Cannot connect")):
            # The command itself may have printed such a message, so the engine is checked.
            await self.check()
        return result

    async def adopt(self, conversation_id: UUID, workspace: Path) -> None:
        """Change the files' owner to the conversation's user, if the server is root."""
        uid = sandbox_uid(conversation_id)
        if uid is not None:
            await asyncio.to_thread(hand_over, workspace, uid)

    async def sweep(self) -> None:
        """Remove containers that an earlier process of this server left behind. Raises SandboxUnavailable."""
        own = f"label={LABEL}={self._label}"
        listed = await self._ask("ps", "--all", "--quiet", "--filter", own, failure="docker ps failed")
        await self._remove(listed.split()[:MAX_SWEPT])

    def _container(self, name: str, workspace: Path, uid: int | None, limits: CommandLimits) -> list[str]:
        source = str(workspace.absolute())
        if "," in source or '"' in source:
            raise SandboxUnavailable("Docker can't mount a workspace whose path has a comma or a quotation mark.")
        user = uid if uid is not None else os.geteuid()
        half = limits.memory_bytes // 2
        return [
            *("run", "--rm", "--init", "--pull", "never", "--name", name, "--label", f"{LABEL}={self._label}"),
            *("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--user", f"{user}:{user}", "--hostname", "sandbox", "--log-driver", "none"),
            *("--memory", str(limits.memory_bytes), "--memory-swap", str(limits.memory_bytes)),
            *("--pids-limit", str(limits.processes), "--oom-score-adj", "1000", "--cpu-shares", "128"),
            *("--ulimit", f"cpu={limits.cpu_seconds}", "--ulimit", f"fsize={limits.file_bytes}"),
            *("--ulimit", f"nofile={MAX_OPEN_FILES}", "--ulimit", "core=0"),
            *("--tmpfs", f"/tmp:rw,nosuid,nodev,exec,mode=1777,size={half}"),  # noqa: S108  The container's own.
            *("--mount", f"type=bind,source={source},target={script.WORKSPACE}", "--workdir", script.WORKSPACE),
            *(part for key, value in script.ENVIRONMENT.items() for part in ("--env", f"{key}={value}")),
            # The image's own entry point is unknown, so it is overridden.
            *("--entrypoint", ""),
        ]

    async def _remove(self, containers: list[str]) -> None:
        if containers:
            # A container may be gone already, and other failures could not be reported to anybody.
            with contextlib.suppress(SandboxUnavailable):
                await self._ask("rm", "--force", "--volumes", *containers, failure="docker rm failed")

    def _program(self) -> str:
        path = shutil.which("docker", path=self._environment.get("PATH"))
        if path is None:
            raise SandboxUnavailable("the program docker is not installed.")
        return path

    async def _ask(self, *arguments: str, failure: str) -> str:
        """Run the client, and return its output. Raises SandboxUnavailable."""
        output = Output()
        try:
            ended = await run_to_end(
                [self._program(), *arguments],
                output,
                wall_seconds=ENGINE_TIMEOUT_SECONDS,
                look=_never,
                environment=self._environment,
            )
        except OSError as error:
            raise SandboxUnavailable(f"docker can't be started: {error.strerror}.") from None
        if ended.exit_code != 0:
            answer = ended.limit or " ".join(output.text().split())[:200]
            raise SandboxUnavailable(f"{failure}: {answer}.")
        return output.text()


def _never(_pid: int) -> None:
    """Check no limit, since the engine enforces them."""
