"""Replies in the formats of OpenAI, Anthropic, Google and Ollama, for ScriptedLLM."""

import json

from tests.support.scripted_llm import Body, Reply, raw

DONE = "data: [DONE]\n\n"
ANTHROPIC = "anthropic/claude-3-5-sonnet-20241022"
GEMINI = "gemini/gemini-2.0-flash"
OLLAMA = "ollama_chat/llama3.1"


def sse(*events: object) -> str:
    """Events of a stream; a text goes as it is."""
    return "".join(event if isinstance(event, str) else f"data: {json.dumps(event)}\n\n" for event in events)


def stream(*events: object) -> Reply:
    return raw(sse(*events).encode())


def lines(*events: Body) -> Reply:
    """JSON lines, as Ollama streams."""
    return raw("".join(json.dumps(event) + "\n" for event in events).encode(), "application/x-ndjson")


def document(body: object) -> Reply:
    return raw(json.dumps(body).encode(), "application/json")


def chunk(delta: object = None, finish: str | None = None, index: int = 0, **more: object) -> Body:
    choice: Body = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


A = chunk({"content": "A"})
STOP = chunk({}, "stop")


def candidate(*parts: object, **more: object) -> Body:
    return {"candidates": [{"index": 0, "content": {"role": "model", "parts": parts}, **more}]}


def message(*blocks: Body, reason: str = "end_turn", usage: object = None) -> Reply:
    """A stream of Anthropic's with these blocks, each as its beginning, the deltas and its end."""
    start: Body = {"id": "m", "type": "message", "role": "assistant", "content": [], "usage": {"input_tokens": 5}}
    end = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}
    return stream({"type": "message_start", "message": start}, *blocks, end, {"type": "message_stop"})


def block(index: int, content: Body, *deltas: Body) -> list[Body]:
    said = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    begin: Body = {"type": "content_block_start", "index": index, "content_block": content}
    return [begin, *said, {"type": "content_block_stop", "index": index}]


def call(arguments: object, *pieces: str) -> list[Body]:
    content = {"type": "tool_use", "id": "tu1", "name": "write_file", "input": arguments}
    return block(0, content, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))
