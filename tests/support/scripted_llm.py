"""An OpenAI-compatible server on 127.0.0.1 whose answers a test scripts.

In a test: ``with ScriptedLLM() as llm: llm.script(text("Hel", "lo"))``, and call ``openai/anything`` with ``llm.url``
as the base URL. It runs in a thread of its own, so it answers whatever the test's event loop does. For tests that kill
the server that calls it, it also runs as a process: ``python -m tests.support.scripted_llm --port 0 --pieces 5 --pause
0.02`` prints its URL and answers ``answer to <last user message>``.
"""

import argparse
import asyncio
import json
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Self, cast

from tests.support.message_rules import Body, fault_of
from tests.support.patience import WAIT_SECONDS

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_REQUESTS = 1000


class Gate:
    """A gate in the middle of an answer, at which the server waits until the test calls ``release``. Thread-safe."""

    def __init__(self) -> None:
        self._reached: Future[None] = Future()
        self._released: Future[None] = Future()

    async def reached(self) -> None:
        """Wait until an answer has reached the gate. Raises TimeoutError after 20 s."""
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.shield(asyncio.wrap_future(self._reached))

    def release(self) -> None:
        """Open the gate for all answers, also later ones."""
        _settle(self._released)

    async def pass_through(self) -> None:
        """Wait for the release; the server calls this."""
        _settle(self._reached)
        await asyncio.shield(asyncio.wrap_future(self._released))


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call in an answer. ``arguments`` is sent unchanged, valid JSON or not."""

    name: str
    arguments: str
    id: str = "call_1"


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted answer. Build it with the functions below."""

    pieces: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    deltas: tuple[Body, ...] = ()
    usage: tuple[int, int] | Body | None = (11, 7)
    finish_reason: str | None = "stop"
    pause_seconds: float = 0.0
    gate: Gate | None = None
    gate_after: int = 0
    is_cut: bool = False
    status: int = 200
    body: Body | None = None
    raw: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def text(*pieces: str, usage: tuple[int, int] | None = (11, 7), pause_seconds: float = 0.0) -> Reply:
    """Stream the pieces as deltas; ``usage`` is prompt and completion tokens, ``None`` sends no usage."""
    return Reply(pieces, usage=usage, pause_seconds=pause_seconds)


def tools(*calls: Call, said: Sequence[str] = ()) -> Reply:
    """Stream the text ``said``, then tool calls whose arguments come in fragments of five characters."""
    return Reply(tuple(said), calls, finish_reason="tool_calls")


def deltas(
    *each: Body,
    finish_reason: str | None = "stop",
    usage: tuple[int, int] | Body | None = (11, 7),
    is_cut: bool = False,
) -> Reply:
    """Stream these deltas unchanged, even malformed ones, then the usual end."""
    return Reply(deltas=each, finish_reason=finish_reason, usage=usage, is_cut=is_cut)


def raw(body: bytes, content_type: str = "text/event-stream") -> Reply:
    """Send these bytes as the whole body."""
    return Reply(raw=body, headers={"content-type": content_type, "content-length": str(len(body))})


def drip(body: bytes, pause_seconds: float, content_type: str = "text/event-stream") -> Reply:
    """Send these bytes one by one, with a pause after each."""
    return replace(raw(body, content_type), pause_seconds=pause_seconds)


def fragment(index: object, call_id: object, name: object, arguments: object, **more: object) -> Body:
    """Build a delta with one fragment of a tool call; fields given as "-" are left out."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value != "-"}
    given: Body = {"index": index, "id": call_id, "function": function, **more}
    return {"tool_calls": [{key: value for key, value in given.items() if value != "-"}]}


def error(
    status: int,
    message: str,
    *,
    code: str | None = None,
    error_type: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Answer with an error in OpenAI's format."""
    body = {"error": {"message": message, "type": error_type, "param": None, "code": code}}
    return Reply(status=status, body=body, headers=headers or {})


def cut(*pieces: str) -> Reply:
    """Stream the pieces, then drop the connection."""
    return Reply(pieces, is_cut=True)


def unfinished(*pieces: str) -> Reply:
    """Stream the pieces and end normally, but without a finish reason, as a proxy does that lost its upstream."""
    return Reply(pieces, usage=None, finish_reason=None)


def hold(gate: Gate, *before: str, after: Sequence[str] = ()) -> Reply:
    """Stream ``before``, wait at the gate, then stream ``after``. If ``before`` is empty, the headers wait too."""
    return Reply((*before, *after), gate=gate, gate_after=len(before))


def never() -> Reply:
    """Accept the request and never answer."""
    return hold(Gate())


@dataclass(slots=True)
class Request:
    """A recorded request: header names are in lower case, the body is parsed."""

    path: str
    headers: Mapping[str, str]
    body: Body
    _left: Future[None] = field(default_factory=Future[None])

    async def client_left(self) -> None:
        """Wait until the client has closed the connection before the answer's end. Raises TimeoutError after 20 s."""
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.shield(asyncio.wrap_future(self._left))

    def mark_left(self) -> None:
        """Record that the client closed the connection."""
        _settle(self._left)


def last_user_text(body: Body) -> str:
    """Return the text of the last user message; consecutive messages arrive as paragraphs of one message."""
    for message in reversed(cast("Sequence[Body]", body.get("messages") or ())):
        if message.get("role") == "user":
            content = message.get("content")
            parts = cast("Sequence[Body]", content or ())
            if not isinstance(content, str):
                content = " ".join(str(part["text"]) for part in parts if part.get("type") == "text")
            return content.rpartition("\n\n")[2]
    return ""


