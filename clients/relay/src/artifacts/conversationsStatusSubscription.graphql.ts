/**
 * @generated SignedSource<<4839c1412085c4c5563199bd70aca335>>
 * @lightSyntaxTransform
 */

/* tslint:disable */
/* eslint-disable */
// @ts-nocheck

import type { ConcreteRequest } from 'relay-runtime';
import type { FragmentRefs } from "relay-runtime";
export type ConversationStatus = "ERROR" | "RUNNING" | "STARTING" | "STOPPED" | "%future added value";
export type conversationsStatusSubscription$variables = Record<PropertyKey, never>;
export type conversationsStatusSubscription$data = {
  readonly conversationStatusChanged: {
    readonly conversation: {
      readonly " $fragmentSpreads": FragmentRefs<"conversations_row">;
    } | null | undefined;
    readonly deletedConversationId: string | null | undefined;
    readonly previousStatus: ConversationStatus | null | undefined;
  };
};
export type conversationsStatusSubscription = {
  response: conversationsStatusSubscription$data;
  variables: conversationsStatusSubscription$variables;
};

const node: ConcreteRequest = (function(){
var v0 = {
  "alias": null,
  "args": null,
  "kind": "ScalarField",
  "name": "deletedConversationId",
  "storageKey": null
},
v1 = {
  "alias": null,
  "args": null,
  "kind": "ScalarField",
  "name": "previousStatus",
  "storageKey": null
};
return {
  "fragment": {
    "argumentDefinitions": [],
    "kind": "Fragment",
    "metadata": null,
    "name": "conversationsStatusSubscription",
    "selections": [
      {
        "alias": null,
        "args": null,
        "concreteType": "ConversationStatusChange",
        "kind": "LinkedField",
        "name": "conversationStatusChanged",
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
          (v0/*:: as any*/),
          (v1/*:: as any*/)
        ],
        "storageKey": null
      }
    ],
    "type": "Subscription",
    "abstractKey": null
  },
  "kind": "Request",
  "operation": {
    "argumentDefinitions": [],
    "kind": "Operation",
    "name": "conversationsStatusSubscription",
    "selections": [
      {
        "alias": null,
        "args": null,
        "concreteType": "ConversationStatusChange",
        "kind": "LinkedField",
        "name": "conversationStatusChanged",
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
          (v0/*:: as any*/),
          {
            "alias": null,
            "args": null,
            "filters": null,
            "handle": "deleteRecord",
            "key": "",
            "kind": "ScalarHandle",
            "name": "deletedConversationId"
          },
          (v1/*:: as any*/)
        ],
        "storageKey": null
      }
    ]
  },
  "params": {
    "cacheID": "ebf2f1ae987fe7313f751fb16f63c860",
    "id": null,
    "metadata": {},
    "name": "conversationsStatusSubscription",
    "operationKind": "subscription",
    "text": "subscription conversationsStatusSubscription {\n  conversationStatusChanged {\n    conversation {\n      ...conversations_row\n      id\n    }\n    deletedConversationId\n    previousStatus\n  }\n}\n\nfragment conversations_row on Conversation {\n  id\n  title\n  status\n  agentState\n}\n"
  }
};
})();

(node as any).hash = "28cc8535d41ad1d5662879c91565404a";

export default node;
