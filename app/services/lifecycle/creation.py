"""What a new conversation begins with, and whether that will do."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from app.errors import InvalidInput
from app.models.conversation import ConversationTrigger
from app.services import trajectory
from app.services.lifecycle.title import checked_title
from app.services.message import Message
from app.services.repository import RepositoryChoice

PLACEHOLDER = "{conversation_id}"


@dataclass(frozen=True, slots=True)
class CreateConversation:
    """What a new conversation begins with.

    ``replay`` is a trajectory as it came; it excludes ``message`` and ``repository``. ``branch_name`` is null for the
    repository's default one.
    """

    title: str | None = None
    message: Message | None = None
    repository: RepositoryChoice | None = None
    branch_name: str | None = None
    trigger: ConversationTrigger = ConversationTrigger.GUI
    attach_conversation_id: bool = False
    replay: object | None = None
    idempotency_key: str | None = None


def check_creation(
    command: CreateConversation, conversation_id: UUID
) -> tuple[str | None, Message | None, list[dict[str, Any]] | None]:
    """The title, the first message and the events to play, checked. Raises InvalidInput."""
    title, message = checked_title(command.title), command.message
    if message is not None:
        if command.attach_conversation_id:
            message = replace(message, text=message.text.replace(PLACEHOLDER, str(conversation_id)))
        message.check("initialMessage")
    if command.branch_name is not None and command.repository is None:
        raise InvalidInput("A branch needs a repository.", path=("branchName",))
    if command.replay is None:
        return title, message, None
    if message is not None:
        raise InvalidInput("A replay begins with its own first message: leave initialMessage out.", path=("replay",))
    if command.repository is not None:
        raise InvalidInput("A replay changes no files: leave the repository out.", path=("repository",))
    return title, None, trajectory.check(command.replay)
