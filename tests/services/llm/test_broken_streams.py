"""Streams that break, end too early or hold what their readers take for something else, in every handler's format."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from app.errors import LLMFailure
from app.services.llm.base import ChatMessage, Ending, Model, Role
from app.services.llm.litellm import MAX_ATTEMPTS, LiteLLM
from app.services.llm.transport import MAX_LINE_BYTES
from tests.support.scripted_llm import Body, Reply, ScriptedLLM, raw

HELLO = (ChatMessage(Role.USER, "Hello"),)
UNREAD = "The model's server answered in a way that can't be read."
BROKE_OFF = "The model's answer broke off."
# What httpx takes for the end of a line, litellm for that of a stream, and JSON for text.
MISREAD = "a [DONE] \u2028b\u2029 \x85c data: [DONE]\n\nd"


@dataclass(frozen=True, slots=True)
class Format:
    """How the handlers of one format are answered: a text's events, and those of the end with their reason."""

    text: Callable[[str], list[Body]]
    end: Callable[[str], list[Body]]
    reasons: tuple[str, str]
    content_type: str = "text/event-stream"

    def sent(self, *events: Body | bytes) -> Reply:
        """The events; bytes go as they are. Characters beyond ASCII are not escaped, as many servers do it."""
        head, tail = (b"data: ", b"\n\n") if self.content_type == "text/event-stream" else (b"", b"\n")
        lines = [
            event if isinstance(event, bytes) else json.dumps(event, ensure_ascii=False).encode(errors="surrogatepass")
            for event in events
        ]
        return raw(b"".join(head + line + tail for line in lines), self.content_type)


def _chunk(delta: Body, reason: str | None = None) -> Body:
    choice: Body = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def _candidate(content: object, **more: object) -> Body:
    return {"candidates": [{"index": 0, "content": content, **more}], "usageMetadata": {"promptTokenCount": 5}}


def _anthropic(text: str) -> list[Body]:
    start: Body = {"id": "m", "type": "message", "role": "assistant", "content": [], "usage": {"input_tokens": 5}}
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
    ]


def _anthropic_end(reason: str) -> list[Body]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    end: Body = {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 2}}
    return [{"type": "content_block_stop", "index": 0}, end, {"type": "message_stop"}]


def _cohere(text: str) -> list[Body]:
    return [
        {"type": "message-start", "id": "x", "delta": {"message": {"role": "assistant", "content": []}}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}},
    ]


def _cohere_end(reason: str) -> list[Body]:
    delta = {"finish_reason": reason, "usage": {"tokens": {"input_tokens": 5, "output_tokens": 2}}}
    return [{"type": "content-end", "index": 0}, {"type": "message-end", "delta": delta}]


OPENAI = Format(
    lambda text: [_chunk({"role": "assistant", "content": text})],
    lambda reason: [_chunk({}, reason)],
    ("stop", "length"),
)
TEXT = Format(
    lambda text: [{"id": "x", "choices": [{"index": 0, "text": text, "finish_reason": None}]}],
    lambda reason: [{"id": "x", "choices": [{"index": 0, "text": "", "finish_reason": reason}]}],
    ("stop", "length"),
)
ANTHROPIC = Format(_anthropic, _anthropic_end, ("end_turn", "max_tokens"))
GOOGLE = Format(
    lambda text: [_candidate({"role": "model", "parts": [{"text": text}]})],
    lambda reason: [_candidate({"role": "model", "parts": [{"text": ""}]}, finishReason=reason)],
    ("STOP", "MAX_TOKENS"),
)
OLLAMA_CHAT = Format(
    lambda text: [{"model": "m", "message": {"role": "assistant", "content": text}, "done": False}],
    lambda reason: [{"model": "m", "message": {"content": ""}, "done": True, "done_reason": reason}],
    ("stop", "length"),
    "application/x-ndjson",
)
OLLAMA = Format(
    lambda text: [{"model": "m", "response": text, "done": False}],
    lambda reason: [{"model": "m", "response": "", "done": True, "done_reason": reason}],
    ("stop", "stop"),
    "application/x-ndjson",
)
COHERE = Format(_cohere, _cohere_end, ("COMPLETE", "MAX_TOKENS"))
# Each has a handler of its own in the library, or the client of one.
HANDLERS = {
    **dict.fromkeys(("openai", "azure", "deepseek", "mistral", "hosted_vllm", "openrouter", "groq", "xai"), OPENAI),
    **dict.fromkeys(("together_ai", "fireworks_ai", "databricks", "perplexity", "minimax", "snowflake"), OPENAI),
    **dict.fromkeys(("lm_studio", "moonshot", "zai", "huggingface", "litellm_proxy", "llamafile"), OPENAI),
    "text-completion-openai": TEXT,
    "anthropic": ANTHROPIC,
    "gemini": GOOGLE,
    "ollama_chat": OLLAMA_CHAT,
    "ollama": OLLAMA,
    "cohere_chat": COHERE,
}
BROKEN = b'{"choices": [{"delta": {"content": "B"'


