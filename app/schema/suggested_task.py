"""GraphQL types of suggested tasks, and of the caller, whose tasks they are."""

import re
from typing import Annotated

import strawberry

from app.context import Context
from app.models.provider_account import ProviderType
from app.schema.connection import PageInfo, check_count
from app.schema.node import viewer_id
from app.schema.repository import Repository, convert
from app.schema.scalar import URI
from app.services.git.base import RemotePage, RemoteTask, TaskKind
from app.services.suggested_task import TaskReference

Info = strawberry.Info[Context, None]
DEFAULT_FIRST = 20
_ID = re.compile(
    rf"suggested_task:({'|'.join(ProviderType)}):({'|'.join(TaskKind)}):([1-9][0-9]{{0,9}}):([!-~]{{3,400}})", re.ASCII
)


@strawberry.type(description="Something that one of the caller's pull requests or issues needs next.")
class SuggestedTask:
    id: strawberry.ID = strawberry.field(description="For `createConversation`. It names no `Node`.")
    provider: ProviderType = strawberry.field(description="The kind of host it is at.")
    kind: TaskKind = strawberry.field(description="The task's kind.")
    repository_name: str = strawberry.field(description="`owner/name`.")
    number: int = strawberry.field(description="The pull request's or issue's number in its repository.")
    title: str = strawberry.field(description="The pull request's or issue's title, at most 500 characters.")
    url: URI = strawberry.field(description="Its page for people.")

    @strawberry.field(description="Asks the git provider; null with an error when it cannot be reached.")
    async def repository(self, info: Info) -> Repository | None:
        row = await info.context.named_repositories.load((self.provider, self.repository_name))
        return convert(row) if row is not None else None


@strawberry.type(description="A suggested task and its place in a list.")
class SuggestedTaskEdge:
    cursor: str = strawberry.field(description="Opaque; valid for the same list.")
    node: SuggestedTask = strawberry.field(description="The task.")


@strawberry.type(description="A page of suggested tasks.")
class SuggestedTaskConnection:
    edges: list[SuggestedTaskEdge] = strawberry.field(description="The tasks with their cursors.")
    nodes: list[SuggestedTask] = strawberry.field(description="Shortcut for `edges { node }`.")
    page_info: PageInfo = strawberry.field(description="The page's position in the connection.")


@strawberry.type(description="The caller.")
class Viewer:
    @strawberry.field(description="The same for every request of the caller. It names no `Node`.")
    def id(self, info: Info) -> strawberry.ID:
        return viewer_id(info.context.owner_id)

    @strawberry.field(
        description="Open pull requests of the caller's that have conflicts, failing checks or unresolved comments, "
        "then issues assigned to the caller, at most 50 of each. Asks the git provider; null with an error when it "
        "cannot be reached or no token is stored."
    )
    async def suggested_tasks(
        self,
        info: Info,
        provider: Annotated[ProviderType, strawberry.argument(description="The kind of host that is asked.")],
        first: Annotated[int | None, strawberry.argument(description="The page's size, 1 to 100.")] = DEFAULT_FIRST,
        after: Annotated[str | None, strawberry.argument(description="Only what stands behind this cursor.")] = None,
    ) -> SuggestedTaskConnection | None:
        context = info.context
        page = await context.services.suggested_task.search(
            context.owner_id,
            provider,
            first=check_count("first", first, DEFAULT_FIRST),
            after=after,
            calls=context.git_calls,
        )
        return connection(provider, page, after)


def connection(provider: ProviderType, page: RemotePage[RemoteTask], after: str | None) -> SuggestedTaskConnection:
    """Build the connection of a page; ``after`` tells whether there is a previous page."""
    edges = [SuggestedTaskEdge(cursor=edge.cursor, node=_task(provider, edge.node)) for edge in page.edges]
    info = PageInfo(
        has_next_page=page.has_next_page,
        has_previous_page=after is not None,
        start_cursor=edges[0].cursor if edges else None,
        end_cursor=edges[-1].cursor if edges else None,
    )
    return SuggestedTaskConnection(edges=edges, nodes=[edge.node for edge in edges], page_info=info)


def task_reference(text: str) -> TaskReference | None:
    """Decode a task's id; ``None`` if it is malformed."""
    match = _ID.fullmatch(text)
    if match is None:
        return None
    return TaskReference(ProviderType(match[1]), TaskKind(match[2]), match[4], int(match[3]))


def _task(provider: ProviderType, task: RemoteTask) -> SuggestedTask:
    return SuggestedTask(
        id=strawberry.ID(f"suggested_task:{provider}:{task.kind}:{task.number}:{task.repository_name}"),
        provider=provider,
        kind=task.kind,
        repository_name=task.repository_name,
        number=task.number,
        title=task.title,
        url=URI(task.url),
    )
