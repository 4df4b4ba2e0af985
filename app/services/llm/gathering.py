"""The HTTP client beneath litellm, which gathers what a server streams before litellm has to read it.

litellm takes 300 µs of the processor for each event of a stream, however little text is in it, and 100 answers of 30
events a second leave no time for anything else. So the text that came since the last look at a stream is joined into
one event, and all streams together are looked at only so often. The first text of an answer goes through at once, as
does its end. The arguments of calls are joined likewise. What is neither, in OpenAI's format, goes through as it came.
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

# Between two looks at one stream.
LEAST_SECONDS = 0.03
# At all streams together: 100 are looked at every 0.4 s each, which takes 15 % of a processor. With 500 looks a second
# the 99th percentile of other requests was twice as high, most of it the collection of litellm's objects.
LOOKS_PER_SECOND = 250
MAX_BUFFERED_BYTES = 1024 * 1024
# How much litellm gets before others have their turn: it takes 300 µs for an event, however little is in it.
_PORTION_EVENTS = 25
_PORTION_BYTES = 64 * 1024
# How much is joined at once, at some 15 µs for an event.
_GROUP_EVENTS = 1000
_GROUP_BYTES = 512 * 1024
# Of a whole answer in JSON, whose text has 2,000,000 characters at most.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
# Between the end of an answer and that of what its server sends.
_LAST_SECONDS = 0.05

_CALL_FIELDS = frozenset({"index", "id", "type", "function"})
_TEXTS = ("content", "reasoning_content", "reasoning")
# What differs from one chunk to the next and says nothing: the time, and padding against eavesdroppers.
_VOLATILE = {"created", "obfuscation", "choices"}
# How far a byte order mark and white space are looked past.
_BEGINNING = 64
_SPOKEN = re.compile(rb'"content"\s*:\s*"[^"]')


class GatheringClient(httpx.AsyncClient):
    """Streams of events are gathered; everything else is httpx's. It serves all callers, so it keeps no cookies.

    ``is_openai``: the server's answers are in OpenAI's format, whatever their headers say.
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
            # A proxy of the environment would resolve the name again.
            trust_env=False,
            timeout=timeout if timeout is not None else httpx.Timeout(5.0),
            headers=headers,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )
        self._pace = Pace()
        self._is_openai = is_openai

    def _init_transport(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        verify: ssl.SSLContext | str | bool = True,  # noqa: FBT001, FBT002
        **_: object,
    ) -> CheckedTransport:
        return CheckedTransport(verify)

    async def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:  # noqa: ANN401  httpx's own.
        """As httpx sends, and no redirect whatever a caller asks."""
        options["follow_redirects"] = False
        response = await super().send(request, stream=stream, **options)
        is_openai = self._is_openai or request.url.path.endswith("/chat/completions")
        # Some servers say JSON and stream, others say that they stream and answer in one JSON.
        line_repair = repair_of(request)
        body = cast("httpx.AsyncByteStream", response.stream)
        if stream and response.is_success and line_repair is not None:
            response.stream = Lines(body, line_repair)
            response.encoding = "utf-8"
        elif stream and response.is_success and (is_openai or _is_events(response)):
            path = request.url.path
            is_text = path.endswith("/completions") and not path.endswith("/chat/completions")
            repair = StreamRepair(is_openai, is_json=is_openai or is_streamed(path), is_text=is_text)
            response.stream = Gathered(body, self._pace, repair)
            # Events are, whatever the headers say.
            response.encoding = "utf-8"
        return response


def _is_events(response: httpx.Response) -> bool:
    if is_streamed(response.request.url.path):
        return True
    return response.headers.get("content-type", "").lower().startswith("text/event-stream")


class Pace:
    """When streams are looked at again: one after the other, so that other work comes between them."""

    def __init__(self) -> None:
        self._free_from = 0.0

    def reserve(self, now: float) -> float:
        """The next moment, on the loop's clock, at which a stream may be looked at."""
        moment = max(now + LEAST_SECONDS, self._free_from)
        self._free_from = moment + 1 / LOOKS_PER_SECOND
        return moment

    async def pause(self, urgent: asyncio.Event) -> None:
        """Wait for the next moment, or for something urgent."""
        try:
            async with asyncio.timeout_at(self.reserve(asyncio.get_running_loop().time())):
                await urgent.wait()
        except TimeoutError:
            return


