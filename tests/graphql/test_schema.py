"""The schema: exported, in keeping with the contract, and described throughout."""

import json
from collections.abc import Iterator
from typing import cast

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    NullValueNode,
    build_schema,
    is_abstract_type,
    print_ast,
)

from app.graphql.schema import build_schema as build_served_schema
from tests.support.paths import ROOT, TESTS

CONTRACT = build_schema((TESTS / "contract.graphql").read_text())
EXPORTED = build_schema((ROOT / "schema.graphql").read_text())

# What needs a git host or a shell, and comes with them. Nothing else of the contract may be missing.
# What clients get that the contract does not promise.
BEYOND = {
    "Attachment",
    "AttachmentInput",
    "ChangeStatus",
    "ChangesSince",
    "Commit",
    "CommitConnection",
    "CommitEdge",
    "CommitWorkspaceError",
    "CommitWorkspaceInput",
    "CommitWorkspacePayload",
    "Conversation.archivedAt",
    "Conversation.eventCount",
    "Conversation.isPinned",
    "Conversation.lastMessage",
    "Conversation.pullRequests",
    "Conversation.tags",
    "Conversation.unread",
    "Conversation.workspace",
    "ConversationFilter.allTags",
    "ConversationFilter.isArchived",
    "ConversationFilter.isPinned",
    "ConversationFilter.tags",
    "ConversationOrder.pinnedFirst",
    "CreateConversationError|GitProviderUnavailableError",
    "CreateConversationInput.suggestedTaskId",
    "CreateDownloadError",
    "CreateDownloadInput",
    "CreateDownloadPayload",
    "CreatePullRequestError",
    "CreatePullRequestInput",
    "CreatePullRequestPayload",
    "CreateUploadError",
    "CreateUploadInput",
    "CreateUploadPayload",
    "DeleteConversationsError",
    "DeleteConversationsInput",
    "DeleteConversationsPayload",
    "DeleteConversationsResult",
    "Download",
    "DownloadFormat",
    "ErrorCode.BRANCH_EXISTS",
    "ErrorCode.BRANCH_MOVED",
    "ErrorCode.BRANCH_PROTECTED",
    "ErrorCode.CONFLICT_MARKERS",
    "ErrorCode.DEFAULT_BRANCH",
    "ErrorCode.DETACHED_HEAD",
    "ErrorCode.GIT_PROVIDER_UNAVAILABLE",
    "ErrorCode.GIT_SCOPE_MISSING",
    "ErrorCode.HEAD_MOVED",
    "ErrorCode.INDEX_LOCKED",
    "ErrorCode.MERGE_IN_PROGRESS",
    "ErrorCode.NOTHING_TO_COMMIT",
    "ErrorCode.NOTHING_TO_PUSH",
    "ErrorCode.NO_REPOSITORY",
    "ErrorCode.PULL_REQUEST_REFUSED",
    "ErrorCode.PUSH_REJECTED",
    "FileChange",
    "FileChangeConnection",
    "FileChangeEdge",
    "GitProviderUnavailableError",
    "GitRefusalError",
    "GitScopeMissingError",
    "Long",
    "MarkReadError",
    "MarkReadInput",
    "MarkReadPayload",
    "MessageEvent.attachments",
    "MessageEvent.isPartial",
    "MessageInput.attachments",
    "Mutation.commitWorkspace",
    "Mutation.createDownload",
    "Mutation.createPullRequest",
    "Mutation.createUpload",
    "Mutation.deleteConversations",
    "Mutation.markRead",
    "Mutation.pushBranch",
    "Mutation.updateConversations",
    "ProviderAccount.login",
    "PublishPolicy",
    "PullRequest",
    "PullRequestConnection",
    "PullRequestEdge",
    "PullRequestState",
    "PushBranchError",
    "PushBranchInput",
    "PushBranchPayload",
    "PushedBranch",
    "Query.viewer",
    "RespondToToolCallError|InvalidInputError",
    "SetProviderTokenError|GitProviderUnavailableError",
    "Settings.gitAuthorEmail",
    "Settings.gitAuthorName",
    "Settings.publishPolicy",
    "Subscription.toolOutputDeltas",
    "Subscription.workspaceChanged",
    "SuggestedTask",
    "SuggestedTaskConnection",
    "SuggestedTaskEdge",
    "TaskKind",
    "TokenUsage.completionTokens: Int!",
    "TokenUsage.promptTokens: Int!",
    "ToolOutputDelta",
    "UpdateConversationsError",
    "UpdateConversationsInput",
    "UpdateConversationsPayload",
    "UpdateConversationsResult",
    "UpdateSettingsInput.gitAuthorEmail",
    "UpdateSettingsInput.gitAuthorName",
    "UpdateSettingsInput.publishPolicy",
    "Upload",
    "Viewer",
    "Workspace",
    "WorkspaceChange",
    "WorkspaceDirectory",
    "WorkspaceEntry",
    "WorkspaceEntryConnection",
    "WorkspaceEntryEdge",
    "WorkspaceFailureError",
    "WorkspaceFile",
    "WorkspaceLink",
    "WorkspaceState",
}
# What has a better shape than the contract's, since that did not hold: sums of tokens went beyond its Int.
# `archivedAt` took the place of a status that no conversation had, so that "archived" means one thing.
BETTER = {"ConversationStatus.ARCHIVED", "TokenUsage.completionTokens: Long!", "TokenUsage.promptTokens: Long!"}


