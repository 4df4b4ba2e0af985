"""Suggested tasks: what a caller's pull requests and issues at a git provider need next."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import GitProviderAuthentication, NotFound
from app.models.provider_account import ProviderType
from app.services.git.base import GitAccess, GitProvider, RemotePage, RemoteTask, TaskKind
from app.services.git.call_budget import CallBudget
from app.services.git.checkout import merge_remote
from app.services.git.paging import ProviderPage, take
from app.services.provider_account import ProviderAccountService

_WORK = {
    TaskKind.MERGE_CONFLICTS: "It has conflicts with its base branch, {base}. Merge {base} into {branch}, which is "
    "checked out, and resolve the conflicts: look at the commits on both sides, keep what each of them is for, and run "
    "the tests. The base branch is there as {remote}/{base}; commit the merge with git.",
    TaskKind.FAILING_CHECKS: "Its checks fail. The branch {branch} is checked out. Find out how the checks are run, "
    "reproduce the failure, and mend its cause rather than the check.",
    TaskKind.UNRESOLVED_COMMENTS: "Reviewers have left comments that are not resolved. The branch {branch} is checked "
    "out. Read the comments, change the code where they are right, and say for each what you did or why you did "
    "nothing.",
    TaskKind.OPEN_ISSUE: "The default branch is checked out. Find the code that the issue is about, resolve the issue "
    "with a test that shows it, and say what you changed.",
}


@dataclass(frozen=True, slots=True)
class TaskReference:
    """A reference to a task of the caller's. The task itself is read from the provider when it is needed."""

    provider: ProviderType
    kind: TaskKind
    repository_name: str
    number: int


class SuggestedTaskService:
    """Asks providers with the owner's token; nothing is stored. ``calls`` is the request's budget of calls.

    All calls raise GitProviderAuthentication, also without a stored token, and GitProviderUnavailable.
    """

    def __init__(self, providers: Mapping[ProviderType, GitProvider], accounts: ProviderAccountService) -> None:
        self._providers = providers
        self._accounts = accounts

    async def search(
        self, owner_id: str, provider_type: ProviderType, *, first: int, after: str | None, calls: CallBudget
    ) -> RemotePage[RemoteTask]:
        """Return a page of the provider's tasks. A cursor is a place in the list. Raises InvalidInput for another's."""
        provider, access = await self._access(owner_id, provider_type)

        async def all_tasks(_token: str) -> ProviderPage[RemoteTask]:
            async with calls.call():
                return ProviderPage(await provider.suggested_tasks(access), None)

        return await take((provider_type, provider.host(access), "tasks"), all_tasks, first=first, after=after)

    async def get(self, owner_id: str, reference: TaskReference, calls: CallBudget) -> RemoteTask:
        """Return a task as it is now. Raises NotFound if it is done, was taken away, or never was the caller's."""
        provider, access = await self._access(owner_id, reference.provider)
        async with calls.call():
            tasks = await provider.suggested_tasks(access)
        for task in tasks:
            if (task.repository_name, task.number) == (reference.repository_name, reference.number):
                return task
        raise NotFound("The task does not exist any more.", path=("suggestedTaskId",))

    async def _access(self, owner_id: str, provider_type: ProviderType) -> tuple[GitProvider, GitAccess]:
        access = await self._accounts.access(owner_id, provider_type)
        if access.token is None:
            message = "No token is stored for this provider: store one to see its tasks."
            raise GitProviderAuthentication(message, provider=provider_type)
        return self._providers[provider_type], access


def first_message(provider: ProviderType, task: RemoteTask) -> str:
    """Write what the agent is asked to do about a task. The title is in quotes: strangers may have written it."""
    noun, mark = ("merge request", "!") if provider is ProviderType.GITLAB else ("pull request", "#")
    if task.kind is TaskKind.OPEN_ISSUE:
        noun, mark = "issue", "#"
    remote = merge_remote(is_fork=task.clone_name != task.repository_name)
    work = _WORK[task.kind].format(branch=task.branch_name, base=task.base_branch_name, remote=remote)
    return f"Work on {noun} {mark}{task.number} of {task.repository_name}, “{task.title}” ({task.url}). {work}"