def echo(pieces: int = 3, pause_seconds: float = 0.0) -> Callable[[Body], Reply]:
    """Build a reply for any request: ``answer to <last user message>`` in this many deltas."""

    def reply(body: Body) -> Reply:
        whole = f"answer to {last_user_text(body)}"
        size = max(1, -(-len(whole) // pieces))
        return text(*(whole[start : start + size] for start in range(0, len(whole), size)), pause_seconds=pause_seconds)

    return reply


class ScriptedLLM:
    """The server. ``requests`` has the last 1,000 requests; ``default`` answers when the script has run out."""

    def __init__(self, default: Callable[[Body], Reply] | None = None, *, port: int = 0) -> None:
        self.default: Callable[[Body], Reply] = default or echo()
        self._first_default = self.default
        self.requests: deque[Request] = deque(maxlen=MAX_REQUESTS)
        self.faults: list[str] = []
        self._script: deque[Reply] = deque()
        self._port = port
        self._started: Future[int] = Future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="scripted-llm", daemon=True)

    @property
    def url(self) -> str:
        """The base URL, ending in ``/v1``."""
        return f"http://127.0.0.1:{self._started.result(WAIT_SECONDS)}/v1"

    def script(self, *replies: Reply) -> None:
        """Append answers to the script; each request takes the next one."""
        self._script.extend(replies)

    def reset(self) -> None:
        """Clear the script and the recorded requests, and answer as at first once the script has run out."""
        self.default = self._first_default
        self._script.clear()
        self.requests.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result(WAIT_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_SECONDS)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, limit=1024 * 1024)
        self._started.set_result(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # Many tests are about clients that disconnect in the middle of a request or an answer.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._exchange(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _read(reader)
        self.requests.append(request)
        fault = fault_of(request.body)
        if fault is not None:
            self.faults.append(fault)
            reply = error(400, fault, error_type="invalid_request_error")
        else:
            reply = self._script.popleft() if self._script else self.default(request.body)
        answering = asyncio.create_task(_answer(writer, request, reply))
        # Clients send nothing after the request, so whatever this reads means that the client disconnected.
        leaving = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                request.mark_left()
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    path = head[0].split(" ")[1]
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    length = int(headers.get("content-length", "0"))
    assert length <= MAX_BODY_BYTES
    raw = await reader.readexactly(length)
    return Request(path, headers, cast("Body", json.loads(raw)) if raw else {})


async def _answer(writer: asyncio.StreamWriter, request: Request, reply: Reply) -> None:
    if reply.gate is not None and reply.gate_after == 0:
        await reply.gate.pass_through()
    if reply.body is not None:
        body = json.dumps(reply.body).encode()
        extra = {"content-type": "application/json", "content-length": str(len(body)), **reply.headers}
        writer.write(_head(reply.status, extra) + body)
        await writer.drain()
        return
    if reply.raw is not None:
        size = 1 if reply.pause_seconds else max(1, len(reply.raw))
        writer.write(_head(reply.status, reply.headers))
        for start in range(0, len(reply.raw), size):
            writer.write(reply.raw[start : start + size])
            await writer.drain()
            await asyncio.sleep(reply.pause_seconds)
        return
    writer.write(_head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked", **reply.headers}))
    async for event in _events(request, reply):
        data = f"data: {event}\n\n".encode()
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()
    if reply.is_cut:
        return
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} Scripted",
        "connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _events(request: Request, reply: Reply) -> AsyncIterator[str]:
    model = request.body.get("model")
    yield _chunk(model, {"role": "assistant", "content": ""})
    for index, piece in enumerate(reply.pieces):
        if reply.gate is not None and index == reply.gate_after > 0:
            await reply.gate.pass_through()
        yield _chunk(model, {"content": piece})
        if reply.pause_seconds:
            await asyncio.sleep(reply.pause_seconds)
    if reply.gate is not None and 0 < reply.gate_after == len(reply.pieces):
        await reply.gate.pass_through()
    for delta in (*_call_deltas(reply), *reply.deltas):
        yield _chunk(model, delta)
    if reply.is_cut:
        return
    if reply.finish_reason is not None:
        yield _chunk(model, {}, reply.finish_reason)
    usage = _usage(request, reply)
    if usage is not None:
        yield json.dumps(
            {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [], "usage": usage}
        )
    yield "[DONE]"


def _call_deltas(reply: Reply) -> list[Body]:
    """Build the deltas of tool calls: first a call's name, then its arguments in fragments."""
    fragments: list[Body] = []
    for index, call in enumerate(reply.calls):
        fragments.append(fragment(index, call.id, call.name, "", type="function"))
        starts = range(0, len(call.arguments), 5)
        fragments += [fragment(index, "-", "-", call.arguments[start : start + 5]) for start in starts]
    return fragments


def _usage(request: Request, reply: Reply) -> Body | None:
    options = cast("Body", request.body.get("stream_options") or {})
    if not options.get("include_usage") or not isinstance(reply.usage, tuple):
        return reply.usage if options.get("include_usage") and not isinstance(reply.usage, tuple) else None
    prompt, completion = reply.usage
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _chunk(model: object, delta: Body, finish_reason: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return json.dumps({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]})


def _settle(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def main() -> None:
    """Serve until the process is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--pieces", type=int, default=5)
    parser.add_argument("--pause", type=float, default=0.02)
    options = parser.parse_args()
    with ScriptedLLM(echo(options.pieces, options.pause), port=options.port) as llm:
        sys.stdout.write(f"{llm.url}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
