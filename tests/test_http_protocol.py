"""What goes over a connection is the same whether an answer is sent whole or in ASGI's two parts."""

import asyncio
import json

import pytest

from tests.client import Client
from tests.server import RunningServer

BODY = json.dumps({"query": "{ __typename }"}).encode()
ANSWER = {"data": {"__typename": "Query"}}


def request(client: Client, *headers: str, method: str = "POST", path: str = "/graphql") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {client.token}", *headers]
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(BODY)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (BODY if method == "POST" else b"")


async def answer(reader: asyncio.StreamReader, *, has_body: bool = True) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body of the next answer."""
    async with asyncio.timeout(10):
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
