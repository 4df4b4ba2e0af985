"""An OpenAI-compatible server that streams at a given pace, with timestamps: ``python -m benchmarks.paced_llm``.

The last message of a request is three numbers: the number of deltas, the milliseconds between two of them (and before
the first), and the number of requests that have to arrive before any is answered. Requests that waited for each other
are spread over the interval between two deltas, as they would be without the wait. The first delta's text is two
times in nanoseconds by this machine's clock: when the request arrived, and when the delta was sent. The last delta is
``LAST``. It prints its URL, and ends when its standard input is closed.
"""

import asyncio
import json
import sys
import time
from typing import cast

import uvloop

LAST = "and no more."
MAX_PIECES = 10_000
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    b"cache-control: no-cache\r\nconnection: keep-alive\r\n\r\n"
)


class _Connection(asyncio.Protocol):
    """One client's connection, with one request at a time."""

    def __init__(self, waiting: "list[_Connection]") -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting = waiting
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._asked = (0, 0.0, 0)
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport does not inherit from asyncio's, so it needs a cast.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        self._received = rest[length:]
        arrived = time.time_ns()
        content = str(json.loads(rest[:length])["messages"][-1]["content"])
        pieces, milliseconds, together = map(int, content.split())
        self._asked = (min(pieces, MAX_PIECES), milliseconds / 1000, arrived)
        self._waiting.append(self)
        if len(self._waiting) < together:
            return
        for number, waiting in enumerate(self._waiting):
            waiting.answer(number / len(self._waiting))
        self._waiting.clear()

    def answer(self, phase: float) -> None:
        """Start the stream after this share of the interval between two deltas."""
        pieces, seconds, arrived = self._asked
        self._transport.write(HEAD + _event({"role": "assistant", "content": ""}))
        self._later(pieces, seconds, self._loop.time() + seconds * phase, arrived)

    def _later(self, left: int, seconds: float, moment: float, arrived: int = 0) -> None:
        """Schedule a delta for its due time, which does not depend on when the one before it was sent."""
        self._timer = self._loop.call_at(moment + seconds, self._send, left, seconds, moment + seconds, arrived)

    def _send(self, left: int, seconds: float, moment: float, arrived: int) -> None:
        # Texts differ, since LiteLLM aborts an answer that repeats the same chunk.
        text = f"{arrived} {time.time_ns()} " if arrived else f"some {left} words " if left > 1 else LAST
        self._transport.write(_event({"content": text}))
        if left > 1:
            self._later(left - 1, seconds, moment)
            return
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        end = _event({}, "stop") + chunk({"choices": [], "usage": usage}) + message("[DONE]")
        self._transport.write(end + b"0\r\n\r\n")


def _event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    return chunk({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def chunk(content: dict[str, object]) -> bytes:
    said = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "paced", **content}
    return message(json.dumps(said))


def message(text: str) -> bytes:
    data = f"data: {text}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    waiting = list[_Connection]()
    server = await loop.create_server(lambda: _Connection(waiting), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_serve())
