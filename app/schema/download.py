"""Input and payload of `createDownload`, and the download of a URL that needs no header."""

from datetime import datetime

import strawberry

from app.schema.user_error import CreateDownloadError
from app.services import download
from app.services.download import DownloadFormat

URL = (
    "The URL of one GET without a header: keep it secret. Relative to the address of `/graphql`, as in "
    "`new URL(url, endpoint)`."
)


@strawberry.input(description="A request for a download.")
class CreateDownloadInput:
    conversation_id: strawberry.ID = strawberry.field(description="The conversation.")
    format: DownloadFormat = strawberry.field(description="The content and the file format.")
    paths: list[str] = strawberry.field(
        default_factory=list,
        description="For `FILE` the one file; for archives and patches none, which is the whole workspace, or at most "
        "100 files and directories; for trajectories none.",
    )


@strawberry.type(description="A URL that something can be downloaded from for a while.")
class Download:
    url: str = strawberry.field(description=URL)
    expires_at: datetime = strawberry.field(description="Until when a download may begin: five minutes.")
    file_name: str = strawberry.field(description="The name that it is saved under.")
    media_type: str = strawberry.field(description="The Content-Type of the response.")


@strawberry.type(description="The result of `createDownload`.")
class CreateDownloadPayload:
    download: Download | None = strawberry.field(default=None, description="Null if there are errors.")
    user_errors: list[CreateDownloadError] = strawberry.field(
        default_factory=list, description="Why there is no download; empty when there is one."
    )


def convert(made: download.Download) -> Download:
    """Build the GraphQL object of a download."""
    return Download(
        url=made.url,
        expires_at=made.expires_at,
        file_name=made.request.file_name,
        media_type=made.request.media_type,
    )
