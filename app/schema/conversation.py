"""GraphQL types of conversations: the object, its connection, filter and order, and the inputs and payloads."""

from datetime import datetime

import strawberry
from strawberry import Private

from app.context import Context
from app.models import conversation as models
from app.models.conversation import AgentState, ConversationStatus, ConversationTrigger
from app.models.rows.conversation import ConversationRow
from app.models.search.filter import ConversationFilter
from app.models.search.order import ConversationOrder
from app.schema import event, pull_request, repository, workspace
from app.schema.connection import PageInfo, check_count, conversation_cursor
from app.schema.event import EventConnection, EventEdge, MessageEvent, event_query
from app.schema.event_connection import RowEventConnection
from app.schema.node import Node, conversation_id
from app.schema.problem import Problem
from app.schema.pull_request import PullRequestConnection
from app.schema.repository import Repository, RepositoryRef
from app.schema.rows.conversation import AGENT_STATE, STATUS, TRIGGER, unread
from app.schema.scalar import JSON, URI
from app.schema.usage import TokenUsage
from app.schema.user_error import (
    CreateConversationError,
    DeleteConversationError,
    RenameConversationError,
    SendMessageError,
    StartConversationError,
    StopConversationError,
)
from app.schema.workspace import Workspace
from app.services.message import AttachmentChoice, Message
from app.services.push.status_feed import StatusUpdate

Info = strawberry.Info[Context, None]


@strawberry.type(description="A conversation with an agent.")
class Conversation(Node):
    row: Private[models.Conversation | ConversationRow]
    title: str = strawberry.field(description="1 to 200 characters.")
    title_is_auto_generated: bool = strawberry.field(description="False once a user renamed it.")
    status: ConversationStatus = strawberry.field(description="The state of the conversation's runtime.")
    status_reason: Problem | None = strawberry.field(
        description="Why it failed, paused or was stopped by the server; null otherwise."
    )
    agent_state: AgentState | None = strawberry.field(description="Null unless `status` is RUNNING.")
    trigger: ConversationTrigger = strawberry.field(description="The conversation's origin.")
    branch_name: str | None = strawberry.field(
        description="The branch it works on: without one given, the provider's default branch until the clone is "
        "there, then what git's HEAD names. Null without a repository, or where that has no commits, or "
        "no branch at its HEAD."
    )
    llm_model: str | None = strawberry.field(description="The model in use; null before the first run.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When something last happened in it.")
    tags: list[str] = strawberry.field(
        description="At most 20, sorted, of 1 to 50 characters; see `updateConversations`."
    )
    is_pinned: bool = strawberry.field(description="True for one that the user keeps at hand; see `pinnedFirst`.")
    archived_at: datetime | None = strawberry.field(
        description="When it was archived; null if it is not. A message to it, or its start, brings it back."
    )
    event_count: int = strawberry.field(description="The number of events in its log.")
    unread: int = strawberry.field(description="The events behind `markRead` and the user's own last message.")
    usage: TokenUsage = strawberry.field(description="The total of all its LLM calls.")

    @strawberry.field(description="The git repository it works on, as its provider last told of it.")
    async def repository(self, info: Info) -> Repository | None:
        if self.row.repository_id is None:
            return None
        row = await info.context.repositories.load(self.row.repository_id)
        return repository.convert(row) if row is not None else None

    @strawberry.field(description="The last message of the user or the agent; null before the first one.")
    async def last_message(self, info: Info) -> MessageEvent | None:
        if self.row.last_message_sequence is None:
            return None
        row = await info.context.events.load((self.row.id, self.row.last_message_sequence))
        message = event.convert(row) if row is not None else None
        return message if isinstance(message, MessageEvent) else None

    @strawberry.field(description="The agent's workspace; null before the first start has prepared it.")
    async def workspace(self, info: Info) -> Workspace | None:
        context = info.context
        summary = await context.services.workspace.get(self.row.id, context.workspace_reads)
        return workspace.convert(summary) if summary is not None else None

    @strawberry.field(
        description="The pull requests of `createPullRequest`, newest first. States seen more than a minute ago are "
        "asked for again, at most 20 of them; where its provider can't be asked, the last known state is shown."
    )
    async def pull_requests(
        self, info: Info, first: pull_request.First = pull_request.DEFAULT_FIRST, after: pull_request.After = None
    ) -> PullRequestConnection:
        count = check_count("first", first, pull_request.DEFAULT_FIRST)
        rows = await info.context.conversations_pull_requests.load(self.row.id)
        return pull_request.connection(rows, count, after)

    @strawberry.field(description="Event history, oldest first. Neither `first` nor `last`: the last 50. At most 100.")
    async def events(
        self,
        info: Info,
        first: event.First = None,
        after: event.After = None,
        last: event.Last = None,
        before: event.Before = None,
        filter: event.Filter = None,  # noqa: A002  The contract's name.
    ) -> EventConnection:
        query = event_query(self.row.id, first=first, after=after, last=last, before=before, event_filter=filter)
        return RowEventConnection.of(await info.context.event_pages.load(query), query)

    @strawberry.field(
        description="The whole history as one document, which `CreateConversationInput.replay` accepts. Holds no "
        "secret."
    )
    async def trajectory(self, info: Info) -> JSON:
        context = info.context
        return JSON(await context.services.conversation.trajectory(context.owner_id, self.row.id))


