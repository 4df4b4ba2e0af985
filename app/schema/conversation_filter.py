"""The filter and the order of a list of conversations."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import strawberry

from app.errors import InvalidInput
from app.models.conversation import ConversationStatus, ConversationTrigger
from app.models.search import filter as models
from app.models.search import order
from app.models.search.order import ConversationOrderField, OrderDirection
from app.schema.node import repository_key
from app.schema.scalar import invalid
from app.services.message import is_storable
from app.services.tag import MAX_FILTER_TAGS, checked_tags

TITLE_CONTAINS_MAX_LENGTH = 200


@strawberry.input(description="All that is given must hold.")
class ConversationFilter:
    status: list[ConversationStatus] | None = strawberry.field(default=None, description="Any of these.")
    repository_id: strawberry.ID | None = strawberry.field(
        default=None, description="Only conversations that work on this repository."
    )
    trigger: list[ConversationTrigger] | None = strawberry.field(default=None, description="Any of these.")
    title_contains: str | None = strawberry.field(
        default=None, description="Case-insensitive substring of the title, at most 200 characters."
    )
    created_after: datetime | None = strawberry.field(default=None, description="Created later than this.")
    created_before: datetime | None = strawberry.field(default=None, description="Created earlier than this.")
    updated_after: datetime | None = strawberry.field(default=None, description="Updated later than this.")
    updated_before: datetime | None = strawberry.field(default=None, description="Updated earlier than this.")
    is_archived: bool | None = strawberry.field(
        default=False,
        description="True: only archived ones. Null: archived ones too. By default they are left out, as in a mailbox.",
    )
    is_pinned: bool | None = strawberry.field(default=None, description="True: only pinned ones. False: only others.")
    tags: list[str] | None = strawberry.field(
        default=None, description="With any of these tags, at most 10, in upper or lower case."
    )
    all_tags: list[str] | None = strawberry.field(
        default=None, description="With all of these tags, at most 10, in upper or lower case."
    )

    def to_model(self) -> models.ConversationFilter:
        """Convert to the search's filter. Raises an INVALID_INPUT error for a `titleContains` or tags out of bounds."""
        title = self.title_contains
        if title is not None and (len(title) > TITLE_CONTAINS_MAX_LENGTH or not is_storable(title)):
            raise invalid(f"`titleContains` has at most {TITLE_CONTAINS_MAX_LENGTH} characters, all of them valid.")
        return models.ConversationFilter(
            statuses=tuple(dict.fromkeys(self.status)) if self.status is not None else None,
            triggers=tuple(dict.fromkeys(self.trigger)) if self.trigger is not None else None,
            # No repository has the nil UUID, so a malformed id matches no conversation.
            repository_id=(repository_key(self.repository_id) or UUID(int=0))
            if self.repository_id is not None
            else None,
            title_contains=title,
            created_after=self.created_after,
            created_before=self.created_before,
            updated_after=self.updated_after,
            updated_before=self.updated_before,
            is_archived=self.is_archived,
            is_pinned=self.is_pinned,
            any_tags=_folded("tags", self.tags) if self.tags is not None else None,
            all_tags=_folded("allTags", self.all_tags or ()),
        )


@strawberry.input(description="The order of conversations; ties are broken by id.")
class ConversationOrder:
    field: ConversationOrderField = strawberry.field(
        default=ConversationOrderField.CREATED_AT, description="The sort key."
    )
    direction: OrderDirection = strawberry.field(default=OrderDirection.DESC, description="Smallest or largest first.")
    pinned_first: bool | None = strawberry.field(
        default=strawberry.UNSET, description="True: pinned conversations before all others. Default false."
    )

    def to_model(self) -> order.ConversationOrder:
        """Convert to the search's order."""
        return order.ConversationOrder(self.field, self.direction, self.pinned_first is True)


def _folded(name: str, tags: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(checked_tags(tags, limit=MAX_FILTER_TAGS))
    except InvalidInput as error:
        raise invalid(f"`{name}`: {error.message}") from None
