"""Bodies and messages that are not complete have room in all, whoever sends them; what does not fit is refused."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.raw import JSON, START, UPGRADE, Raw, assert_nothing_stays, code, connected, is_live
from tests.support.server import RunningServer, running_server

TOTAL = 1024 * 1024
# Of each body 64 KiB are not counted: two such halves have room, and a third has none.
HALF = TOTAL // 2
MANY = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """It has room for one of its largest bodies."""
    with running_server(tmp_path_factory.mktemp("data"), max_body_bytes=TOTAL, max_buffered_bytes=TOTAL) as started:
        yield started


def body() -> bytes:
    """As long as a body may be."""
    text = json.dumps({"query": "{ __typename }", "operationName": None}).encode()
    return text + b" " * (TOTAL - len(text))


def head(client: Client, fields: bytes) -> bytes:
    token = f"Authorization: Bearer {client.token}\r\n".encode()
    return START + token + b"Content-Type: application/json\r\n" + fields + b"\r\n\r\n"


def sized(client: Client, start: bytes) -> list[bytes]:
    return [head(client, b"Content-Length: %d" % TOTAL), start]


def chunked(client: Client, start: bytes) -> list[bytes]:
    pieces = [start[at : at + 16 * 1024] for at in range(0, len(start), 16 * 1024)]
    return [head(client, b"Transfer-Encoding: chunked"), *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)]


def slow(client: Client, start: bytes) -> list[bytes]:
    return [head(client, b"Content-Length: %d" % TOTAL), *(start[at : at + 32_000] for at in range(0, HALF, 32_000))]


@asynccontextmanager
async def halves(server: RunningServer, client: Client, pieces: list[bytes]) -> AsyncGenerator[tuple[list[Raw], int]]:
    """Those whose half the server holds, and how many it has refused: all but two at least."""
    async with AsyncExitStack() as stack:
        many = [await stack.enter_async_context(connected(server)) for _ in range(MANY)]

        async def send(raw: Raw) -> tuple[int, JSON]:
            for piece in pieces:
                await raw.send(piece)
                await asyncio.sleep(0)
            return await raw.answer()

        answers = {asyncio.create_task(send(raw)): raw for raw in many}
        refused: set[asyncio.Task[tuple[int, JSON]]] = set()
        while len(refused) < MANY - 2:
            done, _ = await asyncio.wait(answers.keys() - refused, return_when=asyncio.FIRST_COMPLETED)
            refused |= done
        for task in refused:
            status, found = await task
            assert (status, code(found)) == (503, "SERVICE_UNAVAILABLE")
        held = [raw for task, raw in answers.items() if task not in refused]
        for task in answers.keys() - refused:
            task.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
        assert await is_live(server)
        assert (await client.post("{ __typename }")).status == 200
        yield held, len(refused)


async def assert_whole_room_is_free(server: RunningServer) -> None:
    """Where a little were still counted, the largest body would have no room."""
    async with Client(server) as client, connected(server) as raw:
        await raw.send(head(client, b"Content-Length: %d" % TOTAL) + body())
        assert await raw.answer() == (200, {"data": {"__typename": "Query"}})
    await assert_nothing_stays(server)


@pytest.mark.parametrize("way", [sized, chunked, slow])
@pytest.mark.parametrize("end", ["cut off", "complete", "too large"])
async def test_bodies_of_many_have_room_in_all_and_nothing_of_them_stays(
    server: RunningServer, way: Callable[[Client, bytes], list[bytes]], end: str
) -> None:
    async with Client(server) as client, halves(server, client, way(client, body()[:HALF])) as (held, refused):
        assert 10 <= refused <= MANY
        if end == "complete" and held and way is not chunked:
            # Its second half has room once the other one has left.
            for raw in held[1:]:
                raw.writer.transport.abort()
            await asyncio.sleep(0.1)
            await held[0].send(body()[HALF:])
            assert await held[0].answer() == (200, {"data": {"__typename": "Query"}})
        elif end == "too large" and way is chunked:
            for raw in held:
                await raw.send(b"%x\r\n%b\r\n" % (2 * TOTAL, body() * 2))
            for raw in held:
                status, found = await raw.answer()
                assert (status, code(found)) in {(413, "PAYLOAD_TOO_LARGE"), (503, "SERVICE_UNAVAILABLE")}
    await assert_whole_room_is_free(server)


async def test_small_requests_get_through_beside_bodies_that_fill_the_room(server: RunningServer) -> None:
    async with (
        Client(server) as client,
        Client(server) as other,
        halves(server, client, sized(client, body()[:HALF])),
    ):
        padding = "x" * 40_000
        answers = [await other.post("{ __typename }", {"padding": padding}) for _ in range(10)]
        assert [answer.body for answer in answers] == [{"data": {"__typename": "Query"}}] * 10
    await assert_whole_room_is_free(server)


def frame(opcode: int, size: int, payload: bytes) -> bytes:
    """The beginning of a masked frame of that size; the mask changes nothing."""
    return bytes([opcode, 0xFF]) + size.to_bytes(8, "big") + bytes(4) + payload


def one_frame(start: bytes) -> list[bytes]:
    return [frame(0x81, TOTAL, start)]


def fragments(start: bytes) -> list[bytes]:
    size = len(start) // 16
    pieces = [start[at : at + size] for at in range(0, len(start), size)]
    return [frame(0x00 if number else 0x01, len(piece), piece) for number, piece in enumerate(pieces)]


async def said_hello(raw: Raw, token: str | None) -> None:
    """Upgrade to a WebSocket; with a token it is acknowledged."""
    await raw.send(UPGRADE)
    assert b" 101 " in await raw.reader.readuntil(b"\r\n\r\n")
    if token is not None:
        init = json.dumps({"type": "connection_init", "payload": {"token": token}}).encode()
        await raw.send(frame(0x81, len(init), init))
        assert b"connection_ack" in await asyncio.wait_for(raw.reader.read(1000), WAIT_SECONDS)


async def closing_code(raw: Raw) -> int:
    head = await raw.reader.readexactly(4)
    assert head[:1] == b"\x88"
    return int.from_bytes(head[2:], "big")


@pytest.mark.parametrize("way", [one_frame, fragments])
async def test_messages_of_many_have_room_in_all_and_nothing_of_them_stays(
    server: RunningServer, way: Callable[[bytes], list[bytes]]
) -> None:
    async with Client(server) as client, AsyncExitStack() as stack:
        many = [await stack.enter_async_context(connected(server)) for _ in range(MANY)]
        for raw in many:
            await said_hello(raw, client.token)
        for piece in way(body()[:HALF]):
            for raw in many:
                await raw.send(piece)
        codes = {asyncio.create_task(closing_code(raw)): raw for raw in many}
        ended: set[asyncio.Task[int]] = set()
        async with asyncio.timeout(WAIT_SECONDS):
            while len(ended) < MANY - 2:
                done, _ = await asyncio.wait(codes.keys() - ended, return_when=asyncio.FIRST_COMPLETED)
                ended |= done
        # Who was cut off in the middle of what it sent may not get to know why.
        assert {await task for task in ended if task.exception() is None} <= {1013}
        assert await is_live(server)
        assert (await client.post("{ __typename }")).status == 200
        for task in codes.keys() - ended:
            task.cancel()
        await asyncio.gather(*codes, return_exceptions=True)
    await assert_whole_room_is_free(server)


async def test_a_message_that_is_complete_is_counted_until_it_is_read_and_no_longer(server: RunningServer) -> None:
    text = json.dumps({"type": "ping", "payload": {}}).encode()
    text += b" " * (HALF - len(text))
    async with Client(server) as client, connected(server) as raw:
        await said_hello(raw, client.token)
        # One after the other there is room for any number of them.
        for _ in range(8):
            await raw.send(frame(0x81, len(text), text))
            assert b"pong" in await asyncio.wait_for(raw.reader.read(1000), WAIT_SECONDS)
    await assert_whole_room_is_free(server)


async def test_what_strangers_begin_to_say_is_counted_among_the_heads(server: RunningServer) -> None:
    async with connected(server) as raw:
        await said_hello(raw, None)
        await raw.send(frame(0x81, 16_000, b"{" * 15_000))

        async def held() -> int:
            return server.gate.held_bytes

        async with asyncio.timeout(WAIT_SECONDS):
            while await asyncio.to_thread(server.call, held()) < 15_000:  # noqa: ASYNC110  Nothing tells of it.
                await asyncio.sleep(0.05)
    await assert_nothing_stays(server)
