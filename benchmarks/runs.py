"""The cost of one run: from the creation of a conversation with a message, until the answer is stored.

The server runs in this process without HTTP; the model, which answers at once, is another process. Rounds alternate
between a streamed call by LiteLLM alone, runs without tools, and a run with ten calls of file tools, on SQLite and then
on PostgreSQL. Beside SQLite, OpenHands' agent server has a turn in each round, if it is installed. A run's CPU is this
process's until the engine has recorded the end; the database's own processes are not included. SQL is counted for the
run of each type with the fewest statements, since background statements now and then are not the run's; on PostgreSQL
the engine's background statements, which are recognised, are left out.
"""

import asyncio
import importlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import uvloop
from pydantic import SecretStr

from app.config import AuthMode, load_config
from app.logs import configure_logging
from app.main import Parley, create_app
from app.services.llm.transport import Scope, within
from benchmarks import agent_server
from benchmarks.agent_server import AgentServer
from benchmarks.counting import Counts
from benchmarks.postgres import PostgresServer
from benchmarks.run_watchers import PostgresWatcher, SQLiteWatcher, Watcher
from benchmarks.servers import SECRET

ROUNDS = int(os.environ.get("ROUNDS", "7"))
RUNS = int(os.environ.get("RUNS", "3"))
CALLS = int(os.environ.get("CALLS", "10"))
TOOL_CALLS = 10
WAIT_SECONDS = 60.0
# Seconds between two polls whether the run is over.
LOOKING_SECONDS = 0.01
MODEL = "openai/benchmark"

SETTINGS = """mutation ($url: URI!) { updateSettings(input: {
  llmModel: "openai/benchmark", llmBaseUrl: $url, llmApiKey: "benchmark-key"
}) { userErrors { __typename ... on UserError { message } } } }"""
CREATE = """mutation ($text: String!) { createConversation(input: {title: "A run", initialMessage: {text: $text}}) {
  conversation { id } userErrors { __typename ... on UserError { message } } } }"""


@dataclass(frozen=True)
class Cost:
    """The cost of one run. ``wall`` is until the agent waits, ``cpu`` until the engine has recorded the end too."""

    cpu: float
    wall: float
    counts: Counts = field(default_factory=Counts)


def main() -> None:
    """Measure and print."""
    print(f"runs: {ROUNDS} interleaved rounds, medians; a run with tools has {TOOL_CALLS} calls of file tools\n")
    print("| | CPU, ms | wall, ms | CPU by LiteLLM's | statements | commits | rollbacks |")
    print("|---|--:|--:|--:|--:|--:|--:|", flush=True)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        llm = stack.enter_context(_llm())
        uvloop.run(_measure_beside_peer(directory, llm))
        server = stack.enter_context(PostgresServer())
        url = stack.enter_context(server.database())
        uvloop.run(_measure("PostgreSQL", PostgresWatcher(server, url), directory / "postgres", llm))


@contextmanager
def _llm() -> Generator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.tool_llm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


async def _measure_beside_peer(directory: Path, llm: str) -> None:
    watcher, data_dir = SQLiteWatcher(directory / "parley.db"), directory / "sqlite"
    if not agent_server.is_installed():
        await _measure("SQLite", watcher, data_dir, llm)
        print(f"| {agent_server.NAME}: skipped, not installed | | | | | | |", flush=True)
        return
    async with agent_server.agent_server(directory / "openhands", llm) as peer:
        await _measure("SQLite", watcher, data_dir, llm, peer)


