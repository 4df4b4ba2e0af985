"""The root types, and the schema class that executes operations with limits, masking and compiled plans."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Any

import orjson
import strawberry
from graphql import ExecutionResult as OriginalResult
from graphql import GraphQLError, is_abstract_type
from strawberry.extensions import MaxTokensLimiter
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import StreamResult
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from app import resolvers
from app.execution.cache import ByteCache
from app.execution.executor import CompiledExecutor, compiled_executor
from app.graphql.deadline import Deadlines
from app.graphql.limits import DEFAULT_LIMITS, Limits, exceeded
from app.graphql.masking import RequestTimedOut, mask
from app.graphql.pace import Pace
from app.graphql.preparation import Measuring, Parsing, Preparation, TimeLimit, Validation
from app.schema.commit_workspace import CommitWorkspacePayload
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
from app.schema.conversation_batch import DeleteConversationsPayload, UpdateConversationsPayload
from app.schema.download import CreateDownloadPayload
from app.schema.event import EVENT_TYPES
from app.schema.node import Node
from app.schema.pull_request import CreatePullRequestPayload
from app.schema.pushed_branch import PushBranchPayload
from app.schema.read_mark import MarkReadPayload
from app.schema.repository import Repository, RepositoryConnection
from app.schema.scalar import SCALARS
from app.schema.settings import (
    RemoveProviderTokenPayload,
    ResetSettingsPayload,
    SetProviderTokenPayload,
    Settings,
    UpdateSettingsPayload,
)
from app.schema.suggested_task import Viewer
from app.schema.tool_call import RespondToToolCallPayload
from app.schema.upload import CreateUploadPayload
from app.schema.workspace import ENTRY_TYPES

# Sizes of two LRU caches: prepared documents, and plans compiled for their operations.
PREPARED_BYTES = 32 * 1024 * 1024
PLANS_BYTES = 32 * 1024 * 1024
# And of answers to introspection, which graphql-core takes 30 ms or more for.
INTROSPECTION_BYTES = 16 * 1024 * 1024
# Measured: an answer takes about ten times its JSON.
BYTES_PER_JSON_BYTE = 10


@strawberry.type(description="Queries.")
class Query:
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
    viewer: Viewer = strawberry.field(resolver=Viewer, description="The caller.")


@strawberry.type(description="Mutations.")
class Mutation:
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
    update_conversations: UpdateConversationsPayload = strawberry.field(
        resolver=resolvers.conversation_batch.update,
        description="Tag, pin or archive many conversations, in one transaction: all that can be changed, or nothing.",
    )
    delete_conversations: DeleteConversationsPayload = strawberry.field(
        resolver=resolvers.conversation_batch.delete,
        description="Delete many conversations, one after the other, each as `deleteConversation` does.",
    )
    mark_read: MarkReadPayload = strawberry.field(
        resolver=resolvers.read_mark.mark,
        description="Mark events of a conversation as read, which `unread` counts no more. The mark never goes back.",
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
    create_download: CreateDownloadPayload = strawberry.field(
        resolver=resolvers.download.create,
        description="Make a URL from which a file, an archive, a patch or the log can be downloaded.",
    )
    create_upload: CreateUploadPayload = strawberry.field(
        resolver=resolvers.upload.create, description="Make a URL to which one file of a workspace can be uploaded."
    )
    commit_workspace: CommitWorkspacePayload = strawberry.field(
        resolver=resolvers.commit.create,
        description="Commit what is different in the workspace, on the branch that is checked out. Refused while the "
        "agent is at work.",
    )
    push_branch: PushBranchPayload = strawberry.field(
        resolver=resolvers.pushed_branch.push,
        description="Push the workspace's last commit to a branch at the git host, with the token that is saved now. "
        "Asked again for what was pushed already, it changes nothing and succeeds.",
    )
    create_pull_request: CreatePullRequestPayload = strawberry.field(
        resolver=resolvers.pull_request.create,
        description="Propose a branch that was pushed. Where a pull request is open between the same branches, it is "
        "that one.",
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


@strawberry.type(description="Subscriptions.")
class Subscription:
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
        description="The output of the agent's tools while they run; of much output, not all. Nothing is kept: "
        "the finished output comes as a `ToolResultEvent`.",
    )
    workspace_changed = strawberry.subscription(
        resolver=resolvers.workspace.changed,
        description="The workspace as it is, then that it changed, at most twice a second: after tools and "
        "commits, and while commands write. The stream ends when the conversation is deleted.",
    )


class Schema(strawberry.Schema):
    """Strawberry's schema with a fast path for known documents.

    Errors are logged by ``mask`` only, since Strawberry would log messages that may repeat what a caller sent.
    """

    def __init__(self, limits: Limits, timeout_seconds: float, *, is_compiled: bool) -> None:
        self._limits = limits
        self._deadlines = Deadlines(timeout_seconds)
        executor_class = compiled_executor(PLANS_BYTES) if is_compiled else None
        super().__init__(  # pyright: ignore[reportUnknownMemberType]  Strawberry leaves some of its types open.
            query=Query,
            mutation=Mutation,
            subscription=Subscription,
            types=(*EVENT_TYPES, *ENTRY_TYPES),
            config=StrawberryConfig(scalar_map=SCALARS),
            execution_context_class=executor_class,
            extensions=[
                lambda: MaxTokensLimiter(max_token_count=limits.tokens),
                lambda: Parsing(self._preparation),
                lambda: Measuring(self._preparation, limits),
                lambda: TimeLimit(timeout_seconds),
                lambda: Validation(self._preparation),
            ],
        )
        self._preparation = Preparation(self._schema, executor_class, PREPARED_BYTES)
        self._introspections: ByteCache[tuple[str, str | None], dict[str, Any]] = ByteCache(INTROSPECTION_BYTES)
        self._pace = Pace()

    async def execute(  # noqa: PLR0917  Strawberry's signature.
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,  # noqa: ANN401  Strawberry's signature, here and below.
        root_value: Any | None = None,  # noqa: ANN401
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """Execute a query or a mutation. A document that was validated before skips Strawberry's own pipeline."""
        if (refusal := self._refusal(query)) is not None:
            return refusal
        prepared = self._preparation.find(query) if query else None
        operation = self._preparation.operation(prepared, operation_name) if prepared is not None else None
        if (
            prepared is not None
            and operation is not None
            and (allowed_operation_types is None or operation.operation_type in allowed_operation_types)
            and not prepared.measure.errors(self._limits, variable_values or {})
        ):
            executor = operation.executor(variable_values, context_value, root_value)
            if not isinstance(executor, list):
                if operation.is_constant and query is not None:
                    return await self._introspect(executor, (query, operation_name))
                return await self._run(executor)
        await self._pace.wait()
        return await super().execute(
            query,
            variable_values,
            context_value,
            root_value,
            operation_name,
            allowed_operation_types,
            operation_extensions,
        )

    async def stream(  # noqa: PLR0917  Strawberry's signature.
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,  # noqa: ANN401
        root_value: Any | None = None,  # noqa: ANN401
        operation_name: str | None = None,
        operation_extensions: dict[str, Any] | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
    ) -> StreamResult:
        """Execute an operation whose results are streamed. The caller asks for the first one at once."""
        if (refusal := self._refusal(query)) is not None:
            return _only(refusal)
        prepared = self._preparation.find(query) if query else None
        if prepared is None or prepared.errors is None or prepared.measure.is_introspection:
            await self._pace.wait()
        return await super().stream(
            query,
            variable_values,
            context_value,
            root_value,
            operation_name,
            operation_extensions,
            allowed_operation_types,
        )

    async def _introspect(self, executor: CompiledExecutor, key: tuple[str, str | None]) -> ExecutionResult:
        """Execute pure introspection, once for each text of a document, with a cache of the results."""
        data = self._introspections.get(key)
        if data is None:
            await self._pace.wait()
            # An operation that was waiting before may have cached the same document.
            data = self._introspections.get(key)
        if data is not None:
            return ExecutionResult(data, None)
        result = await self._run(executor)
        if result.data is not None and not result.errors:
            size_bytes = (len(key[0]) + len(orjson.dumps(result.data))) * BYTES_PER_JSON_BYTE
            self._introspections.put(key, result.data, size_bytes)
        return result

    def _refusal(self, query: str | None) -> PreExecutionError | None:
        """Return the error of a document that is too long, since the parser counts tokens, but one may be megabytes."""
        if query is None or len(query) <= self._limits.length:
            return None
        return PreExecutionError(None, [exceeded("length", len(query), self._limits.length)])

    async def _run(self, executor: CompiledExecutor) -> ExecutionResult:
        deadline = self._deadlines.start()
        try:
            outcome = executor.execute_operation()
            result = outcome if isinstance(outcome, OriginalResult) else await outcome
        except asyncio.CancelledError:
            if not deadline.has_ended_task():
                raise
            fault = RequestTimedOut(self._deadlines.seconds)
            errors = [GraphQLError(str(fault), original_error=fault)]
            self.process_errors(errors)
            return PreExecutionError(None, errors)
        finally:
            deadline.stop()
        if result.errors:
            self.process_errors(result.errors)
        return ExecutionResult(result.data, result.errors)

    def possible_types(self) -> dict[str, list[str]]:
        """Map interfaces and unions to their object types, sorted, as Apollo Client's ``possibleTypes`` needs them."""
        abstract = [each for each in self._schema.type_map.values() if is_abstract_type(each)]
        return {
            each.name: sorted(possible.name for possible in self._schema.get_possible_types(each))
            for each in sorted(abstract, key=lambda each: each.name)
        }

    def process_errors(
        self,
        errors: list[GraphQLError],
        execution_context: ExecutionContext | None = None,  # noqa: ARG002  Strawberry passes it.
    ) -> None:
        """Mask errors in place. Strawberry calls this for every result."""
        errors[:] = [mask(error, self._limits) for error in errors]


async def _only(result: ExecutionResult) -> AsyncGenerator[ExecutionResult]:
    yield result


def build_schema(limits: Limits = DEFAULT_LIMITS, timeout_seconds: float = 30.0, *, is_compiled: bool = True) -> Schema:
    """Build the schema. A query or a mutation is cancelled after ``timeout_seconds``.

    With ``is_compiled`` false, graphql-core interprets all operations.
    """
    return Schema(limits, timeout_seconds, is_compiled=is_compiled)