@strawberry.type(description="A conversation and its place in a list.")
class ConversationEdge:
    cursor: str = strawberry.field(description="Opaque; valid for the same order.")
    node: Conversation = strawberry.field(description="The conversation.")


@strawberry.type(description="A page of conversations.")
class ConversationConnection:
    wanted: Private[ConversationFilter]
    edges: list[ConversationEdge] = strawberry.field(description="The conversations with their cursors.")
    nodes: list[Conversation] = strawberry.field(description="Shortcut for `edges { node }`.")
    page_info: PageInfo = strawberry.field(description="The page's position in the connection.")

    @strawberry.field(description="Counted only when selected.")
    async def total_count(self, info: Info) -> int:
        context = info.context
        return await context.services.conversation.count(context.owner_id, self.wanted)


@strawberry.input(description="Exactly one way to name a file of a message.", one_of=True)
class AttachmentInput:
    path: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="The file in the workspace, such as `uploads/plan.png`; not in a first message. It is copied: "
        "later changes make no difference to the message.",
    )
    upload_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET,
        description="An upload of `createUpload` without a conversation, which the message uses up. The file is put "
        "into the workspace, at the upload's path, before the agent reads the message.",
    )

    def to_choice(self) -> AttachmentChoice:
        """Convert without validation."""
        if isinstance(self.upload_id, str):
            return AttachmentChoice(upload_id=self.upload_id)
        return AttachmentChoice(path=self.path or "")


@strawberry.input(description="A user's message: text, images, or both.")
class MessageInput:
    text: str = strawberry.field(description="At most 100,000 characters; may be blank where there is an image.")
    image_urls: list[URI] = strawberry.field(
        default_factory=list, description="At most 10 images, as https or data URLs."
    )

    attachments: list[AttachmentInput] = strawberry.field(
        default_factory=list,
        description="At most 10 files, of 20 MiB each. Images among them are shown to the model, all are named to it.",
    )

    def to_message(self) -> Message:
        """Convert without validation: the service checks length and image URLs."""
        return Message(self.text, tuple(self.image_urls), tuple(each.to_choice() for each in self.attachments))


@strawberry.input(description="A new conversation.")
class CreateConversationInput:
    title: str | None = strawberry.field(
        default=None, description="Null or omitted: the server generates one from the first message."
    )
    initial_message: MessageInput | None = strawberry.field(
        default=None, description="The first message; without one the agent waits for it."
    )
    repository: RepositoryRef | None = strawberry.field(
        default=None, description="The repository that the agent works on, in a clone of its own."
    )
    branch_name: str | None = strawberry.field(
        default=None, description="Null or omitted: the repository's default branch."
    )
    suggested_task_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="A task of `viewer.suggestedTasks`. It sets repository, branch and trigger, and a first message "
        "unless there is one.",
    )
    trigger: ConversationTrigger = strawberry.field(
        default=ConversationTrigger.GUI, description="The conversation's origin."
    )
    attach_conversation_id: bool = strawberry.field(
        default=False,
        description="Replace `{conversation_id}` in the first message by the new conversation's ID.",
    )
    replay: JSON | None = strawberry.field(
        default=None,
        description="A trajectory to play again instead of asking the LLM; excludes `initialMessage`. Checked before "
        "anything is created.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Same key within 24 h returns the first result again instead of a second conversation.",
    )


@strawberry.input(description="Which conversation, and its title.")
class RenameConversationInput:
    id: strawberry.ID = strawberry.field(description="The conversation.")
    title: str | None = strawberry.field(
        default=None,
        description="1 to 200 characters once stripped. Null, omitted or blank: generate one from the first user "
        "message.",
    )


@strawberry.input(description="Which conversation.")
class DeleteConversationInput:
    id: strawberry.ID = strawberry.field(description="The conversation.")


@strawberry.input(description="Which conversation.")
class StartConversationInput:
    id: strawberry.ID = strawberry.field(description="The conversation.")


@strawberry.input(description="Which conversation.")
class StopConversationInput:
    id: strawberry.ID = strawberry.field(description="The conversation.")


