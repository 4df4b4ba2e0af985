/**
 * @generated SignedSource<<e3254e8a3d6003424465b94dfe1453c7>>
 * @lightSyntaxTransform
 */

/* tslint:disable */
/* eslint-disable */
// @ts-nocheck

import type { ConcreteRequest } from 'relay-runtime';
export type ErrorCode = "AGENT_STUCK" | "BRANCH_EXISTS" | "BRANCH_MOVED" | "BRANCH_PROTECTED" | "CONFIGURATION_SETTINGS_NOT_FOUND" | "CONFLICT_MARKERS" | "DEFAULT_BRANCH" | "DETACHED_HEAD" | "GIT_PROVIDER_UNAVAILABLE" | "GIT_SCOPE_MISSING" | "HEAD_MOVED" | "IDLE_TIMEOUT" | "INDEX_LOCKED" | "INVALID_INPUT" | "INVALID_STATE" | "LIMIT_REACHED" | "MADE_ROOM" | "MERGE_IN_PROGRESS" | "NOTHING_TO_COMMIT" | "NOTHING_TO_PUSH" | "NOT_FOUND" | "NO_REPOSITORY" | "PULL_REQUEST_REFUSED" | "PUSH_REJECTED" | "STATUS_ERROR_LLM_AUTHENTICATION" | "STATUS_ERROR_LLM_CONTENT_POLICY_VIOLATION" | "STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR" | "STATUS_ERROR_LLM_OUT_OF_CREDITS" | "STATUS_ERROR_LLM_SERVICE_UNAVAILABLE" | "STATUS_GIT_PROVIDER_AUTHENTICATION_ERROR" | "TOO_MANY_RUNNING" | "WORKSPACE_ERROR" | "%future added value";
export type RenameConversationInput = {
  id: string;
  title?: string | null | undefined;
};
export type conversationsRenameMutation$variables = {
  input: RenameConversationInput;
};
export type conversationsRenameMutation$data = {
  readonly renameConversation: {
    readonly conversation: {
      readonly id: string;
      readonly title: string;
    } | null | undefined;
    readonly userErrors: ReadonlyArray<{
      readonly code?: ErrorCode;
      readonly message?: string;
    }>;
  };
};
export type conversationsRenameMutation$rawResponse = {
  readonly renameConversation: {
    readonly conversation: {
      readonly id: string;
      readonly title: string;
    } | null | undefined;
    readonly userErrors: ReadonlyArray<{
      readonly __typename: string;
      readonly __isUserError?: string;
      readonly code?: ErrorCode;
      readonly message?: string;
    }>;
  };
};
export type conversationsRenameMutation = {
  rawResponse: conversationsRenameMutation$rawResponse;
  response: conversationsRenameMutation$data;
  variables: conversationsRenameMutation$variables;
};

const node: ConcreteRequest = (function(){
var v0 = [
  {
    "defaultValue": null,
    "kind": "LocalArgument",
    "name": "input"
  }
],
v1 = [
  {
    "kind": "Variable",
    "name": "input",
    "variableName": "input"
  }
],
v2 = {
  "alias": null,
  "args": null,
  "concreteType": "Conversation",
  "kind": "LinkedField",
  "name": "conversation",
  "plural": false,
  "selections": [
    {
      "alias": null,
      "args": null,
      "kind": "ScalarField",
      "name": "id",
      "storageKey": null
    },
    {
      "alias": null,
      "args": null,
      "kind": "ScalarField",
      "name": "title",
      "storageKey": null
    }
  ],
  "storageKey": null
},
v3 = {
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
    "argumentDefinitions": (v0/*:: as any*/),
    "kind": "Fragment",
    "metadata": null,
    "name": "conversationsRenameMutation",
    "selections": [
      {
        "alias": null,
        "args": (v1/*:: as any*/),
        "concreteType": "RenameConversationPayload",
        "kind": "LinkedField",
        "name": "renameConversation",
        "plural": false,
        "selections": [
          (v2/*:: as any*/),
          {
            "alias": null,
            "args": null,
            "concreteType": null,
            "kind": "LinkedField",
            "name": "userErrors",
            "plural": true,
            "selections": [
              (v3/*:: as any*/)
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
    "argumentDefinitions": (v0/*:: as any*/),
    "kind": "Operation",
    "name": "conversationsRenameMutation",
    "selections": [
      {
        "alias": null,
        "args": (v1/*:: as any*/),
        "concreteType": "RenameConversationPayload",
        "kind": "LinkedField",
        "name": "renameConversation",
        "plural": false,
        "selections": [
          (v2/*:: as any*/),
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
              (v3/*:: as any*/)
            ],
            "storageKey": null
          }
        ],
        "storageKey": null
      }
    ]
  },
  "params": {
    "cacheID": "81338f4b548882b08921f5a8b307d2bb",
    "id": null,
    "metadata": {},
    "name": "conversationsRenameMutation",
    "operationKind": "mutation",
    "text": "mutation conversationsRenameMutation(\n  $input: RenameConversationInput!\n) {\n  renameConversation(input: $input) {\n    conversation {\n      id\n      title\n    }\n    userErrors {\n      __typename\n      ... on UserError {\n        __isUserError: __typename\n        code\n        message\n      }\n    }\n  }\n}\n"
  }
};
})();

(node as any).hash = "15a4faa7def9814ba6ea9a38a8263bce";

export default node;
