"""Before a token nothing costs more than its bytes: what a stranger sends without end is cut off, and nothing stays."""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import AsyncExitStack

import httpx
import pytest

from app.errors import Unauthenticated
from app.services.auth.authenticator import build_authenticator
from tests.support.client import NO_TLS, Client
from tests.support.patience import WAIT_SECONDS
from tests.support.raw import CHUNKED, START, UPGRADE, assert_nothing_stays, code, connected, is_live
from tests.support.server import RunningServer, running_server
from tests.support.wire import ready

HEAD_BYTES = 8192
MAX_HEADERS = 30
BODY_BYTES = 256 * 1024
CONNECTIONS = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """It needs no database of its own kind: nothing gets that far."""
    with running_server(
        tmp_path_factory.mktemp("data"),
        max_head_bytes=HEAD_BYTES,
        max_headers=MAX_HEADERS,
        max_body_bytes=BODY_BYTES,
        max_connections=CONNECTIONS,
        head_timeout_seconds=1.0,
        body_timeout_seconds=1.5,
    ) as started:
        yield started


@pytest.mark.parametrize(
    ("start", "piece", "status", "reason"),
    [
        (START + b"X: ", b"a" * 1024, 431, "REQUEST_HEADER_FIELDS_TOO_LARGE"),
        (START, b"a" * 1024, 431, "REQUEST_HEADER_FIELDS_TOO_LARGE"),
        (START, b"a: b\r\n", 431, "REQUEST_HEADER_FIELDS_TOO_LARGE"),
        (START, b"a: b\r\n" * 4000, 431, "REQUEST_HEADER_FIELDS_TOO_LARGE"),
        (START + b"X: y\r\n", b" folded\r\n", 400, "BAD_REQUEST"),
        (b"GET /", b"a" * 1024, 414, "URI_TOO_LONG"),
        (b"GET /graphql?query=", b"%20" * 100_000, 414, "URI_TOO_LONG"),
        (START + b"no colon\r\n", b"x\r\n", 400, "BAD_REQUEST"),
        (b"", b"\r\n" * 1024, 431, "REQUEST_HEADER_FIELDS_TOO_LARGE"),
        (b"", b"\x16\x03\x01\x02\x00", 400, "BAD_REQUEST"),
        (b"GET / HTTP/1.1 ", b" " * 1024, 400, "BAD_REQUEST"),
    ],
    ids=[
        "value",
        "name",
        "headers",
        "headers in one piece",
        "folded",
        "address",
        "address in one piece",
        "no colon",
        "line ends",
        "TLS",
        "version",
    ],
)
async def test_a_head_without_end_is_refused_and_cut_off(
    server: RunningServer, start: bytes, piece: bytes, status: int, reason: str
) -> None:
    async with connected(server) as raw:
        await raw.send(start)
        for _ in range(4 * HEAD_BYTES // len(piece) + 1):
            await raw.send(piece)
        found = await raw.answer()
        assert (found[0], code(found[1])) == (status, reason)
        assert await raw.is_ended()
    await assert_nothing_stays(server)


async def test_who_goes_on_sending_after_a_refusal_is_cut_off(server: RunningServer) -> None:
    async with connected(server) as raw:
        await raw.send(START + b"X: ")
        await raw.send_until_cut_off(b"a" * 65536, 256 * 1024 * 1024)
    await assert_nothing_stays(server)


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (CHUNKED + b"5;", b"extension"),
        (CHUNKED + b"5;a=", b'"' + b"b" * 1000 + b'";a='),
        (CHUNKED, b"0" * 1000),
        (CHUNKED + b"1\r\nx\r\n0\r\n", b"trailer: value\r\n"),
        (CHUNKED + b"1\r\nx\r\n0\r\ntrailer: ", b"v" * 1000),
        (CHUNKED + b"1\r\nx\r\n", b"1;" + b"e" * 1000 + b"\r\nx\r\n"),
        # Each costs a call of Python, and four such bodies of 8 MiB held the loop for 10 s.
        (CHUNKED, b"1\r\nx\r\n" * 60),
    ],
    ids=["extension", "extensions", "size", "trailers", "trailer", "small chunks", "bytes"],
)
async def test_chunks_of_framing_without_end_are_cut_off(server: RunningServer, start: bytes, piece: bytes) -> None:
    async with connected(server) as raw:
        await raw.send(start)
        # Before much has come: what a socket holds on its way is some MiB.
        assert await raw.send_until_cut_off(piece * 16, 64 * 1024 * 1024) < 16 * 1024 * 1024
        assert await raw.is_ended()
    await assert_nothing_stays(server)


