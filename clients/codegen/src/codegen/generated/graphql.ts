/* eslint-disable */
/** Internal type. DO NOT USE DIRECTLY. */
type Exact<T extends { [key: string]: unknown }> = { [K in keyof T]: T[K] };
/** Internal type. DO NOT USE DIRECTLY. */
export type Incremental<T> = T | { [P in keyof T]?: P extends ' $fragmentName' | '__typename' ? T[P] : never };
import type { TypedDocumentNode as DocumentNode } from '@graphql-typed-document-node/core';
/** The activity of the agent in a RUNNING conversation. */
export type AgentState =
  /** It waits until the user allows or refuses a tool call. */
  | 'AWAITING_USER_CONFIRMATION'
  /** It has answered, and waits for the user. */
  | 'AWAITING_USER_INPUT'
  /** It failed. */
  | 'ERROR'
  /** It says that the task is done. */
  | 'FINISHED'
  /** It is getting ready. */
  | 'LOADING'
  /** It stopped before the end, at a limit or because the conversation was stopped. */
  | 'PAUSED'
  /** It waits because the LLM's provider limits the rate. */
  | 'RATE_LIMITED'
  /** It refuses the task. */
  | 'REJECTED'
  /** It works on the user's message. */
  | 'RUNNING';

/** Exactly one way to name a file of a message. */
export type AttachmentInput =
  {   /** The file in the workspace, such as `uploads/plan.png`; not in a first message. It is copied: later changes make no difference to the message. */
  path: string; uploadId?: never; }
  |  { path?: never;   /** An upload of `createUpload` without a conversation, which the message uses up. The file is put into the workspace, at the upload's path, before the agent reads the message. */
  uploadId: string | number; };

/** All that is given must hold. */
export type ConversationFilter = {
  /** With all of these tags, at most 10, in upper or lower case. */
  allTags?: Array<string> | null | undefined;
  /** Created later than this. */
  createdAfter?: string | null | undefined;
  /** Created earlier than this. */
  createdBefore?: string | null | undefined;
  /** True: only archived ones. Null: archived ones too. By default they are left out, as in a mailbox. */
  isArchived?: boolean | null | undefined;
  /** True: only pinned ones. False: only others. */
  isPinned?: boolean | null | undefined;
  /** Only conversations that work on this repository. */
  repositoryId?: string | number | null | undefined;
  /** Any of these. */
  status?: Array<ConversationStatus> | null | undefined;
  /** With any of these tags, at most 10, in upper or lower case. */
  tags?: Array<string> | null | undefined;
  /** Case-insensitive substring of the title, at most 200 characters. */
  titleContains?: string | null | undefined;
  /** Any of these. */
  trigger?: Array<ConversationTrigger> | null | undefined;
  /** Updated later than this. */
  updatedAfter?: string | null | undefined;
  /** Updated earlier than this. */
  updatedBefore?: string | null | undefined;
};

/** Lifecycle of a conversation's runtime. Clients must tolerate values added later. */
export type ConversationStatus =
  /** Start or run failed; see `statusReason`. */
  | 'ERROR'
  /** The runtime is up; see `agentState` for what the agent does. */
  | 'RUNNING'
  /** The runtime is being prepared. */
  | 'STARTING'
  /** Not running; may be started again. */
  | 'STOPPED';

/** The origin of a conversation. */
export type ConversationTrigger =
  /** A program. */
  | 'API'
  /** A person at a front end. */
  | 'GUI'
  /** An issue or a pull request to be resolved. */
  | 'RESOLVER'
  /** A task that was suggested to the user. */
  | 'SUGGESTED_TASK';

/** A new conversation. */
export type CreateConversationInput = {
  /** Replace `{conversation_id}` in the first message by the new conversation's ID. */
  attachConversationId?: boolean;
  /** Null or omitted: the repository's default branch. */
  branchName?: string | null | undefined;
  /** Same key within 24 h returns the first result again instead of a second conversation. */
  idempotencyKey?: string | null | undefined;
  /** The first message; without one the agent waits for it. */
  initialMessage?: MessageInput | null | undefined;
  /** A trajectory to play again instead of asking the LLM; excludes `initialMessage`. Checked before anything is created. */
  replay?: unknown;
  /** The repository that the agent works on, in a clone of its own. */
  repository?: RepositoryRef | null | undefined;
  /** A task of `viewer.suggestedTasks`. It sets repository, branch and trigger, and a first message unless there is one. */
  suggestedTaskId?: string | number | null | undefined;
  /** Null or omitted: the server generates one from the first message. */
  title?: string | null | undefined;
  /** The conversation's origin. */
  trigger?: ConversationTrigger;
};