@dataclass(slots=True)
class Seen:
    """What a caller saw: the text, and how it ended."""

    text: str
    ending: Ending | None = None
    failure: str = ""


async def ask(llm: LiteLLM, server: ScriptedLLM, provider: str, reply: Reply) -> Seen:
    server.reset()
    server.default = lambda _body: reply
    said: list[str] = []

    async def on_text(piece: str) -> None:
        said.append(piece)

    try:
        found = await llm.complete(
            Model(f"{provider}/some/model", SecretStr("sk-broken"), server.url), HELLO, on_text=on_text
        )
    except LLMFailure as failure:
        return Seen("".join(said), failure=failure.message)
    assert "".join(said) == found.text
    return Seen(found.text, found.ending)


def made(server: ScriptedLLM) -> int:
    """How often the model was asked; some clients ask for the model's size as well."""
    return sum(
        bool(request.body.get("messages") or request.body.get("contents") or request.body.get("prompt"))
        for request in server.requests
    )


@pytest.mark.parametrize("provider", HANDLERS)
async def test_a_broken_event_ends_the_answer_and_what_came_before_it_is_kept(
    llm: LiteLLM, server: ScriptedLLM, provider: str
) -> None:
    form = HANDLERS[provider]
    before, end = form.text("A"), form.end(form.reasons[0])

    assert await ask(llm, server, provider, form.sent(*before, BROKEN, *end)) == Seen("A", failure=UNREAD)
    # Text that was passed on can't be taken back.
    assert made(server) == 1
    assert await ask(llm, server, provider, form.sent(BROKEN, *before, *end)) == Seen("", failure=UNREAD)
    assert made(server) == MAX_ATTEMPTS
    assert await ask(llm, server, provider, form.sent(*before, *end, BROKEN)) == Seen("A", Ending.WHOLE)
    assert await ask(llm, server, provider, form.sent(*before, *end)) == Seen("A", Ending.WHOLE)


@pytest.mark.parametrize("provider", HANDLERS)
async def test_an_answer_whose_end_is_missing_broke_off(llm: LiteLLM, server: ScriptedLLM, provider: str) -> None:
    form = HANDLERS[provider]
    whole, cut = form.reasons

    assert await ask(llm, server, provider, form.sent(*form.text("A"))) == Seen("A", failure=BROKE_OFF)
    assert await ask(llm, server, provider, form.sent(*form.text("A"), b"[DONE]")) == Seen("A", failure=BROKE_OFF)
    unfinished = form.sent(*form.text("A"))
    assert unfinished.raw is not None
    assert await ask(llm, server, provider, raw(unfinished.raw + b'data: {"a', form.content_type)) == Seen(
        "A", failure=BROKE_OFF
    )
    found = await ask(llm, server, provider, form.sent(*form.text("A"), *form.end(cut), b"[DONE]"))
    assert found == Seen("A", Ending.WHOLE if cut == whole else Ending.CUT)


