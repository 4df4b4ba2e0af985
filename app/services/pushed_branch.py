"""The use case by which a user pushes the commits of a workspace to a branch at the git host."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

import structlog
from pydantic import TypeAdapter

from app.errors import (
    AppError,
    ErrorCode,
    GitProviderAuthentication,
    GitRefusal,
    InvalidInput,
    WorkspaceFailure,
    conversation_not_found,
)
from app.models.conversation import Conversation, ConversationRepository
from app.models.database.database import Database
from app.models.git_repository import GitRepository, GitRepositoryRepository
from app.models.provider_account import ProviderType
from app.models.pushed_branch import PushedBranch, PushedBranchRepository
from app.services.background import BackgroundTasks
from app.services.clock import Clock
from app.services.commit import check_idle, ready_workspace
from app.services.filesystem.files import WorkspaceFiles
from app.services.git.base import CloneSource
from app.services.git.clone import REDIRECTS, REFUSED
from app.services.git.export import CommitExport, shallow_commits
from app.services.git.head import SHA
from app.services.git.hosts import checked_branch
from app.services.git.push import GitPusher, RemoteRefs
from app.services.git.rejection import branch_moved, error_of
from app.services.idempotency import Idempotency, Key
from app.services.lifecycle import moves
from app.services.repository import RepositoryService
from app.services.workspace import WorkspaceService
from app.services.workspace_contents import WorkspaceContents, WorkspaceSummary

# A conversation that pushes ever new branches would grow without end.
MAX_BRANCHES = 100
_PAGES = {
    ProviderType.GITHUB: "/tree/",
    ProviderType.GITLAB: "/-/tree/",
    ProviderType.BITBUCKET: "/branch/",
}

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PushBranch:
    """Arguments of a push.

    ``expected_head`` is the commit that the workspace has to be at; without it, the agent must not be at work.
    ``replaced`` is the commit of the branch that may be lost (a forced push); ``None``: none may.
    ``is_new_or_own``: the branch must not exist yet, unless it was pushed from the conversation before.
    """

    conversation_id: UUID
    branch: str
    expected_head: str | None = None
    replaced: str | None = None
    to_default_branch: bool = False
    is_agent: bool = False
    is_new_or_own: bool = False
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Pushed:
    """A branch at the git host; ``url`` is its page for people."""

    branch: str
    commit: str
    url: str


_PUSHED = TypeAdapter(Pushed)


class PushService:
    """Pushes commits of workspaces with their owners' current tokens."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        workspace: WorkspaceService,
        contents: WorkspaceContents,
        repositories: RepositoryService,
        export: CommitExport,
        pusher: GitPusher,
        background: BackgroundTasks,
    ) -> None:
        self._database = database
        self._clock = clock
        self._workspace = workspace
        self._contents = contents
        self._repositories = repositories
        self._export = export
        self._pusher = pusher
        self._background = background
        self._idempotency = Idempotency(database, clock)

    async def push(self, owner_id: str, command: PushBranch) -> Pushed:
        """Push the last commit of the branch that is checked out, or return the first result under the same key.

        The push goes on when the call is cancelled; the same call then finds the branch pushed. Raises NotFound,
        InvalidInput, InvalidState, GitProviderAuthentication, GitProviderUnavailable, GitScopeMissing, GitRefusal or
        WorkspaceFailure; then this call has changed nothing at the git host.
        """
        key = Key(owner_id, f"push:{command.conversation_id}", command.idempotency_key)
        return await self._in_background(self._locked(owner_id, _checked(command), key))

    async def _in_background(self, work: Coroutine[Any, Any, T]) -> T:
        """Finish the work even if the caller is cancelled. Raises its AppError."""

        async def outcome() -> T | AppError:
            try:
                return await work
            except AppError as error:
                return error

        task = self._background.start("push branch", outcome())
        if task is None:
            work.close()
            raise WorkspaceFailure("The server is too busy to push: try again later.")
        result = await asyncio.shield(task)
        if isinstance(result, AppError):
            raise result
        return result

    async def _locked(self, owner_id: str, command: PushBranch, key: Key) -> Pushed:
        async with self._workspace.lock(command.conversation_id):
            conversation, repository = await read_repository(self._database, owner_id, command.conversation_id)
            earlier = await self._idempotency.earlier(key)
            if earlier is not None and earlier.result is not None:
                return _PUSHED.validate_json(earlier.result)
            if not command.is_agent and command.expected_head is None:
                # The agent may commit at any moment while it works.
                check_idle(conversation)
            head = await self._push(conversation, repository, command)
            page = _PAGES[ProviderType(repository.provider)]
            pushed = Pushed(command.branch, head, f"{repository.url}{page}{quote(command.branch)}")
            if key.key is not None:
                async with self._database.unit_of_work() as unit:
                    self._idempotency.remember(unit, key, conversation.id, None, _PUSHED.dump_json(pushed).decode())
        log.info(
            "branch.pushed", conversation_id=str(conversation.id), commit=head, forced=command.replaced is not None
        )
        return pushed

    async def _push(self, conversation: Conversation, repository: GitRepository, command: PushBranch) -> str:
        """Push, and return the commit."""
        source = await self._repositories.clone_source(conversation.owner_id, repository.id)
        if source.password is None:
            message = "No token is stored for the conversation's git host: store one that may push."
            raise GitProviderAuthentication(message, provider=repository.provider)
        summary = await ready_workspace(self._contents, conversation.id)
        head = _head(summary, command)
        source, refs = await self._refs(conversation.owner_id, repository, source, command.branch)
        await self._check_branch(command, repository, refs)
        if command.replaced is not None and refs.sha not in {command.replaced, head}:
            raise branch_moved(command.branch)
        if refs.sha != head:
            await self._send(summary, repository, source, command, head, refs.sha)
        await self._remember(conversation, command.branch, head)
        return head

    async def _check_branch(self, command: PushBranch, repository: GitRepository, refs: RemoteRefs) -> None:
        """Raise GitRefusal for a branch that the command does not allow."""
        is_default = command.branch in {refs.default_branch, repository.default_branch_name}
        if is_default and not command.to_default_branch:
            advice = "name another branch." if command.is_agent else "say `toDefaultBranch` to push to it."
            message = f"{command.branch} is the repository's default branch: {advice}"
            raise GitRefusal(message, code=ErrorCode.DEFAULT_BRANCH, path=("branchName",))
        if not command.is_new_or_own:
            return
        if refs.default_branch is None:
            # The first branch of a repository becomes its default branch.
            message = "The git host names no default branch: only the user may push there."
            raise GitRefusal(message, code=ErrorCode.DEFAULT_BRANCH, path=("branchName",))
        if refs.sha is not None and not await self._is_own(command):
            message = f"{command.branch} exists at the git host, and was not pushed from this conversation."
            raise GitRefusal(message, code=ErrorCode.BRANCH_EXISTS, path=("branchName",))

    async def _is_own(self, command: PushBranch) -> bool:
        async with self._database.read() as session:
            return await PushedBranchRepository(session).get(command.conversation_id, command.branch) is not None

    async def _refs(
        self, owner_id: str, repository: GitRepository, source: CloneSource, branch: str
    ) -> tuple[CloneSource, RemoteRefs]:
        """Ask the host for the branch, at the repository's new address if it was moved."""
        try:
            return source, await self._pusher.refs(source, branch)
        except WorkspaceFailure as failure:
            if failure.message == REFUSED:
                message = "The git host refused the token."
                raise GitProviderAuthentication(message, provider=repository.provider) from None
            if failure.message != REDIRECTS:
                raise
            source = await self._repositories.moved_source(owner_id, repository.id, failure)
            return source, await self._pusher.refs(source, branch)

    async def _send(
        self,
        summary: WorkspaceSummary,
        repository: GitRepository,
        source: CloneSource,
        command: PushBranch,
        head: str,
        before: str | None,
    ) -> None:
        path = self._workspace.path(command.conversation_id)
        shallow = await asyncio.to_thread(shallow_commits, WorkspaceFiles(path, None), summary.known_commits)
        async with self._pusher.repository(head, shallow) as bare:
            await self._export.export(command.conversation_id, path, head, shallow, bare.pack)
            await bare.take_in(head)
            if before is not None and command.replaced is None and not await bare.is_ancestor(before, head):
                raise branch_moved(command.branch)
            report = await bare.push(source, head, command.branch, before)
        if not report.is_pushed:
            raise error_of(report, source, ProviderType(repository.provider), command.branch)

    async def _remember(self, conversation: Conversation, branch: str, head: str) -> None:
        pushed = PushedBranch(conversation_id=conversation.id, name=branch, commit_sha=head, pushed_at=self._clock())
        async with self._database.write() as session:
            # A conversation may have been deleted meanwhile.
            if await moves.lock(session, conversation) is None:
                return
            rows = PushedBranchRepository(session)
            if await rows.get(conversation.id, branch) is None and (
                await rows.count(conversation.id, MAX_BRANCHES) == MAX_BRANCHES
            ):
                await rows.delete_oldest(conversation.id)
            await rows.save(pushed)


