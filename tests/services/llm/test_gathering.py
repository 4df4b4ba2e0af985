"""What a model's server streams is gathered: fewer events, the same text, and the first of it at once."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest

from app.services.llm.chunks import StreamRepair
from app.services.llm.gathering import (
    BATCHES_PER_SECOND,
    INTERVAL_SECONDS,
    BatchSchedule,
    Gathered,
    GatheringClient,
    joined,
)
from app.services.llm.transport import Scope, within
from tests.support.patience import WAIT_SECONDS
from tests.support.scripted_llm import ScriptedLLM, text

DONE = b"data: [DONE]\n\n"


def chunk(finish_reason: str | None = None, model: str = "m", **delta: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model}
    return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n".encode()


def deltas(data: bytes) -> list[dict[str, object]]:
    """Of the chunks; ``{}`` for what is none."""
    blocks = data.decode().split("\n\n")[:-1]
    events = [block.removeprefix("data: ") for block in blocks]
    return [json.loads(event)["choices"][0]["delta"] if event.startswith("{") else {} for event in events]


class Script(httpx.AsyncByteStream):
    """Streams what a test puts in, until it puts in an error or ``None``."""

    def __init__(self) -> None:
        self.queue = asyncio.Queue[bytes | Exception | None]()
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (item := await self.queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
            # Whoever reads has it.
            self.queue.task_done()

    async def aclose(self) -> None:
        self.is_closed = True


class HeldSchedule(BatchSchedule):
    """Time passes when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = asyncio.Event()
        self._over = asyncio.Event()

    async def pause(self, urgent: asyncio.Event) -> None:
        self.paused.set()
        over, hurry = asyncio.create_task(self._over.wait()), asyncio.create_task(urgent.wait())
        await asyncio.wait({over, hurry}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        hurry.cancel()
        self._over.clear()

    def go_on(self) -> None:
        self.paused.clear()
        self._over.set()


def test_the_text_of_neighbouring_chunks_becomes_one() -> None:
    found, has_text = joined(
        chunk(content="Good ") + chunk(content="mor") + chunk(content="ning \\ \n\n ☃"), StreamRepair()
    )
    assert has_text
    assert deltas(found) == [{"content": "Good morning \\ \n\n ☃"}]


@pytest.mark.parametrize(
    "between",
    [
        chunk(tool_calls=[{"index": 0, "id": "call", "function": {"name": "run", "arguments": "{}"}}]),
        chunk(content="c", tool_calls=[{"index": 0}]),
        chunk("stop", content="c"),
        chunk(model="another", content="c"),
        chunk(reasoning_content="c"),
        chunk(role="assistant", content=""),
        b'data: {"choices": [], "usage": {"prompt_tokens": 1}}\n\n',
        b'data: {"choices": [{"index": 0, "delta": {"content": "c"}}], "usage": {"prompt_tokens": 1}}\n\n',
        b'data: {"choices": []}\n\n',
        b'event: content\ndata: {"text": "c"}\n\n',
    ],
)
def test_whatever_is_not_the_same_kind_of_text_stays_in_its_place(between: bytes) -> None:
    found, _ = joined(
        chunk(content="a") + chunk(content="b") + between + chunk(content="d") + chunk(content="e"), StreamRepair()
    )
    first, middle, last, rest = found.split(b"\n\n")
    assert deltas(first + b"\n\n" + last + b"\n\n") == [{"content": "ab"}, {"content": "de"}]
    assert _parsed(middle) == _parsed(between.removesuffix(b"\n\n"))
    assert rest == b""


def _parsed(event: bytes) -> object:
    said = event.removeprefix(b"data: ")
    if not said.startswith(b'{"'):
        return said
    chunk = json.loads(said)
    return chunk["choices"], chunk.get("usage")


def test_comments_are_left_out() -> None:
    found, has_text = joined(
        chunk(content="a") + b": still here\n\n" + b":\n: more\n\n" + chunk(content="b"), StreamRepair()
    )
    assert has_text
    assert deltas(found) == [{"content": "ab"}]


async def test_others_have_their_turn_between_a_few_events_however_many_come_at_once() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    sizes, last = list[int](), 0
    script = Script()
    script.queue.put_nowait(b"event: ping\ndata: {}\n\n" * 10_000)
    script.queue.put_nowait(None)
    async for piece in Gathered(script, BatchSchedule()):
        assert turns > last
        last = turns
        sizes.append(piece.count(b"\n\n"))
    counting.cancel()
    assert sum(sizes) == 10_000
    assert max(sizes) <= 25


def test_words_of_a_gateway_and_other_answers_are_left_out() -> None:
    other = b'data: {"choices": [{"index": 1, "delta": {"content": "c"}, "finish_reason": null}]}\n\n'
    noise = b'data: ping\n\ndata: "x"\n\ndata: 5\n\ndata:\n\n'
    found, _ = joined(chunk(content="a") + noise + other + chunk("stop", content="b") + DONE, StreamRepair())

    events = [event for event in found.split(b"\n\n") if event]
    said = [choice["delta"]["content"] for event in events for choice in json.loads(event[6:])["choices"]]
    assert said == ["a", "b"]


def arguments(piece: str, index: int = 0, **more: object) -> bytes:
    return chunk(tool_calls=[{"index": index, "function": {"arguments": piece}, **more}])


def test_the_arguments_of_one_call_become_one() -> None:
    begin = chunk(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "run", "arguments": ""}}])
    pieces = [arguments('{"a'), arguments('": '), arguments("5", type="function"), arguments("}", id=None)]
    other = [arguments("{", 1), arguments("}", 1), arguments("x", 1, id="c2"), arguments("y", 1, extra={"z": 1})]
    found, _ = joined(b"".join([begin, *pieces, *other]), StreamRepair())
    calls = [delta["tool_calls"] for delta in deltas(found)]
    said = [(call[0]["index"], call[0]["function"]["arguments"]) for call in cast("list[list[Any]]", calls)]
    assert said == [(0, ""), (0, '{"a": 5}'), (1, "{}"), (1, "x"), (1, "y")]


