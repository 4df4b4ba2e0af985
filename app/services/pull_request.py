"""Use cases of pull requests: created from a branch that was pushed, shown as their provider last told of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from app.errors import (
    AppError,
    ErrorCode,
    GitProviderAuthentication,
    GitRefusal,
    InvalidInput,
    WorkspaceFailure,
    conversation_not_found,
)
from app.models.conversation import Conversation
from app.models.database.database import Database
from app.models.event import EventRepository, MessageBody, decode_body
from app.models.git_repository import GitRepository, GitRepositoryRepository
from app.models.provider_account import ProviderType
from app.models.pull_request import (
    PULL_REQUEST_TITLE_MAX_LENGTH,
    PullRequest,
    PullRequestRepository,
    PullRequestState,
)
from app.models.pushed_branch import PushedBranchRepository
from app.services.change_text import ChangeTextService
from app.services.clock import Clock
from app.services.commit import ready_workspace
from app.services.git.answer import check_pull_request
from app.services.git.base import GitAccess, GitProvider, NewPullRequest, RemotePullRequest
from app.services.git.call_budget import CallBudget
from app.services.git.hosts import checked_branch
from app.services.idempotency import Idempotency, Key
from app.services.lifecycle import moves
from app.services.message import check_storable
from app.services.pushed_branch import read_repository
from app.services.repository import RepositoryService
from app.services.visible_text import beginning, shortened, visible
from app.services.workspace import WorkspaceService
from app.services.workspace_contents import WorkspaceContents

TITLE_MAX_LENGTH = 255
BODY_MAX_LENGTH = 50_000
MAX_PULL_REQUESTS = 100
MESSAGES_READ = 20
FRESH = timedelta(seconds=60)
# Of one read: the pull requests that are refreshed, and the longest wait for them.
MAX_REFRESHED = 20
REFRESH_SECONDS = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CreatePullRequest:
    """Arguments of a new pull request. A blank title or body is generated.

    ``head_branch``: ``None`` for the branch that was pushed last; ``base_branch``: ``None`` for the conversation's.
    """

    conversation_id: UUID
    title: str | None = None
    body: str | None = None
    head_branch: str | None = None
    base_branch: str | None = None
    is_draft: bool = False
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A provider with the access of a call, for one repository."""

    repository: GitRepository
    provider: GitProvider
    access: GitAccess


