"""Answers as providers and gateways really send them, through the whole path of a call."""

import json
from typing import cast

import pytest

from app.services.llm.base import ChatMessage, Completion, Ending, Model, Role, ToolSpec
from app.services.llm.litellm import LiteLLM
from tests.support.provider_replies import DONE, chunk, stream
from tests.support.scripted_llm import Body, Reply, ScriptedLLM, deltas
from tests.support.scripted_llm import fragment as T  # noqa: N812  Tables of fragments read better with a short name.

A = '{"path": "a", "content": "x {\\"} \\\\"}'
B = '{"path": "b", "content": ""}'
HELLO = (ChatMessage(Role.USER, "Hello"),)
TOOLS = tuple(ToolSpec(name, "", {"type": "object", "properties": {}}) for name in ("write_file", "list_files", "list"))


async def answer(llm: LiteLLM, server: ScriptedLLM, reply: Reply, model: str = "openai/scripted") -> Completion:
    server.script(reply)
    return await llm.complete(Model(model, None, server.url), HELLO, tools=TOOLS)


@pytest.mark.parametrize(
    ("fragments", "calls"),
    [
        ([T(0, "c1", "write_file", ""), T(0, "c2", "write_file", ""), T(0, "c1", "-", A), T(0, "c2", "-", B)], "AB"),
        ([T(0, "-", "write_file", A), T(0, "-", "write_file", B)], "AB"),
        ([T(0, "c1", "write_file", ""), T(1, "c1", "write_file", ""), T(0, "-", "-", A), T(1, "-", "-", B)], "AB"),
        ([T(0, "c1", "write_file", ""), T(1, "c1", "write_file", ""), T(1, "c1", "-", B), T(0, "c1", "-", A)], "AB"),
        ([T(0, "c1", "write_file", ""), T(0, "c1", "write_file", ""), T(0, "c1", "-", A)], "A"),
        ([T(0, "c1", "write_file", A), T(0, "c2", "write_file", B)], "AB"),
        ([T(0, "c1", "write_file", A), T(0, "c1", "write_file", B)], "AB"),
        ([T(0, "c1", "write_file", A), T(1, "c1", "write_file", ""), T(1, "-", "-", B)], "AB"),
        ([T(0, "c1", "write_file", ""), T(0, "c2", "write_file", ""), T(0, "-", "-", B)], " B"),
        ([T(3, "c1", "write_file", ""), T(7, "c2", "write_file", B), T(3, "-", "-", A)], "AB"),
        ([T(0, "c1", "write_file", ""), T(5, "-", "-", A)], "A"),
        ([T(0, "c1", "write_", ""), T(0, "-", "file", A)], "A"),
        ([T(0, "c1", "write_", ""), T(0, "-", "write_file", A)], "A"),
        ([T(0, "c1", "write_file", A[:5]), T(0, "-", "write_file", A[5:])], "A"),
        ([T(0, "c1", "write_file", A[:9]), T(0, "c1", "write_file", A[9:]), T(0, "c1", "write_file", "")], "A"),
        ([T(0, "c1", "write_file", ""), T(0, "x2", "-", A[:7]), T(0, "x3", "-", A[7:])], "A"),
        ([T(0, "-", "write_file", ""), T(0, "c1", "-", A)], "A"),
        ([T(0, "c1", "-", ""), T(0, "-", "write_file", A)], "A"),
        ([T(0, "", "write_file", ""), T(0, "", "", A)], "A"),
        ([T(0, None, "write_file", None), T(0, None, None, A)], "A"),
        ([T("0", "c1", "write_file", ""), T("0", "-", "-", A)], "A"),
        ([T("-", "c1", "write_file", A), T("-", "c2", "write_file", B)], "AB"),
        ([T(0, "c1", "write_file", A), T(1, "c2", "-", "{}")], "A"),
        ([T(0, "c1", "write_file", json.loads(A))], "A"),
        ([T(0, "c1", "write_file", "", type=None), T(0, "-", "-", A, type="tool")], "A"),
        ([{"tool_calls": {"index": 0, "id": "c1", "name": "write_file", "arguments": A}}], "A"),
        ([{"function_call": {"name": "write_file", "arguments": ""}}, {"function_call": {"arguments": A}}], "A"),
        ([T(0, f"c{n}", "write_file", each) for n, each in enumerate((A, B, A))], "ABA"),
        ([T(0, "c1", "write_file", ""), *(T(0, "-", "-", each) for each in A)], "A"),
        (
            [T(1, "c1", "write_file", ""), T(0, "-", "-", A), T(2, "c2", "write_file", ""), T(0, "-", "-", B)],
            "AB",
        ),
        ([T(0, "c1", "write_file", A), T(1, "c2", "write_file", ""), T(0, "-", "-", B)], "AB"),
        ([T(0, "x1", "write_file", A[:6]), T(0, "x2", "write_file", A[6:])], "A"),
        (
            [
                *(T(0, "c1", "write_file", A[:6]), T(0, "c2", "write_file", B[:6])),
                *(T(0, "c1", "-", A[6:]), T(0, "c2", "-", B[6:])),
            ],
            "AB",
        ),
        (
            [
                {
                    "tool_calls": [
                        {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "write_file", "input": A}}
                    ]
                }
            ],
            "A",
        ),
        ([T(0, "c1", "write_file", A, custom=None)], "A"),
        ([{"tool_calls": [{"index": 0, "id": "c1", "function": "write_file"}]}, T(0, "-", "-", A)], "A"),
        (
            [T(0, "-", "write_file", ""), *(T(0, "-", "write_file", each) for each in A), T(0, "-", "write_file", B)],
            "AB",
        ),
    ],
)
async def test_the_fragments_of_calls_are_put_together_as_they_were_meant(
    llm: LiteLLM, server: ScriptedLLM, fragments: list[Body], calls: str
) -> None:
    found = await answer(llm, server, deltas(*fragments, finish_reason="tool_calls"))

    assert [call.name for call in found.tool_calls] == ["write_file"] * len(calls)
    expected = [{"A": json.loads(A), "B": json.loads(B), " ": None}[each] for each in calls]
    assert [json.loads(call.arguments) if call.arguments else None for call in found.tool_calls] == expected


