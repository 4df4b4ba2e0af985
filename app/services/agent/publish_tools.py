"""The agent's tools that publish its work through the server: ``commit_changes`` and ``open_pull_request``.

They always wait for the user's confirmation, whatever the confirmation mode is. They hold no token: the server commits
and pushes as it does for its callers.
"""

from collections.abc import Callable

from pydantic import Field

from app.errors import AppError, ErrorCode
from app.services.agent.tools import Arguments, Tool, ToolContext, ToolFault, ToolOutput, typed_tool
from app.services.commit import MAX_PATHS, MESSAGE_MAX_LENGTH, CommitService, CommitWorkspace
from app.services.filesystem.files import MAX_PATH_CHARACTERS
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
            "that is checked out. The user is asked first."
        )
        propose = (
            "Push the commits of the workspace to a branch at the git host, and open a pull request for it. Commit "
            "first. The user is asked first; the server pushes, since there is no network here."
        )
        return [
            typed_tool(
                "commit_changes", commit, CommitArguments, self._commit, needs_shell=True, is_for_publishing=True
            ),
            typed_tool(
                "open_pull_request",
                propose,
                PullRequestArguments,
                self._propose,
                needs_shell=True,
                is_for_publishing=True,
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
            pushed = await self._pushes.push(
                context.owner_id, PushBranch(context.conversation_id, given.branch_name, is_agent=True)
            )
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
    if error.code is ErrorCode.DEFAULT_BRANCH:
        return ToolFault("That is the repository's default branch: name another branch.")
    return ToolFault(f"{error.wire_code()}: {error.message}")
