"""Tables of trajectories to replay: the recorded events, and how many of them have been played.

The JSON may have tens of megabytes. A parser in C holds Python's lock until it is done, also in a thread: 0.6 s for
12 MB. So events are encoded and parsed one by one in a thread, and other threads can run in between.
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
    """A JSON column that is read and written as text. Drivers would parse it in the event loop."""

    impl = JSON
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        """Return ``None``: the text needs no conversion."""

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """Return ``None``: the text needs no conversion."""

    def column_expression(self, column: ColumnElement[str]) -> ColumnElement[str]:
        """Cast the column to text, since asyncpg parses JSON."""
        return sql_cast(column, Text)


class Replay(SQLModel, table=True):
    """A trajectory's validated events, as a list in JSON. The row is never updated, since it is large."""

    conversation_id: UUID = Field(primary_key=True, foreign_key="conversation.id", ondelete="CASCADE")
    events: str = Field(sa_type=_JSONText)


class ReplayProgress(SQLModel, table=True):
    """The number of events that have been played. The row is deleted when all have been."""

    conversation_id: UUID = Field(primary_key=True, foreign_key="conversation.id", ondelete="CASCADE")
    position: int = Field(default=0)


def encode_events(events: Sequence[dict[str, Any]]) -> str:
    """Return the events as a list in JSON. Call it in a thread."""
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
    # Earlier releases wrote a space after each comma.
    while text[position] == " ":
        position += 1
    return position


def new_replay(conversation_id: UUID, events: str) -> tuple[Replay, ReplayProgress]:
    """Create the rows of a trajectory; ``events`` is what ``encode_events`` returned."""
    return Replay(conversation_id=conversation_id, events=events), ReplayProgress(conversation_id=conversation_id)


class ReplayRepository:
    """Persistence of replays in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, conversation_id: UUID, events: str) -> None:
        """Insert a trajectory and its progress at the next flush; ``events`` is what ``encode_events`` returned."""
        self._session.add_all(new_replay(conversation_id, events))

    async def events(self, conversation_id: UUID) -> list[dict[str, Any]]:
        """Return the whole trajectory, also the part that has been played; empty once the replay is over."""
        replay = await self._session.get(Replay, conversation_id)
        return await asyncio.to_thread(_decode_events, replay.events) if replay is not None else []

    async def position(self, conversation_id: UUID) -> int | None:
        """Return the number of played events; ``None`` if there is no replay or it is over."""
        statement = select(ReplayProgress.position).where(col(ReplayProgress.conversation_id) == conversation_id)
        return (await self._session.exec(statement)).one_or_none()

    async def move(self, conversation_id: UUID, position: int) -> None:
        """Store the number of played events."""
        statement = update(ReplayProgress).where(col(ReplayProgress.conversation_id) == conversation_id)
        await self._session.exec(statement.values(position=position))

    async def discard(self, conversation_id: UUID) -> None:
        """Delete the trajectory and its progress, if there are any."""
        await self._session.exec(delete(Replay).where(col(Replay.conversation_id) == conversation_id))
        await self._session.exec(delete(ReplayProgress).where(col(ReplayProgress.conversation_id) == conversation_id))
