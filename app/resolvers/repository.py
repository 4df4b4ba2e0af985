"""Queries for git repositories, which ask the git host through the service."""

from typing import Annotated

import strawberry

from app.context import Context
from app.models.provider_account import ProviderType
from app.schema.connection import check_count
from app.schema.repository import DEFAULT_FIRST, Repository, RepositoryConnection, connection, convert
from app.services.git.base import RepositorySort
from app.services.repository import RepositoryQuery

Info = strawberry.Info[Context, None]
Provider = Annotated[ProviderType, strawberry.argument(description="The kind of host that is asked.")]


async def get(
    info: Info,
    provider: Provider,
    name_with_owner: Annotated[str, strawberry.argument(description="`owner/name`.")],
) -> Repository | None:
    context = info.context
    row = await context.services.repository.get(context.owner_id, provider, name_with_owner, context.git_calls)
    return convert(row) if row is not None else None


async def search(
    info: Info,
    provider: Provider,
    query: Annotated[
        str | None,
        strawberry.argument(
            description="The search text, own and public, at most 200 characters. Null: all of the caller's own."
        ),
    ] = None,
    sort: Annotated[RepositorySort, strawberry.argument(description="In this order.")] = RepositorySort.PUSHED,
    first: Annotated[int | None, strawberry.argument(description="The page's size, 1 to 100.")] = DEFAULT_FIRST,
    after: Annotated[str | None, strawberry.argument(description="Only what stands behind this cursor.")] = None,
) -> RepositoryConnection | None:
    repository_query = RepositoryQuery(
        provider=provider,
        first=check_count("first", first, DEFAULT_FIRST),
        query=query,
        sort=sort,
        after=after,
    )
    context = info.context
    return connection(
        await context.services.repository.search(context.owner_id, repository_query, context.git_calls), after
    )
