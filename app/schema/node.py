"""Encodes and decodes Relay's global ids.

A conversation's id is its UUID as text; an event's is ``<conversation id>:<sequence>``; settings are
``settings:<uuid>``, and so with ``repository``, ``branch``, ``provider_account``, ``pull_request`` and ``workspace``,
which has the UUID of its conversation. They are opaque to clients. A malformed id is treated like the id of an object
that does not exist.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from uuid import NAMESPACE_OID, UUID, uuid5

import strawberry

from app.errors import conversation_not_found

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_CONVERSATION = re.compile(_UUID)
_EVENT = re.compile(rf"({_UUID}):([1-9][0-9]{{0,9}})")
_NAMED = re.compile(rf"(settings|repository|branch|provider_account|workspace|pull_request):({_UUID})")


@strawberry.interface(description="An object with a globally unique, opaque, stable ID.")
class Node:
    id: strawberry.ID = strawberry.field(description="The object's global ID.")


@dataclass(frozen=True, slots=True)
class ConversationKey:
    id: UUID


@dataclass(frozen=True, slots=True)
class EventKey:
    conversation_id: UUID
    sequence: int


@dataclass(frozen=True, slots=True)
class SettingsKey:
    id: UUID


@dataclass(frozen=True, slots=True)
class RepositoryKey:
    id: UUID


@dataclass(frozen=True, slots=True)
class BranchKey:
    id: UUID


@dataclass(frozen=True, slots=True)
class ProviderAccountKey:
    id: UUID


@dataclass(frozen=True, slots=True)
class WorkspaceKey:
    """The key of a workspace: its conversation's id."""

    id: UUID


@dataclass(frozen=True, slots=True)
class PullRequestKey:
    id: UUID


NamedKey = SettingsKey | RepositoryKey | BranchKey | ProviderAccountKey | WorkspaceKey | PullRequestKey
NodeKey = ConversationKey | EventKey | NamedKey

_KEYS: dict[str, type[NamedKey]] = {
    "settings": SettingsKey,
    "repository": RepositoryKey,
    "branch": BranchKey,
    "provider_account": ProviderAccountKey,
    "workspace": WorkspaceKey,
    "pull_request": PullRequestKey,
}


def parse_id(text: str) -> NodeKey | None:
    """Decode a global id to a typed key; ``None`` if it is malformed. The object may not exist."""
    if _CONVERSATION.fullmatch(text):
        return ConversationKey(UUID(text))
    if event := _EVENT.fullmatch(text):
        return EventKey(UUID(event[1]), int(event[2]))
    if named := _NAMED.fullmatch(text):
        return _KEYS[named[1]](UUID(named[2]))
    return None


@lru_cache(maxsize=10_000)
def conversation_key(text: str) -> UUID | None:
    """Decode a conversation's id; ``None`` if it is malformed or of another type."""
    return UUID(text) if _CONVERSATION.fullmatch(text) else None


def existing_conversation_key(text: str, *path: str) -> UUID:
    """Decode a conversation's id. Raises NotFound with ``path`` if it is malformed; the row may still not exist."""
    key = conversation_key(text)
    if key is None:
        raise conversation_not_found(*path)
    return key


def conversation_id(key: UUID) -> strawberry.ID:
    """Encode as the bare UUID."""
    return strawberry.ID(str(key))


def event_id(conversation: UUID, sequence: int) -> strawberry.ID:
    """Encode as ``<conversation id>:<sequence>``."""
    return strawberry.ID(f"{conversation}:{sequence}")


def viewer_id(owner_id: str) -> strawberry.ID:
    """Encode a caller's own id as ``viewer:<uuid>``, from which the caller's name can't be read."""
    return strawberry.ID(f"viewer:{uuid5(NAMESPACE_OID, owner_id)}")


def settings_id(key: UUID) -> strawberry.ID:
    """Encode as ``settings:<uuid>``."""
    return strawberry.ID(f"settings:{key}")


def repository_key(text: str) -> UUID | None:
    """Decode a git repository's id; ``None`` if it is malformed or of another type."""
    key = parse_id(text)
    return key.id if isinstance(key, RepositoryKey) else None


def repository_id(key: UUID) -> strawberry.ID:
    """Encode as ``repository:<uuid>``."""
    return strawberry.ID(f"repository:{key}")


def branch_id(key: UUID) -> strawberry.ID:
    """Encode as ``branch:<uuid>``."""
    return strawberry.ID(f"branch:{key}")


def provider_account_id(key: UUID) -> strawberry.ID:
    """Encode as ``provider_account:<uuid>``."""
    return strawberry.ID(f"provider_account:{key}")


def workspace_id(key: UUID) -> strawberry.ID:
    """Encode as ``workspace:<uuid>``, with the conversation's id."""
    return strawberry.ID(f"workspace:{key}")


def pull_request_id(key: UUID) -> strawberry.ID:
    """Encode as ``pull_request:<uuid>``."""
    return strawberry.ID(f"pull_request:{key}")
