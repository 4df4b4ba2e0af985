"""The HTTP client beneath litellm, which batches the events of streamed answers before litellm reads them.

litellm takes 300 µs of processor time for each event, however short its text. A hundred answers at 30 events a second
would leave no time for anything else. So the text that has arrived since a stream's last batch is joined into one
event, and all streams together have a limited number of batches a second. The first text of an answer and its end are
passed on at once. The arguments of tool calls are joined like text. All other events pass unchanged.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, cast

import httpx

from app.services.llm.chunks import END, StreamRepair, is_terse, line_of, whole_answer
from app.services.llm.faults import BROKE_OFF
from app.services.llm.lenient_json import JSON
from app.services.llm.lines import Lines, repair_of
from app.services.llm.native import is_streamed
from app.services.llm.transport import MAX_LINE_BYTES, CheckedTransport, refused

# Interval between two batches of one stream.
INTERVAL_SECONDS = 0.03
# Batches of all streams together: with 100 streams, each has one every 0.4 s, which takes 15 % of a processor. With 500
# a second, the 99th percentile of other requests was twice as high, mostly because of garbage collections.
BATCHES_PER_SECOND = 250
MAX_BUFFERED_BYTES = 1024 * 1024
# Largest part of a batch that litellm gets without a pause for other tasks: it takes 300 µs for each event.
_PORTION_EVENTS = 25
_PORTION_BYTES = 64 * 1024
# Largest part of a batch that is joined without a pause for other tasks, at some 15 µs for each event.
_GROUP_EVENTS = 1000
_GROUP_BYTES = 512 * 1024
# Limit on an answer that is a single JSON document. Its text has 2,000,000 characters at most.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
# Longest wait for the end of the response once the answer in it is complete.
_LAST_SECONDS = 0.05

_CALL_FIELDS = frozenset({"index", "id", "type", "function"})
_TEXTS = ("content", "reasoning_content", "reasoning")
# Fields that differ from chunk to chunk without a meaning: the time, and padding against eavesdroppers.
_VOLATILE = {"created", "obfuscation", "choices"}
# A byte order mark and white space are skipped within this many bytes.
_BEGINNING = 64
_SPOKEN = re.compile(rb'"content"\s*:\s*"[^"]')


class GatheringClient(httpx.AsyncClient):
    """An httpx client that batches event streams. It serves all callers, so it keeps no cookies.

    ``is_openai``: responses are taken to be in OpenAI's format, whatever their headers say.
    """

    def __init__(
        self,
        verify: ssl.SSLContext | str | bool = True,  # noqa: FBT001, FBT002  As httpx has it.
        *,
        timeout: httpx.Timeout | float | None = None,
        headers: Mapping[str, str] | None = None,
        is_openai: bool = True,
    ) -> None:
        super().__init__(
            verify=verify,
            follow_redirects=False,
            # A proxy from the environment would resolve the host again, past the check of its address.
            trust_env=False,
            timeout=timeout if timeout is not None else httpx.Timeout(5.0),
            headers=headers,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )
        self._schedule = BatchSchedule()
        self._is_openai = is_openai

    def _init_transport(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        verify: ssl.SSLContext | str | bool = True,  # noqa: FBT001, FBT002
        **_: object,
    ) -> CheckedTransport:
        return CheckedTransport(verify)

    async def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:  # noqa: ANN401  httpx's own.
        """Send a request, never following redirects, and wrap the response's stream according to its format."""
        options["follow_redirects"] = False
        response = await super().send(request, stream=stream, **options)
        is_openai = self._is_openai or request.url.path.endswith("/chat/completions")
        # The Content-Type is unreliable: some servers stream as JSON, others send one document as a stream.
        line_repair = repair_of(request)
        body = cast("httpx.AsyncByteStream", response.stream)
        if stream and response.is_success and line_repair is not None:
            response.stream = Lines(body, line_repair)
            response.encoding = "utf-8"
        elif stream and response.is_success and (is_openai or _is_events(response)):
            path = request.url.path
            is_text = path.endswith("/completions") and not path.endswith("/chat/completions")
            repair = StreamRepair(is_openai, is_json=is_openai or is_streamed(path), is_text=is_text)
            response.stream = Gathered(body, self._schedule, repair)
            # Event streams are always UTF-8, whatever the headers say.
            response.encoding = "utf-8"
        return response


def _is_events(response: httpx.Response) -> bool:
    if is_streamed(response.request.url.path):
        return True
    return response.headers.get("content-type", "").lower().startswith("text/event-stream")


class BatchSchedule:
    """Schedules the batches of all streams one after the other, so that other tasks run between them."""

    def __init__(self) -> None:
        self._free_from = 0.0

    def reserve(self, now: float) -> float:
        """Reserve the next free time, on the loop's clock, for a batch of one stream."""
        moment = max(now + INTERVAL_SECONDS, self._free_from)
        self._free_from = moment + 1 / BATCHES_PER_SECOND
        return moment

    async def pause(self, urgent: asyncio.Event) -> None:
        """Wait for the stream's next batch, but not longer than until ``urgent`` is set."""
        try:
            async with asyncio.timeout_at(self.reserve(asyncio.get_running_loop().time())):
                await urgent.wait()
        except TimeoutError:
            return


