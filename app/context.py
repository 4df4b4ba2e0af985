"""The context of resolvers: the caller, the services, and batch loaders."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any
from uuid import UUID

from strawberry.dataloader import DataLoader

from app.errors import AppError, Unauthenticated
from app.models.conversation import Conversation
from app.models.event import EventQuery
from app.models.git_repository import GitBranch, GitRepository
from app.models.provider_account import ProviderAccount, ProviderType
from app.models.pull_request import PullRequest
from app.models.rows.event import EventRow
from app.models.settings import Settings
from app.services.auth.authenticator import Caller
from app.services.commit import CommitService
from app.services.conversation import ConversationService
from app.services.conversation_batch import ConversationBatchService
from app.services.download import DownloadService
from app.services.event import EventPage, EventService
from app.services.git.call_budget import CallBudget
from app.services.git.patch import Change
from app.services.git.working_tree import ChangesSince, Diff
from app.services.provider_account import ProviderAccountService
from app.services.pull_request import PullRequestService
from app.services.push.progress import Progress
from app.services.push.status_feed import StatusFeed
from app.services.pushed_branch import PushService
from app.services.read_mark import ReadMarkService
from app.services.repository import RepositoryService
from app.services.settings import SettingsService
from app.services.suggested_task import SuggestedTaskService
from app.services.tool_call import ToolCallService
from app.services.upload import UploadService
from app.services.workspace_contents import ReadBudget, WorkspaceContents, WorkspaceSummary
from app.services.workspace_feed import WorkspaceFeed

MAX_BATCH = 200
RepositoryName = tuple[ProviderType, str]


@dataclass(frozen=True)
class Services:
    """All services, as resolvers reach them."""

    conversation: ConversationService
    conversation_batch: ConversationBatchService
    event: EventService
    read_mark: ReadMarkService
    status: StatusFeed
    settings: SettingsService
    provider_account: ProviderAccountService
    repository: RepositoryService
    suggested_task: SuggestedTaskService
    tool_call: ToolCallService
    workspace: WorkspaceContents
    workspace_feed: WorkspaceFeed
    download: DownloadService
    upload: UploadService
    commit: CommitService
    push: PushService
    pull_request: PullRequestService


@dataclass(frozen=True, slots=True)
class DiffKey:
    """The key of a diff for the batch loader, which computes all diffs of one workspace together."""

    workspace: WorkspaceSummary
    since: ChangesSince
    change: Change
    context_lines: int


class Context:
    """The context of one operation, which all its fields share.

    Batch loaders combine the reads of sibling fields into one statement. They don't cache: a subscription lives long,
    and a mutation's fields are resolved after its write. Most operations need no loader, so each is created on first
    use. Loaders should not hold a reference to the context, since that would make each request a reference cycle.
    """

    def __init__(self, services: Services, caller: Caller | None = None, progress: Progress | None = None) -> None:
        self.services = services
        self.caller = caller
        self.progress = progress or Progress()
        self.connection_params: dict[str, object] | None = None

    @cached_property
    def conversations(self) -> DataLoader[UUID, Conversation | None]:
        return _loader(partial(self.services.conversation.get_many, self.owner_id))

    @cached_property
    def events(self) -> DataLoader[tuple[UUID, int], EventRow | None]:
        return _loader(partial(self.services.event.get_many, self.owner_id))

    @cached_property
    def event_pages(self) -> DataLoader[EventQuery, EventPage]:
        return _loader(partial(self.services.event.pages, self.owner_id))

    @cached_property
    def settings(self) -> DataLoader[UUID, Settings | None]:
        return _loader(partial(self.services.settings.get_many, self.owner_id))

    @cached_property
    def provider_accounts(self) -> DataLoader[UUID, ProviderAccount | None]:
        return _loader(partial(self.services.provider_account.get_many, self.owner_id))

    @cached_property
    def owned_accounts(self) -> DataLoader[str, list[ProviderAccount]]:
        return _loader(self._owned_accounts)

    @cached_property
    def repositories(self) -> DataLoader[UUID, GitRepository | None]:
        return _loader(partial(self.services.repository.get_many, self.owner_id))

    @cached_property
    def branches(self) -> DataLoader[UUID, GitBranch | None]:
        return _loader(partial(self.services.repository.get_many_branches, self.owner_id))

    @cached_property
    def pull_requests(self) -> DataLoader[UUID, PullRequest | None]:
        return _loader(partial(self.services.pull_request.get_many, self.owner_id))

    @cached_property
    def conversations_pull_requests(self) -> DataLoader[UUID, list[PullRequest]]:
        return _loader(self._conversations_pull_requests)

    @cached_property
    def default_branches(self) -> DataLoader[UUID, GitBranch | None]:
        return _loader(self._default_branches)

    @cached_property
    def named_repositories(self) -> DataLoader[RepositoryName, GitRepository | None]:
        return _loader(self._named_repositories)

    @cached_property
    def git_calls(self) -> CallBudget:
        """The operation's budget of calls to git providers."""
        return self.services.repository.budget()

    @cached_property
    def workspace_reads(self) -> ReadBudget:
        """The operation's remaining budget of reads in workspaces."""
        return ReadBudget()

    @cached_property
    def diffs(self) -> DataLoader[DiffKey, Diff]:
        return _loader(self._diffs)

    @property
    def owner_id(self) -> str:
        """The id of the caller, whose rows the operation reads and writes. Raises Unauthenticated."""
        if self.caller is None:
            message = "Nobody is authenticated."
            raise Unauthenticated(message)
        return self.caller.id

    async def _owned_accounts(self, owner_ids: list[str]) -> list[list[ProviderAccount]]:
        accounts = await self.services.provider_account.search(self.owner_id)
        return [accounts if owner_id == self.owner_id else [] for owner_id in owner_ids]

    async def _named_repositories(self, names: list[RepositoryName]) -> list[GitRepository | BaseException | None]:
        """Ask for each repository once, however many fields want it; an error belongs to its own repository alone."""

        async def get(name: RepositoryName) -> GitRepository | BaseException | None:
            try:
                return await self.services.repository.get(self.owner_id, *name, self.git_calls)
            except AppError as error:
                return error

        distinct = list(dict.fromkeys(names))
        found = dict(zip(distinct, await asyncio.gather(*map(get, distinct)), strict=True))
        return [found[name] for name in names]

    async def _diffs(self, keys: list[DiffKey]) -> list[Diff | BaseException]:
        groups: dict[tuple[WorkspaceSummary, ChangesSince, int], dict[Change, None]] = {}
        for key in keys:
            groups.setdefault((key.workspace, key.since, key.context_lines), {})[key.change] = None
        results: dict[DiffKey, Diff | BaseException] = {}
        for (workspace, since, lines), changes in groups.items():
            group_keys = [DiffKey(workspace, since, change, lines) for change in changes]
            try:
                diffs = await self.services.workspace.diffs(
                    workspace, since, list(changes), lines, self.workspace_reads
                )
            except AppError as error:
                results.update(dict.fromkeys(group_keys, error))
            else:
                results.update(zip(group_keys, diffs, strict=True))
        return [results[key] for key in keys]

    async def _conversations_pull_requests(self, ids: list[UUID]) -> list[list[PullRequest]]:
        # The same conversation may be asked for twice.
        unique = list(dict.fromkeys(ids))
        found = await self.services.pull_request.of_conversations(self.owner_id, unique, self.git_calls)
        by_id = dict(zip(unique, found, strict=True))
        return [by_id[conversation_id] for conversation_id in ids]

    async def _default_branches(self, ids: list[UUID]) -> list[GitBranch | BaseException | None]:
        branches = await self.services.repository.default_branches(self.owner_id, ids, self.git_calls)
        return list(branches)


def _loader(load: Callable[[list[Any]], Awaitable[Sequence[Any]]]) -> DataLoader[Any, Any]:
    return DataLoader(load, max_batch_size=MAX_BATCH, cache=False)
