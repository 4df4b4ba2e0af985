"""Query, Mutation and Subscription become the schema, with its limits and its masking."""

import strawberry
import structlog
from graphql import GraphQLError
from strawberry.extensions import MaskErrors, MaxTokensLimiter, ParserCache, ValidationCache
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from app import resolvers
from app.errors import AppError, Unauthenticated
from app.logs import new_reference_id
from app.schema.conversation import (
    Conversation,
    ConversationConnection,
    CreateConversationPayload,
    DeleteConversationPayload,
    RenameConversationPayload,
    SendMessagePayload,
    StartConversationPayload,
    StopConversationPayload,
)
from app.schema.event import EVENT_TYPES
from app.schema.node import Node
from app.schema.scalar import SCALARS
from app.schema.settings import ResetSettingsPayload, Settings, UpdateSettingsPayload

log = structlog.get_logger(__name__)

MAX_TOKENS = 5000
CACHED_DOCUMENTS = 500


@strawberry.type(description="What can be read.")
class Query:
    """Queries."""

    node: Node | None = strawberry.field(
        resolver=resolvers.node.get, description="Refetch any object by its global ID."
    )
    nodes: list[Node | None] = strawberry.field(
        resolver=resolvers.node.get_many,
        description="Refetch objects; the order of `ids` is kept, null for what is not visible. At most 100.",
    )
    conversation: Conversation | None = strawberry.field(
        resolver=resolvers.conversation.get, description="Null when it does not exist or is not the caller's."
    )
    conversations: ConversationConnection = strawberry.field(
        resolver=resolvers.conversation.search, description="The caller's conversations. `first` is at most 100."
    )
    settings: Settings | None = strawberry.field(
        resolver=resolvers.settings.get, description="Null until the caller saves settings."
    )


@strawberry.type(description="What can be changed.")
class Mutation:
    """Mutations."""

    create_conversation: CreateConversationPayload = strawberry.field(
        resolver=resolvers.conversation.create, description="Create a conversation and start its agent."
    )
    rename_conversation: RenameConversationPayload = strawberry.field(
        resolver=resolvers.conversation.rename, description="Give a conversation a title, or have one made."
    )
    delete_conversation: DeleteConversationPayload = strawberry.field(
        resolver=resolvers.conversation.delete,
        description="Stop a conversation, and delete it with its log and workspace.",
    )
    start_conversation: StartConversationPayload = strawberry.field(
        resolver=resolvers.conversation.start, description="Bring a stopped conversation back to waiting for input."
    )
    stop_conversation: StopConversationPayload = strawberry.field(
        resolver=resolvers.conversation.stop,
        description="Stop a conversation at once; nothing of its run comes after this.",
    )
    send_message: SendMessagePayload = strawberry.field(
        resolver=resolvers.conversation.send_message,
        description="Say something. A stopped conversation starts; while the agent answers, the message is queued.",
    )
    update_settings: UpdateSettingsPayload = strawberry.field(
        resolver=resolvers.settings.update, description="Save settings."
    )
    reset_settings: ResetSettingsPayload = strawberry.field(
        resolver=resolvers.settings.reset,
        description="Deletes the caller's settings and stored API key; provider tokens stay.",
    )


@strawberry.type(description="What can be watched.")
class Subscription:
    """Subscriptions."""

    conversation_status_changed = strawberry.subscription(
        resolver=resolvers.conversation.status_changed,
        description="Sends the current status of each conversation first, so nothing is lost between a query and "
        "this. Null: all of the caller's.",
    )
    conversation_events = strawberry.subscription(
        resolver=resolvers.event.follow,
        description="Replays events after the cursor `after` (null: only new ones), then follows. Resume with the "
        "last `cursor`; the stream ends when the conversation is deleted.",
    )
    message_deltas = strawberry.subscription(
        resolver=resolvers.event.deltas,
        description="The agent's answer while it is being written. Nothing is kept: the finished answer comes as a "
        "`MessageEvent`.",
    )


class Masking(MaskErrors):
    """Expected failures keep their words and get a code; unexpected ones get a reference that the log carries too."""

    def __init__(self) -> None:
        super().__init__(should_mask_error=_is_from_code)

    def anonymise_error(self, error: GraphQLError) -> GraphQLError:
        """What the client sees of an error that came out of code."""
        original = error.original_error
        if isinstance(original, AppError):
            return _rewritten(error, original.message, {"code": _code(original)})
        reference = new_reference_id()
        log.error("graphql.unexpected_error", reference=reference, path=error.path, exc_info=original)
        return _rewritten(error, "An unexpected error occurred.", {"code": "INTERNAL_ERROR", "reference": reference})


class Schema(strawberry.Schema):
    """The schema; errors are logged by ``Masking`` alone, since a message can hold what a caller sent."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Log nothing."""


def build_schema() -> Schema:
    """The schema, ready to execute."""
    return Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=EVENT_TYPES,
        config=StrawberryConfig(scalar_map=SCALARS),
        extensions=[
            lambda: MaxTokensLimiter(max_token_count=MAX_TOKENS),
            lambda: ParserCache(maxsize=CACHED_DOCUMENTS),
            lambda: ValidationCache(maxsize=CACHED_DOCUMENTS),
            Masking,
        ],
    )


def _is_from_code(error: GraphQLError) -> bool:
    """Whether code raised something else than a GraphQL error, which stands for itself."""
    original = error.original_error
    return original is not None and not isinstance(original, GraphQLError)


def _code(error: AppError) -> str:
    return "UNAUTHENTICATED" if isinstance(error, Unauthenticated) else error.code.name


def _rewritten(error: GraphQLError, message: str, extensions: dict[str, object]) -> GraphQLError:
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )
