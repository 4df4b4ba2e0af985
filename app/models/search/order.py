"""The order of a list of conversations."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy.orm import InstrumentedAttribute

from app.models.conversation import Conversation


class ConversationOrderField(StrEnum):
    """The sort key of a list of conversations."""

    CREATED_AT = "CREATED_AT"
    UPDATED_AT = "UPDATED_AT"
    TITLE = "TITLE"


class OrderDirection(StrEnum):
    """Sort direction: ascending has the smallest key first."""

    ASC = "ASC"
    DESC = "DESC"


COLUMNS: dict[ConversationOrderField, Any] = {
    ConversationOrderField.CREATED_AT: Conversation.created_at,
    ConversationOrderField.UPDATED_AT: Conversation.updated_at,
    ConversationOrderField.TITLE: Conversation.title_folded,
}


@dataclass(frozen=True, slots=True)
class ConversationOrder:
    """Sort key and direction; the id breaks ties. ``pinned_first``: pinned conversations precede all others."""

    field: ConversationOrderField = ConversationOrderField.CREATED_AT
    direction: OrderDirection = OrderDirection.DESC
    pinned_first: bool = False

    @property
    def column(self) -> InstrumentedAttribute[Any]:
        """The column of the sort key; titles sort by their case-folded form."""
        return COLUMNS[self.field]

    @property
    def is_ascending(self) -> bool:
        """Tell whether the smallest key comes first."""
        return self.direction is OrderDirection.ASC


NEWEST_FIRST = ConversationOrder()
