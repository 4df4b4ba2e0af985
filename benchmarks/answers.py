"""Conversations whose answers are watched: ``python -m benchmarks.answers URL TOKEN COUNT``.

A process of its own, so that what it does for thousands of pieces a second is not in the way of what is measured. For a
line ``PIECES MILLISECONDS`` it sends that message to all its conversations, says ``streaming`` once each has the first
piece of its answer, and ``ended MESSAGES`` once each has the last one. It ends when its standard input does.
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
# Between two looks at whether a run is over, of many.
LOOKING_SECONDS = 0.5
# Long after the server has taken the subscription up.
SUBSCRIBING_SECONDS = 1.0

WATCH = "subscription ($id: ID!) { messageDeltas(conversationId: $id) { answerId text } }"
CREATE = """mutation { createConversation(input: {title: "Streams"}) {
  conversation { id } userErrors { __typename ... on UserError { message } } } }"""
STATUS = "query ($id: ID!) { conversation(id: $id) { status agentState } }"
SEND = """mutation ($id: ID!, $text: String!) { sendMessage(input: {conversationId: $id, message: {text: $text}}) {
  userErrors { __typename ... on UserError { message } } } }"""


class Answer:
    """One conversation, and the answer that is being written in it."""

    def __init__(self, http: httpx.AsyncClient, conversation_id: str) -> None:
        self._http = http
        self._id = conversation_id
        self._text = ""
        self._lost: str | None = None
        self._changed = asyncio.Event()
        self.messages = 0
        # By this machine's clock, when the first piece was there.
        self.arrived_ns = 0

    async def ask(self, text: str) -> None:
        """Send a message; its answer is awaited by ``begun`` and ``ended``."""
        self._text, self.messages, self.arrived_ns = "", 0, 0
        await ask(self._http, SEND, id=self._id, text=text)

    async def begun(self) -> str:
        """The first piece, once it is there."""
        await self._until(lambda: bool(self._text))
        return self._text

    async def ended(self, pause_seconds: float = 0.01) -> None:
        """Return once the last piece is there, and the run is over, so that the next message begins a new one."""
        await self._until(lambda: self._text.endswith(LAST))
        await until(self._http, self._id, "agentState", "AWAITING_USER_INPUT", pause_seconds)

    def note(self, message: bytes) -> None:
        """Called by the watcher for each piece."""
        arrived = time.time_ns()
        self.messages += 1
        self.arrived_ns = self.arrived_ns or arrived
        self._text += json.loads(message)["payload"]["data"]["messageDeltas"]["text"]
        self._changed.set()

    def lose(self, reason: str) -> None:
        """Called by the watcher whose connection has ended."""
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
    """The field's answer; raises when it has errors."""
    answer = (await http.post("graphql", json={"query": query, "variables": variables})).json()
    if "errors" in answer:
        raise RuntimeError(answer["errors"])
    [found] = answer["data"].values()
    if found.get("userErrors"):
        raise RuntimeError(found["userErrors"])
    return found


async def until(
    http: httpx.AsyncClient, conversation_id: str, name: str, value: str, pause_seconds: float = 0.01
) -> None:
    """Return once the conversation has that."""
    async with asyncio.timeout(WAIT_SECONDS):
        while (await ask(http, STATUS, id=conversation_id))[name] != value:  # noqa: ASYNC110  The server is elsewhere.
            await asyncio.sleep(pause_seconds)


@asynccontextmanager
async def answers(url: str, token: str, count: int) -> AsyncGenerator[list[Answer]]:
    """So many new conversations, each with a subscriber."""
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=WAIT_SECONDS) as http:
        found = list[Answer]()
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
            found.append(answer)
        await asyncio.sleep(SUBSCRIBING_SECONDS)
        try:
            yield found
        finally:
            for watcher in watchers:
                watcher.transport.abort()


async def _serve(url: str, token: str, count: int) -> None:
    loop = asyncio.get_running_loop()
    async with answers(url, token, count) as found:
        print("ready", flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            limit = asyncio.Semaphore(SENT_AT_ONCE)
            await asyncio.gather(*(_begin(answer, line.strip(), limit) for answer in found))
            print("streaming", flush=True)
            await asyncio.gather(*(answer.ended(LOOKING_SECONDS) for answer in found))
            print(f"ended {sum(answer.messages for answer in found)}", flush=True)


async def _begin(answer: Answer, text: str, limit: asyncio.Semaphore) -> None:
    async with limit:
        await answer.ask(text)
    await answer.begun()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