def grown(text: str, size: int = 7) -> list[str]:
    """The beginnings of a text, each longer than the one before, and all of it."""
    return [text[:end] for end in (*range(size, len(text), size), len(text))]


def together(*fragments: Body) -> Body:
    """One delta with the calls of several."""
    return {"tool_calls": [call for fragment in fragments for call in cast("list[Body]", fragment["tool_calls"])]}


NESTED = '{"path": {"path": {"path": "{"}}, "content": "{\\"path\\": {"}'
LONG = json.dumps({"path": "a", "content": "word {} " * 2000})


@pytest.mark.parametrize("is_apart", [True, False])
@pytest.mark.parametrize(
    ("fragments", "calls"),
    [
        # Each piece from the beginning, as Qianfan and DeepSeek's gateways have it.
        ([T(0, "c1", "write_file", ""), *(T(0, "-", "-", each) for each in grown(A))], [A]),
        ([T(0, "c1", "write_file", each) for each in grown(A)], [A]),
        ([T(0, "c1", "-", each) for each in ("", *grown(A))], []),
        ([T(0, "-", "write_file", each) for each in grown(A)], [A]),
        ([T(0, "c1", "write_file", '{"a"'), T(0, "-", "-", '{"a":1'), T(0, "-", "-", '{"a":1}')], ['{"a":1}']),
        ([T(0, "c1", "write_file", '{"a"'), T(0, "-", "-", '{"a":1}'), T(0, "-", "-", '{"a":1}')], ['{"a":1}']),
        ([T(0, "c1", "write_file", "{"), T(0, "-", "-", A)], [A]),
        ([T(0, "c1", "write_file", ""), *(T(0, "-", "-", each) for each in grown(LONG, 50))], [LONG]),
        ([T(0, "c1", "write_file", ""), *(T(0, "-", "-", each) for each in grown(NESTED, 3))], [NESTED]),
        (
            [
                *(T(0, "c1", "write_file", each) for each in grown(A)),
                *(T(1, "c2", "write_file", each) for each in grown(B)),
            ],
            [A, B],
        ),
        (
            [
                *(T(0, "-", "write_file", each) for each in grown(A)),
                *(T(0, "-", "write_file", each) for each in grown(B)),
            ],
            [A, B],
        ),
        # Objects that are closed each time.
        (
            [
                T(0, "c1", "write_file", '{"p": ""}'),
                *(T(0, "-", "-", each) for each in ('{"p": "a"}', '{"p": "ab", "q": 1}')),
            ],
            ['{"p": "ab", "q": 1}'],
        ),
        # The whole call once more, behind its fragments.
        (
            [T(0, "c1", "write_file", ""), T(0, "-", "-", A[:9]), T(0, "-", "-", A[9:]), T(0, "c1", "write_file", A)],
            [A],
        ),
        (
            [T(0, "c1", "write_file", ""), T(0, "-", "-", A[:9]), T(0, "-", "-", A[9:]), T(0, "c1", "-", A)],
            [A],
        ),
        ([T(0, "c1", "write_file", A), T(0, "c1", "write_file", A), T(0, "c1", "write_file", A)], [A]),
        ([T(0, "c1", "write_file", A[:-1]), T(0, "-", "-", A)], [A]),
        (
            [
                *(T(0, "c1", "write_file", A), T(1, "c2", "write_file", B)),
                *(T("-", "c1", "write_file", A), T("-", "c2", "write_file", B)),
            ],
            [A, B],
        ),
        (
            [
                *(T(0, "c1", "write_file", A), T(1, "c2", "write_file", B)),
                together(T(0, "c1", "write_file", A), T(1, "c2", "write_file", B)),
            ],
            [A, B],
        ),
        # Fragments that look alike and are none of this.
        ([T(0, "c1", "write_file", ""), *(T(0, "-", "-", each) for each in NESTED)], [NESTED]),
        ([T(0, "c1", "write_file", '{"a":'), T(0, "-", "-", '{"a":1}'), T(0, "-", "-", "}")], ['{"a":{"a":1}}']),
        ([T(0, "c1", "write_file", '{"a":"'), *(T(0, "-", "-", each) for each in ("x", "x", '"}'))], ['{"a":"xx"}']),
        ([T(0, "c1", "write_file", '{"a":"l'), T(0, "-", "-", 'l -l"}')], ['{"a":"ll -l"}']),
        (
            [T(0, "c1", "write_file", '{"a":"'), *(T(0, "-", "-", each) for each in ("{", "{", '}}"}'))],
            ['{"a":"{{}}"}'],
        ),
        ([T(0, "c1", "write_file", "{}"), T(1, "c1", "write_file", "{}")], ["{}", "{}"]),
        ([T(0, "c1", "write_file", "{}"), T(1, "c2", "write_file", "{}")], ["{}", "{}"]),
        ([T(0, "-", "write_file", "{}"), T(0, "-", "write_file", "{}")], ["{}", "{}"]),
    ],
)
async def test_arguments_that_come_from_their_beginning_each_time_are_those_of_one_call(
    llm: LiteLLM, server: ScriptedLLM, fragments: list[Body], calls: list[str], is_apart: bool
) -> None:
    # Apart, or all in one packet.
    reply = deltas(*fragments, finish_reason="tool_calls")
    if not is_apart:
        events = [chunk(fragment) for fragment in fragments]
        reply = stream(*events, chunk({}, "tool_calls"), DONE)
    found = await answer(llm, server, reply)

    assert [(call.name, json.loads(call.arguments)) for call in found.tool_calls] == [
        ("write_file", json.loads(each)) for each in calls
    ]


