"""Subscribers to streaming answers, as a process: ``python -m benchmarks.answers URL TOKEN COUNT``.

It is a process of its own, so that handling thousands of deltas a second does not disturb the measurement. For a line
``PIECES MILLISECONDS`` it sends that message to all its conversations, prints ``streaming`` once each has the first
delta of its answer, and ``ended MESSAGES`` once each has the last one. It ends when its standard input is closed.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvloop

from benchmarks.paced_llm import LAST
from benchmarks.watchers import Watcher

WAIT_SECONDS = 60.0
SENT_AT_ONCE = 10
# Seconds between two polls whether a run is over, when there are many.
LOOKING_SECONDS = 0.5
# Seconds to wait after subscribing, far longer than the server takes to start a subscription.
SUBSCRIBING_SECONDS = 1.0

WATCH = "subscription ($id: ID!) { messageDeltas(conversationId: $id) { answerId text } }"
CREATE = """mutation { createConversation(input: {title: "Streams"}) {
  conversation { id } userErrors { __typename ... on UserError { message } } } }"""
STATUS = "query ($id: ID!) { conversation(id: $id) { status agentState } }"
SEND = """mutation ($id: ID!, $text: String!) { sendMessage(input: {conversationId: $id, message: {text: $text}}) {
  userErrors { __typename ... on UserError { message } } } }"""


class Answer:
    """One conversation, with a subscriber to its answer."""

    def __init__(self, http: httpx.AsyncClient, conversation_id: str) -> None:
        self._http = http
        self._id = conversation_id
        self._text = ""
        self._lost: str | None = None
        self._changed = asyncio.Event()
        self.messages = 0
        # Arrival of the first delta, by this machine's clock.
        self.arrived_ns = 0

    async def ask(self, text: str) -> None:
        """Send a message; await its answer with ``begun`` and ``ended``."""
        self._text, self.messages, self.arrived_ns = "", 0, 0
        await ask(self._http, SEND, id=self._id, text=text)

    async def begun(self) -> str:
        """Wait for the first delta, and return its text."""
        await self._until(lambda: bool(self._text))
        return self._text

    async def ended(self, pause_seconds: float = 0.01) -> None:
        """Wait for the last delta and the end of the run, so that the next message starts a new run."""
        await self._until(lambda: self._text.endswith(LAST))
        await until(self._http, self._id, "agentState", "AWAITING_USER_INPUT", pause_seconds)

    def note(self, message: bytes) -> None:
        """Take a delta; the watcher calls this."""
        arrived = time.time_ns()
        self.messages += 1
        self.arrived_ns = self.arrived_ns or arrived
        self._text += json.loads(message)["payload"]["data"]["messageDeltas"]["text"]
        self._changed.set()

    def lose(self, reason: str) -> None:
        """Note that the connection was lost; the watcher calls this."""
        self._lost = reason
        self._changed.set()

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not holds():
                if self._lost is not None:
                    raise ConnectionError(self._lost)
                await self._changed.wait()
                self._changed.clear()


async def ask(http: httpx.AsyncClient, query: str, **variables: object) -> dict[str, Any]:
    """Execute a document with one field, and return that field. Raises RuntimeError for errors and user errors."""
    answer = (await http.post("graphql", json={"query": query, "variables": variables})).json()
    if "errors" in answer:
        raise RuntimeError(answer["errors"])
    [result] = answer["data"].values()
    if result.get("userErrors"):
        raise RuntimeError(result["userErrors"])
    return result


async def until(
    http: httpx.AsyncClient, conversation_id: str, name: str, value: str, pause_seconds: float = 0.01
) -> None:
    """Poll until the conversation's field has this value."""
    async with asyncio.timeout(WAIT_SECONDS):
        while (await ask(http, STATUS, id=conversation_id))[name] != value:  # noqa: ASYNC110  The server is elsewhere.
            await asyncio.sleep(pause_seconds)


@asynccontextmanager
async def answers(url: str, token: str, count: int) -> AsyncGenerator[list[Answer]]:
    """Create conversations, each with a subscriber."""
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=WAIT_SECONDS) as http:
        watched = list[Answer]()
        watchers = list[Watcher]()
        address = urlsplit(url)
        host, port = address.hostname or "127.0.0.1", address.port or 80
        for _ in range(count):
            conversation_id = (await ask(http, CREATE))["conversation"]["id"]
            answer = Answer(http, conversation_id)
            payload = {"query": WATCH, "variables": {"id": conversation_id}}
            watcher = Watcher(answer, "/graphql", payload, headers=headers, has_snapshot=False)
            await asyncio.get_running_loop().create_connection(lambda watcher=watcher: watcher, host, port)
            await until(http, conversation_id, "status", "RUNNING")
            watchers.append(watcher)
            watched.append(answer)
        await asyncio.sleep(SUBSCRIBING_SECONDS)
        try:
            yield watched
        finally:
            for watcher in watchers:
                watcher.transport.abort()


async def _serve(url: str, token: str, count: int) -> None:
    loop = asyncio.get_running_loop()
    async with answers(url, token, count) as watched:
        print("ready", flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            limit = asyncio.Semaphore(SENT_AT_ONCE)
            await asyncio.gather(*(_begin(answer, line.strip(), limit) for answer in watched))
            print("streaming", flush=True)
            await asyncio.gather(*(answer.ended(LOOKING_SECONDS) for answer in watched))
            print(f"ended {sum(answer.messages for answer in watched)}", flush=True)


async def _begin(answer: Answer, text: str, limit: asyncio.Semaphore) -> None:
    async with limit:
        await answer.ask(text)
    await answer.begun()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
