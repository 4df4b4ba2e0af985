"""A WebSocket for tests, on which frames go out and come in as they are."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.client import Client
from tests.support.server import RunningServer

JSON = dict[str, Any]
PROTOCOL = Subprotocol("graphql-transport-ws")
WAIT_SECONDS = 20.0


class Wire:
    """A connection that sends and takes frames as they are."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, *messages: object) -> None:
        """Send each as JSON, text as it is."""
        for message in messages:
            await self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def receive(self) -> JSON:
        """The next message."""
        async with asyncio.timeout(WAIT_SECONDS):
            return cast("JSON", json.loads(await self.connection.recv()))

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the end, past whatever comes before it."""
        async with asyncio.timeout(WAIT_SECONDS):
            with suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
        assert self.connection.close_code is not None
        return self.connection.close_code, self.connection.close_reason or ""

    async def lives(self) -> bool:
        """Whether it still answers."""
        await self.send({"type": "ping"})
        return await self.receive() == {"type": "pong"}


@asynccontextmanager
async def opened(server: RunningServer, **options: object) -> AsyncGenerator[Wire]:
    """A connection on which nothing was said yet."""
    given: JSON = {"subprotocols": [PROTOCOL], "max_size": None, "compression": None, **options}
    async with connect(server.socket_url, **given) as connection:
        yield Wire(connection)


@asynccontextmanager
async def ready(client: Client) -> AsyncGenerator[Wire]:
    """A connection that was acknowledged."""
    async with opened(client.server) as wire:
        await wire.send(init(client.token))
        assert await wire.receive() == {"type": "connection_ack"}
        yield wire


@asynccontextmanager
async def reluctant(client: Client) -> AsyncGenerator[ClientConnection]:
    """An acknowledged connection that reads only when it is asked to, with little room in between."""
    address = ("127.0.0.1", int(client.server.url.rpartition(":")[2]))
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, address)
    async with connect(
        client.server.socket_url,
        sock=narrow,
        subprotocols=[Subprotocol("graphql-transport-ws")],
        max_queue=1,
        max_size=None,
        # It would wait for the server's answer behind everything that it has not read.
        close_timeout=0.1,
        ping_interval=None,
        compression=None,
    ) as connection:
        payload = {"Authorization": f"Bearer {client.token}"}
        await connection.send(json.dumps({"type": "connection_init", "payload": payload}))
        assert json.loads(await connection.recv())["type"] == "connection_ack"
        yield connection


def init(token: str) -> JSON:
    return {"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}}


def subscribe(operation_id: str, query: str = "{ __typename }", **payload: object) -> JSON:
    return {"id": operation_id, "type": "subscribe", "payload": {"query": query, **payload}}
