"""A server of OpenAI's format that streams as it is told to, and says when: ``python -m benchmarks.paced_llm``.

The last message of a request is three numbers: how many pieces, the milliseconds between two of them, which also pass
before the first, and how many such requests have to be there before any is answered. Those that waited for each other
are spread over the time between two pieces, as they would be if nothing had made them wait. The first piece of text is
two times by the clock of this machine, in nanoseconds: when the request was there, and when the piece was sent. The
last one is ``LAST``. It prints its URL and ends when its standard input does.
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
    """One client, which sends one request after the other."""

    def __init__(self, waiting: "list[_Connection]") -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting = waiting
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._asked = (0, 0.0, 0)
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is none by inheritance.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
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
        """Begin, that share of the time between two pieces later than at once."""
        pieces, seconds, arrived = self._asked
        self._transport.write(HEAD + _event({"role": "assistant", "content": ""}))
        self._later(pieces, seconds, self._loop.time() + seconds * phase, arrived)

    def _later(self, left: int, seconds: float, moment: float, arrived: int = 0) -> None:
        """Each piece has its moment, whenever the one before it was sent."""
        self._timer = self._loop.call_at(moment + seconds, self._send, left, seconds, moment + seconds, arrived)

    def _send(self, left: int, seconds: float, moment: float, arrived: int) -> None:
        # LiteLLM ends an answer that says the same again and again.
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
