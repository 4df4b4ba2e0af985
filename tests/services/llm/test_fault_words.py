"""How a failure reads for people, whatever the server sent: a sentence, never what a library shows of its insides."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from app.config import Config
from app.errors import LLMFailure
from app.services.llm.base import ChatMessage, Model, Role
from app.services.llm.litellm import LiteLLM
from tests.support.scripted_llm import Reply, ScriptedLLM

KEY = "sk-failures-0123456789"
HELLO = (ChatMessage(Role.USER, "Hello"),)
MODELS = [
    *("openai/m", "anthropic/claude-3-5-sonnet-20241022", "gemini/gemini-2.0-flash", "ollama_chat/m", "mistral/m"),
    *("deepseek/deepseek-chat", "openrouter/a/m", "cohere_chat/command-r", "groq/m", "azure/m", "databricks/m"),
]
PAGE = b"""<!DOCTYPE html><html><head><title>502 Bad Gateway</title><style>p{}</style></head>
<body><h1>Bad gateway</h1></body></html>"""
NEVER = [
    *("litellm", "Traceback", "pydantic", "ModelResponse", "Chunk", "chunk", "b'", 'b"', "NoneType", "object has no"),
    *(
        "Received",
        "<html",
        "<body",
        "<h1",
        "{'",
        '{"',
        "errors.pydantic.dev",
        "Expecting value",
        "char 0",
        KEY,
        "site-pack",
    ),
    *("not subscriptable", "unexpected keyword", "argument", "codec can't", "\\x", "coroutine", "KeyError"),
]
# None is told as an outage: a server answered.
UNREAD = (
    "The model's answer broke off.",
    "The model's server answered in a way that can't be read.",
    "This server failed at calling the model.",
)
BROKEN = [
    b'data: {"choices": [{"delta": {"content": "A"\n\n',
    b"data: [1, 2]\n\n",
    b"data: null\n\n",
    b"\xff\xfe\x00\x01" * 20,
    b"{",
    b"[]",
    b"5",
    b'"text"',
    b"null",
    b"",
    b"\n\n\n",
    PAGE,
    b'{"choices": "x"}',
    b'{"type": "message", "content": 5}',
    b'{"candidates": 5}',
    b'data: {"candidates": [5]}\n\n',
    b'data: {"candidates": [{"content": 5}]}\n\n',
    b'event: message_start\ndata: {"type": "message_start"}\n\n',
    b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0}\n\n',
    b'{"message": 5, "done": false}\n',
    b'{"message": {"role": "assistant", "content": 5, "tool_calls": 7}, "done": true}\n',
    b'{"done": true}\n',
    b'data: {"choices": [{"delta": {"tool_calls": [{"function": 5}]}}]}\n\n',
    b'data: {"type": "content-delta", "delta": 5}\n\n',
]


@pytest.fixture
async def llm(server: ScriptedLLM) -> AsyncIterator[LiteLLM]:
    server.reset()
    # No call is tried again, since the pause before it would last longer than a call may.
    service = LiteLLM(Config(), retry_pause_seconds=10_000.0)
    yield service
    await service.close()


async def failure(llm: LiteLLM, server: ScriptedLLM, reply: Reply, model: str) -> LLMFailure | None:
    """How the call fails, with the same answer for each attempt; ``None`` where it is an answer."""
    server.default = lambda _body: reply
    try:
        await llm.complete(Model(model, SecretStr(KEY), server.url), HELLO)
    except LLMFailure as error:
        return error
    return None


def sent(body: bytes, status: int = 200, content_type: str = "text/event-stream") -> Reply:
    return Reply(raw=body, status=status, headers={"content-type": content_type, "content-length": str(len(body))})


def check(failed: LLMFailure) -> None:
    assert [mark for mark in NEVER if mark in failed.message] == [], failed.message
    assert failed.message.isprintable()
    assert failed.message.startswith(("The model", "The account", "This server failed"))
    assert len(failed.message) <= 500


@pytest.mark.parametrize("model", MODELS)
async def test_an_answer_that_can_not_be_read_fails_in_a_sentence(
    llm: LiteLLM, server: ScriptedLLM, model: str
) -> None:
    for body in BROKEN:
        failed = await failure(llm, server, sent(body), model)
        if failed is not None:
            check(failed)
            assert failed.message.startswith(UNREAD), (body, failed.message)


ERRORS = {
    **dict.fromkeys((b"", b"{", b"null", b"[]", b"5", b"\xff\xfe", b'{"error": {"message": {"a": [1]}}}'), ""),
    PAGE: " 502 Bad Gateway",
    b'{"error": {"message": "No such thing."}}': " No such thing.",
    b'{"error": "No such thing."}': " No such thing.",
    b'[{"error": {"message": "No such thing.", "code": 400}}]': " No such thing.",
    b'{"detail": [{"msg": "No such thing."}]}': " No such thing.",
    b'{"message": "No such thing."}': " No such thing.",
    b"No such thing.": " No such thing.",
}
LEADS = {
    **dict.fromkeys((400, 404, 422), "The model's provider rejected the request."),
    500: "The model's server failed.",
    502: "The model's server is not available.",
}


@pytest.mark.parametrize("model", MODELS)
async def test_an_error_says_what_the_server_said_and_nothing_else(
    llm: LiteLLM, server: ScriptedLLM, model: str
) -> None:
    for status, lead in LEADS.items():
        for body, said in ERRORS.items():
            failed = await failure(llm, server, sent(body, status, "application/json"), model)
            assert failed is not None
            check(failed)
            assert failed.message == lead + said, (status, body, failed.message)
