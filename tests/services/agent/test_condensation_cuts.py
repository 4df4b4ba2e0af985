"""Wherever a history is condensed, what is sent has each call with its result, and is valid for the strictest model."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from app.models.condensation import Condensation
from app.models.conversation import AgentState
from app.models.event import (
    Event,
    EventBody,
    EventKind,
    EventSource,
    MessageBody,
    StateChangeBody,
    ToolCallBody,
    ToolResultBody,
    encode_body,
    kind_of,
)
from app.services.agent.budget import shortened, tokens
from app.services.agent.condensation import cut_of, told_of
from app.services.agent.history import messages
from app.services.llm.base import ChatMessage
from app.services.llm.providers import Route
from app.services.llm.wire import request_of
from tests.support.message_rules import Body, fault_of

NOW = datetime(2026, 11, 29, 6, 0, tzinfo=UTC)
CONVERSATION = UUID(int=1)
MODEL = "openai/scripted"

words = st.sampled_from(["", " ", "word", "word " * 60, "\x00", "🎈"])
outcomes = st.sampled_from(["done", "failed", "denied", "missing"])
# Providers' own ids, some of them twice, some that nobody else takes.
ids = st.sampled_from(["c1", "c2", "c 3", "x" * 50, "c1__thought__c2lnbg=="])
calls = st.tuples(ids, words, outcomes)
answers = st.one_of(
    st.tuples(st.just("text"), words),
    st.tuples(st.just("partial"), words),
    st.tuples(st.just("note"), words),
    st.tuples(st.just("state"), words),
    # Whether results come behind all calls, as they are asked for, or each behind its call.
    st.tuples(st.just("calls"), st.lists(calls, min_size=1, max_size=4), st.booleans(), words),
)
turns = st.lists(st.tuples(words, st.lists(answers, max_size=4)), min_size=1, max_size=4)


class Log:
    """Writes events as the server does."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._run = 0

    def add(self, source: EventSource, body: EventBody) -> int:
        sequence = len(self.events) + 1
        self._run = sequence if source is EventSource.USER else self._run
        self.events.append(
            Event(
                conversation_id=CONVERSATION,
                sequence=sequence,
                run=self._run,
                kind=kind_of(body),
                source=source,
                body=encode_body(body),
                llm_model=MODEL,
                created_at=NOW,
            )
        )
        return sequence

    def result(self, call: int, outcome: str) -> None:
        if outcome != "missing":
            self.add(EventSource.ENVIRONMENT, ToolResultBody(call, outcome, is_error=outcome != "done"))

    def answer(self, answer: tuple[object, ...]) -> None:
        match answer:
            case ("text" | "partial" as kind, str(said)):
                self.add(EventSource.AGENT, MessageBody(said, is_partial=kind == "partial"))
            case ("note", str(said)):
                self.add(EventSource.ENVIRONMENT, MessageBody(said))
            case ("state", _):
                self.add(EventSource.ENVIRONMENT, StateChangeBody(AgentState.RUNNING))
            case ("calls", asked, bool(is_at_once), str(thought)):
                self._calls(cast("list[tuple[str, str, str]]", asked), thought, is_at_once=is_at_once)
            case _:
                raise AssertionError(answer)

    def _calls(self, asked: Sequence[tuple[str, str, str]], thought: str, *, is_at_once: bool) -> None:
        waiting: list[tuple[int, str]] = []
        for number, (call_id, name, outcome) in enumerate(asked):
            fields = {"reasoning_content": "r"} if number == 0 else None
            body = ToolCallBody(call_id, name, {"n": name}, thought if number == 0 else None, answer_fields=fields)
            call = self.add(EventSource.AGENT, body)
            if is_at_once:
                waiting.append((call, outcome))
            else:
                self.result(call, outcome)
        if waiting:
            # What the environment tells meanwhile, such as a wait for a confirmation.
            self.add(EventSource.ENVIRONMENT, StateChangeBody(AgentState.AWAITING_USER_CONFIRMATION))
            self.add(EventSource.ENVIRONMENT, MessageBody("A note."))
        for call, outcome in waiting:
            self.result(call, outcome)


def log_of(said: Sequence[tuple[str, Sequence[tuple[object, ...]]]]) -> list[Event]:
    log = Log()
    for text, given_answers in said:
        log.add(EventSource.USER, MessageBody(text or "x"))
        for answer in given_answers:
            log.answer(answer)
    return log.events


def sent(told: Sequence[ChatMessage]) -> list[Body]:
    request = request_of(Route("openai", MODEL), None, None, told, tools=(), max_tokens=None)
    return cast("list[Body]", request["messages"])


def check(told: Sequence[ChatMessage]) -> None:
    for each in (told, shortened(told), shortened(told, 50)):
        given_messages = sent(each)
        assert fault_of({"messages": given_messages}) is None, given_messages


def calls_of(events: Sequence[Event]) -> set[int]:
    return {event.sequence for event in events if event.kind == EventKind.TOOL_CALL}


def answered_in(events: Sequence[Event]) -> set[int]:
    return {cast("int", event.body["tool_call_sequence"]) for event in events if event.kind == EventKind.TOOL_RESULT}


@settings(max_examples=150, deadline=None)
@given(turns)
def test_a_condensed_history_is_valid_wherever_it_was_cut(
    said: list[tuple[str, list[tuple[object, ...]]]],
) -> None:
    events = log_of(said)
    check(told_of("Be kind.", MODEL, None, None, events))
    for end in range(1, len(events) + 1):
        last = events[end - 1]
        condensation = Condensation(
            conversation_id=CONVERSATION, run=last.run, sequence=last.sequence, summary="S", created_at=NOW
        )
        # The end of a summary lies anywhere: what was read may begin behind it, and its first message may be gone.
        for first, read in ((events[0], events), (None, events), (events[0], events[end // 2 :])):
            check(told_of("Be kind.", MODEL, first, condensation, read))


@settings(max_examples=150, deadline=None)
@given(turns)
def test_no_cut_parts_a_call_from_its_result(said: list[tuple[str, list[tuple[object, ...]]]]) -> None:
    events = log_of(said)
    whole = tokens(messages(events))

    for budget in sorted({0, 1, *range(0, whole + 40, max(1, whole // 12))}):
        cut = cut_of(events, budget)
        condensed, kept = events[:cut], events[cut:]
        assert kept
        assert calls_of(condensed) & answered_in(kept) == set()
        told = messages(kept, "", MODEL)
        results = [message for message in told if message.tool_call_id is not None]
        assert len(results) == len(calls_of(kept))
