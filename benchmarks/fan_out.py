"""One status change to 1,000 sockets on one process: how long until the last one has it.

Parley runs as its users run it (``python -m app serve``). The peer is the least that a server in Python could do: an
asyncio server of the ``websockets`` package that sends the same bytes to every socket, without GraphQL, rows or rights.
Rounds alternate between the two, so that both see the same noise. Times are from the change's ``occurredAt`` (for the
peer: from just before its first send) to the arrival, both by the clock of this machine.
"""

import asyncio
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

SOCKETS = int(os.environ.get("SOCKETS", "1000"))
ROUNDS = int(os.environ.get("ROUNDS", "7"))
CONNECTING_AT_ONCE = 50
WAIT_SECONDS = 60.0

_READY = b"Parley ready at "

WATCH = """
subscription ($ids: [ID!]) { conversationStatusChanged(conversationIds: $ids) {
  conversation { id title status agentState statusReason { code message } updatedAt } previousStatus occurredAt
} }
"""
SETTINGS = 'mutation { updateSettings(input: {llmModel: "demo/assistant"}) { userErrors { __typename } } }'
CREATE = 'mutation { createConversation(input: {title: "Bench"}) { conversation { id } userErrors { __typename } } }'
STATUS = "query ($id: ID!) { conversation(id: $id) { status agentState } }"
STOP = """mutation ($id: ID!) { stopConversation(input: {id: $id}) {
  conversation { status } userErrors { __typename }
} }"""
START = """mutation ($id: ID!) { startConversation(input: {id: $id}) {
  conversation { status } userErrors { __typename }
} }"""


@dataclass
class Round:
    """Arrivals of one change, in milliseconds after it."""

    milliseconds: list[float] = field(default_factory=list[float])

    def percentile(self, share: float) -> float:
        """The time within which that share of the sockets had it."""
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def main() -> None:
    """Measure and print."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    print(f"fan_out: one status change to {SOCKETS} sockets, {ROUNDS} interleaved rounds", flush=True)
    async with AsyncExitStack() as stack:
        parley = await stack.enter_async_context(_parley())
        peer = await stack.enter_async_context(_peer())
        results: dict[str, list[Round]] = {"parley": [], "bare websockets": []}
        for _ in range(ROUNDS):
            results["parley"].append(await parley())
            results["bare websockets"].append(await peer())
    base = statistics.median(found.percentile(0.99) for found in results["bare websockets"])
    print(f"{'server':<18}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}{'p99 ratio':>12}")
    for name, rounds in results.items():
        p50, p99, last = (statistics.median(found.percentile(share) for found in rounds) for share in (0.5, 0.99, 1.0))
        print(f"{name:<18}{p50:>10.1f}{p99:>10.1f}{last:>10.1f}{p99 / base:>12.1f}")


@asynccontextmanager
async def _parley() -> AsyncGenerator[Callable[[], Awaitable[Round]]]:
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as directory:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")},
            "PARLEY_DATA_DIR": directory,
            "PARLEY_LOG_LEVEL": "WARNING",
            # One caller has all the sockets here.
            "PARLEY_MAX_CONNECTIONS_PER_CALLER": "100000",
            "PARLEY_MAX_SUBSCRIPTIONS_PER_CALLER": "100000",
            "PARLEY_RATE_LIMIT_PER_SECOND": "",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", "serve", "--port", "0", env=environment, stdout=asyncio.subprocess.PIPE
        )
        try:
            url = await asyncio.wait_for(_address(process), WAIT_SECONDS)
            async with _parley_sockets(url) as change:
                yield change
        finally:
            process.terminate()
            await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    """Where the server answers, once it says so; it says other things before."""
    assert process.stdout is not None
    async for line in process.stdout:
        if line.startswith(_READY):
            return line.removeprefix(_READY).decode().strip()
    raise RuntimeError("the server ended before it answered")


@asynccontextmanager
async def _parley_sockets(url: str) -> AsyncGenerator[Callable[[], Awaitable[Round]]]:
    async with httpx.AsyncClient(base_url=url, timeout=WAIT_SECONDS) as http, AsyncExitStack() as stack:

        async def ask(query: str, **variables: object) -> dict[str, Any]:
            answer = (await http.post("graphql", json={"query": query, "variables": variables})).json()
            return answer["data"]

        await ask(SETTINGS)
        conversation_id = (await ask(CREATE))["createConversation"]["conversation"]["id"]
        await _until(ask, conversation_id, "RUNNING")
        address = url.replace("http", "ws", 1) + "graphql"
        sockets = await _connect(stack, address, conversation_id)

        async def change() -> Round:
            found = Round()
            receivers = [asyncio.create_task(_receive(socket, found)) for socket in sockets]
            await asyncio.sleep(0)
            await ask(STOP, id=conversation_id)
            await asyncio.wait_for(asyncio.gather(*receivers), WAIT_SECONDS)
            await ask(START, id=conversation_id)
            await _until(ask, conversation_id, "RUNNING")
            # STARTING and RUNNING come to every socket as well, and are not measured.
            for _ in range(2):
                await asyncio.gather(*(socket.recv() for socket in sockets))
            return found

        yield change


async def _until(ask: Callable[..., Awaitable[dict[str, Any]]], conversation_id: str, status: str) -> None:
    for _ in range(600):
        if (await ask(STATUS, id=conversation_id))["conversation"]["status"] == status:
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(status)


async def _connect(stack: AsyncExitStack, address: str, conversation_id: str) -> list[ClientConnection]:
    limit = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def one() -> ClientConnection:
        async with limit:
            socket = await stack.enter_async_context(
                connect(address, subprotocols=[Subprotocol("graphql-transport-ws")], open_timeout=WAIT_SECONDS)
            )
            await socket.send('{"type": "connection_init"}')
            await socket.recv()
            payload = {"query": WATCH, "variables": {"ids": [conversation_id]}}
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
            await socket.recv()
            return socket

    return list(await asyncio.gather(*(one() for _ in range(SOCKETS))))


async def _receive(socket: ClientConnection, found: Round) -> None:
    frame = await socket.recv()
    arrived = time.time()
    occurred_at = json.loads(frame)["payload"]["data"]["conversationStatusChanged"]["occurredAt"]
    found.milliseconds.append((arrived - datetime.fromisoformat(occurred_at).timestamp()) * 1000)


@asynccontextmanager
async def _peer() -> AsyncGenerator[Callable[[], Awaitable[Round]]]:
    """The bare server lives in a process of its own, as Parley does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.bare_websockets",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        stdin = process.stdin
        port = int(await asyncio.wait_for(process.stdout.readline(), WAIT_SECONDS))
        async with AsyncExitStack() as stack:
            sockets = [
                await stack.enter_async_context(connect(f"ws://127.0.0.1:{port}/", open_timeout=WAIT_SECONDS))
                for _ in range(SOCKETS)
            ]

            async def change() -> Round:
                found = Round()
                receivers = [asyncio.create_task(_receive(socket, found)) for socket in sockets]
                await asyncio.sleep(0)
                stdin.write(b"change\n")
                await asyncio.wait_for(asyncio.gather(*receivers), WAIT_SECONDS)
                return found

            yield change
    finally:
        process.terminate()
        await process.wait()
