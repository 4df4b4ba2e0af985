"""The command that creates a conversation, its validation, and the new row."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from app.errors import InvalidInput
from app.models.conversation import Conversation, ConversationStatus, ConversationTrigger, fold
from app.models.database.unit_of_work import made
from app.models.provider_account import ProviderType
from app.services.git.base import RemoteTask, TaskKind
from app.services.git.hosts import checked_branch
from app.services.lifecycle.title import checked_title, default_title, truncated_title
from app.services.message import Message
from app.services.repository import MergeChoice, RepositoryChoice
from app.services.suggested_task import TaskReference, first_message

PLACEHOLDER = "{conversation_id}"
# The defaults of all columns that have one.
_DEFAULTS: dict[str, Any] = {
    name: field.default for name, field in Conversation.model_fields.items() if not field.is_required()
}


@dataclass(frozen=True, slots=True)
class CreateConversation:
    """Arguments of a new conversation, not validated yet.

    ``replay`` is a trajectory as the client sent it; it excludes ``message`` and ``repository``. Without
    ``branch_name`` the repository's default branch is used. ``task`` gives repository, branch and trigger, the
    message unless there is one, and ``merge``, the branch to be merged.
    """

    title: str | None = None
    message: Message | None = None
    repository: RepositoryChoice | None = None
    branch_name: str | None = None
    task: TaskReference | None = None
    merge: MergeChoice | None = None
    trigger: ConversationTrigger = ConversationTrigger.GUI
    attach_conversation_id: bool = False
    replay: object | None = None
    idempotency_key: str | None = None


def check_task(command: CreateConversation) -> None:
    """Raise InvalidInput if a task is combined with arguments that the task determines."""
    if command.task is None:
        return
    others = (("repository", command.repository), ("branchName", command.branch_name), ("replay", command.replay))
    for name, value in others:
        if value is not None:
            raise InvalidInput(f"A suggested task decides this: leave {name} out.", path=(name,))


def with_task(command: CreateConversation, provider: ProviderType, task: RemoteTask) -> CreateConversation:
    """Return the command with the task's repository, branch and trigger, and its first message unless there is one."""
    return replace(
        command,
        message=command.message or Message(first_message(provider, task)),
        repository=RepositoryChoice(provider=provider, name_with_owner=task.clone_name),
        branch_name=task.branch_name,
        merge=_merge(provider, task),
        trigger=ConversationTrigger.SUGGESTED_TASK,
    )


def _merge(provider: ProviderType, task: RemoteTask) -> MergeChoice | None:
    if task.kind is not TaskKind.MERGE_CONFLICTS or task.base_branch_name is None:
        return None
    is_fork = task.repository_name != task.clone_name
    repository = RepositoryChoice(provider=provider, name_with_owner=task.repository_name) if is_fork else None
    return MergeChoice(task.base_branch_name, repository)


def check_creation(command: CreateConversation, conversation_id: UUID) -> tuple[str | None, Message | None]:
    """Return the validated title and first message. Raises InvalidInput, also for a replay beside other arguments.

    The trajectory itself is not validated here.
    """
    title, message = checked_title(command.title), command.message
    if message is not None:
        if command.attach_conversation_id:
            message = replace(message, text=message.text.replace(PLACEHOLDER, str(conversation_id)))
        message.check("initialMessage")
    if command.branch_name is not None:
        checked_branch(command.branch_name)
    if command.branch_name is not None and command.repository is None:
        raise InvalidInput("A branch needs a repository.", path=("branchName",))
    if command.replay is None:
        return title, message
    if message is not None:
        raise InvalidInput("A replay begins with its own first message: leave initialMessage out.", path=("replay",))
    if command.repository is not None:
        raise InvalidInput("A replay changes no files: leave the repository out.", path=("repository",))
    return title, None


def new_conversation(  # noqa: PLR0913  Each is a column of the row.
    command: CreateConversation,
    owner_id: str,
    conversation_id: UUID,
    title: str | None,
    *,
    replayed_text: str | None,
    repository_id: UUID | None,
    branch_name: str | None,
    llm_model: str,
    now: datetime,
) -> Conversation:
    """Create the row of a stopped conversation without events.

    ``replayed_text`` is the first user message of a trajectory to replay. Without a title, it gives a generated one.
    """
    generated = truncated_title(replayed_text or "")
    shown_title = title or generated or default_title(conversation_id)
    values: dict[str, Any] = {
        **_DEFAULTS,
        "id": conversation_id,
        "owner_id": owner_id,
        "title": shown_title,
        "title_folded": fold(shown_title),
        "title_is_auto_generated": title is None,
        # A title is generated only to replace the default one.
        "title_revision": 1 if title or generated else 0,
        "status": ConversationStatus.STOPPED,
        "trigger": command.trigger,
        "repository_id": repository_id,
        "branch_name": branch_name,
        "branch_is_default": repository_id is not None and command.branch_name is None,
        "llm_model": llm_model,
        "tags": [],
        "created_at": now,
        "updated_at": now,
    }
    return made(Conversation, values)
