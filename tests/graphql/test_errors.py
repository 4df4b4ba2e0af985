"""What errors say: expected ones their words, faults of a request no value of it, unexpected ones nothing at all."""

import json
import re
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import strawberry
from graphql import GraphQLError, GraphQLScalarType, parse_value
from pydantic import SecretStr
from sqlalchemy import text
from structlog.testing import capture_logs

from app import errors
from app.errors import AppError, ErrorCode
from app.graphql.masking import mask
from app.graphql.schema import build_schema
from app.models.provider_account import ProviderType
from app.schema.user_error import NotFoundError, of_error, with_user_errors
from tests.support import documents, steps
from tests.support.client import Client, RequestFailed
from tests.support.server import RunningServer

JSON = dict[str, Any]
KEY = "sk-never-to-be-seen-0123456789"
MASKED = "An unexpected error occurred."
REFERENCE = re.compile(r"[0-9a-f]{12}")
UPDATE = "mutation ($input: UpdateSettingsInput!) { updateSettings(input: $input) { settings { id } } }"


def secret_scalar() -> GraphQLScalarType:
    return cast("GraphQLScalarType", cast("Any", build_schema())._schema.type_map["Secret"])


@contextmanager
def without_table(server: RunningServer, table: str) -> Generator[None]:
    """A database that lacks a table inside the block."""

    async def rename(before: str, after: str) -> None:
        async with server.parley.database.write() as session:
            connection = await session.connection()
            await connection.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))

    server.call(rename(table, f"{table}_away"))
    try:
        yield
    finally:
        server.call(rename(f"{table}_away", table))


@pytest.mark.parametrize(
    "given",
    [
        {"llmApiKey": [KEY]},
        {"llmApiKey": {"key": KEY}},
        {"llmApiKey": KEY * 400},
        {"llmApiKey": f"{KEY}\x00"},
        {"llmApiKey": f"\ud800{KEY}"},
        {"llmApiKey": KEY, "maxIterations": "many"},
        {"llmApiKey": KEY, "unknown": 1},
        {"llmApiKey": KEY, "unknown'": 1},
        {KEY: 1},
        {"llmModel": [KEY]},
        {"llmModel": {"key": KEY}},
        {"llmBaseUrl": [KEY]},
        {"llmBaseUrl": f"{KEY} "},
        {"maxIterations": KEY},
        {"maxBudgetUsd": KEY},
        {"maxBudgetUsd": {"nested": {"key": KEY}}},
        {"confirmationMode": KEY},
        [KEY],
        KEY,
    ],
)
async def test_a_refused_variable_is_not_repeated(client: Client, given: object) -> None:
    answer = await client.post(UPDATE, {"input": given})
    [error] = answer.body["errors"]
    assert error["message"].startswith("Variable '$input' has invalid value")
    assert KEY not in json.dumps(answer.body)
    assert (await client.execute("{ settings { id } }"))["settings"] is None


@pytest.mark.parametrize(
    "literal",
    [
        f'{{llmApiKey: ["{KEY}"]}}',
        f'{{llmApiKey: {{key: "{KEY}"}}}}',
        f'{{llmApiKey: "{KEY}", maxIterations: "many"}}',
        f'{{llmApiKey: "{KEY}", unknown: 1}}',
        f'{{llmModel: ["{KEY}"]}}',
        f'{{maxIterations: "{KEY}"}}',
        f'{{maxBudgetUsd: "{KEY}"}}',
        f'{{confirmationMode: "{KEY}"}}',
        f'["{KEY}"]',
        f'"{KEY}"',
        f'{{llmApiKey "{KEY}"}}',
        f'{{llmApiKey: "{KEY}" "again"}}',
        f'{{llmApiKey: """{KEY}""" """again"""}}',
        f'{{llmApiKey: "{KEY}}}',
    ],
)
async def test_a_refused_literal_is_not_repeated(client: Client, literal: str) -> None:
    answer = await client.post(f"mutation {{ updateSettings(input: {literal}) {{ settings {{ id }} }} }}")
    assert answer.body["errors"]
    assert KEY not in json.dumps(answer.body)
    assert (await client.execute("{ settings { id } }"))["settings"] is None