/** Which conversation. */
export type DeleteConversationInput = {
  /** The conversation. */
  id: string | number;
};

/** Machine-readable reason. `$` is illegal in a GraphQL name, so it became `_`; `Problem.messageId` and `UserError.messageId` carry the original. */
export type ErrorCode =
  /** The agent repeated the same call with the same result. */
  | 'AGENT_STUCK'
  /** The branch is at the git host already, and was not pushed from the conversation. */
  | 'BRANCH_EXISTS'
  /** The branch at the git host has commits that a push would remove. */
  | 'BRANCH_MOVED'
  /** The git host protects the branch. */
  | 'BRANCH_PROTECTED'
  /** CONFIGURATION$SETTINGS_NOT_FOUND: the caller never saved settings. */
  | 'CONFIGURATION_SETTINGS_NOT_FOUND'
  /** A changed file has the markers of a merge conflict. */
  | 'CONFLICT_MARKERS'
  /** The branch is the repository's default one, which the input does not allow. */
  | 'DEFAULT_BRANCH'
  /** No branch is checked out. */
  | 'DETACHED_HEAD'
  /** The git provider can't be reached, or limits the rate. */
  | 'GIT_PROVIDER_UNAVAILABLE'
  /** The git provider's token lacks a scope; see `scopes`. */
  | 'GIT_SCOPE_MISSING'
  /** The workspace's last commit is another one than expected. */
  | 'HEAD_MOVED'
  /** Stopped after waiting for input too long. */
  | 'IDLE_TIMEOUT'
  /** Git's index is locked: another git runs in the workspace, or one was killed there. */
  | 'INDEX_LOCKED'
  /** An input field is out of range or malformed; see `path`. */
  | 'INVALID_INPUT'
  /** The conversation's status does not allow this action. */
  | 'INVALID_STATE'
  /** The agent reached `maxIterations` or `maxBudgetUsd`, or the model's price is not known, so that `maxBudgetUsd` can't hold. */
  | 'LIMIT_REACHED'
  /** Stopped while waiting for input, to make room for another of the caller's conversations. */
  | 'MADE_ROOM'
  /** A merge, rebase, cherry-pick or revert has not come to an end. */
  | 'MERGE_IN_PROGRESS'
  /** Nothing is different from the last commit. */
  | 'NOTHING_TO_COMMIT'
  /** There is no commit beyond what was cloned, or no branch was pushed. */
  | 'NOTHING_TO_PUSH'
  /** The object does not exist or the caller may not see it. */
  | 'NOT_FOUND'
  /** The conversation, or its workspace, has no git repository. */
  | 'NO_REPOSITORY'
  /** The git host refused the pull request. */
  | 'PULL_REQUEST_REFUSED'
  /** The git host rejected the push. */
  | 'PUSH_REJECTED'
  /** STATUS$ERROR_LLM_AUTHENTICATION: the LLM provider refused the API key. */
  | 'STATUS_ERROR_LLM_AUTHENTICATION'
  /** STATUS$ERROR_LLM_CONTENT_POLICY_VIOLATION: the LLM provider refused the content. */
  | 'STATUS_ERROR_LLM_CONTENT_POLICY_VIOLATION'
  /** STATUS$ERROR_LLM_INTERNAL_SERVER_ERROR: the LLM call failed, or the run did. */
  | 'STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR'
  /** STATUS$ERROR_LLM_OUT_OF_CREDITS: the account at the LLM provider has no credit left. */
  | 'STATUS_ERROR_LLM_OUT_OF_CREDITS'
  /** STATUS$ERROR_LLM_SERVICE_UNAVAILABLE: the LLM provider does not answer, or limits the rate for too long. */
  | 'STATUS_ERROR_LLM_SERVICE_UNAVAILABLE'
  /** STATUS$GIT_PROVIDER_AUTHENTICATION_ERROR: the git host refused the token. */
  | 'STATUS_GIT_PROVIDER_AUTHENTICATION_ERROR'
  /** The caller already runs as many conversations as the server allows. */
  | 'TOO_MANY_RUNNING'
  /** The workspace could not be prepared: sandbox or clone failed. */
  | 'WORKSPACE_ERROR';

