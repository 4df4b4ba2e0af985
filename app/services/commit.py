"""The use case by which a user commits the changes in a conversation's workspace."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from pydantic import TypeAdapter

from app.errors import ErrorCode, GitRefusal, InvalidInput, InvalidState, WorkspaceFailure, conversation_not_found
from app.models.conversation import AgentState, Conversation, ConversationRepository
from app.models.database.database import Database
from app.models.git_repository import GitRepository, GitRepositoryRepository
from app.models.provider_account import ProviderAccountRepository, ProviderType
from app.models.settings import SettingsRepository
from app.services.change_text import ChangeTextService
from app.services.clock import Clock
from app.services.git.commit import REFUSALS, CommitTarget, Committer, NewCommit, Signature
from app.services.git.hosts import checked_branch
from app.services.idempotency import Idempotency, Key
from app.services.message import check_storable
from app.services.push.wakeups import Wakeups, workspace_topic
from app.services.workspace import WorkspaceService
from app.services.workspace_contents import (
    ReadBudget,
    WorkspaceContents,
    WorkspaceState,
    WorkspaceSummary,
    relative,
)

MESSAGE_MAX_LENGTH = 10_000
MAX_PATHS = 500
ANYBODY = Signature("Parley user", "user@parley.invalid")
_TRAILER = re.compile(r"[A-Za-z0-9-]+: \S.*")
_NOT_IN_ADDRESS = re.compile(r"[^A-Za-z0-9._+-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CommitWorkspace:
    """Arguments of a commit. A blank ``message`` is generated; ``paths`` are ``None`` for all changes.

    ``is_agent``: the agent requests it by a tool, so its own active run does not prevent it.
    """

    conversation_id: UUID
    message: str | None = None
    paths: tuple[str, ...] | None = None
    is_agent: bool = False
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that was made. ``parent`` is ``None`` for the first one of a repository."""

    sha: str
    parent: str | None
    branch: str
    message: str
    author: Signature
    committed_at: datetime


_COMMIT = TypeAdapter(Commit)


class CommitService:
    """Commits in workspaces, for their owners."""

    def __init__(
        self,
        database: Database,
        wakeups: Wakeups,
        clock: Clock,
        *,
        workspace: WorkspaceService,
        contents: WorkspaceContents,
        committer: Committer,
        texts: ChangeTextService,
        coauthor: str,
    ) -> None:
        self._database = database
        self._wakeups = wakeups
        self._clock = clock
        self._workspace = workspace
        self._contents = contents
        self._committer = committer
        self._texts = texts
        self._coauthor = coauthor
        self._idempotency = Idempotency(database, clock)

    async def commit(self, owner_id: str, command: CommitWorkspace) -> Commit:
        """Commit the working tree on the branch that is checked out, or return the first commit under the same key.

        Raises NotFound, InvalidInput, InvalidState, GitRefusal or WorkspaceFailure; then nothing was committed.
        """
        key = Key(owner_id, f"commit:{command.conversation_id}", command.idempotency_key)
        message = _checked_message(command.message)
        paths = _checked_paths(command.paths)
        async with self._workspace.lock(command.conversation_id):
            conversation, repository = await self._read(owner_id, command.conversation_id)
            earlier = await self._idempotency.earlier(key)
            if earlier is not None and earlier.result is not None:
                return _COMMIT.validate_json(earlier.result)
            if not command.is_agent:
                check_idle(conversation)
            summary = await ready_workspace(self._contents, command.conversation_id)
            target = self._target(summary)
            author = await self._author(owner_id, repository)
            if not message:
                message = await self._texts.commit_message(owner_id, summary, paths)
            message = _with_trailer(message, self._coauthor)
            now = self._clock()
            sha = await self._committer.commit(target, NewCommit(message, author, now, paths))
            commit = Commit(sha, target.head, target.branch, message, author, now)
            if key.key is not None:
                async with self._database.unit_of_work() as unit:
                    self._idempotency.remember(unit, key, conversation.id, None, _COMMIT.dump_json(commit).decode())
        self._wakeups.publish(workspace_topic(command.conversation_id))
        log.info("workspace.committed", conversation_id=str(command.conversation_id), commit=sha)
        return commit

    def _target(self, summary: WorkspaceSummary) -> CommitTarget:
        head, path = summary.head, self._workspace.path(summary.conversation_id)
        if head.branch is not None:
            try:
                return CommitTarget(summary.conversation_id, path, checked_branch(head.branch), head.commit)
            except InvalidInput:
                pass
        if head.commit is None:
            raise no_repository()
        raise GitRefusal("No branch is checked out in the workspace.", code=ErrorCode.DETACHED_HEAD)

    async def _read(self, owner_id: str, conversation_id: UUID) -> tuple[Conversation, GitRepository | None]:
        async with self._database.read() as session:
            [conversation] = await ConversationRepository(session).get_many(owner_id, [conversation_id])
            if conversation is None:
                raise conversation_not_found("conversationId")
            if conversation.repository_id is None:
                return conversation, None
            [repository] = await GitRepositoryRepository(session).get_many(owner_id, [conversation.repository_id])
        return conversation, repository

    async def _author(self, owner_id: str, repository: GitRepository | None) -> Signature:
        """The author from the owner's settings; what is missing there comes from the login at the git provider."""
        async with self._database.read() as session:
            settings = await SettingsRepository(session).get(owner_id)
            account = None
            if repository is not None:
                provider = ProviderType(repository.provider)
                account = await ProviderAccountRepository(session).get(owner_id, provider)
        default = ANYBODY
        if repository is not None and account is not None:
            mailbox = _NOT_IN_ADDRESS.sub("-", account.login).strip("-.") or "user"
            default = Signature(_name(account.login), f"{mailbox}@users.noreply.{repository.host.partition(':')[0]}")
        if settings is None:
            return default
        return Signature(settings.git_author_name or default.name, settings.git_author_email or default.email)


