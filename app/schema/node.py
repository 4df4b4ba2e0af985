"""Global ids, and what they name.

A conversation's id is its UUID as text; an event's is ``<conversation id>:<sequence>``; settings are
``settings:<uuid>``, and so with ``repository``, ``branch``, ``provider_account`` and
``workspace``, which has its conversation's. They are opaque to clients. One
that is malformed names nothing.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

import strawberry

from app.errors import conversation_not_found

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_CONVERSATION = re.compile(_UUID)
_EVENT = re.compile(rf"({_UUID}):([1-9][0-9]{{0,9}})")
_NAMED = re.compile(rf"(settings|repository|branch|provider_account|workspace):({_UUID})")


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


@dataclass(frozen=True, slots=True)
class RepositoryKey:
    """Names a git repository."""

    id: UUID


@dataclass(frozen=True, slots=True)
class BranchKey:
    """Names a branch of a git repository."""

    id: UUID


@dataclass(frozen=True, slots=True)
class ProviderAccountKey:
    """Names a provider account."""

    id: UUID


@dataclass(frozen=True, slots=True)
class WorkspaceKey:
    """Names the workspace of a conversation, by the conversation's id."""

    id: UUID


NodeKey = ConversationKey | EventKey | SettingsKey | RepositoryKey | BranchKey | ProviderAccountKey | WorkspaceKey

_KEYS: dict[str, type[SettingsKey | RepositoryKey | BranchKey | ProviderAccountKey | WorkspaceKey]] = {
    "settings": SettingsKey,
    "repository": RepositoryKey,
    "branch": BranchKey,
    "provider_account": ProviderAccountKey,
    "workspace": WorkspaceKey,
}


def parse_id(text: str) -> NodeKey | None:
    """What an id names; ``None`` for a malformed one."""
    if _CONVERSATION.fullmatch(text):
        return ConversationKey(UUID(text))
    if found := _EVENT.fullmatch(text):
        return EventKey(UUID(found[1]), int(found[2]))
    if found := _NAMED.fullmatch(text):
        return _KEYS[found[1]](UUID(found[2]))
    return None


@lru_cache(maxsize=10_000)
def conversation_key(text: str) -> UUID | None:
    """The conversation that an id names, if it names one."""
    return UUID(text) if _CONVERSATION.fullmatch(text) else None


def existing_conversation_key(text: str, *path: str) -> UUID:
    """The conversation that an id names. Raises NotFound, with the path, for one that names none."""
    key = conversation_key(text)
    if key is None:
        raise conversation_not_found(*path)
    return key


def conversation_id(key: UUID) -> strawberry.ID:
    """The id of a conversation."""
    return strawberry.ID(str(key))


def event_id(conversation: UUID, sequence: int) -> strawberry.ID:
    """The id of an event."""
    return strawberry.ID(f"{conversation}:{sequence}")


def settings_id(key: UUID) -> strawberry.ID:
    """The id of settings."""
    return strawberry.ID(f"settings:{key}")


def repository_key(text: str) -> UUID | None:
    """The repository that an id names, if it names one."""
    key = parse_id(text)
    return key.id if isinstance(key, RepositoryKey) else None


def repository_id(key: UUID) -> strawberry.ID:
    """The id of a git repository."""
    return strawberry.ID(f"repository:{key}")


def branch_id(key: UUID) -> strawberry.ID:
    """The id of a branch."""
    return strawberry.ID(f"branch:{key}")


def provider_account_id(key: UUID) -> strawberry.ID:
    """The id of a provider account."""
    return strawberry.ID(f"provider_account:{key}")


def workspace_id(key: UUID) -> strawberry.ID:
    """The id of a conversation's workspace."""
    return strawberry.ID(f"workspace:{key}")