class PullRequestService:
    """Creates and reads pull requests, for the owners of conversations, with the token that is saved now."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        workspace: WorkspaceService,
        contents: WorkspaceContents,
        repositories: RepositoryService,
        texts: ChangeTextService,
    ) -> None:
        self._database = database
        self._clock = clock
        self._workspace = workspace
        self._contents = contents
        self._repositories = repositories
        self._texts = texts
        self._idempotency = Idempotency(database, clock)

    async def create(self, owner_id: str, command: CreatePullRequest, calls: CallBudget) -> PullRequest:
        """Create a pull request, or return the one that is open between the same branches.

        Raises NotFound, InvalidInput, GitProviderAuthentication, GitProviderUnavailable, GitScopeMissing or GitRefusal.
        A call that was cut off anywhere may be repeated: there is one pull request then.
        """
        key = Key(owner_id, f"pull_request:{command.conversation_id}", command.idempotency_key)
        title, body = _checked(command)
        conversation, repository = await read_repository(self._database, owner_id, command.conversation_id)
        async with self._workspace.lock(conversation.id):
            earlier = await self._earlier(key, conversation, repository)
            if earlier is not None:
                return earlier
            provider, access = await self._repositories.asked(repository)
            if access.token is None:
                message = "No token is stored for the conversation's git host: store one that may create pull requests."
                raise GitProviderAuthentication(message, provider=repository.provider)
            head, base = await self._branches(command, conversation, repository)
            asked = _Asked(repository, provider, access)
            found = await self._find(asked, head, base, calls)
            if found is None:
                title, body = await self._texts_of(conversation, title, body)
                found = await self._create(asked, NewPullRequest(title, body, head, base, command.is_draft), calls)
            row = await self._save(conversation, repository, found)
            if key.key is not None:
                async with self._database.unit_of_work() as unit:
                    self._idempotency.remember(unit, key, conversation.id, row.number)
        log.info("pull_request.created", conversation_id=str(conversation.id), number=row.number)
        return row

    async def get_many(self, owner_id: str, ids: Sequence[UUID]) -> list[PullRequest | None]:
        """Return stored pull requests in the order of ``ids``, with ``None`` for those that are another owner's."""
        async with self._database.read() as session:
            return await PullRequestRepository(session).get_many(owner_id, ids)

    async def of_conversations(
        self, owner_id: str, conversation_ids: Sequence[UUID], calls: CallBudget
    ) -> list[list[PullRequest]]:
        """Return the pull requests of each conversation, newest first, for a batch loader.

        Those that were seen more than a minute ago are asked for again, at most 20 of them and for 5 s. What can't be
        read from its provider is returned as it is stored. Merged ones never change.
        """
        async with self._database.read() as session:
            rows = await PullRequestRepository(session).search(owner_id, conversation_ids)
            since = self._clock() - FRESH
            stale = [row for row in rows if row.seen_at < since and row.state != PullRequestState.MERGED]
            stale = stale[:MAX_REFRESHED]
            ids = list({row.repository_id for row in stale})
            repositories = await GitRepositoryRepository(session).get_many(owner_id, ids) if ids else []
        if stale:
            await self._refresh(stale, [repository for repository in repositories if repository is not None], calls)
        by_conversation: dict[UUID, list[PullRequest]] = {}
        for row in rows:
            by_conversation.setdefault(row.conversation_id, []).append(row)
        return [by_conversation.get(conversation_id, []) for conversation_id in conversation_ids]

    async def _earlier(self, key: Key, conversation: Conversation, repository: GitRepository) -> PullRequest | None:
        earlier = await self._idempotency.earlier(key)
        if earlier is None or earlier.event_sequence is None:
            return None
        async with self._database.read() as session:
            rows = PullRequestRepository(session)
            return await rows.get(conversation.id, repository.id, earlier.event_sequence)

    async def _branches(
        self, command: CreatePullRequest, conversation: Conversation, repository: GitRepository
    ) -> tuple[str, str]:
        """Return head and base. Raises GitRefusal or InvalidInput."""
        async with self._database.read() as session:
            pushed = await PushedBranchRepository(session).get(conversation.id, command.head_branch)
            rows = await PullRequestRepository(session).search(conversation.owner_id, [conversation.id])
        if pushed is None:
            raise GitRefusal("No such branch was pushed: push one first.", code=ErrorCode.NOTHING_TO_PUSH)
        if len(rows) >= MAX_PULL_REQUESTS:
            message = f"A conversation has at most {MAX_PULL_REQUESTS} pull requests."
            raise GitRefusal(message, code=ErrorCode.PULL_REQUEST_REFUSED)
        head = pushed.name
        defaults = (conversation.branch_name, repository.default_branch_name)
        base = command.base_branch or next((name for name in defaults if name and name != head), None)
        if base is None or base == head:
            message = "A pull request needs a base other than its own branch."
            raise InvalidInput(message, path=("baseBranchName",))
        return head, base

    async def _texts_of(self, conversation: Conversation, title: str, body: str) -> tuple[str, str]:
        """Generate title and body where they are blank; the conversation's title is what always remains."""
        if not (title and body):
            request = await self._first_message(conversation.id)
            try:
                summary = await ready_workspace(self._contents, conversation.id)
                title, body = await self._texts.pull_request(
                    conversation.owner_id, summary, request, title=title, body=body
                )
            except WorkspaceFailure as failure:
                # The workspace may be in another instance's data directory.
                log.info("pull_request.no_workspace", reason=failure.message)
        title = title or visible(conversation.title)
        return shortened(title, TITLE_MAX_LENGTH, TITLE_MAX_LENGTH - 3), body

    async def _first_message(self, conversation_id: UUID) -> str:
        async with self._database.read() as session:
            events = await EventRepository(session).user_messages(conversation_id, MESSAGES_READ)
        for event in events:
            body = decode_body(event)
            if isinstance(body, MessageBody) and beginning(body.text, 0):
                return body.text.strip()
        return ""

    async def _find(self, asked: _Asked, head: str, base: str, calls: CallBudget) -> RemotePullRequest | None:
        async with calls.call():
            return await asked.provider.find_pull_request(asked.access, asked.repository.name_with_owner, head, base)

    async def _create(self, asked: _Asked, new: NewPullRequest, calls: CallBudget) -> RemotePullRequest:
        async with calls.call():
            name = asked.repository.name_with_owner
            created = await asked.provider.create_pull_request(asked.access, name, new)
        # Somebody else may have created it in between.
        found = created or await self._find(asked, new.head_branch, new.base_branch, calls)
        if found is None:
            message = "The git host says that there is such a pull request already, and does not show it."
            raise GitRefusal(message, code=ErrorCode.PULL_REQUEST_REFUSED)
        return found

    async def _save(
        self, conversation: Conversation, repository: GitRepository, seen: RemotePullRequest
    ) -> PullRequest:
        check_pull_request(ProviderType(repository.provider), seen)
        now = self._clock()
        async with self._database.write() as session:
            if await moves.lock(session, conversation) is None:
                raise conversation_not_found("conversationId")
            rows = PullRequestRepository(session)
            row = await rows.get(conversation.id, repository.id, seen.number)
            if row is None:
                row = PullRequest(
                    conversation_id=conversation.id,
                    repository_id=repository.id,
                    number=seen.number,
                    url=seen.url,
                    state=seen.state,
                    title=seen.title[:PULL_REQUEST_TITLE_MAX_LENGTH],
                    head_branch_name=seen.head_branch,
                    base_branch_name=seen.base_branch,
                    is_draft=seen.is_draft,
                    created_at=now,
                    seen_at=now,
                )
                rows.add(row)
            _apply(row, seen)
            row.seen_at = now
        return row

    async def _refresh(
        self, stale: Sequence[PullRequest], repositories: Sequence[GitRepository], calls: CallBudget
    ) -> None:
        """Ask the providers again, and write what they answer to the rows and to the database."""
        known = {repository.id: repository for repository in repositories}
        asking = [(row, known[row.repository_id]) for row in stale if row.repository_id in known]
        tasks = [asyncio.create_task(self._seen(row, repository, calls)) for row, repository in asking]
        if not tasks:
            return
        try:
            await asyncio.wait(tasks, timeout=REFRESH_SECONDS)
        finally:
            for task in tasks:
                task.cancel()
        now = self._clock()
        answers = [
            (row, seen)
            for (row, _), task in zip(asking, tasks, strict=True)
            if task.done() and not task.cancelled() and (seen := task.result()) is not None
        ]
        for row, seen in answers:
            _apply(row, seen)
            row.seen_at = now
        async with self._database.write() as session:
            await PullRequestRepository(session).update([row for row, _ in answers])

    async def _seen(self, row: PullRequest, repository: GitRepository, calls: CallBudget) -> RemotePullRequest | None:
        """Return the pull request as its provider shows it now; ``None`` if that can't be known."""
        try:
            provider, access = await self._repositories.asked(repository)
            async with calls.call():
                seen = await provider.pull_request(access, repository.name_with_owner, row.number)
            if seen is not None:
                check_pull_request(provider.type, seen)
        except AppError as error:
            log.info("pull_request.not_refreshed", pull_request_id=str(row.id), reason=error.wire_code())
            return None
        return seen


def _apply(row: PullRequest, seen: RemotePullRequest) -> None:
    row.url, row.state = seen.url, seen.state
    row.title = seen.title[:PULL_REQUEST_TITLE_MAX_LENGTH]
    row.head_branch_name, row.base_branch_name = seen.head_branch, seen.base_branch
    row.is_draft = seen.is_draft


def _checked(command: CreatePullRequest) -> tuple[str, str]:
    """Return title and body as they are sent, "" where they are blank. Raises InvalidInput."""
    given = (command.title or "").strip()
    check_storable(given, "title")
    if len(given) > TITLE_MAX_LENGTH:
        raise InvalidInput(f"A title has at most {TITLE_MAX_LENGTH} characters.", path=("title",))
    body = (command.body or "").strip()
    check_storable(body, "body")
    if len(body) > BODY_MAX_LENGTH:
        raise InvalidInput(f"A body has at most {BODY_MAX_LENGTH} characters.", path=("body",))
    for name, branch in (("headBranchName", command.head_branch), ("baseBranchName", command.base_branch)):
        if branch is not None:
            try:
                checked_branch(branch)
            except InvalidInput as error:
                raise InvalidInput(error.message, path=(name,)) from None
    return visible(given), body
