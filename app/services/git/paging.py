"""Cursor pagination with any page size, on top of a provider's numbered pages of a fixed size."""

import base64
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import InvalidInput
from app.services.git.base import RemoteEdge, RemotePage

T = TypeVar("T")

PAGE_SIZE = 100
MAX_CURSOR_CHARS = 1500


@dataclass(frozen=True, slots=True)
class ProviderPage(Generic[T]):
    """A page of the provider's, with the token of the next one (``None`` on the last page)."""

    items: list[T]
    next_token: str | None


Fetch = Callable[[str], Awaitable[ProviderPage[T]]]
"""Requests the page with a token; the first page's token is ""."""


class _PagePosition(BaseModel):
    """A decoded cursor: a hash of the list's name (to refuse another list's cursor), the page's token, the entry."""

    model_config = ConfigDict(extra="forbid")

    list_hash: str = Field(max_length=64)
    token: str = Field(max_length=600)
    index: int = Field(ge=0, le=10 * PAGE_SIZE)


async def take(
    list_name: tuple[str, ...], fetch: Fetch[T], *, first: int, after: str | None, max_calls: int = 3
) -> RemotePage[T]:
    """Return up to ``first`` entries after the cursor; fewer if ``max_calls`` calls of ``fetch`` give fewer.

    Cursors are positions in the provider's own pages, whose size never changes, so a caller may change ``first``
    between pages. Raises ``InvalidInput`` for a cursor that is malformed or of another list.
    """
    if not 1 <= first <= PAGE_SIZE:
        message = f"A page has 1 to {PAGE_SIZE} entries."
        raise InvalidInput(message, path=("first",))
    list_hash = hashlib.sha256(repr(list_name).encode()).hexdigest()[:16]
    token, start = _decode(after, list_hash)
    edges: list[RemoteEdge[T]] = []
    for _ in range(max_calls):
        page = await fetch(token)
        for index, item in enumerate(page.items[start:], start):
            if len(edges) == first:
                return RemotePage(edges, has_next_page=True)
            edges.append(RemoteEdge(_encode(list_hash, token, index), item))
        if page.next_token is None:
            return RemotePage(edges, has_next_page=False)
        if len(edges) == first:
            return RemotePage(edges, has_next_page=True)
        token, start = page.next_token, 0
    # Without an edge there is no cursor from which the caller could continue.
    return RemotePage(edges, has_next_page=bool(edges))


def _encode(list_hash: str, token: str, index: int) -> str:
    position = _PagePosition(list_hash=list_hash, token=token, index=index)
    return base64.urlsafe_b64encode(position.model_dump_json().encode()).decode()


def _decode(cursor: str | None, list_hash: str) -> tuple[str, int]:
    if cursor is None:
        return "", 0
    try:
        # A cursor that is cut at the limit fails to decode, or is invalid JSON.
        raw = base64.b64decode(cursor[:MAX_CURSOR_CHARS], altchars=b"-_", validate=True)
        position = _PagePosition.model_validate_json(raw)
    except (ValueError, ValidationError):
        position = None
    if position is None or position.list_hash != list_hash:
        message = "The cursor is none of this list."
        raise InvalidInput(message, path=("after",))
    return position.token, position.index + 1
