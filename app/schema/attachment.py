"""GraphQL type of the files that messages name."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import strawberry
from strawberry import Private

from app.context import Context
from app.schema.scalar import Long

Info = strawberry.Info[Context, None]


@strawberry.type(description="A file that a message names, as it was when the message was sent.")
class Attachment:
    conversation_key: Private[UUID]
    digest: Private[str]
    name: str = strawberry.field(description="The file's name.")
    media_type: str = strawberry.field(description="Images are told by their content, other files by their name.")
    size_bytes: Long = strawberry.field(description="The size in bytes.")

    @strawberry.field(
        description="The URL of a download, valid for five minutes, as `WorkspaceFile.downloadUrl`. Null where the "
        "file is not here: in a conversation that was replayed."
    )
    async def url(self, info: Info) -> str | None:
        if not self.digest:
            return None
        context = info.context
        return context.services.download.sign_attachment(
            context.owner_id, self.conversation_key, self.digest, self.name
        ).url


def attachments(row_id: str, stored: Sequence[Mapping[str, Any]]) -> list[Attachment]:
    """Build the GraphQL objects of attachments in an event's stored body."""
    return [
        Attachment(
            conversation_key=UUID(row_id.partition(":")[0]),
            digest=each["digest"],
            name=each["name"],
            media_type=each["media_type"],
            size_bytes=Long(each["size"]),
        )
        for each in stored
    ]
