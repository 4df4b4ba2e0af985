"""Arguments as models write them: what can only be read in one way is read, and the rest is told to the agent."""

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.agent.argument_text import fault_in, is_whole, parse_arguments
from app.services.message import storable_json
from tests.support import steps
from tests.support.client import Client
from tests.support.scripted_llm import Call, ScriptedLLM, text, tools

JSON = dict[str, Any]

UNREADABLE = "the arguments are no JSON object:"
NO_NAME = " Expecting property name enclosed in double quotes at "
SEVERAL = "the arguments are several JSON values; make one call for each object"
BESIDE = "the arguments are more than one JSON object: there is"

odd = st.text("ab\"'\\{}[],: é\n")
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.text(st.characters(exclude_characters="\0"))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("ab\"'\\{},: é\n"), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.text("path\"'\\{}[],: é\n", min_size=1), values, min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{}{"path": "a"}', {"path": "a"}),
        ('{"path": "a"}\n{"path": "a"}', {"path": "a"}),
        ('{"path": "a\nb\tc"}', {"path": "a\nb\tc"}),
        *((text, {}) for text in ("", " ", "null", "[]", "{}", "{}{}", '""', "\n{}\n")),
        # JSON within a string, and within a string again.
        ('"{\\"path\\": \\"a\\"}"', {"path": "a"}),
        (json.dumps(json.dumps('{"path": "a"}')), {"path": "a"}),
        ("\"{'path': 'a'}\"", {"path": "a"}),
        # A code fence, control tokens, a sentence.
        ('```json\n{"path": "a"}\n```', {"path": "a"}),
        ('```\n{"path": "```"}', {"path": "```"}),
        ('{"path": "a"}<|call|>', {"path": "a"}),
        ('<tool_call>{"path": "a"}</tool_call>', {"path": "a"}),
        ("Here's the call:\n{\"path\": \"a\"}\nThat's all.", {"path": "a"}),
        ('\ufeff{"path": "a"};', {"path": "a"}),
        # One bracket or comma too many.
        ('{"path": "a"}}', {"path": "a"}),
        ('{"path": "a",}', {"path": "a"}),
        ('{"a": [1, 2, ], }', {"a": [1, 2]}),
        # The notations of Python and JavaScript.
        ("{'a': 'x', 'b': True, 'c': None, 'd': -1.5}", {"a": "x", "b": True, "c": None, "d": -1.5}),
        ("""{'a': "it's", 'b': 'it\\'s "b"', 'c': '\\x41\\n\\d'}""", {"a": "it's", "b": 'it\'s "b"', "c": "A\n\\d"}),
        ('{path: "a", last_line: undefined}', {"path": "a", "last_line": None}),
        # Escapes that JSON doesn't have, within strings and between tokens.
        ('{"pattern": "^\\d+\\.\\s\\u12"}', {"pattern": "^\\d+\\.\\s\\u12"}),
        ('{"command": "echo \\\'a\\\' \\\nb \\x41"}', {"command": "echo 'a' \\\nb \\x41"}),
        ('{"path": "a", "lines": \\n[1, 2]\\n\\n}', {"path": "a", "lines": [1, 2]}),
    ],
)  # fmt: skip
def test_arguments_are_read_as_they_were_meant(text: str, arguments: JSON) -> None:
    assert parse_arguments(text) == arguments
    assert is_whole(text) == bool(text.strip())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"path": "a"}{"path": "b"}', SEVERAL),
        ("{}" * 9, SEVERAL),
        ('[{"path": "a"}]', "the arguments are no JSON object, but a list"),
        ("5", "the arguments are no JSON object, but a number"),
        ('"x"', UNREADABLE + " Expecting value at 'x'"),
        ("list the files", UNREADABLE + " Expecting value at 'list the files'"),
        # Whatever may have been cut.
        ('{"path"', UNREADABLE + " they end too soon"),
        ('{"path": "a"', UNREADABLE + " they end too soon"),
        ('{"path": "a', UNREADABLE + " Unterminated string starting at '\"a'"),
        ('{"a": {"b": 1}', UNREADABLE + " they end too soon"),
        ("```json\n{'a': 'x'", UNREADABLE + " Expecting value at \"```json\\n{'a': 'x'\""),
        # Whatever could be read in two ways.
        ('{"a": "x "y" z"}', UNREADABLE + " Expecting ',' delimiter at 'y\" z\"}'"),
        ("{'a': 'it's'}", UNREADABLE + NO_NAME + "\"'a': 'it's'}\""),
        ('{"a": 1 "b": 2}', UNREADABLE + " Expecting ',' delimiter at '\"b\": 2}'"),
        ('{"a": 1}, "b": 2}', BESIDE + " ', \"b\": 2}' beside it"),
        ('{"a": 1}} "b": 2', BESIDE + " '\"b\": 2' beside it"),
        ('"a": 1, "b": {"c": 1}', BESIDE + " '\"a\": 1, \"b\": ' beside it"),
        ("Not {'a': 1} but {'a': 2}", BESIDE + " \"but {'a': 2}\" beside it"),
        # Too much of anything.
        ('{"a": "' + "x" * 200_000 + '"}', "the arguments have more than 200000 characters"),
        ('{"a":' * 51 + "1" + "}" * 51, "the arguments nest deeper than 50 levels"),
        ("{'a': [" + "1," * 2_000 + "]}", UNREADABLE + NO_NAME + "\"'a': [1,1,1,1,1,1,1,\""),
        ('{"a": 1}' + "x" * 2_001, BESIDE + " 'xxxxxxxxxxxxxxxxxxxx' beside it"),
    ],
)  # fmt: skip
def test_arguments_that_are_not_clear_are_kept_with_the_reason(text: str, fault: str) -> None:
    assert parse_arguments(text) == {"unparsed": text[:200_000]}
    assert fault_in(text) == fault
    assert not is_whole(text)


