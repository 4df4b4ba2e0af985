/** The list of conversations, without a user interface: paged, changed and live. */

import {
  commitMutation,
  createOperationDescriptor,
  fetchQuery,
  requestSubscription,
  type ConcreteRequest,
  type Disposable,
  type Environment,
  type MutationParameters,
} from "relay-runtime";

import CREATE, { type conversationsCreateMutation } from "./artifacts/conversationsCreateMutation.graphql.ts";
import DELETE, { type conversationsDeleteMutation } from "./artifacts/conversationsDeleteMutation.graphql.ts";
import NEXT_PAGE, { type conversationsNextPageQuery } from "./artifacts/conversationsNextPageQuery.graphql.ts";
import PAGE, { type ConversationFilter, type conversationsPageQuery } from "./artifacts/conversationsPageQuery.graphql.ts";
import RENAME, { type conversationsRenameMutation } from "./artifacts/conversationsRenameMutation.graphql.ts";
import STATUSES, { type conversationsStatusSubscription } from "./artifacts/conversationsStatusSubscription.graphql.ts";
import STOP, { type conversationsStopMutation } from "./artifacts/conversationsStopMutation.graphql.ts";
import LIST, { type conversations_list$data } from "./artifacts/conversations_list.graphql.ts";
import ROW, { type conversations_row$data } from "./artifacts/conversations_row.graphql.ts";
import { lookup } from "./lookup.ts";

export type Row = Omit<conversations_row$data, " $fragmentType">;
export type Change = conversationsStatusSubscription["response"]["conversationStatusChanged"];

export class ConversationList {
  readonly #environment: Environment;
  readonly #variables: { readonly first: number; readonly filter: ConversationFilter };

  constructor(environment: Environment, first: number, titleContains: string) {
    this.#environment = environment;
    this.#variables = { first, filter: { titleContains } };
  }

  /** The first page. It stays in the store until it is disposed of. */
  async load(): Promise<Disposable> {
    const retained = this.#environment.retain(this.#page());
    await fetchQuery<conversationsPageQuery>(this.#environment, PAGE, this.#variables).toPromise();
    return retained;
  }

  /** The next page, which Relay's handler puts behind what is there. */
  async more(): Promise<void> {
    const after = this.#read().conversations.pageInfo.endCursor ?? null;
    const variables = { ...this.#variables, after };
    await fetchQuery<conversationsNextPageQuery>(this.#environment, NEXT_PAGE, variables).toPromise();
  }

  hasMore(): boolean {
    return this.#read().conversations.pageInfo.hasNextPage;
  }

  rows(): Row[] {
    // What `@deleteRecord` deleted leaves an edge without its node behind, whatever the type says.
    const nodes = this.#read().conversations.edges.flatMap(({ node }) => node ?? []);
    return nodes.map((node) => {
      const { id, title, status, agentState } = lookup<conversations_row$data>(this.#environment, ROW, node);
      return { id, title, status, agentState };
    });
  }

  async create(input: conversationsCreateMutation["variables"]["input"]): Promise<conversationsCreateMutation["response"]["createConversation"]> {
    const variables = { input, connections: [this.#read().conversations.__id] };
    return (await commit<conversationsCreateMutation>(this.#environment, CREATE, { variables })).createConversation;
  }

  /** The list has the title before the server does, and the old one again where the server refuses it. */
  async rename(id: string, title: string): Promise<conversationsRenameMutation["response"]["renameConversation"]> {
    const answer = commit<conversationsRenameMutation>(this.#environment, RENAME, {
      variables: { input: { id, title } },
      optimisticResponse: { renameConversation: { conversation: { id, title }, userErrors: [] } },
    });
    return (await answer).renameConversation;
  }

  async stop(id: string): Promise<conversationsStopMutation["response"]["stopConversation"]> {
    const variables = { input: { id } };
    return (await commit<conversationsStopMutation>(this.#environment, STOP, { variables })).stopConversation;
  }

  async delete(id: string): Promise<conversationsDeleteMutation["response"]["deleteConversation"]> {
    const variables = { input: { id }, connections: [this.#read().conversations.__id] };
    return (await commit<conversationsDeleteMutation>(this.#environment, DELETE, { variables })).deleteConversation;
  }

  /** Every change of a status; the store follows by itself. */
  follow(onChange: (change: Change) => void, onError: (error: Error) => void): Disposable {
    return requestSubscription<conversationsStatusSubscription>(this.#environment, {
      subscription: STATUSES,
      variables: {},
      onNext: (response) => response && onChange(response.conversationStatusChanged),
      onError,
    });
  }

  #page() {
    return createOperationDescriptor(PAGE as ConcreteRequest, this.#variables);
  }

  #read(): conversations_list$data {
    const { data } = this.#environment.lookup(this.#page().fragment);
    return lookup<conversations_list$data>(this.#environment, LIST, data);
  }
}

function commit<T extends MutationParameters>(
  environment: Environment,
  mutation: ConcreteRequest,
  given: Pick<Parameters<typeof commitMutation<T>>[1], "variables" | "optimisticResponse">,
): Promise<T["response"]> {
  return new Promise((resolve, reject) => {
    commitMutation<T>(environment, {
      mutation,
      ...given,
      onCompleted: (response, errors) => (errors?.length ? reject(new Error(JSON.stringify(errors))) : resolve(response)),
      onError: reject,
    });
  });
}
