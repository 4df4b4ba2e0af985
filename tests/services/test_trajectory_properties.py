"""What `trajectory` gives, `replay` takes, and gives again: for every log that the server itself can write."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.errors import ErrorCode
from app.models.conversation import AgentState, ConversationRepository, Problem
from app.models.event import (
    EventBody,
    EventSource,
    EventUsage,
    MessageBody,
    NewEvent,
    StateChangeBody,
    ToolCallBody,
    ToolResultBody,
)
from app.services.agent.argument_text import parse_arguments
from app.services.agent.completion_events import MAX_ID_CHARS, MAX_NAME_CHARS
from app.services.agent.run_log import append_with_usage
from app.services.llm.assembly import MAX_ANSWER_CHARS
from app.services.message import storable, storable_json
from app.services.trajectory import HIDDEN_IMAGE, MAX_EVENTS
from tests.support import documents, steps
from tests.support.client import Client
from tests.support.scripted_llm import Call, ScriptedLLM, cut, text, tools
from tests.support.server import RunningServer, running_server

JSON = dict[str, Any]
# Eight characters and more are hidden wherever they stand: this is a word of the document too.
SECRET = "arguments"
PNG = "data:image/png;base64,iVBORw0KGgo="
NOW = datetime(2026, 11, 29, 6, 0, tzinfo=UTC)

odd = st.one_of(
    # Of all that there is, halves of surrogate pairs too.
    st.text(st.characters(exclude_categories=()), max_size=30),
    st.sampled_from(["\x00", "\ud800", "\udc00\ud800", "🎈", "\u202e", "\r\n", "\x1b[31m", '"\\', SECRET, "x" * 300]),
)
numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.sampled_from([2**63, -(2**63), 2**64, 10**400, 1e308, 5e-324, -0.0, 1e22, 2**53 + 1, 123456789012345678]),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, odd),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(odd, inner, max_size=4)),
    max_leaves=12,
)
fields = st.dictionaries(odd, values, max_size=4)
nested = st.sampled_from([1, 49, 50, 51, 52, 200, 900])
arguments = st.one_of(
    fields.map(json.dumps),
    nested.map(lambda depth: '{"a":' * depth + "1" + "}" * depth),
    nested.map(lambda depth: '{"a":' + "[" * depth + "]" * depth + "}"),
    st.sampled_from(
        ["", "{", "[1]", "null", '{"a": 1e999}', '{"a": NaN}', '{"a": ' + "9" * 5000 + "}", '{"a":1,"a":2}']
    ),
    odd,
)
usages = st.one_of(
    st.none(),
    st.builds(
        EventUsage,
        st.sampled_from(["openai/gpt-4o", "m" * 200, f"openai/{SECRET}"]),
        st.sampled_from([0, 1, 2**31 - 1]),
        st.integers(0, 2**31 - 1),
        st.one_of(st.none(), st.floats(0, 1e6), st.sampled_from([1e-300, 0.0])),
    ),
)
images = st.lists(st.sampled_from(["https://example.com/i.png", f"https://example.com/?t={SECRET}", PNG]), max_size=10)


def user_message(said: str, urls: list[str]) -> MessageBody:
    """As the services let through: something is said in it."""
    return MessageBody(storable(said)[:3000].strip() or ("" if urls else "Hello"), tuple(urls))


def tool_call(call_id: str, name: str, given: str, thought: str | None, kept: tuple[JSON, JSON]) -> ToolCallBody:
    """As the agent keeps one."""
    call_fields, answer_fields = (cast("JSON", storable_json(fields)) or None for fields in kept)
    return ToolCallBody(
        storable(call_id)[:MAX_ID_CHARS],
        storable(name)[:MAX_NAME_CHARS],
        parse_arguments(given),
        storable(thought) if thought else None,
        is_cut=len(given) % 2 == 0,
        call_fields=call_fields,
        answer_fields=answer_fields,
    )


def state(agent_state: AgentState, code: ErrorCode | None, said: str) -> StateChangeBody:
    return StateChangeBody(agent_state, Problem(code, storable(said)[:1000]) if code else None)


events = st.lists(
    st.tuples(
        st.one_of(
            st.builds(user_message, odd, images).map(lambda body: (EventSource.USER, body)),
            st.builds(MessageBody, odd.map(storable), st.just(()), st.booleans()).map(
                lambda body: (EventSource.AGENT, body)
            ),
            st.builds(tool_call, odd, odd, arguments, st.none() | odd, st.tuples(fields, fields)).map(
                lambda body: (EventSource.AGENT, body)
            ),
            # The number of the call is put in as it is written.
            st.builds(ToolResultBody, st.just(0), odd.map(storable), st.booleans(), st.booleans()).map(
                lambda body: (EventSource.ENVIRONMENT, body)
            ),
            st.builds(state, st.sampled_from(AgentState), st.none() | st.sampled_from(ErrorCode), odd).map(
                lambda body: (EventSource.ENVIRONMENT, body)
            ),
        ),
        usages,
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)
Written = list[tuple[tuple[EventSource, EventBody], EventUsage | None, bool]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Iterator[RunningServer]:
    """A server on each database, which takes long trajectories."""
    with running_server(
        tmp_path_factory.mktemp("data"), database_url=database_url, max_body_bytes=64 * 1024 * 1024
    ) as started:
        yield started


async def write(server: RunningServer, conversation_id: str, written: Written) -> None:
    """Append to a log as a run does."""
    async with server.parley.database.write() as session:
        conversation = await ConversationRepository(session).get_for_run(UUID(conversation_id))
        assert conversation is not None
        calls: list[int] = []
        for number, ((source, body), usage, is_next) in enumerate(written):
            conversation.last_run += is_next
            if isinstance(body, ToolResultBody):
                if not calls:
                    continue
                body = replace(body, tool_call_sequence=calls[number % len(calls)])  # noqa: PLW2901
            event = NewEvent(source, body, usage)
            append_with_usage(
                session, conversation, conversation.last_run, [event], NOW + timedelta(microseconds=number)
            )
            if isinstance(body, ToolCallBody):
                calls.append(conversation.last_sequence)


async def trajectory(client: Client, conversation_id: str) -> JSON:
    return cast("JSON", (await client.execute(documents.TRAJECTORY, id=conversation_id))["conversation"]["trajectory"])


async def played(client: Client, document: JSON) -> JSON:
    """The trajectory of a conversation that played one."""
    conversation = await steps.create(client, replay=document, title=None)
    await steps.until_waiting(client, conversation["id"])
    return await trajectory(client, conversation["id"])


def assert_same(first: JSON, second: JSON) -> None:
    """Nothing but the state at the end is added, where a log did not end waiting for input."""
    expected = first["events"]
    again = second["events"]
    assert again[: len(expected)] == expected
    if not expected or expected[-1].get("agentState") != "AWAITING_USER_INPUT":
        assert again.pop()["agentState"] == "AWAITING_USER_INPUT"
    assert len(again) == len(expected)
    assert second["version"] == first["version"]


async def began(client: Client) -> str:
    """A conversation that waits for input, of a caller with a secret."""
    await steps.save_settings(client, llmApiKey=SECRET)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    return cast("str", conversation["id"])


async def round_trip(server: RunningServer, written: Written) -> None:
    async with Client(server) as client:
        conversation_id = await began(client)
        await asyncio.to_thread(server.call, write(server, conversation_id, written))
        first = await trajectory(client, conversation_id)
        assert len(first["events"]) >= 1
        second = await played(client, first)
        assert_same(first, second)
        assert_same(second, await played(client, second))


# The server beside it takes random numbers, which Hypothesis watches in the whole process.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@settings(
    max_examples=10,
    deadline=None,
    # The server is the module's: each example has a caller of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(written=events)
@example(written=[((EventSource.USER, MessageBody("", (f"https://example.com/?t={SECRET}",))), None, True)])
@example(written=[((EventSource.USER, MessageBody(f"{SECRET} " * 10_000)), None, True)])
@example(written=[((EventSource.AGENT, MessageBody("a" * MAX_ANSWER_CHARS)), None, False)])
@example(written=[((EventSource.AGENT, ToolCallBody(SECRET * 2000, SECRET * 22, {SECRET: SECRET})), None, False)])
def test_a_log_that_the_server_wrote_is_played_and_is_the_same_again(server: RunningServer, written: Written) -> None:
    asyncio.run(round_trip(server, written))


async def test_what_is_hidden_leaves_a_document_that_can_be_played(client: Client, server: RunningServer) -> None:
    conversation_id = await began(client)
    images = (f"https://example.com/?t={SECRET}", "https://example.com/i.png")
    call = ToolCallBody(SECRET, f"use_{SECRET}", {SECRET: [SECRET]}, SECRET)
    problem = Problem(ErrorCode.AGENT_STUCK, f"{SECRET}!")
    written: Written = [
        ((EventSource.USER, MessageBody(f"Say {SECRET}", images)), None, True),
        ((EventSource.AGENT, call), EventUsage(f"openai/{SECRET}", 1, 2, None), False),
        ((EventSource.ENVIRONMENT, ToolResultBody(0, SECRET)), None, False),
        ((EventSource.ENVIRONMENT, StateChangeBody(AgentState.PAUSED, problem)), None, False),
    ]
    await asyncio.to_thread(server.call, write(server, conversation_id, written))
    first = await trajectory(client, conversation_id)
    _, said, called, result, paused = first["events"]
    assert (said["text"], said["imageUrls"]) == ("Say <secret hidden>", [HIDDEN_IMAGE, images[1]])
    assert called["arguments"] == {"<secret hidden>": ["<secret hidden>"]}
    assert (called["callId"], called["toolName"]) == ("<secret hidden>", "use_<secret hidden>")
    assert (called["thought"], called["usage"]["llmModel"]) == ("<secret hidden>", "openai/<secret hidden>")
    assert result["output"] == "<secret hidden>"
    assert paused["problem"] == {"code": "AGENT_STUCK", "message": "<secret hidden>!"}
    assert_same(first, await played(client, first))


async def test_a_log_without_events_is_played(client: Client) -> None:
    await steps.save_settings(client)
    document = "mutation ($input: CreateConversationInput!) {"
    document += " createConversation(input: $input) { conversation { id trajectory } } }"
    created = (await client.execute(document, input={}))["createConversation"]["conversation"]
    first: JSON = {**created["trajectory"], "events": []}
    assert_same(first, await played(client, first))


async def test_runs_go_on_counting_whatever_their_numbers_were(client: Client) -> None:
    await steps.save_settings(client)
    runs = [1, 2**31 - 1, 7, 2**31 - 1]
    said = [
        {"type": "MessageEvent", "sequence": number, "run": run, "source": "USER", "text": f"{run}"}
        for number, run in enumerate(runs, 1)
    ]
    document: JSON = {"version": 1, "events": [{**event, "createdAt": "2026-01-01T00:00:00+00:00"} for event in said]}
    conversation = await steps.create(client, replay=document)
    await steps.until_waiting(client, conversation["id"])
    await steps.send(client, conversation["id"], "And now?")
    await steps.until_waiting(client, conversation["id"])
    found = (await trajectory(client, conversation["id"]))["events"]
    assert [event["run"] for event in found if event["source"] == "USER"] == [1, 3, 2, 3, 4]
    # A small number that a log counts up to stays what it is.
    document["events"] = [{**document["events"][0], "run": MAX_EVENTS}]
    first = await played(client, document)
    assert first["events"][0]["run"] == MAX_EVENTS
    conversation = await steps.create(client, replay=first)
    await steps.until_waiting(client, conversation["id"])
    await steps.send(client, conversation["id"], "One more")
    await steps.until_waiting(client, conversation["id"])
    counted = await trajectory(client, conversation["id"])
    assert max(event["run"] for event in counted["events"]) == MAX_EVENTS + 1
    assert max(event["run"] for event in (await played(client, counted))["events"]) == 2


async def test_what_an_agent_left_of_nasty_answers_is_played(client: Client, llm: ScriptedLLM) -> None:
    await steps.save_settings(client, llm)
    deep = '{"a":' * 50 + "1" + "}" * 50
    llm.script(
        tools(
            Call(
                "look", '{"\\ud800\\u0000": ["\\udc00", 1e999, -0.0, 123456789012345678901234567890, 9007199254740993]}'
            ),
            Call("\x00names\ud800", deep),
            Call("deeper", '{"a":' * 900 + "1" + "}" * 900),
            Call("cut", '{"a": [1, '),
            said=["before\x00\ud83d"],
        ),
        text("\ud800 and \x00"),
        cut("What was read ", "of it\udfff"),
    )
    conversation = await steps.create(client, "Look")
    await steps.until_waiting(client, conversation["id"])
    await steps.send(client, conversation["id"], "Again \U0001f388")
    await steps.until_said(client, conversation["id"], "AGENT", "What was read of it\ufffd")
    first = await trajectory(client, conversation["id"])
    assert [event["arguments"] for event in first["events"] if event["type"] == "ToolCallEvent"][1] == json.loads(deep)
    assert any(event.get("isPartial") for event in first["events"])
    assert_same(first, await played(client, first))
