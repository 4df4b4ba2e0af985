"""An OpenAI-compatible server that requests tool calls: ``python -m benchmarks.tool_llm``.

The first user message is the number of tool calls, which write and read one file; each answer has one call, and the
last answer is text. Requests that ask for no stream get text as JSON. It answers at once, prints its URL, and ends when
its standard input is closed.
"""

import asyncio
import json
import sys
from typing import cast

import uvloop

from benchmarks.paced_llm import HEAD, chunk, message

WORDS = "That is done, and the file holds what it should hold."
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


class _Connection(asyncio.Protocol):
    """One client's connection, with one request at a time."""

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport does not inherit from asyncio's, so it needs a cast.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        self._received = rest[length:]
        request = json.loads(rest[:length])
        if not request.get("stream"):
            self._transport.write(_whole())
            return
        messages = request["messages"]
        asked = int(next(said["content"] for said in messages if said["role"] == "user"))
        done = sum(said["role"] == "tool" for said in messages)
        self._transport.write(HEAD + (_call(done) if done < asked else _words()))


def _call(number: int) -> bytes:
    arguments = {"path": "notes.txt"}
    name = "read_file"
    if number % 2 == 0:
        name, arguments["content"] = "write_file", f"line {number}\n" * 20
    call = {"index": 0, "id": f"call_{number}", "type": "function"}
    function = {"name": name, "arguments": json.dumps(arguments)}
    return _answer([{"tool_calls": [{**call, "function": function}]}], "tool_calls")


def _whole() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}
    about = {"id": "answer", "object": "chat.completion", "created": 1, "model": "benchmark"}
    body = json.dumps({**about, "choices": [choice], "usage": USAGE}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def _words() -> bytes:
    return _answer([{"content": f"{word} "} for word in WORDS.split()], "stop")


def _answer(deltas: list[dict[str, object]], finish_reason: str) -> bytes:
    pieces = [{"role": "assistant", "content": ""}, *deltas]
    choices = [chunk({"choices": [{"index": 0, "delta": piece, "finish_reason": None}]}) for piece in pieces]
    end = chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]})
    usage = chunk({"choices": [], "usage": USAGE})
    return b"".join((*choices, end, usage, message("[DONE]"), b"0\r\n\r\n"))


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_serve())
