"""The table of conversations' tags, by which they are found. ``Conversation.tags`` has them as they are shown."""

from collections.abc import Iterable
from unicodedata import normalize
from uuid import UUID

from sqlalchemy import Index, String
from sqlmodel import Field, SQLModel, col, delete
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.conversation import fold

TAG_MAX_LENGTH = 50
_FOLDED_MAX_LENGTH = TAG_MAX_LENGTH * 3
# As for titles: comparisons must not depend on the database's locale.
_FOLDED = String(_FOLDED_MAX_LENGTH).with_variant(String(_FOLDED_MAX_LENGTH, collation="C"), "postgresql")


class ConversationTag(SQLModel, table=True):
    """One tag of one conversation, without regard to case. The primary key is the index that filters read."""

    __table_args__ = (Index("ix_conversationtag_conversation", "conversation_id"),)

    owner_id: str = Field(primary_key=True, max_length=200)
    name_folded: str = Field(primary_key=True, sa_type=_FOLDED)
    conversation_id: UUID = Field(primary_key=True, foreign_key="conversation.id", ondelete="CASCADE")


def fold_tag(name: str) -> str:
    """Return the form in which tags are compared: without case, and composed as far as Unicode allows."""
    return normalize("NFC", fold(normalize("NFD", name)))


class TagRepository:
    """Persistence of tags in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, owner_id: str, conversation_id: UUID, folded: Iterable[str]) -> None:
        """Insert at the next flush."""
        self._session.add_all(
            ConversationTag(owner_id=owner_id, name_folded=name, conversation_id=conversation_id) for name in folded
        )

    async def remove(self, owner_id: str, conversation_id: UUID, folded: Iterable[str]) -> None:
        """Delete the conversation's tags of these names."""
        await self._session.exec(
            delete(ConversationTag).where(
                col(ConversationTag.owner_id) == owner_id,
                col(ConversationTag.name_folded).in_(list(folded)),
                col(ConversationTag.conversation_id) == conversation_id,
            )
        )
