/**
 * @generated SignedSource<<190f790fea16a4da7cc9156aca917f9c>>
 * @lightSyntaxTransform
 */

/* tslint:disable */
/* eslint-disable */
// @ts-nocheck

import type { ConcreteRequest } from 'relay-runtime';
import type { FragmentRefs } from "relay-runtime";
export type ConversationTrigger = "API" | "GUI" | "RESOLVER" | "SUGGESTED_TASK" | "%future added value";
export type ErrorCode = "AGENT_STUCK" | "BRANCH_EXISTS" | "BRANCH_MOVED" | "BRANCH_PROTECTED" | "CONFIGURATION_SETTINGS_NOT_FOUND" | "CONFLICT_MARKERS" | "DEFAULT_BRANCH" | "DETACHED_HEAD" | "GIT_PROVIDER_UNAVAILABLE" | "GIT_SCOPE_MISSING" | "HEAD_MOVED" | "IDLE_TIMEOUT" | "INDEX_LOCKED" | "INVALID_INPUT" | "INVALID_STATE" | "LIMIT_REACHED" | "MADE_ROOM" | "MERGE_IN_PROGRESS" | "NOTHING_TO_COMMIT" | "NOTHING_TO_PUSH" | "NOT_FOUND" | "NO_REPOSITORY" | "PULL_REQUEST_REFUSED" | "PUSH_REJECTED" | "STATUS_ERROR_LLM_AUTHENTICATION" | "STATUS_ERROR_LLM_CONTENT_POLICY_VIOLATION" | "STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR" | "STATUS_ERROR_LLM_OUT_OF_CREDITS" | "STATUS_ERROR_LLM_SERVICE_UNAVAILABLE" | "STATUS_GIT_PROVIDER_AUTHENTICATION_ERROR" | "TOO_MANY_RUNNING" | "WORKSPACE_ERROR" | "%future added value";
export type ProviderType = "BITBUCKET" | "GITHUB" | "GITLAB" | "%future added value";
export type CreateConversationInput = {
  attachConversationId?: boolean;
  branchName?: string | null | undefined;
  idempotencyKey?: string | null | undefined;
  initialMessage?: MessageInput | null | undefined;
  replay?: unknown | null | undefined;
  repository?: RepositoryRef | null | undefined;
  suggestedTaskId?: string | null | undefined;
  title?: string | null | undefined;
  trigger?: ConversationTrigger;
};
export type MessageInput = {
  attachments?: ReadonlyArray<AttachmentInput>;
  imageUrls?: ReadonlyArray<string>;
  text: string;
};
export type AttachmentInput = {
  path: string;
  uploadId?: never;
} | {
  path?: never;
  uploadId: string;
};
export type RepositoryRef = {
  byName?: never;
  id: string;
} | {
  byName: RepositoryName;
  id?: never;
};
export type RepositoryName = {
  nameWithOwner: string;
  provider: ProviderType;
};
export type conversationsCreateMutation$variables = {
  connections: ReadonlyArray<string>;
  input: CreateConversationInput;
};
export type conversationsCreateMutation$data = {
  readonly createConversation: {
    readonly conversation: {
      readonly id: string;
    } | null | undefined;
    readonly conversationEdge: {
      readonly node: {
        readonly " $fragmentSpreads": FragmentRefs<"conversations_row">;
      };
    } | null | undefined;
    readonly userErrors: ReadonlyArray<{
      readonly code?: ErrorCode;
      readonly message?: string;
    }>;
  };
};
export type conversationsCreateMutation = {
  response: conversationsCreateMutation$data;
  variables: conversationsCreateMutation$variables;
};

