"""Memory after floods: it goes back to the system, and does not grow from one round to the next."""

import asyncio
import gc
import json
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

from app.memory import give_back
from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.raw import START, UPGRADE, assert_nothing_stays, connected
from tests.support.server import RunningServer, running_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of memory in /proc")

MIB = 1024 * 1024
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# What other threads of the tests take meanwhile.
NOISE_BYTES = 24 * MIB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Run on one database, since memory does not depend on it."""
    with running_server(tmp_path_factory.mktemp("data")) as started:
        yield started


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def test_free_memory_behind_what_is_used_is_given_back() -> None:
    give_back()
    before = resident_bytes()
    # Each second one is kept, so that the heap can't shrink from its end.
    pieces = [b"x" * 60_000 for _ in range(3000)]
    assert resident_bytes() - before > 150 * MIB
    last = pieces[-1]
    pieces.clear()
    give_back()
    assert resident_bytes() - before < NOISE_BYTES
    assert len(last) == 60_000


async def flood(server: RunningServer, token: str) -> None:
    """Forty bodies of 4 MiB at once, of which sixteen have room; none is a request."""
    head = START + f"Authorization: Bearer {token}\r\n".encode() + b"Content-Type: application/json\r\n"
    body = head + b"Content-Length: %d\r\n\r\n" % (4 * MIB) + b"x" * 4 * MIB
    async with AsyncExitStack() as stack:
        many = [await stack.enter_async_context(connected(server)) for _ in range(40)]
        await asyncio.gather(*(raw.send(body) for raw in many))
        statuses = [await raw.answer() for raw in many if not raw.reader.at_eof()]
        assert {status for status, _ in statuses} <= {400, 503}
    await assert_nothing_stays(server)


async def test_floods_of_bodies_leave_the_memory_where_it_was(server: RunningServer) -> None:
    taken: list[int] = []
    async with Client(server) as client:
        await flood(server, client.token)
        for _ in range(3):
            give_back()
            taken.append(resident_bytes())
            await flood(server, client.token)
        give_back()
        taken.append(resident_bytes())
    assert taken[-1] - taken[0] < NOISE_BYTES, [size // MIB for size in taken]


@contextmanager
def without_collector() -> Generator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "data",
    [
        b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 50,
        b"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 50,
        START + b"A: b\r\n",
        START + b"Content-Length: 100\r\n\r\n" + json.dumps({}).encode(),
        b"no HTTP at all\r\n\r\n",
        b"",
        UPGRADE,
        UPGRADE + b"\x89\x80\0\0\0\0" * 100,
        UPGRADE + b"\x81\xfe\xea\x60" + bytes(4) + b"x" * 1000,
    ],
    ids=["health", "requests", "a head", "a body", "noise", "nothing", "a socket", "pings", "a part of a message"],
)
async def test_a_connection_that_has_ended_needs_no_collector(server: RunningServer, data: bytes) -> None:
    with without_collector():
        async with connected(server) as raw:
            await raw.send(data)
            async with asyncio.timeout(WAIT_SECONDS):
                while not (kept := await asyncio.to_thread(server.connections)):  # noqa: ASYNC110  Nothing tells of it.
                    await asyncio.sleep(0.02)
            raw.writer.transport.abort()
        async with asyncio.timeout(WAIT_SECONDS):
            while any(reference() is not None for reference in kept):  # noqa: ASYNC110  Nothing tells of it.
                await asyncio.sleep(0.02)
    await assert_nothing_stays(server)