def test_the_role_and_the_time_do_not_keep_chunks_apart() -> None:
    first, second = chunk(role="assistant", content="a"), chunk(role="assistant", content="b")
    second = second.replace(b'"created": 1', b'"created": 2, "obfuscation": "yz"')
    found, _ = joined(first + second, StreamRepair())
    assert deltas(found) == [{"role": "assistant", "content": "ab"}]


def test_an_event_that_is_not_whole_is_left_as_it_is() -> None:
    whole, part = chunk(content="a"), chunk(content="b")[:-9]
    assert joined(whole + part, StreamRepair())[0].endswith(part)
    assert joined(part, StreamRepair()) == (part, False)


async def test_the_first_text_goes_through_at_once_and_what_comes_meanwhile_is_gathered() -> None:
    script, schedule = Script(), HeldSchedule()
    stream = aiter(Gathered(script, schedule))
    script.queue.put_nowait(chunk(role="assistant", content=""))
    assert deltas(await anext(stream)) == [{"role": "assistant", "content": ""}]
    script.queue.put_nowait(chunk(content="Good "))
    assert deltas(await anext(stream)) == [{"content": "Good "}]

    following = asyncio.ensure_future(anext(stream))
    await schedule.paused.wait()
    for piece in ("mor", "ning", ", all"):
        script.queue.put_nowait(chunk(content=piece))
    await script.queue.join()
    assert not following.done()
    schedule.go_on()
    assert deltas(await following) == [{"content": "morning, all"}]


async def test_the_first_words_after_the_reasoning_go_through_at_once() -> None:
    script, schedule = Script(), HeldSchedule()
    stream = aiter(Gathered(script, schedule))
    script.queue.put_nowait(chunk(reasoning_content="Hm"))
    assert deltas(await anext(stream)) == [{"reasoning_content": "Hm"}]
    following = asyncio.ensure_future(anext(stream))
    await schedule.paused.wait()
    script.queue.put_nowait(chunk(reasoning_content=", well") + chunk(content="Yes"))
    assert deltas(await following) == [{"reasoning_content": ", well"}, {"content": "Yes"}]


