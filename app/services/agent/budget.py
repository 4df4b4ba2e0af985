"""Estimates the tokens of messages, and shortens messages to fit a model's context window."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.services.llm.base import ChatMessage, Role

# A conservative estimate for English and code: tokenizers differ, and exact counts are not worth their cost.
CHARACTERS_PER_TOKEN = 3.5
IMAGE_TOKENS = 1500
MESSAGE_TOKENS = 4
# Tool outputs that are never shortened: the agent works with the latest ones.
KEPT_OUTPUTS = 4
OUTPUT_CHARACTERS = 2000


def tokens(messages: Sequence[ChatMessage]) -> int:
    """Estimate the tokens of messages, including images and tool calls."""
    return sum(
        MESSAGE_TOKENS
        + text_tokens(message.text)
        + IMAGE_TOKENS * len(message.image_urls)
        + sum(
            text_tokens(call.name + call.arguments) + _field_tokens(call.provider_fields) for call in message.tool_calls
        )
        + _field_tokens(message.provider_fields)
        for message in messages
    )


def _field_tokens(fields: Mapping[str, object]) -> int:
    return text_tokens(str(fields)) if fields else 0


def text_tokens(text: str) -> int:
    """Estimate the tokens of a text."""
    return int(len(text) / CHARACTERS_PER_TOKEN) + 1


def shortened(messages: Sequence[ChatMessage], limit: int | None = None) -> list[ChatMessage]:
    """Cut older tool outputs to 2,000 characters; with ``limit``, cut all texts until the estimate is below it."""
    outputs = [number for number, message in enumerate(messages) if message.role is Role.TOOL]
    older = set(outputs[:-KEPT_OUTPUTS])
    cut = [_cut(message, OUTPUT_CHARACTERS) if number in older else message for number, message in enumerate(messages)]
    length = OUTPUT_CHARACTERS * 8
    while limit is not None and tokens(cut) > limit and length >= OUTPUT_CHARACTERS // 8:
        cut = [_cut(message, length) for message in cut]
        length //= 2
    return cut


def _cut(message: ChatMessage, length: int) -> ChatMessage:
    text = message.text
    if len(text) <= length:
        return message
    left_out = len(text) - length
    half = length // 2
    return replace(message, text=f"{text[:half]}\n[… {left_out} characters are left out here …]\n{text[-half:]}")
