"""Runs the server as a real process, as its users do, for tests that kill and restart it."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast
from uuid import uuid4

import httpx

from tests.support.forked import ForkedProcess
from tests.support.patience import WAIT_SECONDS

JSON = dict[str, Any]


class Running(Protocol):
    """A process that was started."""

    @property
    def stdout(self) -> asyncio.StreamReader | None:
        """Its standard output."""
        ...

    @property
    def pid(self) -> int:
        """Its id."""
        ...

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        ...

    def send_signal(self, signal: int) -> None:
        """Send a signal to it."""
        ...

    async def communicate(self) -> object:
        """Wait for its end."""
        ...


class ServerProcess:
    """``python -m app serve`` on a free port, without authentication; a test can kill and restart it."""

    def __init__(self, data_dir: Path, database_url: str | None = None, **settings: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
        self._environment: Mapping[str, str] = {
            **inherited,
            "PARLEY_DATA_DIR": str(data_dir),
            **({"PARLEY_DATABASE_URL": database_url} if database_url else {}),
            **{f"PARLEY_{name.upper()}": value for name, value in settings.items()},
        }
        self._process: Running | None = None
        data_dir.mkdir(exist_ok=True)
        self._log = data_dir / f"log-{uuid4()}"
        self.url = ""

    @property
    def socket_url(self) -> str:
        """The URL of the WebSocket endpoint."""
        return self.url.replace("http", "ws", 1) + "/graphql"

    @property
    def pid(self) -> int:
        """The id of the running process."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Return its standard error since the first start."""
        return self._log.read_text()

    async def start(self, port: str = "0") -> None:
        """Start the process, and return once it answers. Without a port it takes a free one."""
        self._process = await self._run(["serve", "--port", port], self._environment, self._log)
        self.url = (await printed(self._process, "Parley ready at ")).rstrip("/")

    async def _run(self, arguments: Sequence[str], environment: Mapping[str, str], errors: Path) -> Running:
        with errors.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "app", *arguments), env=environment, stdout=asyncio.subprocess.PIPE, stderr=log
            )

    async def end(self, how: signal.Signals) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        async with asyncio.timeout(WAIT_SECONDS):
            await self._process.communicate()
        code, self._process = self._process.returncode, None
        return code or 0

    async def close(self) -> None:
        """Kill the process, if it still runs."""
        if self._process is not None:
            await self.end(signal.SIGKILL)

    async def execute(self, query: str, **variables: object) -> JSON:
        """Send a document and return its data; fails on errors."""
        async with httpx.AsyncClient(timeout=WAIT_SECONDS) as client:
            answer = await client.post(f"{self.url}/graphql", json={"query": query, "variables": variables})
        body = answer.json()
        assert not body.get("errors"), body
        return cast("JSON", body["data"])


class ForkedServer(ServerProcess):
    """A server whose process is ready 10 s of processor time earlier, since it is forked with its modules imported.

    Its command line and its initial environment in ``/proc`` are the fork server's.
    """

    async def _run(self, arguments: Sequence[str], environment: Mapping[str, str], errors: Path) -> Running:
        return await ForkedProcess.start(arguments, environment, errors)


async def printed(process: Running, prefix: str) -> str:
    """Wait for a line of standard output that begins with the prefix, and return the rest of it."""
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_SECONDS):
        async for line in process.stdout:
            text = line.decode()
            if text.startswith(prefix):
                return text.removeprefix(prefix).strip()
    raise RuntimeError(f"the process ended before it printed {prefix!r}")
