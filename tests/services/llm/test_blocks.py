"""Blocks of Anthropic's format in any order: each call gets its own arguments, and nobody else's."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from app.config import Config
from app.errors import LLMFailure
from app.services.agent.argument_text import parse_arguments
from app.services.llm.base import ChatMessage, Completion, Model, Role
from app.services.llm.blocks import BlockOrder
from app.services.llm.litellm import LiteLLM
from app.services.llm.transport import CallRefused
from tests.services.llm.test_chunks import sse
from tests.support.scripted_llm import ScriptedLLM, raw

JSON = dict[str, Any]
MODEL = "anthropic/claude-3-5-sonnet-20241022"
A, B, C = ({"path": name} for name in "abc")


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedLLM]:
    with ScriptedLLM() as running:
        yield running


@pytest.fixture
async def llm(server: ScriptedLLM) -> AsyncIterator[LiteLLM]:
    server.reset()
    service = LiteLLM(Config(), retry_pause_seconds=0.0)
    yield service
    await service.close()


def begin(index: int, call_id: str = "", **given: object) -> JSON:
    content: JSON = {"type": "tool_use", "id": call_id, "name": "write_file", "input": {}, **given}
    return {"type": "content_block_start", "index": index, "content_block": content}


def text(index: int) -> JSON:
    return {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}


def arguments(index: int, piece: str) -> JSON:
    delta = {"type": "input_json_delta", "partial_json": piece}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def said(index: int, piece: str) -> JSON:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": piece}}


def end(index: int) -> JSON:
    return {"type": "content_block_stop", "index": index}


def whole(index: int, call_id: str) -> list[JSON]:
    return [begin(index, call_id), arguments(index, f'{{"path": "{call_id}"}}'), end(index)]


async def answer(
    llm: LiteLLM, server: ScriptedLLM, *blocks: JSON, begun: object = None, ended: object = None
) -> Completion:
    start: JSON = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m", "usage": begun}
    events: list[JSON] = [
        {"type": "message_start", "message": start},
        *blocks,
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": ended},
        {"type": "message_stop"},
    ]
    server.default = lambda _body: raw(sse(*events).encode())
    hello = (ChatMessage(Role.USER, "Hello"),)
    return await llm.complete(Model(MODEL, SecretStr("sk-blocks-0123456789"), server.url), hello)


@pytest.mark.parametrize(
    "blocks",
    [
        [*whole(0, "a"), *whole(1, "b")],
        # One piece of each in turn.
        [begin(0, "a"), begin(1, "b"), arguments(0, '{"path":'), arguments(1, '{"path":'), arguments(0, '"a"}'),
         arguments(1, '"b"}'), end(0), end(1)],
        # All of the second one while the first one is open.
        [begin(0, "a"), arguments(0, '{"path":'), *whole(1, "b"), arguments(0, '"a"}'), end(0)],
        [begin(0, "a"), *whole(1, "b"), arguments(0, '{"path": "a"}'), end(0)],
        # No ends, or none of the first one.
        [begin(0, "a"), arguments(0, '{"path": "a"}'), begin(1, "b"), arguments(1, '{"path": "b"}')],
        [begin(0, "a"), arguments(0, '{"path": "a"}'), begin(0, "b"), arguments(0, '{"path": "b"}'), end(0)],
        # One index for all, or for all arguments.
        [*whole(0, "a"), *whole(0, "b")],
        [*whole(0, "a"), begin(1, "b"), arguments(0, '{"path": "b"}'), end(1)],
        # An index that nothing began with.
        [*whole(0, "a"), begin(1, "b"), arguments(7, '{"path": "b"}'), end(1)],
        # Arguments in the beginning.
        [begin(0, "a"), begin(1, "b", input=B), end(1), arguments(0, '{"path": "a"}'), end(0)],
        # A text in the middle of a call, in a block of its own or in the call's.
        [begin(0, "a"), arguments(0, '{"path":'), text(1), said(1, "X"), end(1), arguments(0, '"a"}'), end(0),
         *whole(2, "b")],
        [begin(0, "a"), arguments(0, '{"path":'), said(0, "X"), arguments(0, '"a"}'), end(0), *whole(1, "b")],
        [begin(0, "a"), arguments(0, '{"path":'), end(3), arguments(0, '"a"}'), end(0), *whole(1, "b")],
    ],
)  # fmt: skip
async def test_each_call_gets_its_own_arguments(llm: LiteLLM, server: ScriptedLLM, blocks: list[JSON]) -> None:
    found = await answer(llm, server, *blocks)
    assert [(call.id, parse_arguments(call.arguments)) for call in found.tool_calls] == [("a", A), ("b", B)]
    assert found.text == ("X" if any("text_delta" in str(block) for block in blocks) else "")


async def test_three_calls_and_a_text_at_once_are_told_apart(llm: LiteLLM, server: ScriptedLLM) -> None:
    pieces = [(0, "a"), (1, "b"), (3, "c")]
    blocks = [
        begin(0, "a"),
        begin(1, "b"),
        text(2),
        begin(3, "c"),
        *(arguments(index, '{"pa') for index, _ in pieces),
        said(2, "Hello "),
        *(arguments(index, f'th": "{name}"}}') for index, name in reversed(pieces)),
        said(2, "world"),
        *map(end, (3, 2, 0, 1)),
    ]
    found = await answer(llm, server, *blocks)
    assert [(call.id, parse_arguments(call.arguments)) for call in found.tool_calls] == [("a", A), ("b", B), ("c", C)]
    assert found.text == "Hello world"


@pytest.mark.parametrize(
    "blocks",
    [
        # Behind the end of their own block, which is the last one or not.
        [begin(0, "a"), end(0), arguments(0, '{"path": "a"}'), *whole(1, "b")],
        [*whole(0, "a"), begin(1, "b"), end(1), arguments(1, '{"path": "b"}')],
        [begin(0, "a"), arguments(0, '{"path":'), end(0), arguments(0, '"a"}'), *whole(1, "b")],
        # Behind the beginning or the end of the next one.
        [begin(0, "a"), end(0), begin(1, "b"), arguments(0, '{"path": "a"}'), arguments(1, '{"path": "b"}'), end(1)],
        [begin(0, "a"), end(0), begin(1, "b"), arguments(1, '{"path": "b"}'), arguments(0, '{"path": "a"}'), end(1)],
        [begin(0, "a"), end(0), *whole(1, "b"), arguments(0, '{"pa'), arguments(0, 'th": "a"}')],
        # All ends come before all arguments.
        [begin(0, "a"), begin(1, "b"), end(0), end(1), arguments(0, '{"path": "a"}'), arguments(1, '{"path": "b"}')],
        [begin(0, "a"), begin(1, "b"), end(1), end(0), arguments(1, '{"path": "b"}'), arguments(0, '{"path": "a"}')],
        # One index for all.
        [begin(0, "a"), end(0), arguments(0, '{"path": "a"}'), begin(0, "b"), end(0), arguments(0, '{"path": "b"}')],
    ],
)  # fmt: skip
async def test_arguments_behind_the_end_of_their_call_are_its_own(
    llm: LiteLLM, server: ScriptedLLM, blocks: list[JSON]
) -> None:
    found = await answer(llm, server, *blocks)
    assert [(call.id, parse_arguments(call.arguments)) for call in found.tool_calls] == [("a", A), ("b", B)]


@pytest.mark.parametrize("is_late", [True, False])
async def test_late_arguments_of_a_call_never_become_those_of_another(
    llm: LiteLLM, server: ScriptedLLM, is_late: bool
) -> None:
    late = [arguments(0, '{"path": "a"}')] if is_late else []
    found = await answer(
        llm, server, begin(0, "a"), end(0), begin(1, "b"), *late, end(1), text(2), said(2, "X"), end(2)
    )
    assert [(call.id, parse_arguments(call.arguments)) for call in found.tool_calls] == [
        ("a", A if is_late else {}),
        ("b", {}),
    ]
    assert found.text == "X"


@pytest.mark.parametrize(
    ("begun", "ended"),
    [
        ({"input_tokens": 11, "output_tokens": 1}, {"output_tokens": 7}),
        ({"input_tokens": 11, "output_tokens": 1}, {"input_tokens": 0, "output_tokens": 7}),
        ({"input_tokens": 11, "output_tokens": 1}, {"input_tokens": None, "output_tokens": 7}),
        ({"input_tokens": 11, "output_tokens": 1}, {"input_tokens": 11, "output_tokens": 7}),
        ({"input_tokens": 9, "output_tokens": 9}, {"input_tokens": 11, "output_tokens": 7}),
        ({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 11, "output_tokens": 7}),
        (None, {"input_tokens": 11, "output_tokens": 7}),
        ({"input_tokens": 11, "output_tokens": 7}, {"output_tokens": 0}),
        ({"input_tokens": 11, "output_tokens": 7}, None),
    ],
)
async def test_counts_of_the_beginning_and_of_the_end_are_not_added_up(
    llm: LiteLLM, server: ScriptedLLM, begun: object, ended: object
) -> None:
    used = (await answer(llm, server, *whole(0, "a"), begun=begun, ended=ended)).usage
    assert (used.prompt_tokens, used.completion_tokens) == (11, 7)


async def test_more_calls_at_once_than_are_read_end_the_answer(llm: LiteLLM, server: ScriptedLLM) -> None:
    with pytest.raises(LLMFailure, match="The model's answer has too many blocks at once"):
        await answer(llm, server, *(begin(number, f"c{number}") for number in range(130)))


@pytest.mark.parametrize("kinds", [("input_json_delta",), ("input_json_delta", "text_delta")])
def test_what_waits_is_joined_and_has_a_bound(kinds: tuple[str, ...]) -> None:
    order = BlockOrder()
    assert order.ordered(begin(0, "a")) == [begin(0, "a")]
    assert order.ordered(arguments(0, "{}")) == [arguments(0, "{}")]
    assert order.ordered(begin(1, "b")) == []
    for number in range(5_000):
        kind = kinds[number % len(kinds)]
        assert order.ordered(arguments(1, "x" * 10) if kind == "input_json_delta" else said(1, "x" * 10)) == []
    released = order.ordered(end(0))
    assert len(released) == (3 if len(kinds) == 1 else 5_002)
    assert sum(len(event.get("delta", {}).get("partial_json", "")) for event in released) == (50_000 / len(kinds))

    order = BlockOrder()
    order.ordered(begin(0, "a"))
    order.ordered(begin(1, "b"))
    with pytest.raises(CallRefused, match="too long"):
        _wait_for_ever(order)


def _wait_for_ever(order: BlockOrder) -> None:
    for number in range(300_000):
        order.ordered(arguments(1, "x" * 10) if number % 2 else said(1, "x" * 10))