async def test_a_refused_value_is_not_repeated_on_a_socket_either(client: Client) -> None:
    async with client.subscribe(UPDATE, input={"llmApiKey": KEY, "unknown": 1}) as answer:
        message = await answer.message()
    assert message["type"] in {"error", "next"}
    assert "unknown field 'unknown'" in json.dumps(message)
    assert KEY not in json.dumps(message)


async def test_a_refused_value_still_says_where_and_why(client: Client) -> None:
    answer = await client.post(UPDATE, {"input": {"llmApiKey": 5}})
    [error] = answer.body["errors"]
    assert error["message"] == "Variable '$input' has invalid value at .llmApiKey: A Secret is a string."
    assert error["extensions"] == {"code": "INVALID_INPUT", "messageId": "INVALID_INPUT"}
    answer = await client.post(UPDATE, {"input": {"maxIterations": "many"}})
    assert answer.body["errors"][0]["message"] == (
        "Variable '$input' has invalid value at .maxIterations: Int cannot represent non-integer value."
    )
    answer = await client.post("{ nothing }")
    assert answer.body["errors"][0]["message"] == "Cannot query field 'nothing' on type 'Query'."


def test_a_secret_is_wrapped_as_it_is_parsed() -> None:
    scalar = secret_scalar()
    assert scalar.parse_value(KEY) == SecretStr(KEY)
    assert scalar.parse_literal(parse_value(f'"{KEY}"'), None) == SecretStr(KEY)
    assert scalar.parse_value("k" * 10_000) == SecretStr("k" * 10_000)
    assert KEY not in repr(scalar.parse_value(KEY))


def test_a_secret_is_never_serialised() -> None:
    for value in (KEY, SecretStr(KEY)):
        with pytest.raises(GraphQLError, match=r"^A Secret can't be read\.$"):
            secret_scalar().serialize(value)


@pytest.mark.parametrize("value", [5, None, True, [KEY], {"key": KEY}, KEY * 400, f"{KEY}\x00", f"{KEY}\ud800"])
def test_a_secret_that_is_refused_stays_one(value: object) -> None:
    with pytest.raises(GraphQLError) as refused:
        secret_scalar().parse_value(value)
    assert KEY not in str(refused.value)
    assert refused.value.extensions == {"code": "INVALID_INPUT", "messageId": "INVALID_INPUT"}


async def test_an_unexpected_error_says_nothing_but_the_reference_that_the_log_carries(
    client: Client, server: RunningServer
) -> None:
    await steps.save_settings(client)
    with capture_logs() as logs, without_table(server, "settings"):
        answer = await client.post("{ __typename settings { id } }")
    [error] = answer.body["errors"]
    reference = error["extensions"].pop("reference")
    assert REFERENCE.fullmatch(reference)
    assert error == {
        "message": MASKED,
        "path": ["settings"],
        "locations": [{"line": 1, "column": 14}],
        "extensions": {"code": "INTERNAL_ERROR"},
    }
    assert answer.body["data"] == {"__typename": "Query", "settings": None}
    [entry] = [entry for entry in logs if entry["event"] == "graphql.unexpected_error"]
    assert (entry["reference"], entry["log_level"], entry["path"]) == (reference, "error", ["settings"])
    assert "settings" in str(entry["exc_info"])


async def test_an_unexpected_error_of_a_mutation_keeps_its_input_out_of_answer_and_log(
    client: Client, server: RunningServer
) -> None:
    await steps.save_settings(client)
    with capture_logs() as logs, without_table(server, "settings"):
        answer = await client.post(documents.UPDATE_SETTINGS, {"input": {"llmApiKey": KEY}})
    [error] = answer.body["errors"]
    assert (error["message"], error["extensions"]["code"]) == (MASKED, "INTERNAL_ERROR")
    assert answer.body["data"] is None
    assert KEY not in json.dumps(answer.body)
    [entry] = [entry for entry in logs if entry["event"] == "graphql.unexpected_error"]
    assert KEY not in str(entry["exc_info"])
    assert (await client.execute("{ settings { llmApiKeySet } }"))["settings"] == {"llmApiKeySet": False}


