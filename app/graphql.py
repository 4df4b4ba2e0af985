"""Query, Mutation and Subscription become the schema, with its limits and its masking."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import cast

import strawberry
import structlog
from graphql import DocumentNode, GraphQLError, GraphQLSyntaxError, OperationDefinitionNode, is_abstract_type
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import MaxTokensLimiter, ParserCache, SchemaExtension, ValidationCache
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionContext
from strawberry.types.graphql import OperationType

from app import resolvers
from app.errors import AppError, Unauthenticated
from app.execution.executor import compiled_executor
from app.limits import DEFAULT_LIMITS, Limits, Measure, brackets, exceeded, pages
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
from app.schema.repository import Repository, RepositoryConnection
from app.schema.scalar import SCALARS
from app.schema.settings import (
    RemoveProviderTokenPayload,
    ResetSettingsPayload,
    SetProviderTokenPayload,
    Settings,
    UpdateSettingsPayload,
)
from app.schema.tool_call import RespondToToolCallPayload

log = structlog.get_logger(__name__)

# A parsed document takes about a hundred times its text, so both are bounded; what is longer is parsed each time.
CACHED_DOCUMENTS = 200
CACHED_DOCUMENT_MAX_LENGTH = 8000
PLANS_BYTES = 32 * 1024 * 1024
TIMED_OUT = "REQUEST_TIMED_OUT"
NO_DOCUMENT = "The request has no `query`, or it is blank."
UNKNOWN_OPERATION = "The document has no operation of that name: name one of its operations in `operationName`."
SEVERAL_OPERATIONS = "The document has several operations: name the one to run in `operationName`."

# How graphql-core's messages repeat a value that it refuses. It may be an API key, or an object that holds one.
_VALUES = (
    (re.compile(r", but encountered error '.*", re.DOTALL), "."),
    (re.compile(r"(,|\.( Did you mean [^?]*\?)?) [Ff]ound: .*", re.DOTALL), r".\2"),
    (re.compile(r"(cannot represent [\w -]*value): .*", re.DOTALL), r"\1."),
    (re.compile(r"Value '.*' does not exist in", re.DOTALL), "The value does not exist in"),
    (re.compile(r"(unknown field) '(?![_A-Za-z][_0-9A-Za-z]{0,39}'[.,]).*", re.DOTALL), r"\1."),
)
_TOO_DEEP = "nested too deeply"
_TOO_MANY_TOKENS = re.compile(r"more than [0-9]+ tokens")
_SUGGESTION = re.compile(r" Did you mean [^?]*\?")
_SYNTAX_VALUE = re.compile(r"\b(Name|Int|Float|String|BlockString|Comment) (\".*\"|'.*')", re.DOTALL)


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
    repository: Repository | None = strawberry.field(
        resolver=resolvers.repository.get, description="Null when the provider does not know it."
    )
    repositories: RepositoryConnection | None = strawberry.field(
        resolver=resolvers.repository.search,
        description="Asks the git provider; null with an error when it cannot be reached.",
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
    respond_to_tool_call: RespondToToolCallPayload = strawberry.field(
        resolver=resolvers.tool_call.respond, description="Allow or refuse a tool call that waits for confirmation."
    )
    update_settings: UpdateSettingsPayload = strawberry.field(
        resolver=resolvers.settings.update, description="Save settings."
    )
    reset_settings: ResetSettingsPayload = strawberry.field(
        resolver=resolvers.settings.reset,
        description="Deletes the caller's settings and stored API key; provider tokens stay.",
    )
    set_provider_token: SetProviderTokenPayload = strawberry.field(
        resolver=resolvers.provider_account.set_token,
        description="Store a token for a git provider, in the place of an earlier one.",
    )
    remove_provider_token: RemoveProviderTokenPayload = strawberry.field(
        resolver=resolvers.provider_account.remove_token, description="Forget the token for a git provider."
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
    tool_output_deltas = strawberry.subscription(
        resolver=resolvers.event.tool_output_deltas,
        description="What the agent's tools write while they run; where it is much, not all of it. Nothing is kept: "
        "the finished output comes as a `ToolResultEvent`.",
    )


class RequestTimedOut(Exception):
    """The execution took longer than a request may."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request took longer than {seconds:g} s, and was given up.")


class Schema(strawberry.Schema):
    """The schema. Errors are logged by ``mask`` alone, since a message can hold what a caller sent."""

    def __init__(self, limits: Limits, timeout_seconds: float) -> None:
        self.limits = limits
        super().__init__(  # pyright: ignore[reportUnknownMemberType]  Strawberry leaves some of its types open.
            query=Query,
            mutation=Mutation,
            subscription=Subscription,
            types=EVENT_TYPES,
            config=StrawberryConfig(scalar_map=SCALARS),
            execution_context_class=compiled_executor(PLANS_BYTES),
            extensions=[
                lambda: MaxTokensLimiter(max_token_count=limits.tokens),
                lambda: Parsing(maxsize=CACHED_DOCUMENTS),
                Measuring,
                lambda: TimeLimit(timeout_seconds),
                lambda: Validation(maxsize=CACHED_DOCUMENTS),
            ],
        )
        self._pages = pages(self._schema)
        self._measures: OrderedDict[str, Measure] = OrderedDict()

    def measure(self, query: str, document: DocumentNode) -> Measure:
        """How large the document is; measured once when it is of usual length."""
        measure = self._measures.get(query)
        if measure is None:
            measure = Measure(document, self._pages)
            if len(query) <= CACHED_DOCUMENT_MAX_LENGTH:
                self._measures[query] = measure
                if len(self._measures) > CACHED_DOCUMENTS:
                    self._measures.popitem(last=False)
        else:
            self._measures.move_to_end(query)
        return measure

    def possible_types(self) -> dict[str, list[str]]:
        """The object types that each interface and union may be, A first: what clients' caches are given."""
        abstract = [found for found in self._schema.type_map.values() if is_abstract_type(found)]
        return {
            found.name: sorted(possible.name for possible in self._schema.get_possible_types(found))
            for found in sorted(abstract, key=lambda found: found.name)
        }

    def process_errors(
        self,
        errors: list[GraphQLError],
        execution_context: ExecutionContext | None = None,  # noqa: ARG002  Strawberry passes it.
    ) -> None:
        """Put what the client may see in the place of each error. Strawberry calls this wherever errors arise."""
        errors[:] = [mask(error, self.limits) for error in errors]