def check_idle(conversation: Conversation) -> None:
    """Raise InvalidState while the agent works, since its tools write to the workspace then."""
    waits = conversation.agent_state == AgentState.AWAITING_USER_CONFIRMATION
    if conversation.active_run is not None and not waits:
        message = "The agent is at work: wait until it has answered, or stop the conversation."
        raise InvalidState(message, status=conversation.status)


async def ready_workspace(contents: WorkspaceContents, conversation_id: UUID) -> WorkspaceSummary:
    """Return the conversation's workspace. Raises WorkspaceFailure until it is prepared."""
    summary = await contents.get(conversation_id, ReadBudget())
    if summary is None or summary.state is not WorkspaceState.READY:
        raise WorkspaceFailure("The conversation has no workspace here yet.")
    return summary


def no_repository() -> GitRefusal:
    """Build the error for a workspace that is no git repository."""
    code, message = REFUSALS["repository"]
    return GitRefusal(message, code=code)


def _checked_message(message: str | None) -> str:
    text = (message or "").replace("\r\n", "\n")
    check_storable(text, "message")
    if len(text) > MESSAGE_MAX_LENGTH:
        raise InvalidInput(f"A message has at most {MESSAGE_MAX_LENGTH} characters.", path=("message",))
    if _CONTROL.search(text):
        raise InvalidInput("A message has no control characters.", path=("message",))
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))


def _checked_paths(paths: Sequence[str] | None) -> list[bytes] | None:
    """Return paths as git takes them; ``None`` for all changes. Raises InvalidInput."""
    if paths is None:
        return None
    if not 1 <= len(paths) <= MAX_PATHS:
        raise InvalidInput(f"`paths` has 1 to {MAX_PATHS} paths; null commits everything.", path=("paths",))
    checked: list[bytes] = []
    for path in paths:
        try:
            named = os.fsencode(relative(path))
        except InvalidInput as error:
            raise InvalidInput(error.message, path=("paths",)) from None
        except UnicodeEncodeError:
            raise InvalidInput("A path is not valid Unicode.", path=("paths",)) from None
        parts = named.split(b"/")
        if b".." in parts or b"\x00" in named or parts[0] in {b".git", b".parley"}:
            raise InvalidInput("A path is one in the workspace, without `..`.", path=("paths",))
        checked.append(named or b".")
    return None if b"." in checked else checked


def _with_trailer(message: str, coauthor: str) -> str:
    if not coauthor:
        return message
    trailer = f"Co-authored-by: {coauthor}"
    *before, last = message.split("\n\n")
    lines = last.split("\n")
    is_trailers = bool(before) and all(_TRAILER.fullmatch(line) for line in lines)
    if trailer in lines and is_trailers:
        return message
    return f"{message}\n{trailer}" if is_trailers else f"{message}\n\n{trailer}"


def _name(login: str) -> str:
    """Return a login as git takes a name: without angle brackets and control characters."""
    name = "".join(character for character in login if character.isprintable() and character not in "<>").strip()
    return name if any(character.isalnum() for character in name) else ANYBODY.name
