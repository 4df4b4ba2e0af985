"""Relay's `node` and `nodes`: refetch objects by global id through the request's batch loaders."""

import asyncio
from typing import Annotated
from uuid import UUID

import strawberry

from app.context import Context
from app.schema import conversation, event, provider_account, pull_request, repository, settings, workspace
from app.schema.node import (
    BranchKey,
    ConversationKey,
    EventKey,
    Node,
    ProviderAccountKey,
    PullRequestKey,
    RepositoryKey,
    SettingsKey,
    WorkspaceKey,
    parse_id,
)
from app.schema.scalar import invalid

Info = strawberry.Info[Context, None]
MAX_IDS = 100


async def get(
    info: Info,
    id: Annotated[strawberry.ID, strawberry.argument(description="A global ID.")],  # noqa: A002  The contract's name.
) -> Node | None:
    match parse_id(id):
        case ConversationKey(key):
            row = await info.context.conversations.load(key)
            return conversation.convert(row) if row is not None else None
        case EventKey(conversation_key, sequence):
            event_row = await info.context.events.load((conversation_key, sequence))
            return event.convert(event_row) if event_row is not None else None
        case SettingsKey(key):
            saved = await info.context.settings.load(key)
            return settings.convert(saved) if saved is not None else None
        case ProviderAccountKey() | RepositoryKey() | BranchKey() | PullRequestKey() as named:
            return await _of_provider(info.context, named)
        case WorkspaceKey(key):
            return await _workspace(info.context, key)
        case None:
            return None


async def _of_provider(
    context: Context, named: ProviderAccountKey | RepositoryKey | BranchKey | PullRequestKey
) -> Node | None:
    match named:
        case ProviderAccountKey(key):
            account = await context.provider_accounts.load(key)
            return provider_account.convert(account) if account is not None else None
        case RepositoryKey(key):
            seen = await context.repositories.load(key)
            return repository.convert(seen) if seen is not None else None
        case BranchKey(key):
            branch = await context.branches.load(key)
            return repository.convert_branch(branch) if branch is not None else None
        case PullRequestKey(key):
            proposed = await context.pull_requests.load(key)
            return pull_request.convert(proposed) if proposed is not None else None


async def _workspace(context: Context, key: UUID) -> Node | None:
    if await context.conversations.load(key) is None:
        return None
    summary = await context.services.workspace.get(key, context.workspace_reads)
    return workspace.convert(summary) if summary is not None else None


async def get_many(
    info: Info, ids: Annotated[list[strawberry.ID], strawberry.argument(description="Global IDs, at most 100.")]
) -> list[Node | None]:
    if len(ids) > MAX_IDS:
        raise invalid(f"`ids` has at most {MAX_IDS} ids.")
    return list(await asyncio.gather(*(get(info, given) for given in ids)))
