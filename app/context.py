"""What a resolver reaches: the caller, the services, and loaders that turn many reads into one."""

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
from app.models.provider_account import ProviderAccount
from app.models.rows.event import EventRow
from app.models.settings import Settings
from app.services.auth.authenticator import Caller
from app.services.conversation import ConversationService
from app.services.event import EventPage, EventService
from app.services.git.calls import CallBudget
from app.services.git.patch import Change
from app.services.git.working_tree import ChangesSince, Diff
from app.services.provider_account import ProviderAccountService
from app.services.push.progress import Progress
from app.services.push.status_feed import StatusFeed
from app.services.repository import RepositoryService
from app.services.settings import SettingsService
from app.services.tool_call import ToolCallService
from app.services.workspace_contents import ReadBudget, WorkspaceContents, WorkspaceSummary

MAX_BATCH = 200


@dataclass(frozen=True)
class Services:
    """The use cases."""

    conversation: ConversationService
    event: EventService
    status: StatusFeed
    settings: SettingsService
    provider_account: ProviderAccountService
    repository: RepositoryService
    tool_call: ToolCallService
    workspace: WorkspaceContents


@dataclass(frozen=True, slots=True)
class DiffKey:
    """A diff that is wanted. Those of one workspace are made together."""

    workspace: WorkspaceSummary
    since: ChangesSince
    change: Change
    context_lines: int


class Context:
    """What the fields of one operation share.

    Loaders gather what sibling fields ask for into one statement. They keep nothing, since a subscription lives long
    and a mutation's fields are resolved after it wrote. Most operations need none, so each is made when it is needed.
    None should refer to the context where that is easily had: each request would be left to the garbage collector.
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
    def default_branches(self) -> DataLoader[UUID, GitBranch | None]:
        return _loader(self._default_branches)

    @cached_property
    def git_calls(self) -> CallBudget:
        """What the operation may still ask of git providers."""
        return self.services.repository.budget()

    @cached_property
    def workspace_reads(self) -> ReadBudget:
        """What the operation may still look at in workspaces."""
        return ReadBudget()

    @cached_property
    def diffs(self) -> DataLoader[DiffKey, Diff]:
        return _loader(self._diffs)

    @property
    def owner_id(self) -> str:
        """Whose rows this is about. Raises Unauthenticated."""
        if self.caller is None:
            message = "Nobody is authenticated."
            raise Unauthenticated(message)
        return self.caller.id

    async def _owned_accounts(self, owner_ids: list[str]) -> list[list[ProviderAccount]]:
        found = await self.services.provider_account.search(self.owner_id)
        return [found if owner_id == self.owner_id else [] for owner_id in owner_ids]

    async def _diffs(self, keys: list[DiffKey]) -> list[Diff | BaseException]:
        groups: dict[tuple[WorkspaceSummary, ChangesSince, int], dict[Change, None]] = {}
        for key in keys:
            groups.setdefault((key.workspace, key.since, key.context_lines), {})[key.change] = None
        found: dict[DiffKey, Diff | BaseException] = {}
        for (workspace, since, lines), changes in groups.items():
            wanted = [DiffKey(workspace, since, change, lines) for change in changes]
            try:
                made = await self.services.workspace.diffs(workspace, since, list(changes), lines, self.workspace_reads)
            except AppError as error:
                found.update(dict.fromkeys(wanted, error))
            else:
                found.update(zip(wanted, made, strict=True))
        return [found[key] for key in keys]

    async def _default_branches(self, ids: list[UUID]) -> list[GitBranch | BaseException | None]:
        found = await self.services.repository.default_branches(self.owner_id, ids, self.git_calls)
        return list(found)


def _loader(load: Callable[[list[Any]], Awaitable[Sequence[Any]]]) -> DataLoader[Any, Any]:
    return DataLoader(load, max_batch_size=MAX_BATCH, cache=False)