async def _measure(name: str, watcher: Watcher, data_dir: Path, llm: str, peer: AgentServer | None = None) -> None:
    calls, runs, with_tools, others = list[Cost](), list[Cost](), list[Cost](), list[Cost]()
    async with _served(watcher, data_dir, llm) as http:
        for number in range(ROUNDS + 1):
            once = [await _cost(lambda: _call(llm)) for _ in range(CALLS)]
            plain = [await _run(http, watcher, 0) for _ in range(RUNS)]
            tools = [await _run(http, watcher, TOOL_CALLS)]
            beside = [Cost(*times) for times in await peer.runs()] if peer is not None else []
            # The first round warms up caches, and is discarded.
            if number:
                calls += once
                runs += plain
                with_tools += tools
                others += beside
    one = statistics.median(cost.cpu for cost in calls)
    _print(f"LiteLLM's call, beside {name}", calls, one)
    _print(f"{name}, without tools", runs, one)
    _print(f"{name}, {TOOL_CALLS} tool calls", with_tools, one * (TOOL_CALLS + 1))
    if others:
        _print(f"{agent_server.NAME}, without tools", others, one)


def _print(name: str, costs: list[Cost], unit: float) -> None:
    cpu, wall = (statistics.median(getattr(cost, what) for cost in costs) for what in ("cpu", "wall"))
    counts = min((cost.counts for cost in costs), key=lambda counts: counts.statements)
    figures = f"{counts.statements} | {counts.commits} | {counts.rollbacks}"
    print(f"| {name} | {cpu * 1000:.1f} | {wall * 1000:.1f} | {cpu / unit:.2f} | {figures} |", flush=True)


@asynccontextmanager
async def _served(watcher: Watcher, data_dir: Path, llm: str) -> AsyncGenerator[httpx.AsyncClient]:
    config = load_config(
        env_file=None,
        data_dir=data_dir,
        database_url=watcher.url,
        auth=AuthMode.JWT,
        jwt_secret=SecretStr(SECRET),
        llm_private_base_urls=True,
        rate_limit_per_second=None,
        max_concurrent_conversations=1000,
    )
    # Otherwise log lines about each run would interrupt the table.
    configure_logging(config, stream=io.StringIO())
    parley = Parley(config)
    application = create_app(config, parley=parley)
    claims = {"sub": "bench", "exp": datetime.now(UTC) + timedelta(hours=2)}
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(application),
            base_url="http://127.0.0.1",
            headers={"authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"},
            timeout=WAIT_SECONDS,
        ) as http,
    ):
        await parley.llm.ready(MODEL)
        await _ask(http, SETTINGS, url=llm)
        with watcher.watching(parley.database):
            yield http


async def _ask(http: httpx.AsyncClient, query: str, **variables: object) -> Any:
    answer = await http.post("/graphql", json={"query": query, "variables": variables})
    [payload] = answer.raise_for_status().json()["data"].values()
    if payload["userErrors"]:
        message = f"The server refused: {payload['userErrors']}"
        raise RuntimeError(message)
    return payload


async def _run(http: httpx.AsyncClient, watcher: Watcher, tool_calls: int) -> Cost:
    watcher.begin()
    cpu, wall = time.process_time(), time.perf_counter()
    await _ask(http, CREATE, text=str(tool_calls))
    looking = await _until(watcher.is_waiting)
    wall = time.perf_counter() - wall
    looking += await _until(watcher.is_over)
    return Cost(time.process_time() - cpu - looking, wall, watcher.end())


async def _until(look: Callable[[], bool]) -> float:
    """Poll until the condition holds, and return the CPU seconds of polling, which are not the run's."""
    looking = 0.0
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            before = time.thread_time()
            is_so = look()
            looking += time.thread_time() - before
            if is_so:
                return looking
            await asyncio.sleep(LOOKING_SECONDS)


async def _cost(work: Callable[[], Awaitable[None]]) -> Cost:
    cpu, wall = time.process_time(), time.perf_counter()
    await work()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


async def _call(llm: str) -> None:
    litellm: Any = importlib.import_module("litellm")
    # LiteLLM uses the server's transport in this process, which refuses calls outside a scope.
    with within(Scope(private_allowed=True, deadline=time.monotonic() + WAIT_SECONDS)):
        stream = await litellm.acompletion(
            model=MODEL, messages=[{"role": "user", "content": "0"}], stream=True, api_base=llm, api_key="benchmark-key"
        )
        async with aclosing(stream):
            async for _ in stream:
                pass