async def test_an_unexpected_error_keeps_what_was_to_be_stored_out_of_the_log(
    client: Client, server: RunningServer
) -> None:
    await steps.save_settings(client)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    message = {"conversationId": conversation["id"], "message": {"text": "Only for the agent"}}
    with capture_logs() as logs, without_table(server, "event"):
        answer = await client.post(documents.SEND, {"input": message})
    assert answer.body["errors"][0]["message"] == MASKED
    [entry] = [entry for entry in logs if entry["event"] == "graphql.unexpected_error"]
    assert "INSERT INTO event" in str(entry["exc_info"])
    assert "Only for the agent" not in "".join(traceback.format_exception(entry["exc_info"]))
    assert await steps.said(client, conversation["id"]) == []


async def test_an_unexpected_error_of_a_subscription_is_masked_too(client: Client, server: RunningServer) -> None:
    await steps.save_settings(client)
    conversation = await steps.create(client)
    await steps.until_waiting(client, conversation["id"])
    with capture_logs() as logs, without_table(server, "event"):
        async with client.subscribe(documents.WATCH_EVENTS, id=conversation["id"], after="") as watching:
            with pytest.raises(RequestFailed) as failed:
                await watching.next()
    [error] = failed.value.errors
    assert (error["message"], error["extensions"]["code"]) == (MASKED, "INTERNAL_ERROR")
    references = [entry["reference"] for entry in logs if entry["event"] == "graphql.unexpected_error"]
    assert references == [error["extensions"]["reference"]]


async def test_requests_have_references_of_their_own(client: Client, server: RunningServer) -> None:
    with capture_logs(), without_table(server, "settings"):
        answers = [await client.post("{ settings { id } }") for _ in range(3)]
    references = {answer.body["errors"][0]["extensions"]["reference"] for answer in answers}
    assert len(references) == 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("Not there."), "NOT_FOUND"),
        (errors.InvalidInput("Not good."), "INVALID_INPUT"),
        (errors.Unauthenticated("Nobody."), "UNAUTHENTICATED"),
        (errors.SettingsNotFound("None."), "CONFIGURATION_SETTINGS_NOT_FOUND"),
    ],
)
def test_an_expected_error_keeps_its_words_and_gets_its_code(error: AppError, code: str) -> None:
    shown = mask(GraphQLError("wrapped", original_error=error, path=["a"]))
    assert (shown.message, shown.path, shown.extensions) == (error.message, ["a"], {"code": code})
    assert shown.original_error is None


def test_every_kind_of_expected_error_has_a_code_of_its_own() -> None:
    kinds = [*AppError.__subclasses__()]
    assert all(not kind.__subclasses__() for kind in kinds)
    codes: dict[str, str] = {}
    for kind in kinds:
        error = kind.__new__(kind)
        error.message, error.path = "m", ()
        if kind is errors.LLMFailure:
            # What its provider said decides.
            error.code = ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE
        if kind is errors.GitRefusal:
            # Git, or its host, decides.
            error.code = ErrorCode.BRANCH_MOVED
        codes[kind.__name__] = (mask(GraphQLError("wrapped", original_error=error)).extensions or {})["code"]
    assert len(set(codes.values())) == len(codes)
    assert (codes["SlowSubscriber"], codes["Unauthenticated"]) == ("SLOW_SUBSCRIBER", "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("error", "typename", "more"),
    [
        (errors.NotFound("m", path=("id",)), "NotFoundError", {}),
        (errors.InvalidInput("m", path=("message", "text")), "InvalidInputError", {}),
        (errors.SettingsNotFound("m"), "SettingsNotFoundError", {}),
        (errors.LLMAuthentication("m", llm_model="a/b"), "LlmAuthenticationError", {"llm_model": "a/b"}),
        (errors.TooManyRunning("m", limit=3), "TooManyRunningError", {"limit": 3}),
        (errors.GitRefusal("m", code=ErrorCode.BRANCH_MOVED), "GitRefusalError", {}),
        (errors.WorkspaceFailure("m"), "WorkspaceFailureError", {}),
        (
            errors.GitScopeMissing("m", provider="GITLAB", scopes=("api",)),
            "GitScopeMissingError",
            {"provider": ProviderType.GITLAB, "scopes": ["api"]},
        ),
        (errors.InvalidState("m", status="STOPPED"), "InvalidStateError", {"status": "STOPPED"}),
        (errors.InvalidState("m", status="OF_TOMORROW"), "InvalidStateError", {"status": "ERROR"}),
    ],
)
def test_an_expected_failure_becomes_the_user_error_of_its_kind(error: AppError, typename: str, more: JSON) -> None:
    shown = of_error(error)
    assert type(shown).__name__ == typename
    assert vars(shown) == {
        "code": error.code,
        "message_id": error.code.message_id,
        "message": "m",
        "path": list(error.path),
        **more,
    }


