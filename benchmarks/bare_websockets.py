"""A peer of ``fan_out`` without GraphQL: for each line of standard input it sends one change to every socket."""

import asyncio
import json
import sys
from datetime import UTC, datetime

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.typing import Subprotocol

PROTOCOL = Subprotocol("graphql-transport-ws")


async def main() -> None:
    """Print the port, and serve until standard input is closed."""
    sockets: set[ServerConnection] = set()

    async def keep(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send('{"type":"connection_ack"}')
        await socket.recv()
        sockets.add(socket)
        await socket.send(change())
        await socket.wait_closed()
        sockets.discard(socket)

    async with serve(keep, "127.0.0.1", 0, compression=None, subprotocols=[PROTOCOL]) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while await reader.readline():
            broadcast(sockets, change())


def change() -> str:
    """Build the same message as Parley."""
    now = datetime.now(UTC).isoformat()
    conversation = {
        "id": "0b0f7d0e-6a8c-4a53-8f4e-0d5a3e0e9b11",
        "title": "Bench",
        "status": "STOPPED",
        "agentState": None,
        "statusReason": None,
        "updatedAt": now,
    }
    update = {"conversation": conversation, "previousStatus": "RUNNING", "occurredAt": now}
    payload = {"data": {"conversationStatusChanged": update}}
    return json.dumps({"id": "1", "type": "next", "payload": payload}, separators=(",", ":"))


asyncio.run(main())