async def test_arguments_that_are_cut_off_are_told_as_they_came_last(llm: LiteLLM, server: ScriptedLLM) -> None:
    pieces = [T(0, "c1", "write_file", "")] + [T(0, "-", "-", each) for each in grown(A)[:-1]]

    found = await answer(llm, server, deltas(*pieces, finish_reason="length"))

    assert [call.arguments for call in found.tool_calls] == [grown(A)[-2]]
    assert found.ending is Ending.CUT


@pytest.mark.parametrize(
    "last",
    [
        {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}],
        },
        {"choices": [{"index": 0, "delta": None, "message": {"content": "hello"}, "finish_reason": "stop"}]},
    ],
)
async def test_a_whole_answer_behind_its_pieces_is_not_said_twice(
    llm: LiteLLM, server: ScriptedLLM, last: Body
) -> None:
    found = await answer(llm, server, stream(chunk({"content": "hel"}), chunk({"content": "lo"}), last, DONE))

    assert (found.text, found.ending) == ("hello", Ending.WHOLE)


@pytest.mark.parametrize(
    ("fragments", "names"),
    [
        ([T(0, "c1", "list_", ""), T(0, "-", "files", "{}")], ["list_files"]),
        ([T(0, "c1", "list", ""), T(0, "-", "_files", "{}")], ["list_files"]),
        ([T(0, "c1", "list_files", ""), T(0, "-", "write_file", "{}")], ["list_files", "write_file"]),
        ([T(0, "-", "list_files", "{}"), T(0, "-", "write_file", "{}")], ["list_files", "write_file"]),
        ([T(0, "c1", "write_file", "{}"), T(0, "c1", "list_files", "")], ["write_file", "list_files"]),
        ([T(0, "c1", "write_file", ""), T(0, "c1", "list_files", "{}")], ["write_file", "list_files"]),
        ([T(0, "c1", "list", ""), T(0, "c1", "list_files", "{}")], ["list_files"]),
        ([T(0, "c1", "list_", "{}"), T(0, "c1", "files", "")], ["list_files"]),
        ([T(0, "c1", "-", "{}")], []),
        ([T(0, "-", "-", "{}")], []),
        ([T(0, "-", " ", "{}")], []),
    ],
)
async def test_no_call_is_without_a_name(
    llm: LiteLLM, server: ScriptedLLM, fragments: list[Body], names: list[str]
) -> None:
    found = await answer(llm, server, deltas({"content": "x"}, *fragments, finish_reason="tool_calls"))

    assert [call.name for call in found.tool_calls] == names


