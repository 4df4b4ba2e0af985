"""What is taken apart of a request's head is short: a byte of it costs a hundred times what reading it costs."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from tests.support.client import Client
from tests.support.patience import WAIT_SECONDS
from tests.support.raw import JSON, START, UPGRADE, assert_nothing_stays, code, connected, is_live
from tests.support.server import RunningServer, running_server

GET = b"GET /graphql?query=%7B__typename%7D HTTP/1.1\r\nHost: 127.0.0.1\r\n"
LONG = 60_000
TOO_LARGE = (431, "REQUEST_HEADER_FIELDS_TOO_LARGE")
TOO_LONG = (414, "URI_TOO_LONG")
UNKNOWN = (401, "UNAUTHENTICATED")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """With the limits that it has by default, of which it forgives strangers more requests."""
    with running_server(
        tmp_path_factory.mktemp("data"), failed_token_rate_per_second=10_000, failed_token_burst=10_000
    ) as started:
        yield started


def head(name: bytes, value: bytes, start: bytes = GET) -> bytes:
    return start + name + b": " + value + b"\r\n\r\n"


def upgrade(fields: bytes) -> bytes:
    return UPGRADE.removesuffix(b"\r\n") + fields + b"\r\n"


def path(target: bytes) -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


HEADS = {
    "connection": (head(b"Connection", b"a," * (LONG // 2)), TOO_LARGE),
    "connection of a socket": (upgrade(b"Connection: " + b"a," * (LONG // 2) + b"upgrade\r\n"), TOO_LARGE),
    "connections of a socket": (upgrade((b"Connection: " + b"a," * 350 + b"\r\n") * 80), TOO_LARGE),
    "subprotocols": (upgrade((b"Sec-WebSocket-Protocol: " + b"," * 8000 + b"a\r\n") * 6), TOO_LARGE),
    "extensions": (upgrade((b"Sec-WebSocket-Extensions: " + b"a;b;c," * 1300 + b"a\r\n") * 6), TOO_LARGE),
    "upgrades": (upgrade((b"Upgrade: " + b"a," * 4000 + b"a\r\n") * 6), TOO_LARGE),
    "key": (upgrade(b"Sec-WebSocket-Key: " + b"A" * 8000 + b"\r\n"), TOO_LARGE),
    "cookies of a socket": (upgrade((b"Cookie: " + b"a=b; " * 1500 + b"\r\n") * 6), TOO_LARGE),
    "path of a socket": (UPGRADE.replace(b"/graphql", b"/" + b"%2e" * 2600), TOO_LONG),
    "path": (path(b"/" + b"%2e%2e%2f" * (LONG // 9)), TOO_LONG),
    "path of an asset": (path(b"/app/assets/" + b"a/" * (LONG // 2)), TOO_LONG),
    "path of slashes": (path(b"/" * LONG), TOO_LONG),
    "path that is not UTF-8": (path(b"/" + b"%ff" * (LONG // 3)), TOO_LONG),
    "whole address": (path(b"http://127.0.0.1/" + b"a" * LONG), TOO_LONG),
    "whole address with users": (path(b"http://" + b"a@" * (LONG // 2) + b"/"), TOO_LONG),
    "accept": (head(b"Accept", b"a/b;q=0.1," * (LONG // 10)), TOO_LARGE),
    "accept of parameters": (head(b"Accept", b"a/b" + b";a=b" * (LONG // 4)), TOO_LARGE),
    "cookie": (head(b"Cookie", b"a=b; " * (LONG // 5)), UNKNOWN),
    "token": (head(b"Authorization", b"Bearer " + b"a" * LONG), UNKNOWN),
    "token of dots": (head(b"Authorization", b"Bearer " + b"." * 16_000), UNKNOWN),
    "token of spaces": (head(b"Authorization", b"bearer" + b" " * LONG + b"!"), UNKNOWN),
    "forwarded for": (head(b"X-Forwarded-For", b"1.1.1.1," * (LONG // 8)), TOO_LARGE),
    "forwarded": (head(b"Forwarded", b"for=1.1.1.1," * (LONG // 12)), TOO_LARGE),
    "origin": (head(b"Origin", b"http://" + b"[a" * (LONG // 2)), TOO_LARGE),
    "origin of no address": (head(b"Origin", b"http://[a"), (403, "FORBIDDEN")),
    "host": (b"GET / HTTP/1.1\r\nHost: " + b"[" * LONG + b"\r\n\r\n", TOO_LARGE),
    "last event": (head(b"Last-Event-ID", b"a," * (LONG // 2)), TOO_LARGE),
    "range": (head(b"Range", b"bytes=" + b"0-0," * (LONG // 4) + b"0-0"), TOO_LARGE),
    "date": (head(b"If-Modified-Since", b"a " * (LONG // 2)), TOO_LARGE),
    "tags": (head(b"If-None-Match", b'"a",' * (LONG // 4)), TOO_LARGE),
    "transfer encoding": (head(b"Transfer-Encoding", b"a," * (LONG // 2) + b"chunked", START), TOO_LARGE),
    "content type": (head(b"Content-Type", b"application/json" + b";" * LONG, START), TOO_LARGE),
    "boundary": (head(b"Content-Type", b"multipart/form-data; boundary=" + b"-" * LONG, START), TOO_LARGE),
    "query": (path(b"/graphql?" + b"&" * LONG), UNKNOWN),
    "an unknown one": (head(b"X-Anything", b"a," * (LONG // 2)), UNKNOWN),
}


@pytest.mark.parametrize(("data", "expected"), HEADS.values(), ids=HEADS)
async def test_what_is_taken_apart_of_a_head_is_refused_before_it_is(
    server: RunningServer, data: bytes, expected: tuple[int, str]
) -> None:
    async with connected(server) as raw:
        await raw.send(data)
        status, body = await raw.answer()
        assert (status, code(body)) == expected
    await assert_nothing_stays(server)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"Cookie: " + b"c" * 9000 + b"\r\n", b" 431 "),
        (b"".join(b"x-%d: y\r\n" % number for number in range(90)), b" 101 "),
        (b"Cookie: " + b"c" * 7000 + b"\r\n", b" 101 "),
    ],
    ids=["a long line", "many", "cookies"],
)
async def test_a_handshake_of_long_headers_is_answered_and_never_hangs(
    server: RunningServer, fields: bytes, expected: bytes
) -> None:
    async with connected(server) as raw:
        await raw.send(upgrade(fields))
        async with asyncio.timeout(WAIT_SECONDS):
            assert expected in await raw.reader.readuntil(b"\r\n")
    await assert_nothing_stays(server)


@pytest.mark.parametrize("kind", [b";" * 4000, b";a=b" * 1000, b";charset*0*=" + b"%ff" * 1000, b'; a="' + b";" * 4000])
async def test_a_long_content_type_is_no_json(server: RunningServer, client: Client, kind: bytes) -> None:
    data = START + f"Authorization: Bearer {client.token}\r\nContent-Length: 2\r\n".encode()
    async with connected(server) as raw:
        await raw.send(data + b"Content-Type: application/json" + kind + b"\r\n\r\n{}")
        status, body = await raw.answer()
        assert (status, code(body)) == (415, "UNSUPPORTED_MEDIA_TYPE")
    await assert_nothing_stays(server)


@pytest.mark.parametrize("field", [b"", b"a", b"a=1"])
async def test_an_address_of_many_fields_is_refused(server: RunningServer, client: Client, field: bytes) -> None:
    query = b"&".join([field] * 15_000)
    async with connected(server) as raw:
        head = f" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {client.token}\r\n\r\n".encode()
        await raw.send(b"GET /graphql?query=%7B__typename%7D&" + query + head)
        status, body = await raw.answer()
        assert (status, code(body)) == (400, "BAD_REQUEST")
    assert await is_live(server)


@pytest.mark.parametrize("name", ["plain", "cookie", "path", "connection of a socket", "socket"])
async def test_many_heads_at_the_same_moment_are_all_answered_and_nothing_stays(
    server: RunningServer, name: str
) -> None:
    data = {"plain": GET + b"\r\n", "socket": UPGRADE}.get(name) or HEADS[name][0]
    async with AsyncExitStack() as stack:
        many = [await stack.enter_async_context(connected(server)) for _ in range(200)]
        sent = asyncio.gather(*(raw.send(data) for raw in many))
        async with Client(server) as caller:
            answers: list[JSON] = [(await caller.post("{ __typename }")).body for _ in range(5)]
        assert answers == [{"data": {"__typename": "Query"}}] * 5
        assert await is_live(server)
        await sent
        async with asyncio.timeout(WAIT_SECONDS):
            heads = await asyncio.gather(*(raw.reader.readuntil(b"\r\n") for raw in many))
        assert len({head.split()[1] for head in heads}) == 1
    await assert_nothing_stays(server)