class Gathered(httpx.AsyncByteStream):
    """A response's stream in which consecutive events of text, or of a call's arguments, are joined to one."""

    def __init__(
        self, stream: httpx.AsyncByteStream, schedule: BatchSchedule, repair: StreamRepair | None = None
    ) -> None:
        self._stream = stream
        self._schedule = schedule
        self._repair = repair or StreamRepair()
        self._received = bytearray()
        # Position in ``_received`` after the last complete event.
        self._end = 0
        # True after a carriage return at the end: a line feed that follows belongs to it.
        self._is_returned = False
        # True if events end with one line feed instead of two; None before the first has ended.
        self._is_terse: bool | None = None
        # True if the response is one JSON document instead of events; None before its first bytes.
        self._is_document: bool | None = None
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        # Set by the first text for the user, which may come after reasoning, and by the end of the stream.
        self._urgent = asyncio.Event()
        self._is_spoken = False
        self._reading: asyncio.Task[None] | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        reading = self._reading = asyncio.create_task(self._read(), name="llm stream")
        while not reading.done() and not self._repair.is_over:
            await self._arrived.wait()
            self._arrived.clear()
            if reading.done():
                break
            self._urgent.clear()
            is_spoken = False
            for group in portions(self._take(), _GROUP_EVENTS, _GROUP_BYTES):
                events, has_text = joined(group, self._repair)
                is_spoken = is_spoken or has_text
                for portion in portions(events):
                    yield portion
                    await asyncio.sleep(0)
                self._check()
            if is_spoken and not self._repair.is_over:
                await self._schedule.pause(self._urgent)
        if not self._repair.is_over:
            has_failed = reading.cancelled() or reading.exception() is not None
            for portion in portions(self._rest(has_failed=has_failed)):
                yield portion
                await asyncio.sleep(0)
            self._check()
        if self._repair.is_over:
            # If the whole response is read, the connection can be reused.
            await asyncio.wait({reading}, timeout=_LAST_SECONDS)
        else:
            # Raises the error with which reading ended, if any.
            await reading
        if self._repair.is_broken_off:
            raise refused(BROKE_OFF)

    def _check(self) -> None:
        """Raise the error of an unreadable event, after the events before it were passed on."""
        if self._repair.failure is not None:
            raise self._repair.failure

    def _rest(self, *, has_failed: bool) -> bytes:
        """Return the rest of the response. An incomplete document or event is dropped after a failure."""
        if not self._is_document:
            events, _ = joined(self._take(), self._repair)
            if has_failed or self._repair.is_over or self._repair.failure is not None:
                return events
            # The last event may lack the blank line after it.
            rest, _ = self._repair.repaired(bytes(self._received), is_last=True)
            return events + rest + (END if rest else b"")
        received = bytes(self._received)
        # If it is no answer, its beginning is enough for the error message.
        return b"" if has_failed else whole_answer(received, self._repair) or received[:_PORTION_BYTES]

    async def aclose(self) -> None:
        """Close the stream without reading the rest. After a complete answer, the connection can be reused."""
        if self._reading is not None:
            if self._repair.is_over:
                await asyncio.wait({self._reading}, timeout=_LAST_SECONDS)
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._stream.aclose()

    async def _read(self) -> None:
        try:
            async for data in self._stream:
                self._receive(data)
                if self._is_document is not False:
                    if len(self._received) > MAX_ANSWER_BYTES:
                        raise refused("The model's answer is too long.")
                    continue
                if len(self._received) - self._end > MAX_LINE_BYTES:
                    raise refused(f"A line of the model's answer is longer than {MAX_LINE_BYTES // 2**20} MiB.")
                self._arrived.set()
                if not self._is_spoken and _SPOKEN.search(data):
                    self._is_spoken = True
                    self._urgent.set()
                while self._end > MAX_BUFFERED_BYTES:
                    self._taken.clear()
                    await self._taken.wait()
        finally:
            # Wake the reader, which then sees that this task is done.
            self._arrived.set()
            self._urgent.set()

    def _receive(self, data: bytes) -> None:
        """Append received bytes, with all line ends converted to line feeds."""
        if self._is_returned and data.startswith(b"\n"):
            data = data[1:]
            self._is_returned = False
        if data:
            self._is_returned = data.endswith(b"\r")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        # The end of an event may be split between two reads.
        looked_at = max(0, len(self._received) - 1)
        self._received += data.replace(b"\n", END) if self._is_terse else data
        if self._is_document is None:
            looked_at = 0
            beginning = self._received[:_BEGINNING].lstrip(b"\xef\xbb\xbf \t\n")
            if beginning or len(self._received) >= _BEGINNING:
                self._is_document = beginning.startswith((b"{", b"["))
                if not self._is_document and self._received.startswith(b"\xef\xbb\xbf"):
                    del self._received[:3]
        if self._is_terse is None and self._is_document is False:
            self._is_terse = is_terse(self._received)
            if self._is_terse:
                self._received = self._received.replace(b"\n", END)
                looked_at = 0
        end = self._received.rfind(END, looked_at)
        if end >= 0:
            self._end = end + len(END)

    def _take(self) -> bytes:
        """Remove and return the bytes of all complete events."""
        taken = bytes(self._received[: self._end])
        del self._received[: self._end]
        self._end = 0
        self._taken.set()
        return taken


