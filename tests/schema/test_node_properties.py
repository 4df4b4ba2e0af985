"""Properties of ids and cursors. No server runs beside them, since Hypothesis watches the process's random numbers."""

import base64
import json
import os
from uuid import UUID

from graphql import GraphQLError
from hypothesis import given, settings
from hypothesis import strategies as st

from app.models.search.order import ConversationOrder, ConversationOrderField, OrderDirection
from app.schema.connection import (
    event_cursor,
    name_cursor,
    parse_conversation_cursor,
    parse_event_cursor,
    parse_name_cursor,
)
from app.schema.node import (
    BranchKey,
    ConversationKey,
    EventKey,
    ProviderAccountKey,
    PullRequestKey,
    RepositoryKey,
    SettingsKey,
    WorkspaceKey,
    branch_id,
    conversation_id,
    event_id,
    parse_id,
    provider_account_id,
    pull_request_id,
    repository_id,
    settings_id,
    workspace_id,
)

KNOWN = "c0ffee00-0000-4000-8000-000000000001"
ORDERS = [ConversationOrder(field, direction) for field in ConversationOrderField for direction in OrderDirection]


def encoded(value: object) -> str:
    """A cursor as the server would write it."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


# Halves of surrogates and null characters too.
TEXTS = st.lists(st.integers(0, 0x10FFFF).map(chr) | st.sampled_from("\x00\ud800:-0aA=_"), max_size=60).map("".join)
ID_LIKE = st.tuples(
    st.sampled_from(
        ["", "settings:", "conversation:", "repository:", "branch:", "provider_account:", "workspace:", "pull_request:"]
    ),
    st.uuids().map(str) | st.uuids().map(lambda key: key.hex),
    st.just("") | st.integers(-1, 10**11).map(lambda number: f":{number}") | TEXTS,
).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(TEXTS | ID_LIKE)
def test_what_parses_as_an_id_is_written_the_same_again(text: str) -> None:
    match parse_id(text):
        case ConversationKey(key):
            assert conversation_id(key) == text
        case EventKey(key, sequence):
            assert event_id(key, sequence) == text
        case SettingsKey(key):
            assert settings_id(key) == text
        case RepositoryKey(key):
            assert repository_id(key) == text
        case BranchKey(key):
            assert branch_id(key) == text
        case ProviderAccountKey(key):
            assert provider_account_id(key) == text
        case WorkspaceKey(key):
            assert workspace_id(key) == text
        case PullRequestKey(key):
            assert pull_request_id(key) == text
        case None:
            assert text != KNOWN


@given(st.uuids(), st.integers(1, 2**31 - 1))
def test_every_id_is_understood_again(key: UUID, sequence: int) -> None:
    assert parse_id(conversation_id(key)) == ConversationKey(key)
    assert parse_id(event_id(key, sequence)) == EventKey(key, sequence)
    assert parse_id(settings_id(key)) == SettingsKey(key)
    assert parse_id(repository_id(key)) == RepositoryKey(key)
    assert parse_id(branch_id(key)) == BranchKey(key)
    assert parse_id(provider_account_id(key)) == ProviderAccountKey(key)
    assert parse_id(workspace_id(key)) == WorkspaceKey(key)
    assert parse_id(pull_request_id(key)) == PullRequestKey(key)


@settings(deadline=None)
@given(st.binary(max_size=4096))
def test_every_cursor_of_a_name_is_understood_again(name: bytes) -> None:
    path = os.fsdecode(name)
    assert parse_name_cursor(name_cursor(path)) == path


@given(st.integers(0, 2**31 - 1))
def test_every_event_cursor_is_understood_again(sequence: int) -> None:
    assert parse_event_cursor(event_cursor(sequence)) == sequence


@given(TEXTS | VALUES.map(encoded), st.sampled_from(ORDERS))
@settings(max_examples=300, deadline=None)
def test_any_cursor_parses_or_is_refused_as_invalid(cursor: str, order: ConversationOrder) -> None:
    for is_event in (True, False):
        refusal: object = None
        try:
            parse_event_cursor(cursor) if is_event else parse_conversation_cursor(cursor, order)
        except GraphQLError as error:
            refusal = error.extensions
        assert refusal in (None, {"code": "INVALID_INPUT", "messageId": "INVALID_INPUT"})
