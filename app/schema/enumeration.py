"""Registers the models' enumerations as GraphQL enums, with a description for each value."""

from enum import Enum
from typing import TypeVar, cast

import strawberry
from strawberry.types.enum import StrawberryEnumDefinition

from app.errors import ErrorCode
from app.models.conversation import AgentState, ConversationStatus, ConversationTrigger
from app.models.event import EventSource
from app.models.provider_account import ProviderType
from app.models.pull_request import PullRequestState
from app.models.search.order import ConversationOrderField, OrderDirection
from app.models.settings import PublishPolicy
from app.services.download import DownloadFormat
from app.services.git.base import RepositorySort, TaskKind
from app.services.git.patch import ChangeStatus
from app.services.git.working_tree import ChangesSince
from app.services.workspace_contents import WorkspaceState

E = TypeVar("E", bound=Enum)


def _describe(enumeration: type[E], description: str, values: dict[E, str]) -> None:
    """Register a Python enumeration as a GraphQL enum, whose values are the member names rather than their values."""
    strawberry.enum(enumeration, description=description)
    definition = cast("StrawberryEnumDefinition", getattr(enumeration, "__strawberry_definition__"))  # noqa: B009  Strawberry adds it, unseen by a type checker.
    described = {member.name: text for member, text in values.items()}
    for value in definition.values:
        value.description = described[value.name]


