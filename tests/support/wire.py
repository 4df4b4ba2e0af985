"""A WebSocket that sends and receives raw frames, for tests of the protocol itself."""

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
from tests.support.patience import WAIT_SECONDS
from tests.support.server import RunningServer

JSON = dict[str, Any]
PROTOCOL = Subprotocol("graphql-transport-ws")


class Wire:
    """A connection without any knowledge of the GraphQL protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, *messages: object) -> None:
        """Send messages as JSON; strings and bytes are sent unchanged."""
        for message in messages:
            await self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def receive(self) -> JSON:
        """Return the next message, parsed. Raises TimeoutError."""
        async with asyncio.timeout(WAIT_SECONDS):
            return cast("JSON", json.loads(await self.connection.recv()))

    async def closed(self) -> tuple[int, str]:
        """Skip messages until the connection is closed, and return the close code and reason."""
        async with asyncio.timeout(WAIT_SECONDS):
            with suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
        assert self.connection.close_code is not None
        return self.connection.close_code, self.connection.close_reason or ""

    async def lives(self) -> bool:
        """Tell whether the server still answers a ping."""
        await self.send({"type": "ping"})
        return await self.receive() == {"type": "pong"}


@asynccontextmanager
async def opened(server: RunningServer, **options: object) -> AsyncGenerator[Wire]:
    """Open a connection without ``connection_init``."""
    given: JSON = {"subprotocols": [PROTOCOL], "max_size": None, "compression": None, **options}
    async with connect(server.socket_url, **given) as connection:
        yield Wire(connection)


@asynccontextmanager
async def ready(client: Client) -> AsyncGenerator[Wire]:
    """Open a connection that is acknowledged already."""
    async with opened(client.server) as wire:
        await wire.send(init(client.token))
        assert await wire.receive() == {"type": "connection_ack"}
        yield wire


@asynccontextmanager
async def reluctant(client: Client) -> AsyncGenerator[ClientConnection]:
    """Open an acknowledged connection that reads only on demand, with small buffers, to cause back-pressure."""
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
        # Closing normally would wait for the server's close frame behind all unread messages.
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