/** The author of an event. */
export type EventSource =
  /** The agent. */
  | 'AGENT'
  /** The server or a tool. */
  | 'ENVIRONMENT'
  /** The user. */
  | 'USER';

/** A user's message: text, images, or both. */
export type MessageInput = {
  /** At most 10 files, of 20 MiB each. Images among them are shown to the model, all are named to it. */
  attachments?: Array<AttachmentInput>;
  /** At most 10 images, as https or data URLs. */
  imageUrls?: Array<string>;
  /** At most 100,000 characters; may be blank where there is an image. */
  text: string;
};

/** A kind of git host. */
export type ProviderType =
  /** Bitbucket Cloud. */
  | 'BITBUCKET'
  /** GitHub, or a GitHub Enterprise Server. */
  | 'GITHUB'
  /** GitLab, also self-hosted. */
  | 'GITLAB';

/** A repository by its provider and name. */
export type RepositoryName = {
  /** `owner/name`. */
  nameWithOwner: string;
  /** The kind of host it is at. */
  provider: ProviderType;
};

/** Exactly one way to name a repository. */
export type RepositoryRef =
  {   /** Its provider and name. */
  byName: RepositoryName; id?: never; }
  |  { byName?: never;   /** A `Repository`'s ID. */
  id: string | number; };

export type CreateMutationVariables = Exact<{
  input: CreateConversationInput;
}>;


export type CreateMutation = { createConversation: { conversation: { id: string, title: string, status: ConversationStatus } | null, userErrors: Array<
      | { __typename: 'GitProviderAuthenticationError', code: ErrorCode, message: string, path: Array<string> }
      | { __typename: 'GitProviderUnavailableError', code: ErrorCode, message: string, path: Array<string> }
      | { __typename: 'InvalidInputError', code: ErrorCode, message: string, path: Array<string> }
      | { __typename: 'LlmAuthenticationError', code: ErrorCode, message: string, path: Array<string> }
      | { __typename: 'NotFoundError', code: ErrorCode, message: string, path: Array<string> }
      | { __typename: 'SettingsNotFoundError', code: ErrorCode, message: string, path: Array<string> }
      | { __typename: 'TooManyRunningError', code: ErrorCode, message: string, path: Array<string> }
    > } };

export type EventsSubscriptionVariables = Exact<{
  id: string | number;
  after?: string | null | undefined;
}>;


export type EventsSubscription = { conversationEvents: { cursor: string, node:
      | { __typename: 'MessageEvent', text: string, sequence: number, source: EventSource, createdAt: string }
      | { __typename: 'StateChangeEvent', agentState: AgentState, sequence: number, source: EventSource, createdAt: string }
      | { __typename: 'ToolCallEvent', sequence: number, source: EventSource, createdAt: string }
      | { __typename: 'ToolResultEvent', sequence: number, source: EventSource, createdAt: string }
     } };

export type SearchQueryVariables = Exact<{
  first: number;
  filter?: ConversationFilter | null | undefined;
}>;


export type SearchQuery = { conversations: { nodes: Array<{ id: string, title: string }>, pageInfo: { hasNextPage: boolean } } };

export type DeleteMutationVariables = Exact<{
  input: DeleteConversationInput;
}>;


export type DeleteMutation = { deleteConversation: { deletedConversationId: string | null, userErrors: Array<{ __typename: 'NotFoundError' }> } };


