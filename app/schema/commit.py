"""GraphQL types of the commits of a workspace."""

from datetime import datetime

import strawberry


@strawberry.type(description="A commit in a workspace. An agent can write what it likes there, a name and a date too.")
class Commit:
    sha: str = strawberry.field(description="The commit's hash.")
    parent_shas: list[str] = strawberry.field(description="The commits before it, at most 100; empty for a first one.")
    message: str = strawberry.field(
        description="The whole message, trailers included, up to 100,000 bytes; what is no text is U+FFFD."
    )
    message_headline: str = strawberry.field(description="The first line of the message, up to 500 characters.")
    message_body: str = strawberry.field(description="The message without its headline.")
    is_truncated: bool = strawberry.field(description="True if the message is longer than `message`.")
    author_name: str = strawberry.field(description="The author's name.")
    author_email: str = strawberry.field(description="The author's e-mail address.")
    authored_at: datetime = strawberry.field(description="When it was written.")
