"""Input and payload of `createUpload`, and the upload to a URL that needs no header."""

from datetime import datetime

import strawberry

from app.schema.scalar import Long
from app.schema.user_error import CreateUploadError
from app.schema.workspace import PATH
from app.services import upload
from app.services.filesystem.names import shown


@strawberry.input(description="A request for an upload.")
class CreateUploadInput:
    conversation_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="The conversation whose workspace, which is there, gets the file. Null or omitted: a message names "
        "the upload within 24 hours by its `uploadId`.",
    )
    path: str = strawberry.field(
        description="The path in the workspace; an existing file is replaced. A name alone, such as "
        "`data.csv`, goes to `uploads`; `./data.csv` goes beside that."
    )
    size_bytes: Long = strawberry.field(
        description="The file's size: by default at most 100 MiB, without a conversation at most 20 MiB."
    )


@strawberry.type(description="A URL that one file can be uploaded to for a while.")
class Upload:
    url: str = strawberry.field(
        description="The URL of one PUT without a header, whose body is the file: keep it secret. "
        "Relative to the address of `/graphql`, as in `new URL(url, endpoint)`. The answer is 201."
    )
    expires_at: datetime = strawberry.field(description="Until when the PUT may begin: five minutes.")
    path: str = strawberry.field(description=PATH)
    size_bytes: Long = strawberry.field(description="The required size of the body.")


@strawberry.type(description="The result of `createUpload`.")
class CreateUploadPayload:
    upload: Upload | None = strawberry.field(default=None, description="Null if there are errors.")
    upload_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="The ID for `AttachmentInput.uploadId`; null if there are errors, or the file goes to a workspace.",
    )
    user_errors: list[CreateUploadError] = strawberry.field(
        default_factory=list, description="Why there is no upload; empty when there is one."
    )


def payload(made: upload.Upload) -> CreateUploadPayload:
    """Build the payload of an upload."""
    request = made.request
    upload_id = strawberry.ID(request.number) if request.conversation_id is None else None
    return CreateUploadPayload(upload=_convert(made), upload_id=upload_id)


def _convert(made: upload.Upload) -> Upload:
    return Upload(
        url=made.url,
        expires_at=made.expires_at,
        path=shown(made.request.path),
        size_bytes=Long(made.request.size),
    )