class Gathered(httpx.AsyncByteStream):
    """A stream whose events are joined as far as they are text."""

    def __init__(self, stream: httpx.AsyncByteStream, pace: Pace, repair: StreamRepair | None = None) -> None:
        self._stream = stream
        self._pace = pace
        self._repair = repair or StreamRepair()
        self._received = bytearray()
        # Where the last event ends whose end has come.
        self._end = 0
        # A carriage return ends what was received, and a line feed may follow that belongs to it.
        self._is_returned = False
        # Whether events end with one line feed, where the format asks for two; None before one has ended.
        self._is_terse: bool | None = None
        # Whether it is one JSON document instead of events; None before anything has come.
        self._is_document: bool | None = None
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        # The first text for the user, which may come behind the model's reasoning; and the end.
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
                await self._pace.pause(self._urgent)
        if not self._repair.is_over:
            has_failed = reading.cancelled() or reading.exception() is not None
            for portion in portions(self._rest(has_failed=has_failed)):
                yield portion
                await asyncio.sleep(0)
            self._check()
        if self._repair.is_over:
            # With the end of what the server sends the connection can serve the next call.
            await asyncio.wait({reading}, timeout=_LAST_SECONDS)
        else:
            # Raises what it ended with.
            await reading
        if self._repair.is_broken_off:
            raise refused(BROKE_OFF)

    def _check(self) -> None:
        """Raise where an event can't be read, once what came before it is passed on."""
        if self._repair.failure is not None:
            raise self._repair.failure

    def _rest(self, *, has_failed: bool) -> bytes:
        """What is left at the end. Of a document or an event whose end did not come nothing can be read."""
        if not self._is_document:
            events, _ = joined(self._take(), self._repair)
            if has_failed or self._repair.is_over or self._repair.failure is not None:
                return events
            # The last event may lack the blank line behind it.
            rest, _ = self._repair.repaired(bytes(self._received), is_last=True)
            return events + rest + (END if rest else b"")
        received = bytes(self._received)
        # Of what is no answer the beginning is enough to say so.
        return b"" if has_failed else whole_answer(received, self._repair) or received[:_PORTION_BYTES]

    async def aclose(self) -> None:
        """Close the connection, whatever is still to come; keep it open where that is nothing."""
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
            # Whoever waits goes on in the next turn of the loop, when this task is done.
            self._arrived.set()
            self._urgent.set()

    def _receive(self, data: bytes) -> None:
        """Keep what came, all line ends as line feeds."""
        if self._is_returned and data.startswith(b"\n"):
            data = data[1:]
            self._is_returned = False
        if data:
            self._is_returned = data.endswith(b"\r")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        # The end of an event can lie across what came before.
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
        """The bytes received up to the end of an event."""
        taken = bytes(self._received[: self._end])
        del self._received[: self._end]
        self._end = 0
        self._taken.set()
        return taken


def portions(data: bytes, most_events: int = _PORTION_EVENTS, most_bytes: int = _PORTION_BYTES) -> Iterator[bytes]:
    """The same, a few whole events at a time."""
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
    """The same events, repaired, the text of neighbours in one; and whether there is text that may go on.

    ``data`` may end within an event. It ends before one that can't be read.
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
    """Whether a chunk brings nothing but text."""
    said = _said(chunk)
    return bool(said) and all(name in _TEXTS and isinstance(value, str) for name, value in said.items())


def _arguments_of(chunk: JSON) -> JSON | None:
    """The call of a chunk that brings nothing but more of a call's arguments, as models write files with them."""
    said = _said(chunk)
    calls = said.get("tool_calls")
    if len(said) != 1 or not isinstance(calls, list) or len(cast("list[object]", calls)) != 1:
        return None
    call = cast("JSON", calls[0])
    function = call.get("function")
    is_bare = isinstance(function, dict) and not call.get("id") and call.keys() <= _CALL_FIELDS
    if not is_bare or not cast("JSON", function).keys() <= {"arguments", "name"} or cast("JSON", function).get("name"):
        return None
    return call if isinstance(cast("JSON", function).get("arguments"), str) else None


def _said(chunk: JSON) -> JSON:
    """What a chunk's delta brings; nothing where the chunk brings more than a delta."""
    if len(chunk["choices"]) != 1 or chunk.get("usage"):
        return {}
    choice = chunk["choices"][0]
    if choice.get("finish_reason") or choice.get("logprobs"):
        return {}
    return {name: value for name, value in choice["delta"].items() if value and name != "role"}


def _is_alike(chunk: JSON, following: JSON) -> bool:
    """Whether they differ in nothing but their text, or their part of one call's arguments."""
    choice, other = chunk["choices"][0], following["choices"][0]
    if [name for name in _TEXTS if choice["delta"].get(name)] != [name for name in _TEXTS if other["delta"].get(name)]:
        return False
    call, more = _arguments_of(chunk), _arguments_of(following)
    if (call or {}).get("index") != (more or {}).get("index"):
        return False
    # It may be all arguments so far once more, as some gateways send them.
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
