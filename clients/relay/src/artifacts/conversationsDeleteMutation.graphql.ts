/**
 * @generated SignedSource<<3f2788bed774af4c1842ae9ffe13904e>>
 * @lightSyntaxTransform
 */

/* tslint:disable */
/* eslint-disable */
// @ts-nocheck

import type { ConcreteRequest } from 'relay-runtime';
export type ErrorCode = "AGENT_STUCK" | "BRANCH_EXISTS" | "BRANCH_MOVED" | "BRANCH_PROTECTED" | "CONFIGURATION_SETTINGS_NOT_FOUND" | "CONFLICT_MARKERS" | "DEFAULT_BRANCH" | "DETACHED_HEAD" | "GIT_PROVIDER_UNAVAILABLE" | "GIT_SCOPE_MISSING" | "HEAD_MOVED" | "IDLE_TIMEOUT" | "INDEX_LOCKED" | "INVALID_INPUT" | "INVALID_STATE" | "LIMIT_REACHED" | "MADE_ROOM" | "MERGE_IN_PROGRESS" | "NOTHING_TO_COMMIT" | "NOTHING_TO_PUSH" | "NOT_FOUND" | "NO_REPOSITORY" | "PULL_REQUEST_REFUSED" | "PUSH_REJECTED" | "STATUS_ERROR_LLM_AUTHENTICATION" | "STATUS_ERROR_LLM_CONTENT_POLICY_VIOLATION" | "STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR" | "STATUS_ERROR_LLM_OUT_OF_CREDITS" | "STATUS_ERROR_LLM_SERVICE_UNAVAILABLE" | "STATUS_GIT_PROVIDER_AUTHENTICATION_ERROR" | "TOO_MANY_RUNNING" | "WORKSPACE_ERROR" | "%future added value";
export type DeleteConversationInput = {
  id: string;
};
export type conversationsDeleteMutation$variables = {
  connections: ReadonlyArray<string>;
  input: DeleteConversationInput;
};
export type conversationsDeleteMutation$data = {
  readonly deleteConversation: {
    readonly deletedConversationId: string | null | undefined;
    readonly userErrors: ReadonlyArray<{
      readonly code?: ErrorCode;
      readonly message?: string;
    }>;
  };
};
export type conversationsDeleteMutation = {
  response: conversationsDeleteMutation$data;
  variables: conversationsDeleteMutation$variables;
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
  "name": "deletedConversationId",
  "storageKey": null
},
v4 = {
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
    "name": "conversationsDeleteMutation",
    "selections": [
      {
        "alias": null,
        "args": (v2/*:: as any*/),
        "concreteType": "DeleteConversationPayload",
        "kind": "LinkedField",
        "name": "deleteConversation",
        "plural": false,
        "selections": [
          (v3/*:: as any*/),
          {
            "alias": null,
            "args": null,
            "concreteType": null,
            "kind": "LinkedField",
            "name": "userErrors",
            "plural": true,
            "selections": [
              (v4/*:: as any*/)
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
    "name": "conversationsDeleteMutation",
    "selections": [
      {
        "alias": null,
        "args": (v2/*:: as any*/),
        "concreteType": "DeleteConversationPayload",
        "kind": "LinkedField",
        "name": "deleteConversation",
        "plural": false,
        "selections": [
          (v3/*:: as any*/),
          {
            "alias": null,
            "args": null,
            "filters": null,
            "handle": "deleteEdge",
            "key": "",
            "kind": "ScalarHandle",
            "name": "deletedConversationId",
            "handleArgs": [
              {
                "kind": "Variable",
                "name": "connections",
                "variableName": "connections"
              }
            ]
          },
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
              (v4/*:: as any*/)
            ],
            "storageKey": null
          }
        ],
        "storageKey": null
      }
    ]
  },
  "params": {
    "cacheID": "ee1502012673c7de7418c6104b252838",
    "id": null,
    "metadata": {},
    "name": "conversationsDeleteMutation",
    "operationKind": "mutation",
    "text": "mutation conversationsDeleteMutation(\n  $input: DeleteConversationInput!\n) {\n  deleteConversation(input: $input) {\n    deletedConversationId\n    userErrors {\n      __typename\n      ... on UserError {\n        __isUserError: __typename\n        code\n        message\n      }\n    }\n  }\n}\n"
  }
};
})();

(node as any).hash = "36344453052865c5998b9c4a0a7008ca";

export default node;