@pytest.mark.parametrize("provider", HANDLERS)
async def test_no_text_is_taken_for_the_end_of_a_line_or_of_the_stream(
    llm: LiteLLM, server: ScriptedLLM, provider: str
) -> None:
    form = HANDLERS[provider]
    events = [*form.text(MISREAD), *form.text("B")[-1:], *form.end(form.reasons[0])]

    assert await ask(llm, server, provider, form.sent(*events)) == Seen(f"{MISREAD}B", Ending.WHOLE)
    spoilt = form.sent(*form.text("a\x07b\u00e9c"), *form.end(form.reasons[0])).raw
    assert spoilt is not None
    spoilt = spoilt.replace(b"\\u0007", b"\x07").replace("\u00e9".encode(), b"\xe2\x98")
    found = await ask(llm, server, provider, raw(spoilt, f"{form.content_type}; charset=iso-8859-1"))
    assert found == Seen("a\x07b\N{REPLACEMENT CHARACTER}c", Ending.WHOLE)


@pytest.mark.parametrize("provider", HANDLERS)
async def test_words_between_the_events_cost_no_answer(llm: LiteLLM, server: ScriptedLLM, provider: str) -> None:
    form = HANDLERS[provider]
    words = [b"ping", b"null", b'"keep-alive"', b"5"]

    found = await ask(llm, server, provider, form.sent(*words, *form.text("A"), *words, *form.end(form.reasons[0])))

    assert found == Seen("A", Ending.WHOLE)


async def test_calls_of_coheres_are_read(llm: LiteLLM, server: ScriptedLLM) -> None:
    def call(index: int, kind: str, **said: object) -> Body:
        delta = {"message": {"tool_calls": said}}
        return {"type": f"tool-call-{kind}", "index": index, "delta": delta}

    def begin(index: int) -> Body:
        function = {"name": "run", "arguments": ""}
        return call(index, "start", id=f"c{index}", type="function", function=function)

    def rest(index: int, piece: str) -> Body:
        return call(index, "delta", function={"arguments": piece})

    events = [begin(0), rest(0, '{"a":'), rest(0, "1}"), begin(1), rest(1, "{}")]
    server.script(COHERE.sent(*events, *_cohere_end("TOOL_CALL")))

    found = await llm.complete(Model("cohere_chat/command", SecretStr("k"), server.url), HELLO)

    called = [(each.id, each.name, each.arguments) for each in found.tool_calls]
    assert called == [("c0", "run", '{"a":1}'), ("c1", "run", "{}")]
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (5, 2)


FILL = MAX_LINE_BYTES - 1000
LARGE: dict[str, Callable[[bytes], bytes]] = {
    "objects": lambda event: event + b'"x":[' + b'{"a":1},' * (FILL // 8) + b"0]}",
    "empty": lambda event: event + b'"x":[' + b"{}," * (FILL // 3) + b"0]}",
    "numbers": lambda event: event + b'"x":[' + b"1," * (FILL // 2) + b"0]}",
    "texts": lambda event: event + b'"x":[' + b'"a",' * (FILL // 4) + b"0]}",
    "names": lambda event: event + b",".join(b'"%07d":1' % number for number in range(FILL // 12)) + b"}",
    "deep": lambda _: b'{"a":' * (FILL // 5),
    "broken": lambda _: b'{"a":"' + b"x" * FILL,
    "surrogates": lambda _: b'{"a":"' + b"\\ud83d" * (FILL // 6) + b'"}',
    "controls": lambda _: b'{"a":"' + b"\x01" * FILL + b'"}',
    "digits": lambda _: b'{"a":' + b"9" * FILL + b"}",
    "text": lambda event: event + b'"x":"' + b"\\n" * (FILL // 2) + b'"}',
}


@pytest.mark.parametrize("name", LARGE)
async def test_the_largest_event_holds_nobody_up(llm: LiteLLM, server: ScriptedLLM, name: str) -> None:
    await ask(llm, server, "openai", OPENAI.sent(*OPENAI.text("A"), *OPENAI.end("stop")))
    longest, is_over = 0.0, False

    async def watch() -> None:
        nonlocal longest
        while not is_over:
            # The time of this thread alone: another process may have the processor.
            began = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - began)

    watching = asyncio.create_task(watch())
    for provider in ("openai", "deepseek", "ollama_chat"):
        form = HANDLERS[provider]
        event = json.dumps(form.text("A")[0]).encode()[:-1] + b", "
        await ask(llm, server, provider, form.sent(LARGE[name](event), *form.end("stop")))
    is_over = True
    await watching

    assert longest < 0.1
