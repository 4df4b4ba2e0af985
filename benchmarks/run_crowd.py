"""Creates conversations, and is the model that answers them: ``python -m benchmarks.run_crowd URL TOKEN``.

Both are one process, so that their times are by one clock. For each line ``COUNT AT_ONCE PIECES MILLISECONDS`` it
creates COUNT conversations in waves of AT_ONCE, each on a connection of its own. The next wave begins when all agents
of the last one wait. Each answer has PIECES deltas, MILLISECONDS apart. It then prints ``Timings`` as JSON, and ends
when its standard input is closed.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.load import Request
from benchmarks.paced_llm import HEAD, chunk, message

WAIT_SECONDS = 60.0
# Seconds between two polls whether an agent waits.
LOOKING_SECONDS = 0.01
# Seconds between two waves, in which the engine records the ends of runs.
PAUSE_SECONDS = 0.02
WORDS = tuple(f"word {number} " for number in range(100))

SETTINGS = """mutation ($url: URI!) { updateSettings(input: {
  llmModel: "openai/crowd", llmBaseUrl: $url, llmApiKey: "benchmark-key"
}) { userErrors { __typename ... on UserError { message } } } }"""
CREATE = """mutation ($text: String!) { createConversation(input: {title: $text, initialMessage: {text: $text}}) {
  conversation { id } userErrors { __typename ... on UserError { message } } } }"""
STATE = "query ($id: ID!) { conversation(id: $id) { agentState } }"


@dataclass
class Timings:
    """Milliseconds from sending each mutation to its answer, and to the request at the model; and all conversations."""

    answered: list[float] = field(default_factory=list[float])
    requested: list[float] = field(default_factory=list[float])
    ids: list[str] = field(default_factory=list[str])


@dataclass
class _Pace:
    """The pace of answers, and a future for each message: when the model is asked to answer it."""

    pieces: int = 1
    seconds: float = 0.0
    requests: dict[str, asyncio.Future[float]] = field(default_factory=dict[str, "asyncio.Future[float]"])


class _Model(asyncio.Protocol):
    """One connection of the server to the model, with one request at a time."""

    def __init__(self, pace: _Pace) -> None:
        self._pace = pace
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport does not inherit from asyncio's, so it needs a cast.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        arrived = time.perf_counter()
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        self._received = rest[length:]
        request = self._pace.requests[json.loads(rest[:length])["messages"][-1]["content"]]
        if not request.done():
            request.set_result(arrived)
        self._transport.write(HEAD)
        self._send(self._pace.pieces)

    def _send(self, left: int) -> None:
        delta = {"content": WORDS[left % len(WORDS)]}
        self._transport.write(chunk({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))
        if left > 1:
            self._timer = asyncio.get_running_loop().call_later(self._pace.seconds, self._send, left - 1)
            return
        end = chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        usage = chunk({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}})
        self._transport.write(end + usage + message("[DONE]") + b"0\r\n\r\n")


class Caller:
    """One keep-alive connection to the server."""

    def __init__(self, url: str, token: str) -> None:
        self._address = urlsplit(url)
        self._headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def connect(self) -> None:
        """Open the connection, which the server closes after some idle seconds."""
        address = self._address
        self._reader, self._writer = await asyncio.open_connection(address.hostname, address.port)

    async def ask(self, query: str, **variables: object) -> Any:
        """Execute a document with one field, and return that field. Raises RuntimeError for errors and user errors."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        async with asyncio.timeout(WAIT_SECONDS):
            try:
                answer = await self._post(body)
            except (asyncio.IncompleteReadError, ConnectionError):
                # The server has closed it because it was idle, before it saw the request.
                self.close()
                await self.connect()
                answer = await self._post(body)
        if answer.get("errors"):
            raise RuntimeError(answer["errors"])
        [result] = answer["data"].values()
        if result.get("userErrors"):
            raise RuntimeError(result["userErrors"])
        return result

    async def _post(self, body: bytes) -> Any:
        self._writer.write(Request("/graphql", body).encode(self._headers))
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        return json.loads(await self._reader.readexactly(length))

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


class _Crowd:
    def __init__(self, url: str, token: str, pace: _Pace) -> None:
        self._url, self._token, self._pace = url, token, pace
        self._callers: list[Caller] = []
        self._numbers = itertools.count()

    async def callers(self, count: int) -> Sequence[Caller]:
        while len(self._callers) < count:
            caller = Caller(self._url, self._token)
            await caller.connect()
            self._callers.append(caller)
        return self._callers[:count]

    async def create(self, count: int, at_once: int) -> Timings:
        timings = Timings()
        for first in range(0, count, at_once):
            callers = await self.callers(min(at_once, count - first))
            await asyncio.gather(*(self._create(caller, timings) for caller in callers))
            await asyncio.sleep(PAUSE_SECONDS)
        return timings

    async def _create(self, caller: Caller, timings: Timings) -> None:
        # Titles and messages differ, so that no cache of texts or prompts helps.
        text = f"Conversation {next(self._numbers)}"
        request = self._pace.requests[text] = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        conversation_id = (await caller.ask(CREATE, text=text))["conversation"]["id"]
        timings.answered.append((time.perf_counter() - began) * 1000)
        async with asyncio.timeout(WAIT_SECONDS):
            timings.requested.append((await request - began) * 1000)
            await asyncio.sleep(self._pace.pieces * self._pace.seconds)
            while await _is_at_work(caller, conversation_id):  # noqa: ASYNC110  The server is elsewhere.
                await asyncio.sleep(LOOKING_SECONDS)
        timings.ids.append(conversation_id)
        del self._pace.requests[text]


async def _is_at_work(caller: Caller, conversation_id: str) -> bool:
    return (await caller.ask(STATE, id=conversation_id))["agentState"] != "AWAITING_USER_INPUT"


async def _serve(url: str, token: str) -> None:
    loop = asyncio.get_running_loop()
    pace = _Pace()
    model = await loop.create_server(lambda: _Model(pace), "127.0.0.1", 0)
    crowd = _Crowd(url, token, pace)
    [caller] = await crowd.callers(1)
    await caller.ask(SETTINGS, url=f"http://127.0.0.1:{model.sockets[0].getsockname()[1]}/v1")
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        count, at_once, pace.pieces, milliseconds = map(int, line.split())
        pace.seconds = milliseconds / 1000
        print(json.dumps(asdict(await crowd.create(count, at_once))), flush=True)


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], sys.argv[2]))
