/**
 * @generated SignedSource<<72db98281f01b508fdbf2e9d0487c356>>
 * @lightSyntaxTransform
 */

/* tslint:disable */
/* eslint-disable */
// @ts-nocheck

import type { ConcreteRequest } from 'relay-runtime';
import type { FragmentRefs } from "relay-runtime";
export type ErrorCode = "AGENT_STUCK" | "BRANCH_EXISTS" | "BRANCH_MOVED" | "BRANCH_PROTECTED" | "CONFIGURATION_SETTINGS_NOT_FOUND" | "CONFLICT_MARKERS" | "DEFAULT_BRANCH" | "DETACHED_HEAD" | "GIT_PROVIDER_UNAVAILABLE" | "GIT_SCOPE_MISSING" | "HEAD_MOVED" | "IDLE_TIMEOUT" | "INDEX_LOCKED" | "INVALID_INPUT" | "INVALID_STATE" | "LIMIT_REACHED" | "MADE_ROOM" | "MERGE_IN_PROGRESS" | "NOTHING_TO_COMMIT" | "NOTHING_TO_PUSH" | "NOT_FOUND" | "NO_REPOSITORY" | "PULL_REQUEST_REFUSED" | "PUSH_REJECTED" | "STATUS_ERROR_LLM_AUTHENTICATION" | "STATUS_ERROR_LLM_CONTENT_POLICY_VIOLATION" | "STATUS_ERROR_LLM_INTERNAL_SERVER_ERROR" | "STATUS_ERROR_LLM_OUT_OF_CREDITS" | "STATUS_ERROR_LLM_SERVICE_UNAVAILABLE" | "STATUS_GIT_PROVIDER_AUTHENTICATION_ERROR" | "TOO_MANY_RUNNING" | "WORKSPACE_ERROR" | "%future added value";
export type StopConversationInput = {
  id: string;
};
export type conversationsStopMutation$variables = {
  input: StopConversationInput;
};
export type conversationsStopMutation$data = {
  readonly stopConversation: {
    readonly conversation: {
      readonly " $fragmentSpreads": FragmentRefs<"conversations_row">;
    } | null | undefined;
    readonly userErrors: ReadonlyArray<{
      readonly code?: ErrorCode;
      readonly message?: string;
    }>;
  };
};
export type conversationsStopMutation = {
  response: conversationsStopMutation$data;
  variables: conversationsStopMutation$variables;
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
    "name": "conversationsStopMutation",
    "selections": [
      {
        "alias": null,
        "args": (v1/*:: as any*/),
        "concreteType": "StopConversationPayload",
        "kind": "LinkedField",
        "name": "stopConversation",
        "plural": false,
        "selections": [
          {
            "alias": null,
            "args": null,
            "concreteType": "Conversation",
            "kind": "LinkedField",
            "name": "conversation",
            "plural": false,
            "selections": [
              {
                "args": null,
                "kind": "FragmentSpread",
                "name": "conversations_row"
              }
            ],
            "storageKey": null
          },
          {
            "alias": null,
            "args": null,
            "concreteType": null,
            "kind": "LinkedField",
            "name": "userErrors",
            "plural": true,
            "selections": [
              (v2/*:: as any*/)
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
    "name": "conversationsStopMutation",
    "selections": [
      {
        "alias": null,
        "args": (v1/*:: as any*/),
        "concreteType": "StopConversationPayload",
        "kind": "LinkedField",
        "name": "stopConversation",
        "plural": false,
        "selections": [
          {
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
              (v2/*:: as any*/)
            ],
            "storageKey": null
          }
        ],
        "storageKey": null
      }
    ]
  },
  "params": {
    "cacheID": "3b8fef97a4114e180b765e67968d3f13",
    "id": null,
    "metadata": {},
    "name": "conversationsStopMutation",
    "operationKind": "mutation",
    "text": "mutation conversationsStopMutation(\n  $input: StopConversationInput!\n) {\n  stopConversation(input: $input) {\n    conversation {\n      ...conversations_row\n      id\n    }\n    userErrors {\n      __typename\n      ... on UserError {\n        __isUserError: __typename\n        code\n        message\n      }\n    }\n  }\n}\n\nfragment conversations_row on Conversation {\n  id\n  title\n  status\n  agentState\n}\n"
  }
};
})();

(node as any).hash = "b384885052bdf4af1fbc371e70df126e";

export default node;