@strawberry.input(description="A message to a conversation.")
class SendMessageInput:
    conversation_id: strawberry.ID = strawberry.field(description="The conversation.")
    message: MessageInput = strawberry.field(description="The user's message.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="Same key returns the first result again instead of a second message."
    )


@strawberry.type(description="The result of `createConversation`.")
class CreateConversationPayload:
    conversation: Conversation | None = strawberry.field(default=None, description="The new conversation.")
    conversation_edge: ConversationEdge | None = strawberry.field(default=None, description="For Relay's @prependEdge.")
    user_errors: list[CreateConversationError] = strawberry.field(
        default_factory=list, description="Why nothing was created; empty when it was."
    )


@strawberry.type(description="The result of `renameConversation`.")
class RenameConversationPayload:
    conversation: Conversation | None = strawberry.field(default=None, description="The renamed conversation.")
    user_errors: list[RenameConversationError] = strawberry.field(
        default_factory=list, description="Why nothing was renamed; empty when it was."
    )


@strawberry.type(description="The result of `deleteConversation`.")
class DeleteConversationPayload:
    deleted_conversation_id: strawberry.ID | None = strawberry.field(
        default=None, description="For Relay's @deleteEdge / @deleteRecord and cache eviction."
    )
    user_errors: list[DeleteConversationError] = strawberry.field(
        default_factory=list, description="Why nothing was deleted; empty when it was."
    )


@strawberry.type(description="The result of `startConversation`.")
class StartConversationPayload:
    conversation: Conversation | None = strawberry.field(default=None, description="The started conversation.")
    user_errors: list[StartConversationError] = strawberry.field(
        default_factory=list, description="Why nothing was started; empty when it was."
    )


@strawberry.type(description="The result of `stopConversation`.")
class StopConversationPayload:
    conversation: Conversation | None = strawberry.field(default=None, description="The stopped conversation.")
    user_errors: list[StopConversationError] = strawberry.field(
        default_factory=list, description="Why nothing was stopped; empty when it was."
    )


@strawberry.type(description="The result of `sendMessage`.")
class SendMessagePayload:
    event_edge: EventEdge | None = strawberry.field(default=None, description="The message in the log.")
    conversation: Conversation | None = strawberry.field(default=None, description="The conversation.")
    user_errors: list[SendMessageError] = strawberry.field(
        default_factory=list, description="Why nothing was sent; empty when it was."
    )


@strawberry.type(description="A conversation's status after a change.")
class ConversationStatusChange:
    conversation: Conversation | None = strawberry.field(description="Normalised caches update from this.")
    deleted_conversation_id: strawberry.ID | None = strawberry.field(
        description="Set instead of `conversation` when it was deleted."
    )
    previous_status: ConversationStatus | None = strawberry.field(
        description="Null for the snapshot sent on subscribing, and for a new conversation; the same as `status` where "
        "only `agentState`, tags, pin or archive changed."
    )
    occurred_at: datetime = strawberry.field(description="When it changed.")


def convert(row: models.Conversation | ConversationRow) -> Conversation:
    """Build the GraphQL object of a row. Enum values that only a newer release knows become the closest known ones."""
    status = STATUS.member(row.status)
    return Conversation(
        id=conversation_id(row.id),
        row=row,
        title=row.title,
        title_is_auto_generated=row.title_is_auto_generated,
        status=status,
        status_reason=Problem.of_names(row.reason_code, row.reason_message),
        agent_state=AGENT_STATE.member(row.agent_state) if status is ConversationStatus.RUNNING else None,
        trigger=TRIGGER.member(row.trigger),
        branch_name=row.branch_name,
        llm_model=row.llm_model,
        created_at=row.created_at,
        updated_at=row.updated_at,
        tags=row.tags,
        is_pinned=row.is_pinned,
        archived_at=row.archived_at,
        event_count=row.last_sequence,
        unread=unread(row.last_sequence, row.read_sequence),
        usage=TokenUsage.of_columns(row.prompt_tokens, row.completion_tokens, row.cost_usd, row.is_cost_known),
    )


def edge(row: models.Conversation | ConversationRow, order: ConversationOrder) -> ConversationEdge:
    """Build the edge of a row; its cursor is valid for ``order`` only."""
    return ConversationEdge(cursor=conversation_cursor(row, order), node=convert(row))


def status_change(update: StatusUpdate) -> ConversationStatusChange:
    """Build the payload of `conversationStatusChanged`; exactly one of conversation and deleted id is set."""
    deleted = update.deleted_conversation_id
    return ConversationStatusChange(
        conversation=convert(update.conversation) if update.conversation is not None else None,
        deleted_conversation_id=conversation_id(deleted) if deleted is not None else None,
        previous_status=ConversationStatus.__members__.get(update.previous_status or ""),
        occurred_at=update.occurred_at,
    )