async def read_repository(
    database: Database, owner_id: str, conversation_id: UUID
) -> tuple[Conversation, GitRepository]:
    """Return an owner's conversation and its repository. Raises NotFound or GitRefusal."""
    async with database.read() as session:
        [conversation] = await ConversationRepository(session).get_many(owner_id, [conversation_id])
        if conversation is None:
            raise conversation_not_found("conversationId")
        repository = None
        if conversation.repository_id is not None:
            [repository] = await GitRepositoryRepository(session).get_many(owner_id, [conversation.repository_id])
    if repository is None:
        raise GitRefusal("The conversation has no repository at a git host.", code=ErrorCode.NO_REPOSITORY)
    return conversation, repository


def _checked(command: PushBranch) -> PushBranch:
    """Raise InvalidInput for a malformed branch or commit."""
    checked_branch(command.branch)
    for name, sha in (("expectedHeadSha", command.expected_head), ("replacedCommitSha", command.replaced)):
        if sha is not None and not SHA.fullmatch(sha):
            raise InvalidInput(f"`{name}` is a commit's whole hash, in lower case.", path=(name,))
    return command


def _head(summary: WorkspaceSummary, command: PushBranch) -> str:
    """Return the commit that is pushed. Raises GitRefusal."""
    head = summary.head.commit
    if command.expected_head is not None and head != command.expected_head:
        message = "The workspace's last commit is not the expected one."
        raise GitRefusal(message, code=ErrorCode.HEAD_MOVED, path=("expectedHeadSha",))
    if head is None or head == summary.base_commit:
        message = "There is no commit beyond what was cloned: commit something first."
        raise GitRefusal(message, code=ErrorCode.NOTHING_TO_PUSH)
    return head
