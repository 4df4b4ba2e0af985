"""What a call sends, and over which connection."""

import asyncio
import json
from pathlib import Path
from typing import Any

import openai.types.chat
import openai.types.shared_params
from pydantic import SecretStr

from app.services.llm.base import ChatMessage, Model, Role, ToolSpec
from app.services.llm.litellm import LiteLLM
from tests.support.scripted_llm import ScriptedLLM, text

HELLO = (ChatMessage(Role.USER, "Hello"),)
CALLS = 5
FUNCTION = {"name": "run", "arguments": "{}"}
CHUNKS = [
    {"role": "assistant", "content": ""},
    {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": FUNCTION}]},
]


def test_no_field_of_a_request_has_another_name_in_json() -> None:
    """Or it would have to be renamed."""
    packages = [Path(str(package.__file__)).parent for package in (openai.types.chat, openai.types.shared_params)]
    sources = [path for package in packages for path in package.glob("*.py") if "param" in str(path)]
    assert len(sources) > 20
    assert [path.name for path in sources if "PropertyInfo" in path.read_text()] == []


async def test_a_request_has_what_was_given_and_nothing_else(llm: LiteLLM) -> None:
    tool = ToolSpec("run", "Run.", {"type": "object", "properties": {"command": {"type": "string"}}})
    with ScriptedLLM() as server:
        server.script(text("Hi"))
        await llm.complete(Model("openai/gpt-4o", SecretStr("key"), server.url), HELLO, tools=[tool], max_tokens=5)
        body = dict(server.requests[-1].body)
    function = {"name": "run", "description": "Run.", "parameters": dict(tool.parameters)}
    assert body == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [{"type": "function", "function": function}],
    }


class Server:
    """Answers each request with a call of a tool, and counts its connections. ``is_prompt``: it ends its answers."""

    def __init__(self, *, is_prompt: bool) -> None:
        self.connections = 0
        self._is_prompt = is_prompt

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                events = events_of_a_call()
                writer.write(f"{len(events):x}\r\n".encode() + events + b"\r\n")
                if self._is_prompt:
                    writer.write(b"0\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()


def events_of_a_call() -> bytes:
    head: dict[str, Any] = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in CHUNKS]
    choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    chunks: list[dict[str, Any]] = [
        *({**head, "choices": [choice]} for choice in choices),
        {**head, "choices": [], "usage": usage},
    ]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode() + b"data: [DONE]\n\n"


async def calls_of(llm: LiteLLM, server: Server) -> list[str]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        model = Model("openai/gpt-4o", SecretStr("key"), f"http://127.0.0.1:{port}/v1")
        answers = [await llm.complete(model, HELLO) for _ in range(CALLS)]
        await llm.close()
    return [call.name for answer in answers for call in answer.tool_calls]


async def test_calls_that_follow_one_another_share_a_connection(llm: LiteLLM) -> None:
    server = Server(is_prompt=True)
    assert await calls_of(llm, server) == ["run"] * CALLS
    assert server.connections == 1


async def test_a_server_that_does_not_end_its_answer_is_not_waited_for(llm: LiteLLM) -> None:
    server = Server(is_prompt=False)
    assert await calls_of(llm, server) == ["run"] * CALLS
    assert server.connections == CALLS
