"""The demo model: deterministic text about Parley, chosen by the last user message.

It does not use litellm, whose import would cost seconds and 180 MB.
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.services.llm.base import TITLE_TOKENS, ChatMessage, Completion, OnText, Role, Usage

NAME = "demo/assistant"
PIECE_PAUSE_SECONDS = 0.015
MAX_QUOTE_CHARS = 200
MAX_TITLE_WORDS = 6
_TRIVIA = frozenset(
    {"a", "an", "and", "are", "can", "could", "do", "for", "from", "how", "i", "in", "is", "it", "me", "my", "of", "on"}
    | {"please", "show", "tell", "the", "to", "us", "we", "what", "with", "you"}
)


@dataclass(frozen=True, slots=True)
class _Topic:
    words: frozenset[str]
    text: str


# The topic that shares most words with the message is chosen; of equals the first, so the narrow ones come first.
_TOPICS = (
    _Topic(
        frozenset({"rename", "renamed", "renaming", "title", "titles"}),
        "`renameConversation` takes the conversation's `id` and a `title` of 1 to 200 characters. Leave the title out, "
        "and one is made from the first message. A title that you gave is never overwritten.",
    ),
    _Topic(
        frozenset({"delete", "deletes", "deleted", "deleting", "remove"}),
        "`deleteConversation` stops the agent, removes the workspace and every event, and tells subscribers by "
        "`deletedConversationId`. There is no way back; deleting twice gives a `NotFoundError`.",
    ),
    _Topic(
        frozenset(
            {"subscribe", "subscription", "subscriptions", "watch", "watching", "live", "stream", "follow", "websocket"}
        ),
        "Three subscriptions show what happens, over WebSocket (graphql-transport-ws):\n\n"
        "- `conversationStatusChanged` sends the current status of each conversation, then every change.\n"
        "- `conversationEvents(conversationId, after)` replays the log past a cursor and follows it.\n"
        "- `messageDeltas(conversationId)` carries an answer while it is being written, like this one.",
    ),
    _Topic(
        frozenset({"search", "find", "filter", "filters", "list", "page", "pages", "paging", "cursor"}),
        "`conversations(first, after, …)` searches what you have, in pages of 1 to 100 with cursors that stay right "
        "while conversations come and go. Filters and order are arguments; `totalCount` is counted when you select it.",
    ),
    _Topic(
        frozenset({"settings", "setting", "model", "models", "key", "keys", "provider", "ollama", "openai", "llm"}),
        "`updateSettings` chooses the model: `llmModel` is a LiteLLM name such as `openai/gpt-4o`, `anthropic/…` or "
        "`ollama/llama3`, with `llmApiKey` where its provider needs one. `llmBaseUrl` points to any OpenAI-compatible "
        "server. Keys are encrypted at rest and never shown again. `demo/assistant` needs none: it answers you now.",
    ),
    _Topic(
        frozenset({"stop", "stopped", "pause", "start", "restart", "resume"}),
        "`stopConversation` is effective at once, in the middle of an answer too. `startConversation` brings a stopped "
        "conversation back, and so does `sendMessage`.",
    ),
    _Topic(
        frozenset({"replay", "trajectory", "export", "import"}),
        "`trajectory` exports a conversation's whole log as a document without secrets, and "
        "`createConversation(replay: …)` plays such a document again without asking a model.",
    ),
    _Topic(
        frozenset({"create", "creating", "new", "conversation", "conversations", "begin", "message", "send"}),
        '`createConversation(input: {initialMessage: "…"})` creates a conversation and sets its agent to work. It '
        "answers at once with the conversation's `id`; follow the rest by subscription, and go on with `sendMessage`.",
    ),
)
_INTRODUCTION = (
    "I can tell you how to create, watch, search, rename, stop and delete conversations, and how to choose a real "
    "model. Ask me about one of these, or set `llmModel` with `updateSettings` and talk to a model that thinks."
)


async def complete(
    messages: Sequence[ChatMessage], *, max_tokens: int | None = None, on_text: OnText | None = None
) -> Completion:
    """Stream the answer word by word, like a real model."""
    text = answer(messages, max_tokens=max_tokens)
    for piece in pieces(text):
        if on_text is not None:
            await on_text(piece)
        await asyncio.sleep(PIECE_PAUSE_SECONDS)
    prompt = sum(count_tokens(message.text) for message in messages)
    return Completion(text, (), Usage(prompt, count_tokens(text), 0.0))


def answer(messages: Sequence[ChatMessage], *, max_tokens: int | None = None) -> str:
    """Answer the last user message, or return a title for it if one is requested.

    A title is requested by a system message that mentions a title, in a call with at most ``TITLE_TOKENS``. Every other
    answer says that it comes from a demo model.
    """
    last = next((message for message in reversed(messages) if message.role is Role.USER), ChatMessage(Role.USER))
    spoken_of = any(re.search(r"\btitle\b", told.text, re.IGNORECASE) for told in messages if told.role is Role.SYSTEM)
    if spoken_of and max_tokens is not None and max_tokens <= TITLE_TOKENS:
        return _title(last.text)
    return f"I am `{NAME}`, Parley's demonstration model: no language model is behind me.\n\n{_reply(last)}"


def pieces(text: str) -> Iterator[str]:
    """Split a text into words with the white space around them, so that joined they are the text."""
    for match in re.finditer(r"\s*\S+\s*", text):
        yield match[0]


def count_tokens(text: str) -> int:
    """Count words, since the demo model has no tokenizer."""
    return len(text.split())


def _reply(message: ChatMessage) -> str:
    seen = _images(len(message.image_urls))
    quoted = " ".join(message.text.split())
    if not quoted:
        return f"{seen or 'Your message is empty.'} {_INTRODUCTION}"
    words = frozenset(re.findall(r"[a-z]+", quoted.casefold()))
    topic = max(_TOPICS, key=lambda candidate: len(candidate.words & words))
    if topic.words & words:
        return f"{topic.text}{' ' + seen if seen else ''}"
    if len(quoted) > MAX_QUOTE_CHARS:
        quoted = quoted[: MAX_QUOTE_CHARS - 3] + "..."
    return f"You wrote: “{quoted}”{' ' + seen if seen else ''}\n\n{_INTRODUCTION}"


def _images(count: int) -> str:
    if count == 0:
        return ""
    return f"You sent {'an image' if count == 1 else f'{count} images'}; a demonstration can't look at pictures."


def _title(text: str) -> str:
    words = re.findall(r"[^\W_][\w'-]*", text)
    telling = [word for word in words if word.casefold() not in _TRIVIA] or words
    title = " ".join(telling[:MAX_TITLE_WORDS])
    return title[:1].upper() + title[1:] if title else "A demonstration"