const node: ConcreteRequest = (function(){
var v0 = {
  "defaultValue": null,
  "kind": "LocalArgument",
  "name": "connections"
},
v1 = {
  "defaultValue": null,
  "kind": "LocalArgument",
  "name": "input"
},
v2 = [
  {
    "kind": "Variable",
    "name": "input",
    "variableName": "input"
  }
],
v3 = {
  "alias": null,
  "args": null,
  "kind": "ScalarField",
  "name": "id",
  "storageKey": null
},
v4 = {
  "alias": null,
  "args": null,
  "concreteType": "Conversation",
  "kind": "LinkedField",
  "name": "conversation",
  "plural": false,
  "selections": [
    (v3/*:: as any*/)
  ],
  "storageKey": null
},
v5 = {
  "kind": "InlineFragment",
  "selections": [
    {
      "alias": null,
      "args": null,
      "kind": "ScalarField",
      "name": "code",
      "storageKey": null
    },
    {
      "alias": null,
      "args": null,
      "kind": "ScalarField",
      "name": "message",
      "storageKey": null
    }
  ],
  "type": "UserError",
  "abstractKey": "__isUserError"
};
return {
  "fragment": {
    "argumentDefinitions": [
      (v0/*:: as any*/),
      (v1/*:: as any*/)
    ],
    "kind": "Fragment",
    "metadata": null,
    "name": "conversationsCreateMutation",
    "selections": [
      {
        "alias": null,
        "args": (v2/*:: as any*/),
        "concreteType": "CreateConversationPayload",
        "kind": "LinkedField",
        "name": "createConversation",
        "plural": false,
        "selections": [
          {
            "alias": null,
            "args": null,
            "concreteType": "ConversationEdge",
            "kind": "LinkedField",
            "name": "conversationEdge",
            "plural": false,
            "selections": [
              {
                "alias": null,
                "args": null,
                "concreteType": "Conversation",
                "kind": "LinkedField",
                "name": "node",
                "plural": false,
                "selections": [
                  {
                    "args": null,
                    "kind": "FragmentSpread",
                    "name": "conversations_row"
                  }
                ],
                "storageKey": null
              }
            ],
            "storageKey": null
          },
          (v4/*:: as any*/),
          {
            "alias": null,
            "args": null,
            "concreteType": null,
            "kind": "LinkedField",
            "name": "userErrors",
            "plural": true,
            "selections": [
              (v5/*:: as any*/)
            ],
            "storageKey": null
          }
        ],
        "storageKey": null
      }
    ],
    "type": "Mutation",
    "abstractKey": null
  },
  "kind": "Request",
  "operation": {
    "argumentDefinitions": [
      (v1/*:: as any*/),
      (v0/*:: as any*/)
    ],
    "kind": "Operation",
    "name": "conversationsCreateMutation",
    "selections": [
      {
        "alias": null,
        "args": (v2/*:: as any*/),
        "concreteType": "CreateConversationPayload",
        "kind": "LinkedField",
        "name": "createConversation",
        "plural": false,
        "selections": [
          {
            "alias": null,
            "args": null,
            "concreteType": "ConversationEdge",
            "kind": "LinkedField",
            "name": "conversationEdge",
            "plural": false,
            "selections": [
              {
                "alias": null,
                "args": null,
                "concreteType": "Conversation",
                "kind": "LinkedField",
                "name": "node",
                "plural": false,
                "selections": [
                  (v3/*:: as any*/),
                  {
                    "alias": null,
                    "args": null,
                    "kind": "ScalarField",
                    "name": "title",
                    "storageKey": null
                  },
                  {
                    "alias": null,
                    "args": null,
                    "kind": "ScalarField",
                    "name": "status",
                    "storageKey": null
                  },
                  {
                    "alias": null,
                    "args": null,
                    "kind": "ScalarField",
                    "name": "agentState",
                    "storageKey": null
                  }
                ],
                "storageKey": null
              }
            ],
            "storageKey": null
          },
          {
            "alias": null,
            "args": null,
            "filters": null,
            "handle": "prependEdge",
            "key": "",
            "kind": "LinkedHandle",
            "name": "conversationEdge",
            "handleArgs": [
              {
                "kind": "Variable",
                "name": "connections",
                "variableName": "connections"
              }
            ]
          },
          (v4/*:: as any*/),
          {
            "alias": null,
            "args": null,
            "concreteType": null,
            "kind": "LinkedField",
            "name": "userErrors",
            "plural": true,
            "selections": [
              {
                "alias": null,
                "args": null,
                "kind": "ScalarField",
                "name": "__typename",
                "storageKey": null
              },
              (v5/*:: as any*/)
            ],
            "storageKey": null
          }
        ],
        "storageKey": null
      }
    ]
  },
  "params": {
    "cacheID": "353cf7bc197ff3b5965f93d2c9999286",
    "id": null,
    "metadata": {},
    "name": "conversationsCreateMutation",
    "operationKind": "mutation",
    "text": "mutation conversationsCreateMutation(\n  $input: CreateConversationInput!\n) {\n  createConversation(input: $input) {\n    conversationEdge {\n      node {\n        ...conversations_row\n        id\n      }\n    }\n    conversation {\n      id\n    }\n    userErrors {\n      __typename\n      ... on UserError {\n        __isUserError: __typename\n        code\n        message\n      }\n    }\n  }\n}\n\nfragment conversations_row on Conversation {\n  id\n  title\n  status\n  agentState\n}\n"
  }
};
})();

(node as any).hash = "c732e85c9cc64c0b883acdbd1827027c";

export default node;
