"""Bodies that are not complete have room in all, whoever sends them; what does not fit is refused."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.support.client import Client
from tests.support.raw import JSON, START, Raw, assert_nothing_stays, code, connected, is_live
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