def missing_or_different(contract: GraphQLSchema, served: GraphQLSchema) -> set[str]:
    """Everything of the contract that the schema lacks, or has otherwise."""
    found: set[str] = set()
    for name, wanted in contract.type_map.items():
        if name.startswith("__"):
            continue
        there = served.type_map.get(name)
        if there is None:
            found.add(name)
        else:
            found.update(f"{name}{fault}" for fault in differences(wanted, there))
    return found


def differences(wanted: GraphQLNamedType, there: GraphQLNamedType) -> Iterator[str]:
    """How a type falls short of the contract's."""
    if type(wanted) is not type(there):
        yield " is another kind of type"
        return
    match wanted:
        case GraphQLScalarType():
            if wanted.specified_by_url != cast("GraphQLScalarType", there).specified_by_url:
                yield " is specified elsewhere"
        case GraphQLEnumType():
            yield from (f".{value}" for value in wanted.values.keys() - cast("GraphQLEnumType", there).values.keys())
        case GraphQLUnionType():
            members = {member.name for member in cast("GraphQLUnionType", there).types}
            yield from (f"|{member.name}" for member in wanted.types if member.name not in members)
        case GraphQLInputObjectType():
            yield from input_differences(wanted, cast("GraphQLInputObjectType", there))
        case GraphQLObjectType() | GraphQLInterfaceType():
            yield from output_differences(wanted, cast("GraphQLObjectType", there))
        case _:
            yield " is a kind of type that the check does not know"


def input_differences(wanted: GraphQLInputObjectType, there: GraphQLInputObjectType) -> Iterator[str]:
    if wanted.is_one_of != there.is_one_of:
        yield " @oneOf"
    for name, field in wanted.fields.items():
        other = there.fields.get(name)
        if other is None:
            yield f".{name}"
        elif str(field.type) != str(other.type) or default_of(field) != default_of(other):
            yield f".{name}: {other.type} = {default_of(other)}"


def output_differences(
    wanted: GraphQLObjectType | GraphQLInterfaceType, there: GraphQLObjectType | GraphQLInterfaceType
) -> Iterator[str]:
    interfaces = {interface.name for interface in there.interfaces}
    yield from (f" implements {found.name}" for found in wanted.interfaces if found.name not in interfaces)
    for name, field in wanted.fields.items():
        other = there.fields.get(name)
        if other is None:
            yield f".{name}"
            continue
        if str(field.type) != str(other.type):
            yield f".{name}: {other.type}"
        for argument_name, argument in field.args.items():
            given = other.args.get(argument_name)
            if given is None:
                yield f".{name}({argument_name})"
            elif str(argument.type) != str(given.type) or default_of(argument) != default_of(given):
                yield f".{name}({argument_name}: {given.type} = {default_of(given)})"


def default_of(given: GraphQLArgument | GraphQLInputField) -> str | None:
    """The default value as the schema's text has it; leaving out what is null by default comes to the same."""
    node = given.ast_node.default_value if given.ast_node is not None else None
    return print_ast(node) if node is not None and not isinstance(node, NullValueNode) else None


def described() -> Iterator[tuple[str, str | None]]:
    """Everything that the playground can show, with its description."""
    for name, found in EXPORTED.type_map.items():
        if name.startswith("__") or name in {"String", "Int", "Float", "Boolean", "ID"}:
            continue
        yield name, found.description
        match found:
            case GraphQLEnumType():
                for value_name, value in found.values.items():
                    yield f"{name}.{value_name}", value.description
            case GraphQLInputObjectType():
                for field_name, field in found.fields.items():
                    yield f"{name}.{field_name}", field.description
            case GraphQLObjectType() | GraphQLInterfaceType():
                for field_name, output in found.fields.items():
                    yield f"{name}.{field_name}", output.description
                    for argument_name, argument in output.args.items():
                        yield f"{name}.{field_name}({argument_name})", argument.description
            case _:
                pass


def test_the_committed_schema_is_the_served_one() -> None:
    assert (ROOT / "schema.graphql").read_text() == build_served_schema().as_str() + "\n"


def test_the_published_possible_types_are_those_of_the_schema() -> None:
    published = json.loads((ROOT / "clients" / "possible-types.json").read_text())
    abstract = [found for found in EXPORTED.type_map.values() if is_abstract_type(found)]

    assert published == {
        found.name: sorted(possible.name for possible in EXPORTED.get_possible_types(found)) for found in abstract
    }
    assert published["Event"] == ["MessageEvent", "StateChangeEvent", "ToolCallEvent", "ToolResultEvent"]


def test_the_schema_keeps_the_contract() -> None:
    assert missing_or_different(CONTRACT, EXPORTED) == BETTER


def test_what_the_schema_has_beyond_the_contract_is_known() -> None:
    assert missing_or_different(EXPORTED, CONTRACT) == BEYOND


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("title: String!", "title: String", "Conversation.title: String"),
        ("  STARTING\n", "  BEGINNING\n", "ConversationStatus.STARTING"),
        ("first: Int = 20, after: String, filter", "first: Int = 10, after: String, filter", "Query.conversations("),
        ("union StopConversationError = NotFoundError | ", "union StopConversationError = ", "StopConversationError|"),
    ],
)
def test_the_check_finds_a_broken_promise(before: str, after: str, fault: str) -> None:
    text = (TESTS / "contract.graphql").read_text()
    assert before in text
    found = missing_or_different(CONTRACT, build_schema(text.replace(before, after)))
    assert any(name.startswith(fault) for name in found)


def test_everything_is_described() -> None:
    assert [name for name, description in described() if not description] == []
