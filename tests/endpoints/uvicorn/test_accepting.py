"""Connections that open at the same moment are accepted within few iterations of uvloop's event loop."""

import asyncio
import socket
from contextlib import ExitStack
from typing import Any, ClassVar, cast

import pytest
import uvicorn
import uvloop

from app.endpoints.uvicorn.accepting import ACCEPTED_AT_ONCE, accept_more
from tests.support.iterations import Iterations
from tests.support.patience import WAIT_SECONDS

MANY = 8 * ACCEPTED_AT_ONCE


class Noted(asyncio.Protocol):
    """Notes the iteration in which each connection is made."""

    iterations: ClassVar[Iterations]
    made_in: ClassVar[list[int]]

    def __init__(self, **_given: Any) -> None:
        pass

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made_in.append(self.iterations.number)
        cast("asyncio.Transport", transport).abort()


async def started() -> uvicorn.Server:
    server = uvicorn.Server(uvicorn.Config(lambda: None, port=0, http=Noted, log_config=None, lifespan="off"))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    return server


async def accepted(server: uvicorn.Server) -> list[int]:
    """Open connections before the loop goes on, and return the iterations in which they were made."""
    Noted.iterations, Noted.made_in = Iterations(), []
    address = server.servers[0].sockets[0].getsockname()
    with ExitStack() as stack:
        for _ in range(MANY):
            # The system completes the handshake; the server has not accepted anything yet.
            stack.enter_context(socket.create_connection(address))
        async with asyncio.timeout(WAIT_SECONDS):
            while len(Noted.made_in) < MANY:  # noqa: ASYNC110  Nothing tells of it.
                await asyncio.sleep(0)
    await Noted.iterations.end()
    return Noted.made_in


@pytest.mark.parametrize("has_more", [True, False], ids=["more handles", "as uvicorn does"])
def test_many_connections_that_wait_are_accepted_within_few_iterations(has_more: bool) -> None:
    async def run() -> None:
        server = await started()
        if has_more:
            await accept_more(server)
        iterations = await accepted(server)
        assert len(iterations) == MANY
        # Otherwise each iteration accepts one.
        assert (len(set(iterations)) < MANY // 2) is has_more
        await server.shutdown()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_all_handles_are_closed_with_the_server(loop_factory: Any) -> None:
    async def run() -> None:
        server = await started()
        await accept_more(server)
        address = server.servers[0].sockets[0].getsockname()
        assert len(server.servers) == ACCEPTED_AT_ONCE
        await server.shutdown()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())
