"""What people read, and what the operator does, when a model's server or the library that calls it fails."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from app.config import Config
from app.errors import ErrorCode, LLMFailure
from app.services.llm.base import ChatMessage, Model, Role
from app.services.llm.fault_words import sentence_of
from app.services.llm.faults import MAX_MESSAGE_CHARS
from app.services.llm.litellm import MAX_ATTEMPTS, LiteLLM
from tests.support.scripted_llm import Reply, ScriptedLLM, error, raw

KEY = "sk-of-the-caller"
HELLO = (ChatMessage(Role.USER, "Hello"),)
FAILED_HERE = "This server failed at calling the model. Its log tells the reason."
UNREAD = "The model's server answered in a way that can't be read."
SLEEPING = "The model is sleeping."
EVENTS, DOCUMENT, PAGE, TEXT = "text/event-stream", "application/json", "text/html", "text/plain"


@pytest.fixture
async def llm() -> AsyncIterator[LiteLLM]:
    config = Config(_env_file=None, llm_private_base_urls=True, llm_timeout_seconds=5.0)  # pyright: ignore[reportCallIssue]
    found = LiteLLM(config, retry_pause_seconds=0.001)
    await found.ready("openai/gpt-4o")
    yield found
    await found.close()


async def failure_of(llm: LiteLLM, server: ScriptedLLM, provider: str, reply: Reply) -> LLMFailure:
    server.reset()
    server.default = lambda _body: reply
    with pytest.raises(LLMFailure) as caught:
        await llm.complete(Model(f"{provider}/model", SecretStr(KEY), server.url), HELLO)
    return caught.value


def body_of(value: object, status: int = 400) -> Reply:
    return replace(raw(json.dumps(value).encode(), DOCUMENT), status=status)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("litellm.APIConnectionError: APIConnectionError: OpenAIException - It's late", "It's late"),
        ("Error code: 400 - {'error': {'message': \"It's late\", 'code': None}}", "It's late"),
        ('litellm.BadRequestError: AnthropicException - b\'{"error": {"message": "Late"}}\'', "Late"),
        ("b'<html><head><title>502 Bad Gateway</title></head></html>'", "502 Bad Gateway"),
        ("<!DOCTYPE html><html><body>No title", ""),
        ("Late. Received Model Group=x\nAvailable Model Group Fallbacks=None", "Late."),
        ("Late\nTraceback (most recent call last):\n  File x", "Late"),
        ("Unable to parse Chunk={'a': 1}", "Unable to parse"),
        ("ModelResponseStream(id='1', choices=[StreamingChoices(delta=Delta(content='secret'))])", ""),
        ("2 validation errors for Chat\na\n  Field required [type=missing, input_value={}, input_type=dict]", ""),
        ("Wrong.\n    For further information visit https://errors.pydantic.dev/2.5/v/missing", "Wrong."),
        ("<class 'openai.APIError'>", ""),
        ("Stream <httpx._client.Response object at 0x7f00aa> broke", "Stream <httpx._client.Response"),
        ({"error": {"error": {"errors": [{"reason": "Late"}]}}}, "Late"),
        ([None, 7, {"detail": [{"msg": "Late"}]}], "Late"),
        ("[1, 2, null]", ""),
        ('"late"', "late"),
        ('{"error": {"message": "cut of', "cut of"),
        ("[" * 100_000, ""),
        ("{'a':" * 50_000, ""),
        (b"\x00\xff\xfe\x01\x02", ""),
        ("two\nlines\t of \x1b[31mred", "two lines of [31mred"),
        ("The model `a` needs {braces} and f(x=1).", "The model `a` needs {braces} and f(x=1)."),
        (None, ""),
        (7, ""),
    ],
)
def test_of_an_error_people_read_a_sentence(said: object, sentence: str) -> None:
    assert sentence_of(said) == sentence


UGLY = re.compile(
    r"litellm|Error:|Exception|Traceback|Model Group|[Cc]hunk=|ModelResponse|\bb['\"]|pydantic|<|>|\\x|object at|"
    r"validation error|[{}]|\[|None|[\x00-\x1f\x7f]"
)
BODIES: dict[str, Reply] = {
    "page": replace(raw(b"<!DOCTYPE html><html><head><title>Bad Gateway</title></head></html>", PAGE), status=502),
    "page of 200": raw(b"<html><head><title>Log in</title></head></html>", PAGE),
    "binary": replace(raw(bytes(range(256)) * 8, "application/octet-stream"), status=400),
    "bytes": body_of({"error": repr(json.dumps({"error": {"message": SLEEPING}}).encode())}),
    "nested": body_of({"error": {"error": {"errors": [{"message": SLEEPING}]}}}),
    "array": body_of([{"error": {"message": SLEEPING}}]),
    "array in array": body_of([[[1, None]]], 500),
    "empty": replace(raw(b"", DOCUMENT), status=400),
    "empty of 500": replace(raw(b"", TEXT), status=500),
    "representation": replace(raw(b"ModelResponseStream(id='1', choices=[Delta(content='x')])", TEXT), status=500),
    "pydantic": replace(
        raw(
            b"1 validation error for A\nb\n  Field required [input_value={}]\n  visit https://errors.pydantic.dev", TEXT
        ),
        status=422,
    ),
    "list of events": raw(b"data: [1,2]\n\n", EVENTS),
    "error in events": raw(b'data: {"error": {"message": {"a": [1]}}}\n\n', EVENTS),
    "list of errors in events": raw(b'data: {"error": [{"message": "ModelResponse(id=1)"}]}\n\n', EVENTS),
    "long error in events": raw(b'data: {"error": {"message": "' + b"{" * 1_000_000 + b'"}}\n\n', EVENTS),
}
PROVIDERS = (
    *("openai", "anthropic", "deepseek", "gemini", "ollama_chat", "ollama"),
    *("mistral", "openrouter", "cohere_chat", "hosted_vllm", "groq"),
)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_no_handler_shows_a_representation(llm: LiteLLM, server: ScriptedLLM, provider: str) -> None:
    said = {name: (await failure_of(llm, server, provider, body)).message for name, body in BODIES.items()}

    assert {name: message for name, message in said.items() if UGLY.search(message)} == {}
    assert [each for each in said.values() if not re.match(r"(The model's|This server|The model) ", each)] == []
    assert max(map(len, said.values())) <= MAX_MESSAGE_CHARS
    assert [each for each in said.values() if KEY in each] == []


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_every_handler_tells_what_the_server_said(llm: LiteLLM, server: ScriptedLLM, provider: str) -> None:
    for name in ("bytes", "nested", "array"):
        failure = await failure_of(llm, server, provider, BODIES[name])

        assert failure.message == f"The model's provider rejected the request. {SLEEPING}", name
        assert failure.code is ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR
        assert len(server.requests) == 1


@pytest.mark.parametrize("provider", ["openai", "deepseek", "anthropic", "gemini", "mistral", "openrouter"])
async def test_a_failure_within_the_library_is_no_outage_of_the_provider(
    llm: LiteLLM, server: ScriptedLLM, provider: str
) -> None:
    with capture_logs() as logs:
        failure = await failure_of(llm, server, provider, BODIES["list of events"])

    assert (failure.code, failure.message) == (ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR, FAILED_HERE)
    # Trying again changes nothing about it.
    assert len(server.requests) == 1
    [line] = [each for each in logs if each["event"] == "llm.library_failed"]
    assert line["kind"] in ("AttributeError", "TypeError")
    assert line["place"].startswith("litellm.")
    assert line["log_level"] == "error"


async def test_what_cant_be_parsed_is_the_servers_fault_and_tried_again(llm: LiteLLM, server: ScriptedLLM) -> None:
    failure = await failure_of(llm, server, "openai", raw(b'data: {"choices": [\n\n', EVENTS))

    assert (failure.code, failure.message) == (ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR, UNREAD)
    assert len(server.requests) == MAX_ATTEMPTS


ATTEMPTS = {**dict.fromkeys((400, 401, 404, 408, 409, 422, 429), 1), 500: 3, 502: 3, 529: 3}


@pytest.mark.parametrize("provider", ["openai", "deepseek", "anthropic", "groq", "hosted_vllm", "openrouter"])
async def test_no_client_of_the_library_tries_again_by_itself(llm: LiteLLM, server: ScriptedLLM, provider: str) -> None:
    made: dict[int, int] = {}
    for status in ATTEMPTS:
        failure = await failure_of(llm, server, provider, error(status, SLEEPING))
        made[status] = len(server.requests)
        assert failure.message.endswith(f". {SLEEPING}")

    assert made == ATTEMPTS
