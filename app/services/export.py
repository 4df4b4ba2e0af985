"""Export of a conversation's whole log without secrets, as JSON for a replay or as Markdown.

The log is read and encoded page by page, so memory stays bounded whatever its length.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import orjson

from app.errors import TrajectoryTooLong
from app.json_encoding import encode
from app.models.conversation import Conversation
from app.models.database.database import Database
from app.models.event import Event, EventRepository
from app.services import transcript
from app.services.clock import Clock
from app.services.secrets.redaction import Redactor
from app.services.settings import SettingsService
from app.services.trajectory import Exporter

# Target size of an encoded page, from which the next page's number of events follows; one event may have 4 MB.
PAGE_BYTES = 1024 * 1024
FIRST_PAGE, LARGEST_PAGE = 50, 1000
# Limit of the document as a GraphQL field; 50,000 events with short texts have 12 MiB.
MAX_FIELD_BYTES = 32 * 1024 * 1024

Events = list[dict[str, Any]]


class LogExport:
    """Exports logs. Callers must have checked the owner."""

    def __init__(self, database: Database, settings: SettingsService, clock: Clock) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock

    async def field(self, conversation: Conversation) -> orjson.Fragment:
        """Return the complete JSON document. Raises TrajectoryTooLong."""
        document = bytearray()
        async with aclosing(self.json(conversation)) as pieces:
            async for piece in pieces:
                document += piece
                if len(document) > MAX_FIELD_BYTES:
                    raise TrajectoryTooLong(MAX_FIELD_BYTES)
        return orjson.Fragment(bytes(document))

    async def json(self, conversation: Conversation) -> AsyncGenerator[bytes]:
        """Stream the JSON document, which ``createConversation(input: {replay})`` accepts."""
        exporter = await self._exporter(conversation)
        yield encode(exporter.head(conversation, self._clock())).removesuffix(b"}") + b',"events":['
        is_first = True
        async with aclosing(self._pages(conversation, exporter, _json)) as pages:
            async for page in pages:
                yield page if is_first else b"," + page
                is_first = False
        yield b"]}"

    async def markdown(self, conversation: Conversation) -> AsyncGenerator[bytes]:
        """Stream the log as Markdown."""
        exporter = await self._exporter(conversation)
        yield transcript.head(exporter.head(conversation, self._clock())).encode()
        async with aclosing(self._pages(conversation, exporter, _markdown)) as pages:
            async for page in pages:
                yield page

    async def _exporter(self, conversation: Conversation) -> Exporter:
        return Exporter(Redactor(await self._settings.secrets(conversation.owner_id)))

    async def _pages(
        self, conversation: Conversation, exporter: Exporter, write: Callable[[Events], bytes]
    ) -> AsyncGenerator[bytes]:
        """Encode each page, without empty ones, up to the last event that the conversation had at the start."""
        sequence, limit = 0, FIRST_PAGE
        while sequence < conversation.last_sequence:
            async with self._database.read() as session:
                batch = await EventRepository(session).after(conversation.id, sequence, limit)
            batch = [event for event in batch if event.sequence <= conversation.last_sequence]
            if not batch:
                return
            sequence = batch[-1].sequence
            page = await asyncio.to_thread(_page, exporter, batch, write)
            limit = max(1, min(LARGEST_PAGE, len(batch) * PAGE_BYTES // max(1, len(page))))
            if page:
                yield page


def _page(exporter: Exporter, batch: list[Event], write: Callable[[Events], bytes]) -> bytes:
    return write(exporter.events(batch))


def _json(events: Events) -> bytes:
    # One by one, since encoding holds Python's lock.
    return b",".join([encode(event) for event in events])


def _markdown(events: Events) -> bytes:
    return "".join([transcript.section(event) for event in events]).encode("utf-8", "replace")
