"""Sends attached images to models: references in messages become data URLs just before each call.

A reference is ``attachment:<conversation>/<SHA-256>``. It stands in no log, and callers can't give one, since images of
messages are https and data URLs.
"""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from app.models.event import Attachment
from app.services.attachment import AttachmentStore
from app.services.llm.base import LLM, ChatMessage, Completion, Model, OnText, ToolSpec, Usage

# Larger images are only named: as data URLs they would have more than models take.
MAX_IMAGE_BYTES = 3_900_000
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_SCHEME = "attachment:"


def reference(conversation_id: UUID, attachment: Attachment) -> str | None:
    """Return the reference to an attached image; None for a file that models don't take as an image."""
    if attachment.media_type not in IMAGE_TYPES or attachment.size > MAX_IMAGE_BYTES or not attachment.digest:
        return None
    return f"{_SCHEME}{attachment.media_type}/{conversation_id}/{attachment.digest}"


class AttachedImages:
    """``LLM`` that resolves references, and delegates everything."""

    def __init__(self, llm: LLM, store: AttachmentStore) -> None:
        self._llm = llm
        self._store = store
        self.is_ready = llm.is_ready
        self.warm_up = llm.warm_up
        self.ready = llm.ready
        self.close = llm.close
        self.context_tokens = llm.context_tokens
        self.requires_api_key = llm.requires_api_key
        self.validate = llm.validate

    async def complete(
        self,
        model: Model,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[ToolSpec] = (),
        max_tokens: int | None = None,
        timeout_seconds: float | None = None,
        on_text: OnText | None = None,
    ) -> Completion:
        """Call the model with the images in place of their references; missing ones are left out."""
        if any(url.startswith(_SCHEME) for message in messages for url in message.image_urls):
            messages = await asyncio.to_thread(self._all_resolved, messages)
        return await self._llm.complete(
            model, messages, tools=tools, max_tokens=max_tokens, timeout_seconds=timeout_seconds, on_text=on_text
        )

    def estimate(self, model: Model, messages: Sequence[ChatMessage], text: str) -> Usage:
        """Estimate with the references, since an image counts the same whatever its size."""
        return self._llm.estimate(model, messages, text)

    def _all_resolved(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        return [self._resolved(message) for message in messages]

    def _resolved(self, message: ChatMessage) -> ChatMessage:
        if not message.image_urls:
            return message
        urls = [url if not url.startswith(_SCHEME) else self._data_url(url) for url in message.image_urls]
        return replace(message, image_urls=tuple(url for url in urls if url is not None))

    def _data_url(self, url: str) -> str | None:
        media_type, conversation_id, digest = url.removeprefix(_SCHEME).rsplit("/", 2)
        try:
            content = self._store.read(UUID(conversation_id), digest)
        except OSError:
            return None
        return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
