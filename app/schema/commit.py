"""GraphQL types of the commits of a workspace."""

from datetime import datetime

import strawberry

from app.schema.connection import PageInfo, name_cursor
from app.services.git.commit_object import LoggedCommit
from app.services.git.history import HistoryPage


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


@strawberry.type(description="A commit and its place in a history.")
class CommitEdge:
    cursor: str = strawberry.field(description="Opaque; valid while the commit is in the history.")
    node: Commit = strawberry.field(description="The commit.")


@strawberry.type(description="A page of a history, newest first.")
class CommitConnection:
    edges: list[CommitEdge] = strawberry.field(description="The commits with their cursors.")
    nodes: list[Commit] = strawberry.field(description="Shortcut for `edges { node }`.")
    page_info: PageInfo = strawberry.field(description="The page's position in the connection.")


def convert(commit: LoggedCommit) -> Commit:
    """Build the GraphQL object of a commit."""
    return Commit(
        sha=commit.sha,
        parent_shas=list(commit.parents),
        message=commit.message,
        message_headline=commit.headline,
        message_body=commit.body,
        is_truncated=commit.is_cut,
        author_name=commit.author.name,
        author_email=commit.author.email,
        authored_at=commit.author.at,
    )


def connection(page: HistoryPage, after: str | None) -> CommitConnection:
    """Build the connection of a page that begins after the cursor ``after``."""
    edges = [CommitEdge(cursor=name_cursor(commit.sha), node=convert(commit)) for commit in page.commits]
    page_info = PageInfo(
        has_next_page=page.has_more,
        has_previous_page=after is not None,
        start_cursor=edges[0].cursor if edges else None,
        end_cursor=edges[-1].cursor if edges else None,
    )
    return CommitConnection(edges=edges, nodes=[edge.node for edge in edges], page_info=page_info)