@given(objects)
def test_what_json_and_python_write_is_read(value: JSON) -> None:
    for written in (
        json.dumps(value),
        json.dumps(value, ensure_ascii=False, indent=1),
        f"```\n{json.dumps(value)}\n```",
    ):
        # A lone surrogate, which no text can hold, may become U+FFFD here, as it does where arguments are stored.
        assert storable_json(parse_arguments(written)) == storable_json(value)
    if repr(value).isascii() and "\\" not in repr(value):
        assert parse_arguments(repr(value)) == value


@given(objects, st.data())
def test_a_beginning_of_arguments_is_never_taken_for_the_whole(value: JSON, data: st.DataObject) -> None:
    for written in (json.dumps(value), repr(value)):
        length = data.draw(st.integers(1, len(written) - 1))
        assert not is_whole(written[:length])


async def test_a_call_in_a_code_fence_is_run_and_one_that_is_not_clear_is_told(
    client: Client, llm: ScriptedLLM
) -> None:
    await steps.save_settings(client, llm)
    llm.faults.clear()
    llm.script(
        tools(Call("write_file", "```json\n{'path': 'a.txt', 'content': 'it\\'s', }\n```")),
        tools(Call("read_file", '{"path": "a.txt"}{"path": "b.txt"}')),
        text("Done."),
    )
    conversation = await steps.create(client, "Go")
    await steps.until_waiting(client, conversation["id"])

    assert llm.faults == []
    log = await steps.events(client, conversation["id"])
    results = [(event["output"], event["isError"]) for event in log if event["__typename"] == "ToolResultEvent"]
    assert results == [
        ("a.txt: new file, 1 line.", False),
        (
            "The call does not fit read_file: the arguments are several JSON values; make one call for each object.",
            True,
        ),
    ]
    sent = [json.loads(call["function"]["arguments"]) for call in _calls(llm)]
    assert sent == [{"path": "a.txt", "content": "it's"}, {"unparsed": '{"path": "a.txt"}{"path": "b.txt"}'}]


def _calls(llm: ScriptedLLM) -> list[JSON]:
    messages = cast("list[JSON]", llm.requests[-1].body["messages"])
    return [call for message in messages for call in message.get("tool_calls") or ()]
