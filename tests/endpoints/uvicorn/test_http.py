"""Answers on a connection: their bytes, what they leave in memory, and how long the connection stays open."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.server import ServerState

from app.endpoints.uvicorn.http import HTTPProtocol
from app.endpoints.uvicorn.websocket import WebSocketProtocol
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.server import RunningServer

BODY = json.dumps({"query": "{ __typename }"}).encode()
ANSWER = {"data": {"__typename": "Query"}}


def request(client: Client, *headers: str, method: str = "POST", path: str = "/graphql") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {client.token}", *headers]
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(BODY)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (BODY if method == "POST" else b"")


async def answer(reader: asyncio.StreamReader, *, has_body: bool = True) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body of the next answer."""
    async with asyncio.timeout(WAIT_SECONDS):
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        assert len(headers) == len(lines)
        return status, headers, await reader.readexactly(int(headers["content-length"])) if has_body else b""


async def test_an_answer_has_the_same_headers_whether_or_not_the_connection_goes_on(
    server: RunningServer, client: Client
) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    # The first time an operation is prepared, from then on it is quick; all three are answered alike.
    for headers in ([], [], ["Connection: close"]):
        writer.write(request(client, *headers))
    whole, again, last = [await answer(reader) for _ in range(3)]
    assert await reader.read() == b""
    assert whole[0] == again[0] == last[0] == "HTTP/1.1 200 OK"
    assert json.loads(whole[2]) == json.loads(again[2]) == json.loads(last[2]) == ANSWER
    assert last[1].pop("connection") == "close"
    for _, headers, _ in (whole, again, last):
        assert headers.pop("date")
    assert whole[1] == again[1] == last[1]
    assert whole[1]["cache-control"] == "no-store"
    writer.close()


async def test_head_has_the_length_and_no_body(server: RunningServer, client: Client) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    path = "/graphql?query=%7B__typename%7D"
    writer.write(request(client, method="HEAD", path=path) + request(client, method="GET", path=path))
    head = await answer(reader, has_body=False)
    _, headers, body = await answer(reader)
    assert json.loads(body) == ANSWER
    assert head[1]["content-length"] == headers["content-length"] == str(len(body))
    writer.close()


@pytest.mark.parametrize("size", [1, 7, 200])
async def test_requests_may_come_in_pieces_and_before_the_answer_to_the_last(
    server: RunningServer, client: Client, size: int
) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    sent = request(client) * 3
    for start in range(0, len(sent), size):
        writer.write(sent[start : start + size])
        await writer.drain()
    for _ in range(3):
        assert json.loads((await answer(reader))[2]) == ANSWER
    writer.close()


class Transport(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected(app: ASGIApp) -> AsyncGenerator[tuple[HTTPProtocol, Transport]]:
    """A connection of the protocol's, without a network."""
    config = uvicorn.Config(app, log_config=None, interface="asgi3")
    config.load()
    protocol, transport = HTTPProtocol(config, ServerState(), {}), Transport()
    protocol.connection_made(transport)
    yield protocol, transport
    protocol.connection_lost(None)


async def until_answered(transport: Transport, count: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while transport.written.count(b"body") < count:  # noqa: ASYNC110  Nothing tells of it.
            await asyncio.sleep(0)
    # The task that answered ends in the next iteration.
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_an_answered_request_leaves_nothing_for_the_garbage_collector() -> None:
    async with connected(echo) as (protocol, transport):
        gc.disable()
        try:
            protocol.data_received(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody")
            await until_answered(transport, 1)
            first = weakref.ref(protocol.cycle)
            protocol.data_received(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody")
            await until_answered(transport, 2)
            assert first() is None
        finally:
            gc.enable()


IDLE_SECONDS = 1


async def slow(_request: object) -> JSONResponse:
    await asyncio.sleep(2 * IDLE_SECONDS)
    return JSONResponse("slow")


async def quick(_request: object) -> JSONResponse:
    return JSONResponse("quick")


async def socket(socket: WebSocket) -> None:
    await socket.accept()
    await asyncio.sleep(3 * IDLE_SECONDS)
    await socket.send_text("late")
    await socket.close()


@asynccontextmanager
async def impatient() -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that closes those that are idle for a second."""
    app = Starlette(routes=[Route("/slow", slow), Route("/quick", quick), WebSocketRoute("/socket", socket)])
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=0,
            log_config=None,
            http=HTTPProtocol,
            ws=WebSocketProtocol,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=1,
        )
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  uvicorn has no event to wait for.
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
    yield reader, writer
    writer.close()
    server.should_exit = True
    await serving


async def test_a_connection_is_kept_while_it_is_used_and_closed_when_it_is_idle() -> None:
    async with impatient() as (reader, writer):
        for path in ("/quick", "/slow", "/quick", "/quick"):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert (await answer(reader))[0] == "HTTP/1.1 200 OK"
            await asyncio.sleep(IDLE_SECONDS / 2)
        async with asyncio.timeout(WAIT_SECONDS):
            assert await reader.read() == b""


async def test_a_socket_that_began_as_a_request_is_not_idle() -> None:
    async with impatient() as (reader, writer):
        writer.write(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
        await answer(reader)
        writer.write(
            b"GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(WAIT_SECONDS):
            assert await reader.readexactly(6) == b"\x81\x04late"