@pytest.mark.parametrize(
    "error",
    [
        errors.Unauthenticated("m"),
        errors.SlowSubscriber("m"),
        errors.LLMFailure("m", code=ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE),
    ],
)
def test_a_failure_that_no_payload_lists_is_raised_again(error: AppError) -> None:
    with pytest.raises(type(error)) as raised:
        of_error(error)
    assert raised.value is error


ODD = ["\x00", "a\x00b", "\ud800", "\udfff x", "\u202e", "\x1b[31m", "\n", "x" * 5000, "🙂" * 300, "%_\\", "'; --"]


@pytest.mark.parametrize("odd", ODD)
async def test_no_text_is_an_unexpected_error(client: Client, odd: str) -> None:
    await steps.save_settings(client)
    conversation = await steps.create(client)
    message = {"text": "Hello"}
    here = {"conversationId": conversation["id"]}
    for document, variables in (
        (documents.CREATE, {"input": {"title": odd}}),
        (documents.CREATE, {"input": {"idempotencyKey": odd, "title": "A title"}}),
        (documents.CREATE, {"input": {"replay": odd}}),
        (documents.CREATE, {"input": {"replay": {odd: odd}}}),
        (documents.RENAME, {"input": {"id": conversation["id"], "title": odd}}),
        (documents.SEND, {"input": {**here, "message": {"text": odd}}}),
        (documents.SEND, {"input": {**here, "message": {**message, "imageUrls": [odd]}}}),
        (documents.SEND, {"input": {**here, "message": message, "idempotencyKey": odd}}),
        (documents.UPDATE_SETTINGS, {"input": {"llmModel": odd}}),
        (documents.UPDATE_SETTINGS, {"input": {"llmBaseUrl": odd}}),
        (documents.UPDATE_SETTINGS, {"input": {"llmApiKey": odd}}),
        (documents.SEARCH, {"filter": {"titleContains": odd}}),
        (documents.SEARCH, {"filter": {"createdAfter": odd}}),
    ):
        answer = await client.post(document, variables)
        codes = [error.get("extensions", {}).get("code") for error in answer.body.get("errors", [])]
        assert answer.status == 200
        assert set(codes) <= {"INVALID_INPUT"}, (document, answer.body)


@strawberry.type
class AttemptPayload:
    done: str | None = None
    user_errors: list[NotFoundError] = strawberry.field(default_factory=list)


@with_user_errors
async def attempt(failure: Exception | None) -> AttemptPayload:
    """Do it."""
    if failure is not None:
        raise failure
    return AttemptPayload(done="yes")


async def test_a_mutation_answers_expected_failures_with_its_payload_and_raises_all_others() -> None:
    assert (attempt.__name__, attempt.__doc__) == ("attempt", "Do it.")
    assert await attempt(None) == AttemptPayload(done="yes")
    refused = await attempt(errors.NotFound("m", path=("id",)))
    assert (type(refused), refused.done) == (AttemptPayload, None)
    [shown] = refused.user_errors
    assert (type(shown).__name__, shown.message, shown.path) == ("NotFoundError", "m", ["id"])
    for failure in (errors.Unauthenticated("m"), errors.StorageFull(), errors.WorkspaceFailure("m"), ValueError("m")):
        with pytest.raises(type(failure)) as raised:
            await attempt(failure)
        assert raised.value is failure
