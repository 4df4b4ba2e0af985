"""OpenHands' agent server, whose runs are measured beside Parley's (``benchmarks/runs.py``).

It keeps conversations in files, and asks the model for whole answers. Its agent has no tools, and what else it starts
with, such as an editor in the browser, is off. The time of the processor is that of its process, over HTTP; the polls
for the end of a run are included.
"""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx

from benchmarks.servers import HERE, STOP_SECONDS, cpu_seconds, free_port

PYTHON = HERE / "peers" / "openhands" / ".venv" / "bin" / "python"
NAME = "OpenHands' agent server"
WAIT_SECONDS = 120.0
RUNS = 10
# Few polls, since each of them takes a millisecond of its processor's time.
LOOKING_SECONDS = 0.05
ENVIRONMENT = {
    "OH_ENABLE_VSCODE": "false",
    "OH_PRELOAD_TOOLS": "false",
    "OH_TELEMETRY_CONSENT": "denied",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


def is_installed() -> bool:
    """Tell whether it is installed, and not left out by ``SERVERS``."""
    return PYTHON.exists() and "openhands" in os.environ.get("SERVERS", "openhands")


class AgentServer:
    """A running agent server."""

    def __init__(self, process: subprocess.Popen[bytes], http: httpx.AsyncClient, llm: str, directory: Path) -> None:
        self._process = process
        self._http = http
        self._llm = llm
        self._directory = directory

    async def runs(self) -> list[tuple[float, float]]:
        """Do some runs one after the other, and return for each the mean CPU seconds of all, and its own seconds."""
        cpu = cpu_seconds(self._process.pid)
        seconds = [await self._run() for _ in range(RUNS)]
        cpu = (cpu_seconds(self._process.pid) - cpu) / RUNS
        return [(cpu, each) for each in seconds]

    async def _run(self) -> float:
        began = time.perf_counter()
        model = {"model": "openai/benchmark", "base_url": self._llm, "api_key": "benchmark-key", "usage_id": "agent"}
        message = {"role": "user", "content": [{"type": "text", "text": "0"}], "run": True}
        request: dict[str, object] = {
            "agent": {"kind": "Agent", "llm": model, "tools": []},
            "workspace": {"kind": "LocalWorkspace", "working_dir": str(self._directory / uuid4().hex)},
            "initial_message": message,
            "autotitle": False,
        }
        created = (await self._http.post("/api/conversations", json=request)).raise_for_status().json()
        async with asyncio.timeout(WAIT_SECONDS):
            while (status := await self._status(created["id"])) in ("idle", "running"):  # noqa: ASYNC110  As its API has it.
                await asyncio.sleep(LOOKING_SECONDS)
        if status != "finished":
            text = f"a run of the agent server ended as {status}"
            raise RuntimeError(text)
        return time.perf_counter() - began

    async def _status(self, conversation_id: str) -> str:
        answer = await self._http.get(f"/api/conversations/{conversation_id}")
        return answer.raise_for_status().json()["execution_status"]


@asynccontextmanager
async def agent_server(directory: Path, llm: str) -> AsyncGenerator[AgentServer]:
    """Run an agent server that keeps everything in the directory."""
    port = free_port()
    with _process(directory, port) as process:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_SECONDS) as http:
            await _ready(process, http)
            yield AgentServer(process, http, llm, directory)


@contextmanager
def _process(directory: Path, port: int) -> Generator[subprocess.Popen[bytes]]:
    directory.mkdir()
    process = subprocess.Popen(
        [PYTHON, "-m", "openhands.agent_server", "--host", "127.0.0.1", "--port", str(port)],
        cwd=directory,
        env={**os.environ, **ENVIRONMENT, "HOME": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)


async def _ready(process: subprocess.Popen[bytes], http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while process.poll() is None:
            try:
                await http.get("/health")
            except httpx.TransportError:
                await asyncio.sleep(0.2)
            else:
                return
    text = "the agent server ended before it answered"
    raise RuntimeError(text)
