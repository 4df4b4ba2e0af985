"""Global ids, and what they name.

A conversation's id is its UUID as text; an event's is ``<conversation id>:<sequence>``; settings are
``settings:<uuid>``. They are opaque to clients. One that is malformed names nothing.
"""

import re
from dataclasses import dataclass
from uuid import UUID

import strawberry

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_CONVERSATION = re.compile(_UUID)
_EVENT = re.compile(rf"({_UUID}):([1-9][0-9]{{0,9}})")
_SETTINGS = re.compile(rf"settings:({_UUID})")


@strawberry.interface(description="An object with a globally unique, opaque, stable ID.")
class Node:
    """What ``node`` can refetch."""

    id: strawberry.ID = strawberry.field(description="The object's global ID.")


@dataclass(frozen=True, slots=True)
class ConversationKey:
    """Names a conversation."""

    id: UUID


@dataclass(frozen=True, slots=True)
class EventKey:
    """Names an event."""

    conversation_id: UUID
    sequence: int


@dataclass(frozen=True, slots=True)
class SettingsKey:
    """Names settings."""

    id: UUID


NodeKey = ConversationKey | EventKey | SettingsKey


def parse_id(text: str) -> NodeKey | None:
    """What an id names; ``None`` for a malformed one."""
    if _CONVERSATION.fullmatch(text):
        return ConversationKey(UUID(text))
    if found := _EVENT.fullmatch(text):
        return EventKey(UUID(found[1]), int(found[2]))
    if found := _SETTINGS.fullmatch(text):
        return SettingsKey(UUID(found[1]))
    return None


def conversation_key(text: str) -> UUID | None:
    """The conversation that an id names, if it names one."""
    key = parse_id(text)
    return key.id if isinstance(key, ConversationKey) else None


def conversation_id(key: UUID) -> strawberry.ID:
    """The id of a conversation."""
    return strawberry.ID(str(key))


def event_id(conversation: UUID, sequence: int) -> strawberry.ID:
    """The id of an event."""
    return strawberry.ID(f"{conversation}:{sequence}")


def settings_id(key: UUID) -> strawberry.ID:
    """The id of settings."""
    return strawberry.ID(f"settings:{key}")