async def test_the_end_is_not_waited_for() -> None:
    script = Script()
    stream = aiter(Gathered(script, HeldSchedule()))
    for item in (chunk(content="a"), chunk(content="b"), chunk("stop"), DONE, None):
        script.queue.put_nowait(item)
    found = b"".join([data async for data in stream])
    assert deltas(found) in ([{"content": "a"}, {"content": "b"}, {}], [{"content": "ab"}, {}])


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n"])
async def test_no_text_is_lost_wherever_the_connection_cuts_it(ending: bytes) -> None:
    whole = chunk(content="na") + chunk(content="ïve ☃") + chunk("stop") + DONE
    whole = whole.replace(b"\n\n", ending)
    for cut in range(len(whole) + 1):
        script = Script()
        for item in (whole[:cut], whole[cut:], None):
            script.queue.put_nowait(item)
        found = b"".join([data async for data in Gathered(script, BatchSchedule())])
        said = [delta.get("content", "") for delta in deltas(found.replace(b"\r", b""))]
        assert "".join(map(str, said)) == "naïve ☃"


@pytest.mark.parametrize(
    ("last", "found"), [(b'data: {"error": "cut', b""), (b'data: {"error": 1}', b'data: {"error": 1}\n\n')]
)
async def test_an_event_without_an_end_goes_through_where_it_is_whole(last: bytes, found: bytes) -> None:
    script = Script()
    script.queue.put_nowait(last)
    script.queue.put_nowait(None)
    assert b"".join([data async for data in Gathered(script, BatchSchedule())]) == found


async def test_the_end_that_a_server_tells_ends_the_reading_although_its_connection_stays_open() -> None:
    script = Script()
    script.queue.put_nowait(chunk(content="a") + chunk("stop") + DONE + chunk(content="b"))
    async with asyncio.timeout(WAIT_SECONDS):
        assert deltas(b"".join([data async for data in Gathered(script, BatchSchedule())])) == [{"content": "a"}, {}]


async def test_events_that_end_with_one_line_feed_go_through_at_once() -> None:
    script = Script()
    stream = aiter(Gathered(script, HeldSchedule()))
    first, second = (chunk(content=text).removesuffix(b"\n") for text in "ab")
    script.queue.put_nowait(first + second[:3])
    script.queue.put_nowait(second[3:])
    found = await anext(stream)
    assert deltas(found) in ([{"content": "a"}], [{"content": "ab"}])


async def test_what_came_before_a_fault_goes_through_first() -> None:
    script = Script()
    stream = aiter(Gathered(script, BatchSchedule()))
    script.queue.put_nowait(chunk(content="a"))
    script.queue.put_nowait(httpx.ReadError("The connection broke."))
    assert deltas(await anext(stream)) == [{"content": "a"}]
    with pytest.raises(httpx.ReadError, match="broke"):
        await anext(stream)


async def test_closing_ends_the_reading_and_closes_the_connection() -> None:
    script = Script()
    gathered = Gathered(script, BatchSchedule())
    stream = aiter(gathered)
    script.queue.put_nowait(chunk(content="a"))
    await anext(stream)
    await gathered.aclose()
    assert script.is_closed
    assert all(task.get_name() != "llm stream" for task in asyncio.all_tasks())


def test_streams_are_looked_at_one_after_the_other() -> None:
    schedule = BatchSchedule()
    apart = 1 / BATCHES_PER_SECOND
    assert [schedule.reserve(100.0) for _ in range(3)] == pytest.approx(
        [100 + INTERVAL_SECONDS, 100 + INTERVAL_SECONDS + apart, 100 + INTERVAL_SECONDS + 2 * apart]
    )
    # A stream that is alone waits no longer than the least.
    assert schedule.reserve(200.0) == 200 + INTERVAL_SECONDS


async def test_a_cookie_of_one_caller_is_not_sent_for_the_next() -> None:
    with ScriptedLLM() as server:
        server.script(*(replace(text("a"), headers={"set-cookie": "who=first; Path=/"}) for _ in range(2)))
        async with GatheringClient() as client:
            scope = Scope(private_allowed=True, deadline=math.inf)
            for _ in range(2):
                request = client.build_request("POST", f"{server.url}/chat/completions", json={"model": "m"})
                with within(scope):
                    answer = await client.send(request)
                assert answer.headers["set-cookie"] == "who=first; Path=/"
        assert [request.headers.get("cookie") for request in server.requests] == [None, None]