export const CreateDocument = {"kind":"Document","definitions":[{"kind":"OperationDefinition","operation":"mutation","name":{"kind":"Name","value":"Create"},"variableDefinitions":[{"kind":"VariableDefinition","variable":{"kind":"Variable","name":{"kind":"Name","value":"input"}},"type":{"kind":"NonNullType","type":{"kind":"NamedType","name":{"kind":"Name","value":"CreateConversationInput"}}}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"createConversation"},"arguments":[{"kind":"Argument","name":{"kind":"Name","value":"input"},"value":{"kind":"Variable","name":{"kind":"Name","value":"input"}}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"conversation"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"id"}},{"kind":"Field","name":{"kind":"Name","value":"title"}},{"kind":"Field","name":{"kind":"Name","value":"status"}}]}},{"kind":"Field","name":{"kind":"Name","value":"userErrors"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"__typename"}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"UserError"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"code"}},{"kind":"Field","name":{"kind":"Name","value":"message"}},{"kind":"Field","name":{"kind":"Name","value":"path"}}]}}]}}]}}]}}]} as unknown as DocumentNode<CreateMutation, CreateMutationVariables>;
export const EventsDocument = {"kind":"Document","definitions":[{"kind":"OperationDefinition","operation":"subscription","name":{"kind":"Name","value":"Events"},"variableDefinitions":[{"kind":"VariableDefinition","variable":{"kind":"Variable","name":{"kind":"Name","value":"id"}},"type":{"kind":"NonNullType","type":{"kind":"NamedType","name":{"kind":"Name","value":"ID"}}}},{"kind":"VariableDefinition","variable":{"kind":"Variable","name":{"kind":"Name","value":"after"}},"type":{"kind":"NamedType","name":{"kind":"Name","value":"String"}}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"conversationEvents"},"arguments":[{"kind":"Argument","name":{"kind":"Name","value":"conversationId"},"value":{"kind":"Variable","name":{"kind":"Name","value":"id"}}},{"kind":"Argument","name":{"kind":"Name","value":"after"},"value":{"kind":"Variable","name":{"kind":"Name","value":"after"}}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"cursor"}},{"kind":"Field","name":{"kind":"Name","value":"node"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"__typename"}},{"kind":"Field","name":{"kind":"Name","value":"sequence"}},{"kind":"Field","name":{"kind":"Name","value":"source"}},{"kind":"Field","name":{"kind":"Name","value":"createdAt"}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"MessageEvent"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"text"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"StateChangeEvent"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"agentState"}}]}}]}}]}}]}}]} as unknown as DocumentNode<EventsSubscription, EventsSubscriptionVariables>;
export const SearchDocument = {"kind":"Document","definitions":[{"kind":"OperationDefinition","operation":"query","name":{"kind":"Name","value":"Search"},"variableDefinitions":[{"kind":"VariableDefinition","variable":{"kind":"Variable","name":{"kind":"Name","value":"first"}},"type":{"kind":"NonNullType","type":{"kind":"NamedType","name":{"kind":"Name","value":"Int"}}}},{"kind":"VariableDefinition","variable":{"kind":"Variable","name":{"kind":"Name","value":"filter"}},"type":{"kind":"NamedType","name":{"kind":"Name","value":"ConversationFilter"}}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"conversations"},"arguments":[{"kind":"Argument","name":{"kind":"Name","value":"first"},"value":{"kind":"Variable","name":{"kind":"Name","value":"first"}}},{"kind":"Argument","name":{"kind":"Name","value":"filter"},"value":{"kind":"Variable","name":{"kind":"Name","value":"filter"}}},{"kind":"Argument","name":{"kind":"Name","value":"orderBy"},"value":{"kind":"ObjectValue","fields":[{"kind":"ObjectField","name":{"kind":"Name","value":"field"},"value":{"kind":"EnumValue","value":"TITLE"}},{"kind":"ObjectField","name":{"kind":"Name","value":"direction"},"value":{"kind":"EnumValue","value":"ASC"}}]}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"nodes"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"id"}},{"kind":"Field","name":{"kind":"Name","value":"title"}}]}},{"kind":"Field","name":{"kind":"Name","value":"pageInfo"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"hasNextPage"}}]}}]}}]}}]} as unknown as DocumentNode<SearchQuery, SearchQueryVariables>;
export const DeleteDocument = {"kind":"Document","definitions":[{"kind":"OperationDefinition","operation":"mutation","name":{"kind":"Name","value":"Delete"},"variableDefinitions":[{"kind":"VariableDefinition","variable":{"kind":"Variable","name":{"kind":"Name","value":"input"}},"type":{"kind":"NonNullType","type":{"kind":"NamedType","name":{"kind":"Name","value":"DeleteConversationInput"}}}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"deleteConversation"},"arguments":[{"kind":"Argument","name":{"kind":"Name","value":"input"},"value":{"kind":"Variable","name":{"kind":"Name","value":"input"}}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"deletedConversationId"}},{"kind":"Field","name":{"kind":"Name","value":"userErrors"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"__typename"}}]}}]}}]}}]} as unknown as DocumentNode<DeleteMutation, DeleteMutationVariables>;