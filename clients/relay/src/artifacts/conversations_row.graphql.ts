/**
 * @generated SignedSource<<58ee18da355f4f12992da69178f3ca6e>>
 * @lightSyntaxTransform
 */

/* tslint:disable */
/* eslint-disable */
// @ts-nocheck

import type { ReaderFragment } from 'relay-runtime';
export type AgentState = "AWAITING_USER_CONFIRMATION" | "AWAITING_USER_INPUT" | "ERROR" | "FINISHED" | "LOADING" | "PAUSED" | "RATE_LIMITED" | "REJECTED" | "RUNNING" | "%future added value";
export type ConversationStatus = "ERROR" | "RUNNING" | "STARTING" | "STOPPED" | "%future added value";
import type { FragmentRefs } from "relay-runtime";
export type conversations_row$data = {
  readonly agentState: AgentState | null | undefined;
  readonly id: string;
  readonly status: ConversationStatus;
  readonly title: string;
  readonly " $fragmentType": "conversations_row";
};
export type conversations_row$key = {
  readonly " $data"?: conversations_row$data;
  readonly " $fragmentSpreads": FragmentRefs<"conversations_row">;
};

const node: ReaderFragment = {
  "argumentDefinitions": [],
  "kind": "Fragment",
  "metadata": null,
  "name": "conversations_row",
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
  "type": "Conversation",
  "abstractKey": null
};

(node as any).hash = "fc49615ac635e0d72877218a729f5503";

export default node;
