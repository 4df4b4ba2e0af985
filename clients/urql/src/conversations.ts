/** The list of conversations: paged, changed at once, and live. */

import { CombinedError, type Client, type OperationResult } from "@urql/core";
import { pipe, subscribe } from "wonka";

import {
  CREATE,
  DELETE,
  LIST,
  RENAME,
  STATUS_CHANGED,
  type Conversation,
  type ConversationList,
  type CreateVariables,
  type Created,
  type Deleted,
  type ListVariables,
  type Renamed,
} from "./documents.ts";

/** The caller's conversations, the newest first. */
export class Conversations {
  private readonly client: Client;
  private readonly variables: ListVariables;

  constructor(client: Client, pageSize: number, titleContains?: string) {
    this.client = client;
    this.variables = { first: pageSize, ...(titleContains === undefined ? {} : { filter: { titleContains } }) };
  }

  /** Call back with the list as far as it is loaded, now and whenever it changes. Returns what ends it. */
  watch(
    onChange: (conversations: readonly Conversation[]) => void,
    onError: (error: CombinedError) => void,
  ): () => void {
    const { unsubscribe } = pipe(
      this.client.query(LIST, this.variables),
      subscribe(({ data, error }) => {
        if (error) onError(error);
        else if (data) onChange(nodes(data));
      }),
    );
    return unsubscribe;
  }

  /** What the cache has of the list, also what the server has not answered yet. */
  cached(): readonly Conversation[] {
    const data = this.read();
    return data ? nodes(data) : [];
  }

  hasMore(): boolean {
    return this.read()?.conversations.pageInfo.hasNextPage ?? true;
  }

  /** Load the first page, or the next one. The cache joins them. */
  async more(): Promise<void> {
    const after = this.read()?.conversations.pageInfo.endCursor;
    answered(await this.client.query(LIST, { ...this.variables, ...(after ? { after } : {}) }).toPromise());
  }

  async create(input: CreateVariables["input"]): Promise<Created["createConversation"]> {
    return answered(await this.client.mutation(CREATE, { input }).toPromise()).createConversation;
  }

  /** The list shows the new title at once, and the old one again where the server refuses it. */
  async rename(id: string, title: string): Promise<Renamed["renameConversation"]> {
    return answered(await this.client.mutation(RENAME, { input: { id, title } }).toPromise()).renameConversation;
  }

  async delete(id: string): Promise<Deleted["deleteConversation"]> {
    return answered(await this.client.mutation(DELETE, { id }).toPromise()).deleteConversation;
  }

  /** Keep the list in step with what happens elsewhere; the cache does it. Returns what ends it. */
  follow(onError: (error: CombinedError) => void): () => void {
    const { unsubscribe } = pipe(
      this.client.subscription(STATUS_CHANGED, {}),
      subscribe(({ error }) => {
        if (error) onError(error);
      }),
    );
    return unsubscribe;
  }

  private read(): ConversationList | undefined {
    return this.client.readQuery(LIST, this.variables, { requestPolicy: "cache-only" })?.data;
  }
}

function nodes(data: ConversationList): readonly Conversation[] {
  return data.conversations.edges.map(({ node }) => node);
}

function answered<T>({ data, error }: OperationResult<T>): T {
  if (error) throw error;
  if (data === undefined) throw new Error("The server brought no data.");
  return data;
}
