"""A GraphQL client for tests: queries over HTTP, subscriptions over graphql-transport-ws."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, cast
from uuid import uuid4

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.support.patience import WAIT_SECONDS
from tests.support.server import RunningServer
from tests.support.tokens import hs256_token

# Clients call 127.0.0.1 only, so they need not load the certificate authorities, which takes 0.1 s for each.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
JSON = dict[str, Any]


class RequestFailed(Exception):
    """The response has errors, which are in ``errors``."""

    def __init__(self, errors: list[JSON]) -> None:
        super().__init__(json.dumps(errors))
        self.errors = errors


@dataclass
class Answer:
    """An HTTP response: status code and parsed body."""

    status: int
    body: JSON


class Client:
    """One caller with a token of its own. Instances are different callers unless they share a ``name``."""

    def __init__(self, server: RunningServer, name: str | None = None) -> None:
        self.name = name or f"caller-{uuid4()}"
        self.server = server
        self.token = hs256_token(sub=self.name, exp=int(datetime.now(UTC).timestamp()) + 3600)
        self._http = httpx.AsyncClient(base_url=server.url, timeout=WAIT_SECONDS, verify=NO_TLS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def post(self, query: str, variables: Mapping[str, object] | None = None) -> Answer:
        """Send a document and return the response, also one with errors."""
        response = await self._http.post(
            "/graphql",
            # ``json.dumps`` escapes to ASCII, so that tests can send lone surrogates too.
            content=json.dumps({"query": query, "variables": dict(variables or {})}),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        return Answer(response.status_code, response.json())

    async def execute(self, query: str, /, **variables: object) -> JSON:
        """Send a document and return its data. Raises RequestFailed if there are errors."""
        answer = await self.post(query, variables)
        if answer.body.get("errors"):
            raise RequestFailed(answer.body["errors"])
        return cast("JSON", answer.body["data"])

    @asynccontextmanager
    async def socket(self) -> AsyncGenerator["Socket"]:
        """Open a WebSocket that is acknowledged already."""
        async with connect(
            self.server.socket_url, subprotocols=[Subprotocol("graphql-transport-ws")], max_size=None
        ) as connection:
            payload = {"Authorization": f"Bearer {self.token}"}
            await connection.send(json.dumps({"type": "connection_init", "payload": payload}))
            assert json.loads(await connection.recv())["type"] == "connection_ack"
            yield Socket(connection)

    @asynccontextmanager
    async def subscribe(self, query: str, /, **variables: object) -> AsyncGenerator["Subscription"]:
        """Open one subscription on a connection of its own."""
        async with self.socket() as socket:
            yield await socket.subscribe(query, **variables)


class Socket:
    """A WebSocket that can carry several subscriptions."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._subscriptions: dict[str, Subscription] = {}
        self._reader = asyncio.create_task(self._read())

    async def subscribe(self, query: str, /, **variables: object) -> "Subscription":
        """Start a subscription, whose messages are queued until the test takes them."""
        subscription = Subscription(str(uuid4()))
        self._subscriptions[subscription.id] = subscription
        payload = {"query": query, "variables": variables}
        await self.connection.send(json.dumps({"id": subscription.id, "type": "subscribe", "payload": payload}))
        return subscription

    async def _read(self) -> None:
        try:
            async for frame in self.connection:
                message = json.loads(frame)
                if message["type"] in {"next", "error", "complete"}:
                    self._subscriptions[message["id"]].put(message)
        finally:
            for subscription in self._subscriptions.values():
                subscription.put({"type": "closed"})


class Subscription:
    """The queue of one subscription's messages."""

    def __init__(self, subscription_id: str) -> None:
        self.id = subscription_id
        self._messages: asyncio.Queue[JSON] = asyncio.Queue()

    def put(self, message: JSON) -> None:
        """Queue a message; only ``Socket`` calls this."""
        self._messages.put_nowait(message)

    async def message(self, timeout_seconds: float = WAIT_SECONDS) -> JSON:
        """Return the next protocol message. Raises TimeoutError if none comes."""
        async with asyncio.timeout(timeout_seconds):
            return await self._messages.get()

    async def next(self, timeout_seconds: float = WAIT_SECONDS) -> JSON:
        """Return the data of the next result. Raises RequestFailed for errors, StopAsyncIteration after the end."""
        message = await self.message(timeout_seconds)
        if message["type"] == "next" and not message["payload"].get("errors"):
            return cast("JSON", message["payload"]["data"])
        if message["type"] in {"complete", "closed"}:
            raise StopAsyncIteration
        payload = message["payload"]
        raise RequestFailed(cast("list[JSON]", payload if message["type"] == "error" else payload["errors"]))

    async def until_end(self) -> list[JSON]:
        """Return the data of all results until the subscription ends."""
        events: list[JSON] = []
        while True:
            try:
                events.append(await self.next())
            except StopAsyncIteration:
                return events

    async def is_silent(self, seconds: float = 0.3) -> bool:
        """Tell whether no message comes for this time."""
        try:
            await self.next(seconds)
        except TimeoutError:
            return True
        return False