_describe(
    OrderDirection,
    "Smallest or largest first.",
    {OrderDirection.ASC: "Smallest, oldest or A first.", OrderDirection.DESC: "Largest, newest or Z first."},
)
_describe(
    ConversationStatus,
    "Lifecycle of a conversation's runtime. Clients must tolerate values added later.",
    {
        ConversationStatus.STARTING: "The runtime is being prepared.",
        ConversationStatus.RUNNING: "The runtime is up; see `agentState` for what the agent does.",
        ConversationStatus.STOPPED: "Not running; may be started again.",
        ConversationStatus.ERROR: "Start or run failed; see `statusReason`.",
    },
)
_describe(
    AgentState,
    "The activity of the agent in a RUNNING conversation.",
    {
        AgentState.LOADING: "It is getting ready.",
        AgentState.RUNNING: "It works on the user's message.",
        AgentState.AWAITING_USER_INPUT: "It has answered, and waits for the user.",
        AgentState.AWAITING_USER_CONFIRMATION: "It waits until the user allows or refuses a tool call.",
        AgentState.PAUSED: "It stopped before the end, at a limit or because the conversation was stopped.",
        AgentState.FINISHED: "It says that the task is done.",
        AgentState.REJECTED: "It refuses the task.",
        AgentState.RATE_LIMITED: "It waits because the LLM's provider limits the rate.",
        AgentState.ERROR: "It failed.",
    },
)
_describe(
    ConversationTrigger,
    "The origin of a conversation.",
    {
        ConversationTrigger.GUI: "A person at a front end.",
        ConversationTrigger.API: "A program.",
        ConversationTrigger.SUGGESTED_TASK: "A task that was suggested to the user.",
        ConversationTrigger.RESOLVER: "An issue or a pull request to be resolved.",
    },
)
_describe(
    TaskKind,
    "The kind of a suggested task. A pull request has the first of the first three that applies.",
    {
        TaskKind.MERGE_CONFLICTS: "The pull request has conflicts with its base branch.",
        TaskKind.FAILING_CHECKS: "Checks of the pull request's last commit fail.",
        TaskKind.UNRESOLVED_COMMENTS: "The pull request has review comments that are not resolved.",
        TaskKind.OPEN_ISSUE: "An open issue is assigned to the caller.",
    },
)
_describe(
    ConversationOrderField,
    "The sort key of conversations.",
    {
        ConversationOrderField.CREATED_AT: "When it was created.",
        ConversationOrderField.UPDATED_AT: "When something last happened in it.",
        ConversationOrderField.TITLE: "Its title, upper and lower case alike.",
    },
)
_describe(
    EventSource,
    "The author of an event.",
    {
        EventSource.USER: "The user.",
        EventSource.AGENT: "The agent.",
        EventSource.ENVIRONMENT: "The server or a tool.",
    },
)
_describe(
    ErrorCode,
    "Machine-readable reason. `$` is illegal in a GraphQL name, so it became `_`; `Problem.messageId` and "
    "`UserError.messageId` carry the original.",
    {
        ErrorCode.CONFIGURATION_SETTINGS_NOT_FOUND: "CONFIGURATION$SETTINGS_NOT_FOUND: the caller never saved "
        "settings.",
        ErrorCode.STATUS_ERROR_LLM_AUTHENTICATION: "STATUS$ERROR_LLM_AUTHENTICATION: the LLM provider refused the API "
        "key.",
        ErrorCode.STATUS_ERROR_LLM_SERVICE_UNAVAILABLE: "STATUS$ERROR_LLM_SERVICE_UNAVAILABLE: the LLM provider does "
        "not answer, or limits the rate for too long.",
        ErrorCode.STATUS_ERROR_LLM_OUT_OF_CREDITS: "STATUS$ERROR_LLM_OUT_OF_CREDITS: the account at the LLM provider "
        "has no credit left.",
        ErrorCode.STATUS_GIT_PROVIDER_AUTHENTICATION_ERROR: "STATUS$GIT_PROVIDER_AUTHENTICATION_ERROR: the git host "
        "refused the token.",
        ErrorCode.NOT_FOUND: "The object does not exist or the caller may not see it.",
        ErrorCode.STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR: "STATUS$ERROR_LLM_INTERNAL_SERVER_ERROR: the LLM call "
        "failed, or the run did.",
        ErrorCode.STATUS_ERROR_LLM_CONTENT_POLICY_VIOLATION: "STATUS$ERROR_LLM_CONTENT_POLICY_VIOLATION: the LLM "
        "provider refused the content.",
        ErrorCode.LIMIT_REACHED: "The agent reached `maxIterations` or `maxBudgetUsd`, or the model's price is not "
        "known, so that `maxBudgetUsd` can't hold.",
        ErrorCode.WORKSPACE_ERROR: "The workspace could not be prepared: sandbox or clone failed.",
        ErrorCode.AGENT_STUCK: "The agent repeated the same call with the same result.",
        ErrorCode.IDLE_TIMEOUT: "Stopped after waiting for input too long.",
        ErrorCode.MADE_ROOM: "Stopped while waiting for input, to make room for another of the caller's conversations.",
        ErrorCode.TOO_MANY_RUNNING: "The caller already runs as many conversations as the server allows.",
        ErrorCode.GIT_PROVIDER_UNAVAILABLE: "The git provider can't be reached, or limits the rate.",
        ErrorCode.INVALID_INPUT: "An input field is out of range or malformed; see `path`.",
        ErrorCode.INVALID_STATE: "The conversation's status does not allow this action.",
        ErrorCode.GIT_SCOPE_MISSING: "The git provider's token lacks a scope; see `scopes`.",
        ErrorCode.NO_REPOSITORY: "The conversation, or its workspace, has no git repository.",
        ErrorCode.NOTHING_TO_COMMIT: "Nothing is different from the last commit.",
        ErrorCode.MERGE_IN_PROGRESS: "A merge, rebase, cherry-pick or revert has not come to an end.",
        ErrorCode.CONFLICT_MARKERS: "A changed file has the markers of a merge conflict.",
        ErrorCode.DETACHED_HEAD: "No branch is checked out.",
        ErrorCode.INDEX_LOCKED: "Git's index is locked: another git runs in the workspace, or one was killed there.",
        ErrorCode.HEAD_MOVED: "The workspace's last commit is another one than expected.",
        ErrorCode.NOTHING_TO_PUSH: "There is no commit beyond what was cloned, or no branch was pushed.",
        ErrorCode.BRANCH_MOVED: "The branch at the git host has commits that a push would remove.",
        ErrorCode.DEFAULT_BRANCH: "The branch is the repository's default one, which the input does not allow.",
        ErrorCode.BRANCH_EXISTS: "The branch is at the git host already, and was not pushed from the conversation.",
        ErrorCode.BRANCH_PROTECTED: "The git host protects the branch.",
        ErrorCode.PUSH_REJECTED: "The git host rejected the push.",
        ErrorCode.PULL_REQUEST_REFUSED: "The git host refused the pull request.",
    },
)
_describe(
    ProviderType,
    "A kind of git host.",
    {
        ProviderType.GITHUB: "GitHub, or a GitHub Enterprise Server.",
        ProviderType.GITLAB: "GitLab, also self-hosted.",
        ProviderType.BITBUCKET: "Bitbucket Cloud.",
    },
)
_describe(
    PullRequestState,
    "The state of a pull request.",
    {
        PullRequestState.OPEN: "It waits to be merged; drafts are open, too.",
        PullRequestState.CLOSED: "It was closed, declined or superseded.",
        PullRequestState.MERGED: "It was merged.",
    },
)
_describe(
    PublishPolicy,
    "A policy for the agent's tools `commit_changes` and `open_pull_request`: the calls that do not wait in "
    "`AWAITING_USER_CONFIRMATION`. Each value allows what the one before allows. Clients must tolerate values added "
    "later.",
    {
        PublishPolicy.ALWAYS_ASK: "It asks for each commit and each pull request.",
        PublishPolicy.ALLOW_COMMITS: "It commits to the branch that is checked out in the workspace. It asks for each "
        "pull request.",
        PublishPolicy.ALLOW_PULL_REQUESTS: "It also pushes to a branch that is new at the git host, or that was pushed "
        "from the conversation before, and opens a pull request for it. For the branch that was cloned it asks; it "
        "never pushes to the repository's default branch, and never by force.",
    },
)
_describe(
    RepositorySort,
    "The sort key of repositories.",
    {
        RepositorySort.PUSHED: "Newest push first.",
        RepositorySort.UPDATED: "Newest change first.",
        RepositorySort.FULL_NAME: "By owner and name, A first.",
    },
)
_describe(
    WorkspaceState,
    "The state of a workspace. Clients must tolerate values added later.",
    {
        WorkspaceState.PREPARING: "Its repository is being cloned; nothing is shown yet.",
        WorkspaceState.READY: "It is there as a whole.",
    },
)
_describe(
    ChangesSince,
    "The base with which a workspace is compared.",
    {
        ChangesSince.CLONED: "The commit that was cloned; without one, a directory that holds nothing.",
        ChangesSince.COMMITTED: "The last commit in the workspace.",
    },
)
_describe(
    ChangeStatus,
    "The kind of a file's change. Clients must tolerate values added later.",
    {
        ChangeStatus.ADDED: "It is new.",
        ChangeStatus.MODIFIED: "Its content or its mode is another.",
        ChangeStatus.DELETED: "It is gone.",
        ChangeStatus.RENAMED: "It was moved, and may be changed as well.",
        ChangeStatus.COPIED: "It is a copy of a file that was changed.",
        ChangeStatus.TYPE_CHANGED: "A file became a link, or the like.",
    },
)
_describe(
    DownloadFormat,
    "The content and format of a download.",
    {
        DownloadFormat.FILE: "One file as it is, which takes `Range`.",
        DownloadFormat.ZIP: "Files and directories as a ZIP, 50,000 at most. What is not named leaves out `.git`, "
        "whose configuration and hooks an agent may have written for whoever unpacks it.",
        DownloadFormat.TAR_GZ: "As `ZIP`, as a tar with gzip; 500,000 at most.",
        DownloadFormat.PATCH: "The changes since the clone, binary files included, as `git apply` takes it; "
        "11 MiB at most.",
        DownloadFormat.TRAJECTORY_JSON: "The log as `Conversation.trajectory` has it, however long it is.",
        DownloadFormat.TRAJECTORY_MARKDOWN: "The log for people.",
    },
)
