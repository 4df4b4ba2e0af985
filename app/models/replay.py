"""A trajectory that a conversation still has to play.

Its JSON may have tens of megabytes, and a parser in C holds Python's lock to its end: 12 MB take it 0.6 s, in a thread
too. So it is written and read event by event, in a thread that lets others go on between two of them.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import JSON, ColumnElement, Dialect, Text, delete, update
from sqlalchemy import cast as sql_cast
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession


class _JSONText(TypeDecorator[str]):
    """A column of JSON whose text is given and taken as it is; drivers would parse it on the event loop."""

    impl = JSON
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        """Nothing is done with the text."""

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """Nothing is done with the text."""

    def column_expression(self, column: ColumnElement[str]) -> ColumnElement[str]:
        """Select it as a text: asyncpg parses what is JSON."""
        return sql_cast(column, Text)


class Replay(SQLModel, table=True):
    """The checked events of a trajectory, as a list in JSON. The row is written once, since it is large."""

    conversation_id: UUID = Field(primary_key=True, foreign_key="conversation.id", ondelete="CASCADE")
    events: str = Field(sa_type=_JSONText)


class ReplayProgress(SQLModel, table=True):
    """How many of a trajectory's events have been played; there is a row as long as there is something left."""

    conversation_id: UUID = Field(primary_key=True, foreign_key="conversation.id", ondelete="CASCADE")
    position: int = Field(default=0)


def encode_events(events: Sequence[dict[str, Any]]) -> str:
    """The events as a list in JSON. Call it in a thread."""
    return f"[{','.join([json.dumps(event) for event in events])}]"


def _decode_events(text: str) -> list[dict[str, Any]]:
    decoder = json.JSONDecoder()
    events: list[dict[str, Any]] = []
    position = _past_spaces(text, 1)
    while text[position] != "]":
        event, position = cast("tuple[dict[str, Any], int]", decoder.raw_decode(text, position))
        events.append(event)
        position = _past_spaces(text, position)
        if text[position] == ",":
            position = _past_spaces(text, position + 1)
    return events


def _past_spaces(text: str, position: int) -> int:
    """Earlier releases wrote a space behind each comma."""
    while text[position] == " ":
        position += 1
    return position


class ReplayRepository:
    """Replays in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, conversation_id: UUID, events: str) -> None:
        """Insert at the next flush what a conversation has to play, as ``encode_events`` gave it."""
        self._session.add(Replay(conversation_id=conversation_id, events=events))
        self._session.add(ReplayProgress(conversation_id=conversation_id))

    async def events(self, conversation_id: UUID) -> list[dict[str, Any]]:
        """All events of the trajectory; none once it has been played."""
        replay = await self._session.get(Replay, conversation_id)
        return await asyncio.to_thread(_decode_events, replay.events) if replay is not None else []

    async def position(self, conversation_id: UUID) -> int | None:
        """How many events were played; ``None`` when there is nothing left."""
        statement = select(ReplayProgress.position).where(col(ReplayProgress.conversation_id) == conversation_id)
        return (await self._session.exec(statement)).one_or_none()

    async def move(self, conversation_id: UUID, position: int) -> None:
        """Write down how far it is."""
        statement = update(ReplayProgress).where(col(ReplayProgress.conversation_id) == conversation_id)
        await self._session.exec(statement.values(position=position))

    async def discard(self, conversation_id: UUID) -> None:
        """Delete what is left, if anything is."""
        await self._session.exec(delete(Replay).where(col(Replay.conversation_id) == conversation_id))
        await self._session.exec(delete(ReplayProgress).where(col(ReplayProgress.conversation_id) == conversation_id))
