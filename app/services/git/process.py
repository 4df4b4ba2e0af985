"""Starts the server's own git: without the machine's configuration, and with the token in its environment alone."""

import asyncio
import base64
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from app.config import Config
from app.errors import InvalidInput, WorkspaceFailure
from app.services.git.base import CloneSource
from app.services.outbound import public_addresses

STALLED_SECONDS = 60
STALLED_BYTES_PER_SECOND = 100
MAX_ERROR_BYTES = 64 * 1024
PIPE_BYTES = 4096
# Settings of every git: nothing that a repository or the machine names is run.
_NOTHING_RUNS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.askPass": "",
    "credential.helper": "",
    "protocol.allow": "never",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "init.defaultBranch": "main",
}


class GitStarter:
    """Starts git processes that talk to a host, at an address that was checked, or to nobody."""

    def __init__(self, config: Config) -> None:
        self._private_origins = frozenset(config.git_private_hosts)

    async def start(
        self, *arguments: str, source: CloneSource, stdout: int = asyncio.subprocess.DEVNULL
    ) -> asyncio.subprocess.Process:
        """Start a git command that talks to the source's host. Raises WorkspaceFailure."""
        scheme, resolved = urlsplit(source.url).scheme, await self._resolve(source)
        settings = _NOTHING_RUNS | {
            f"protocol.{scheme}.allow": "always",
            "http.followRedirects": "false",
            "http.lowSpeedLimit": str(STALLED_BYTES_PER_SECOND),
            "http.lowSpeedTime": str(STALLED_SECONDS),
            **({"http.curloptResolve": resolved} if resolved else {}),
        }
        return await _spawn(_command(settings, arguments), _environment(source), asyncio.subprocess.DEVNULL, stdout)

    async def start_local(
        self,
        *arguments: str,
        stdin: int = asyncio.subprocess.DEVNULL,
        stdout: int = asyncio.subprocess.DEVNULL,
        prefix: Sequence[str] = (),
    ) -> asyncio.subprocess.Process:
        """Start a git command that talks to nobody. ``prefix``: a command that starts it. Raises WorkspaceFailure."""
        command = [*prefix, *_command(_NOTHING_RUNS, arguments)]
        return await _spawn(command, _environment(None), stdin, stdout)

    async def _resolve(self, source: CloneSource) -> str | None:
        """Resolve the host once, and return curl's setting that pins its addresses, against DNS rebinding."""
        url = urlsplit(source.url)
        origin = f"{url.scheme}://{url.netloc}".lower()
        if origin in self._private_origins:
            return None
        if url.scheme != "https" or url.hostname is None:
            raise WorkspaceFailure("A repository is cloned over https only.")
        port = url.port or 443
        try:
            addresses = await public_addresses(url.hostname, port)
        except InvalidInput as error:
            raise WorkspaceFailure(error.message) from None
        named = ",".join(f"[{address}]" if address.version == 6 else str(address) for address in addresses)  # noqa: PLR2004
        return f"{url.hostname}:{port}:{named}"


async def read_errors(process: asyncio.subprocess.Process) -> str:
    """Read standard error to its end, and return its last 64 KiB."""
    kept = b""
    while process.stderr is not None and (piece := await process.stderr.read(PIPE_BYTES)):
        kept = (kept + piece)[-MAX_ERROR_BYTES:]
    return kept.decode(errors="replace")


async def read_output(process: asyncio.subprocess.Process, max_bytes: int) -> bytes:
    """Read standard output to its end, and return its first ``max_bytes``."""
    kept = b""
    while process.stdout is not None and (piece := await process.stdout.read(PIPE_BYTES)):
        kept += piece[: max_bytes - len(kept)]
    return kept


async def kill(process: asyncio.subprocess.Process) -> None:
    """Kill the process and its children, and wait for its end."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    # SIGKILL can't be ignored, so this ends at once. The shield lets it finish while the caller is cancelled.
    await asyncio.shield(process.wait())


def _command(settings: Mapping[str, str], arguments: tuple[str, ...]) -> list[str]:
    given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [*_dying_with_the_server(), "git", *given, *arguments]


async def _spawn(
    command: list[str], environment: Mapping[str, str], stdin: int, stdout: int
) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=stdin,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise WorkspaceFailure("git is not installed on the server.") from None


def _environment(source: CloneSource | None) -> Mapping[str, str]:
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.devnull,
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
    }
    if source is not None and source.password is not None:
        url = urlsplit(source.url)
        credentials = f"{source.user or ''}:{source.password.get_secret_value()}".encode()
        environment |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{url.scheme}://{url.netloc}/.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {base64.b64encode(credentials).decode()}",
        }
    return environment


def _dying_with_the_server() -> list[str]:
    """Return a command prefix by which the kernel kills git when the server dies, if ``setpriv`` is installed.

    git's own helpers end when their pipe to it breaks.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig=KILL", "--"] if setpriv else []