def portions(data: bytes, most_events: int = _PORTION_EVENTS, most_bytes: int = _PORTION_BYTES) -> Iterator[bytes]:
    """Split ``data`` into portions of a few complete events; what follows the last complete event is a portion too."""
    start = position = events = 0
    while (end := data.find(END, position)) >= 0:
        position = end + len(END)
        events += 1
        if events == most_events or position - start >= most_bytes:
            yield data[start:position]
            start, events = position, 0
    if start < len(data):
        yield data[start:]


def joined(data: bytes, repair: StreamRepair) -> tuple[bytes, bool]:
    """Repair the events, and join consecutive ones of the same type. Returns them, and whether any of them is text.

    ``data`` may end within an event. The result ends before an unreadable event.
    """
    *blocks, rest = data.split(END)
    output: list[bytes] = []
    chunk: JSON | None = None
    has_text = False
    for block in blocks:
        if repair.is_over or repair.failure is not None:
            rest = b""
            break
        event, parsed = repair.repaired(block)
        if not event:
            continue
        is_joinable = parsed is not None and (_is_text(parsed) or _arguments_of(parsed) is not None)
        text_chunk = parsed if is_joinable else None
        has_text = has_text or text_chunk is not None
        if chunk is not None and text_chunk is not None and _is_alike(chunk, text_chunk):
            _add(chunk, text_chunk)
            continue
        if chunk is not None:
            output.append(line_of(chunk) + END)
        chunk = text_chunk
        if text_chunk is None:
            output.append(event + END)
    if chunk is not None:
        output.append(line_of(chunk) + END)
    return b"".join(output) + rest, has_text


def _is_text(chunk: JSON) -> bool:
    """Tell whether a chunk has text or reasoning only."""
    fields = _delta_fields(chunk)
    return bool(fields) and all(name in _TEXTS and isinstance(value, str) for name, value in fields.items())


def _arguments_of(chunk: JSON) -> JSON | None:
    """Return the call of a chunk that only continues a call's arguments; else ``None``."""
    fields = _delta_fields(chunk)
    calls = fields.get("tool_calls")
    if len(fields) != 1 or not isinstance(calls, list) or len(cast("list[object]", calls)) != 1:
        return None
    call = cast("JSON", calls[0])
    function = call.get("function")
    is_bare = isinstance(function, dict) and not call.get("id") and call.keys() <= _CALL_FIELDS
    if not is_bare or not cast("JSON", function).keys() <= {"arguments", "name"} or cast("JSON", function).get("name"):
        return None
    return call if isinstance(cast("JSON", function).get("arguments"), str) else None


def _delta_fields(chunk: JSON) -> JSON:
    """Return the non-empty fields of a chunk's delta; none if the chunk has more than a delta."""
    if len(chunk["choices"]) != 1 or chunk.get("usage"):
        return {}
    choice = chunk["choices"][0]
    if choice.get("finish_reason") or choice.get("logprobs"):
        return {}
    return {name: value for name, value in choice["delta"].items() if value and name != "role"}


def _is_alike(chunk: JSON, following: JSON) -> bool:
    """Tell whether two chunks differ only in their text, or in a part of the same call's arguments."""
    choice, other = chunk["choices"][0], following["choices"][0]
    if [name for name in _TEXTS if choice["delta"].get(name)] != [name for name in _TEXTS if other["delta"].get(name)]:
        return False
    call, more = _arguments_of(chunk), _arguments_of(following)
    if (call or {}).get("index") != (more or {}).get("index"):
        return False
    # It may be a snapshot: some gateways repeat all arguments so far in each event.
    if more is not None and more["function"]["arguments"].lstrip().startswith("{"):
        return False
    return _without(chunk, _VOLATILE) == _without(following, _VOLATILE) and _without(choice, {"delta"}) == _without(
        other, {"delta"}
    )


def _without(mapping: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}


def _add(chunk: JSON, following: JSON) -> None:
    call, arguments = _arguments_of(chunk), _arguments_of(following)
    if call is not None and arguments is not None:
        call["function"]["arguments"] += arguments["function"]["arguments"]
        return
    delta, more = chunk["choices"][0]["delta"], following["choices"][0]["delta"]
    for name in _TEXTS:
        if more.get(name):
            delta[name] += more[name]