async def test_what_a_provider_wants_back_is_kept_with_the_calls(llm: LiteLLM, server: ScriptedLLM) -> None:
    detail = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1"}
    google = {"google": {"thought_signature": "c2lnbg=="}}

    found = await answer(
        llm,
        server,
        deltas(
            {"reasoning_content": "First "},
            {"reasoning_content": "think."},
            {"reasoning_details": [{**detail, "text": "First "}]},
            {"reasoning_details": [{**detail, "text": "think.", "signature": "s1"}]},
            {"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "AAAA"}]},
            T(0, "c1", "list_files", "{}", extra_content=google, provider_specific_fields={"thought_signature": "x"}),
            finish_reason="tool_calls",
        ),
    )

    assert found.provider_fields == {
        "reasoning_content": "First think.",
        "reasoning_details": [
            {**detail, "text": "First think.", "signature": "s1"},
            {"type": "reasoning.encrypted", "index": 1, "data": "AAAA"},
        ],
    }
    assert found.tool_calls[0].provider_fields == {
        "extra_content": google,
        "provider_specific_fields": {"thought_signature": "x"},
    }


async def test_reasoning_that_no_provider_wants_back_is_not_kept(llm: LiteLLM, server: ScriptedLLM) -> None:
    found = await answer(llm, server, deltas({"reasoning": "Think."}, T(0, "c1", "list_files", "{}")))

    assert found.provider_fields == {}


async def test_an_answer_of_reasoning_alone_is_empty(llm: LiteLLM, server: ScriptedLLM) -> None:
    found = await answer(llm, server, deltas({"reasoning_content": "Think."}, {"content": " \n"}))

    assert found.is_empty