@pytest.mark.parametrize("start", [b"", b"G", START, START + b"X: y"], ids=["nothing", "a letter", "half", "header"])
async def test_a_head_that_does_not_come_in_time_ends_the_connection(server: RunningServer, start: bytes) -> None:
    async with connected(server) as raw:
        await raw.send(start)
        assert await raw.is_ended()
    await assert_nothing_stays(server)


async def test_a_head_that_trickles_ends_the_connection(server: RunningServer) -> None:
    async with connected(server) as raw:
        await raw.send(START + b"X: ")
        async with asyncio.timeout(WAIT_SECONDS):
            while not raw.reader.at_eof() and await raw.send(b"y"):  # noqa: ASYNC110  It is to come slowly.
                await asyncio.sleep(0.05)
    await assert_nothing_stays(server)


async def test_many_requests_in_one_piece_are_answered_or_end_the_connection(
    server: RunningServer, client: Client
) -> None:
    async with connected(server) as raw:
        await raw.send(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 40)
        assert [await raw.answer() for _ in range(40)] == [(200, {"status": "ok"})] * 40
    async with connected(server) as raw:
        await raw.send(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 4000)
        assert await raw.is_ended()
    assert (await client.post("{ __typename }")).body == {"data": {"__typename": "Query"}}


async def test_a_body_that_never_ends_is_not_read_without_a_token(server: RunningServer) -> None:
    async with connected(server) as raw:
        await raw.send(CHUNKED)
        status, body = await raw.answer()
        assert (status, code(body)) == (401, "UNAUTHENTICATED")
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        await raw.send_until_cut_off(chunk, 64 * BODY_BYTES)
    await assert_nothing_stays(server)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[" + b"1," * 100_000 + b"1]",
        b'{"query": "{ __typename }", "variables": {' + b'"a":' + b"9" * 3000 + b"}}",
        b"{",
        b"\xff",
    ],
)
async def test_a_missing_token_is_told_before_the_body_is_looked_at(server: RunningServer, body: bytes) -> None:
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as http:
        for headers in ({}, {"Authorization": "Bearer a.b.c"}, {"Authorization": "Basic eA=="}):
            answer = await http.post("/graphql", content=body, headers={"Content-Type": "application/json", **headers})
            assert (answer.status_code, code(answer.json())) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("start", [b"", b'{"query": '], ids=["nothing", "half"])
async def test_a_body_that_does_not_come_is_given_up(server: RunningServer, client: Client, start: bytes) -> None:
    head = START + f"Authorization: Bearer {client.token}\r\nContent-Length: 1000\r\n".encode()
    async with connected(server) as raw:
        await raw.send(head + b"Content-Type: application/json\r\n\r\n" + start)
        status, body = await raw.answer()
        assert (status, code(body)) == (408, "REQUEST_TIMED_OUT")
        assert await raw.is_ended()
    await assert_nothing_stays(server)


async def test_a_body_that_trickles_is_given_up(server: RunningServer, client: Client) -> None:
    head = START + f"Authorization: Bearer {client.token}\r\nContent-Length: 100000\r\n".encode()
    async with connected(server) as raw:
        await raw.send(head + b"Content-Type: application/json\r\n\r\n")
        async with asyncio.timeout(WAIT_SECONDS):
            while not raw.reader.at_eof() and await raw.send(b" "):  # noqa: ASYNC110  It is to come slowly.
                await asyncio.sleep(0.05)
    await assert_nothing_stays(server)


async def test_half_requests_take_no_place_from_others_nor_from_health(server: RunningServer, client: Client) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(5 * CONNECTIONS):
            raw = await stack.enter_async_context(connected(server))
            await raw.send(START)
            assert await is_live(server)
        async with Client(server) as other:
            assert (await other.post("{ __typename }")).body == {"data": {"__typename": "Query"}}
    await assert_nothing_stays(server)


@pytest.mark.parametrize("is_good", [True, False], ids=["good", "bad"])
async def test_a_request_with_a_good_token_keeps_its_connection_its_place(
    server: RunningServer, client: Client, *, is_good: bool
) -> None:
    token = client.token if is_good else "a.b.c"
    request = b"GET /graphql?query=%7B__typename%7D HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
    request += token.encode() + b"\r\n\r\n"
    async with AsyncExitStack() as stack, connected(server) as raw:
        await raw.send(request)
        assert (await raw.answer())[0] == (200 if is_good else 401)
        for _ in range(2 * CONNECTIONS):
            half = await stack.enter_async_context(connected(server))
            await half.send(START)
        assert await is_live(server)
        if is_good:
            await raw.send(request)
            assert await raw.answer() == (200, {"data": {"__typename": "Query"}})
        else:
            assert await raw.is_ended()
    await assert_nothing_stays(server)