class TimeLimit(SchemaExtension):
    """Ends a query or a mutation that takes too long. What a mutation has committed by then stays."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def on_execute(self) -> AsyncIterator[None]:
        """Called around the execution. Of a subscription that is its beginning only, which has limits of its own."""
        if self.execution_context.operation_type is OperationType.SUBSCRIPTION:
            yield
            return
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError:
            raise RequestTimedOut(self._seconds) from None


class Parsing(ParserCache):
    """Parses a document of usual length once."""

    def on_parse(self) -> Iterator[None]:
        """Called before the parsing, which does what is not done here."""
        context = self.execution_context
        if 0 < len(context.query or "") <= CACHED_DOCUMENT_MAX_LENGTH:
            # A syntax error is reported by the parsing itself; raised here, it would end as an unexpected one.
            with suppress(GraphQLError):
                context.graphql_document = self.cached_parse_document(context.query, **context.parse_options)
        yield


class Measuring(SchemaExtension):
    """Refuses a document that is too large before it is validated, and never picks one of several operations itself."""

    def on_validate(self) -> Iterator[None]:
        """Called around the validation, which does nothing where there are errors already."""
        context = self.execution_context
        schema = cast("Schema", context.schema)
        if _is_undecided(context):
            context.pre_execution_errors = [GraphQLError(SEVERAL_OPERATIONS)]
        elif context.graphql_document is not None:
            measure = schema.measure(context.query or "", context.graphql_document)
            if errors := measure.errors(schema.limits, context.variables or {}):
                context.pre_execution_errors = errors
        yield


class Validation(ValidationCache):
    """Validates a document of usual length once."""

    def on_validate(self) -> Iterator[None]:
        """Called around the validation."""
        context = self.execution_context
        if context.pre_execution_errors:
            yield
        elif len(context.query or "") <= CACHED_DOCUMENT_MAX_LENGTH:
            yield from super().on_validate()
        else:
            yield


def build_schema(limits: Limits = DEFAULT_LIMITS, timeout_seconds: float = 30.0) -> Schema:
    """The schema, ready to execute. A query or a mutation may take ``timeout_seconds``."""
    return Schema(limits, timeout_seconds)


def mask(error: GraphQLError, limits: Limits = DEFAULT_LIMITS) -> GraphQLError:
    """What the client sees of an error.

    Expected failures keep their words and get a code; faults of the request keep theirs without the values in them;
    unexpected errors get a reference that the log carries too.
    """
    original = error.original_error
    if isinstance(original, AppError):
        return _rewritten(error, original.message, {"code": _code(original)})
    if isinstance(original, CannotGetOperationTypeError):
        return _rewritten(error, UNKNOWN_OPERATION)
    if isinstance(original, MissingQueryError):
        return _rewritten(error, NO_DOCUMENT)
    if isinstance(original, RequestTimedOut):
        return _rewritten(error, str(original), {"code": TIMED_OUT})
    if isinstance(original, GraphQLError | InvalidOperationTypeError | None) and not _is_internal(error):
        if isinstance(error, GraphQLSyntaxError) and _TOO_MANY_TOKENS.search(error.message):
            # The parser stops at the first one that is too many.
            return exceeded("tokens", limits.tokens + 1, limits.tokens)
        if isinstance(error, GraphQLSyntaxError) and _TOO_DEEP in error.message:
            return exceeded("nesting", brackets(error.source.body if error.source else ""), limits.nesting)
        message = _without_values(error)
        if not limits.introspection:
            message = _SUGGESTION.sub("", message)
        return _rewritten(error, message, error.extensions)
    reference = new_reference_id()
    log.error("graphql.unexpected_error", reference=reference, path=error.path, exc_info=original or error)
    return _rewritten(error, "An unexpected error occurred.", {"code": "INTERNAL_ERROR", "reference": reference})


def _is_internal(error: GraphQLError) -> bool:
    """Whether a GraphQL error tells of a value that a resolver gave, rather than of one that the request did."""
    return bool(error.path) and "code" not in (error.extensions or {}) and not error.message.startswith("Argument ")


def _is_undecided(context: ExecutionContext) -> bool:
    document = context.graphql_document
    definitions = document.definitions if document is not None else ()
    operations = sum(isinstance(definition, OperationDefinitionNode) for definition in definitions)
    given = cast("str | None", getattr(context, "_provided_operation_name"))  # noqa: B009  `operation_name` falls back to the first one's.
    return operations > 1 and given is None


def _code(error: AppError) -> str:
    return "UNAUTHENTICATED" if isinstance(error, Unauthenticated) else error.code.name


def _without_values(error: GraphQLError) -> str:
    if isinstance(error, GraphQLSyntaxError):
        return _SYNTAX_VALUE.sub(r"\1", error.message)
    message = error.message
    for pattern, replacement in _VALUES:
        message = pattern.sub(replacement, message)
    return message


def _rewritten(error: GraphQLError, message: str, extensions: dict[str, object] | None = None) -> GraphQLError:
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )
