"""Accepts several connections in each iteration of the event loop.

uvloop accepts one connection for each listening handle and iteration. Under a flood, in which an iteration takes some
milliseconds, a hundred connections that open at the same moment would make the next one wait for half a second.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import uvicorn

# Connections accepted in an iteration, each of which takes 0.1 ms. A connection wakes all handles, and those that find
# nothing cost a microsecond each.
ACCEPTED_AT_ONCE = 16


async def accept_more(server: uvicorn.Server) -> None:
    """Add listening handles to each socket of a server that has started. They are closed with the server's own."""
    config, loop = server.config, asyncio.get_running_loop()
    create = cast("Callable[..., asyncio.Protocol]", config.http_protocol_class)

    def protocol() -> asyncio.Protocol:
        return create(config=config, server_state=server.server_state, app_state=server.lifespan.state)

    for listening in [each for started in server.servers for each in started.sockets]:
        for _ in range(ACCEPTED_AT_ONCE - 1):
            same = socket.fromfd(listening.fileno(), listening.family, listening.type)
            server.servers.append(await loop.create_server(protocol, sock=same, backlog=config.backlog))