async def test_where_all_places_are_taken_by_callers_health_is_answered_and_others_are_told(
    server: RunningServer, client: Client
) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(server.gate.limits.max_per_address):
            await stack.enter_async_context(ready(client))
        assert await is_live(server)
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as http:
            answer = await http.post("/graphql", json={"query": "{ __typename }"})
            assert (answer.status_code, code(answer.json())) == (503, "TOO_MANY_CONNECTIONS")
            assert answer.headers["retry-after"] == "1"
        async with connected(server) as raw:
            await raw.send(UPGRADE)
            status, body = await raw.answer()
            assert (status, code(body)) == (503, "TOO_MANY_CONNECTIONS")
        # The reserve is small, and those who fill it lose their places to those who come.
        for _ in range(100):
            half = await stack.enter_async_context(connected(server))
            await half.send(START)
        assert await is_live(server)
    await assert_nothing_stays(server)
    assert (await client.post("{ __typename }")).status == 200


async def test_who_has_no_good_token_is_limited_by_address_and_others_are_not(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_server(
        tmp_path_factory.mktemp("data"),
        failed_token_rate_per_second=1,
        failed_token_burst=2,
        trusted_proxies=("127.0.0.1",),
    ) as server:
        async with Client(server) as client, httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as http:

            async def status(token: str, forwarded: str) -> int:
                headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": forwarded}
                return (await http.post("/graphql", json={"query": "{ __typename }"}, headers=headers)).status_code

            found = [await status("a.b.c", f"192.0.2.{number}, 198.51.100.1") for number in range(20)]
            assert found[:2] == [401, 401]
            assert 429 in found[2:]
            assert await status("a.b.c", "198.51.100.2") == 401
            assert await status("a.b.c", "198.51.100.2, 127.0.0.1") == 401
            six = [await status("a.b.c", f"2001:db8::{number:x}") for number in range(1, 20)]
            assert 429 in six
            assert await status(client.token, "198.51.100.1") == 200


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 5000,
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
        b'{"alg":"HS256","a":[' + b"1," * 1000 + b"1]}",
        b'{"alg":"HS256","a":' + b"9" * 3000 + b"}",
        b'{"alg":"HS256","a":"' + b"b" * 9000 + b'"}',
    ],
    ids=["lists", "objects", "items", "number", "long"],
)
async def test_the_header_of_a_token_is_measured_before_it_is_parsed(server: RunningServer, header: bytes) -> None:
    token = urlsafe_b64encode(header).rstrip(b"=").decode() + ".e30.c2ln"
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as http:
        answer = await http.get("/graphql?query={__typename}", headers={"Authorization": f"Bearer {token}"})
    # The longest are too long for this server's heads already.
    assert (answer.status_code, code(answer.json())) in {
        (401, "UNAUTHENTICATED"),
        (431, "REQUEST_HEADER_FIELDS_TOO_LARGE"),
    }
    with pytest.raises(Unauthenticated, match="malformed"):
        await build_authenticator(server.config).authenticate(token)


@pytest.mark.parametrize(
    ("variables", "reason", "limit"),
    [
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", "JSON_DEPTH_LIMIT_EXCEEDED", 200),
        ('{"a": [' + "1," * 1000 + "1]}", "JSON_ITEMS_LIMIT_EXCEEDED", 1000),
        ('{"a": ' + "9" * 4001 + "}", "JSON_NUMBER_LIMIT_EXCEEDED", 4000),
    ],
    ids=["depth", "items", "digits"],
)
async def test_variables_have_bounds_on_every_way(
    tmp_path_factory: pytest.TempPathFactory, variables: str, reason: str, limit: int
) -> None:
    with running_server(tmp_path_factory.mktemp("data"), max_json_items=1000) as server:
        async with Client(server) as client, httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as http:
            headers = {"Authorization": f"Bearer {client.token}", "Content-Type": "application/json"}
            body = f'{{"query": "{{ __typename }}", "variables": {variables}}}'
            posted = await http.post("/graphql", content=body, headers=headers)
            query = {"query": "{ __typename }", "variables": variables}
            got = await http.get("/graphql", params=query, headers=headers)
            for answer in (posted, got):
                assert answer.status_code == 400
                assert answer.json()["errors"][0]["extensions"] == {"code": reason, "limit": limit}
            async with ready(client) as wire:
                await wire.send(f'{{"id": "1", "type": "subscribe", "payload": {body}}}')
                assert (await wire.closed())[0] == 4400
