"""The agent's tools that publish its work through the server: ``commit_changes`` and ``open_pull_request``.

They wait for the user's confirmation unless the owner's ``PublishPolicy`` allows the call. They hold no token: the
server commits and pushes as it does for its callers.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field

from app.errors import AppError
from app.models.conversation import Conversation
from app.models.settings import PublishPolicy
from app.services.agent.tools import Arguments, PublishRule, Tool, ToolContext, ToolFault, ToolOutput, typed_tool
from app.services.commit import MAX_PATHS, MESSAGE_MAX_LENGTH, CommitService, CommitWorkspace
from app.services.filesystem.path_walk import MAX_PATH_CHARACTERS
from app.services.git.call_budget import CallBudget
from app.services.git.hosts import MAX_BRANCH_CHARS
from app.services.pull_request import BODY_MAX_LENGTH, TITLE_MAX_LENGTH, CreatePullRequest, PullRequestService
from app.services.pushed_branch import PushBranch, PushService


class CommitArguments(Arguments):
    """Arguments of ``commit_changes``."""

    message: str = Field(
        min_length=1,
        max_length=MESSAGE_MAX_LENGTH,
        description="A subject line of at most 72 characters in the imperative mood; after an empty line, the reasons.",
    )
    paths: list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_PATHS,
        description=f"Files and directories to commit, each of at most {MAX_PATH_CHARACTERS} characters; null: all.",
    )


class PullRequestArguments(Arguments):
    """Arguments of ``open_pull_request``."""

    branch_name: str = Field(
        min_length=1,
        max_length=MAX_BRANCH_CHARS,
        description="The branch at the git host to push to, such as fix/typo; not the default branch.",
    )
    title: str = Field(min_length=1, max_length=TITLE_MAX_LENGTH, description="The title of the pull request.")
    body: str = Field(default="", max_length=BODY_MAX_LENGTH, description="Its description, in Markdown.")
    base_branch_name: str | None = Field(
        default=None, max_length=MAX_BRANCH_CHARS, description="The branch it is meant for; null: the one cloned."
    )
    is_draft: bool = Field(default=False, description="Whether it is not to be merged yet.")


def pushes_to_cloned_branch(conversation: Conversation, arguments: Mapping[str, Any]) -> bool:
    """Tell whether a call of ``open_pull_request`` names the branch that the user chose: a push there is the user's."""
    return arguments.get("branch_name") == conversation.branch_name


COMMITTING = PublishRule(frozenset({PublishPolicy.ALLOW_COMMITS, PublishPolicy.ALLOW_PULL_REQUESTS}))
PROPOSING = PublishRule(frozenset({PublishPolicy.ALLOW_PULL_REQUESTS}), pushes_to_cloned_branch)


class PublishTools:
    """Implements the tools with the use cases of commits, pushes and pull requests."""

    def __init__(
        self,
        commits: CommitService,
        pushes: PushService,
        pull_requests: PullRequestService,
        budget: Callable[[], CallBudget],
    ) -> None:
        self._commits = commits
        self._pushes = pushes
        self._pull_requests = pull_requests
        self._budget = budget

    def tools(self) -> list[Tool]:
        """Return the tools for a ``Toolbox``."""
        commit = (
            "Commit what is different in the workspace, with the user as author and you as co-author, on the branch "
            "that is checked out. The user may be asked first."
        )
        propose = (
            "Push the commits of the workspace to a branch at the git host, and open a pull request for it. Commit "
            "first. The user may be asked first; the server pushes, since there is no network here."
        )
        return [
            typed_tool(
                "commit_changes", commit, CommitArguments, self._commit, needs_shell=True, publishing=COMMITTING
            ),
            typed_tool(
                "open_pull_request",
                propose,
                PullRequestArguments,
                self._propose,
                needs_shell=True,
                publishing=PROPOSING,
            ),
        ]

    async def _commit(self, context: ToolContext, given: CommitArguments) -> ToolOutput:
        paths = tuple(given.paths) if given.paths is not None else None
        command = CommitWorkspace(context.conversation_id, given.message, paths, is_agent=True)
        try:
            commit = await self._commits.commit(context.owner_id, command)
        except AppError as error:
            raise _fault(error) from None
        return ToolOutput(f"Committed {commit.sha} on {commit.branch}.")

    async def _propose(self, context: ToolContext, given: PullRequestArguments) -> ToolOutput:
        try:
            push = PushBranch(
                context.conversation_id, given.branch_name, is_agent=True, is_new_or_own=not context.is_confirmed
            )
            pushed = await self._pushes.push(context.owner_id, push)
            command = CreatePullRequest(
                context.conversation_id,
                given.title,
                given.body,
                head_branch=pushed.branch,
                base_branch=given.base_branch_name,
                is_draft=given.is_draft,
            )
            row = await self._pull_requests.create(context.owner_id, command, self._budget())
        except AppError as error:
            raise _fault(error) from None
        return ToolOutput(
            f"Pushed {pushed.commit} to {pushed.branch}. The pull request is number {row.number}: {row.url}"
        )


def _fault(error: AppError) -> ToolFault:
    """Build the fault that the agent is told; the codes of refusals help it to go on."""
    return ToolFault(f"{error.wire_code()}: {error.message}")
