/** A conversation's log: what is there, and then what is added. */

import type { ApolloClient, ObservableQuery } from "@apollo/client";

import { EVENT_ADDED, EVENTS, SEND, type EventEdge, type EventLog, type LoggedEvent, type Sent } from "./documents.ts";

/** The first 100 events and, with `follow`, everything after them. */
export class Log {
  private readonly client: ApolloClient;
  private readonly id: string;

  constructor(client: ApolloClient, conversationId: string) {
    this.client = client;
    this.id = conversationId;
  }

  watch(): ObservableQuery<EventLog, { id: string; after?: string | null }> {
    return this.client.watchQuery({ query: EVENTS, variables: { id: this.id } });
  }

  /** Append what comes behind the last event that the cache has. Returns what ends it. */
  follow(onError: (error: unknown) => void): () => void {
    const data = this.client.readQuery({ query: EVENTS, variables: { id: this.id } });
    const after = data?.conversation?.events.pageInfo.endCursor ?? "";
    const subscription = this.client.subscribe({ query: EVENT_ADDED, variables: { id: this.id, after } }).subscribe({
      next: ({ data, error }) => {
        if (error) onError(error);
        if (data) this.append(data.conversationEvents);
      },
      error: onError,
    });
    return () => subscription.unsubscribe();
  }

  async send(text: string): Promise<Sent["sendMessage"]> {
    const { data } = await this.client.mutate({ mutation: SEND, variables: { id: this.id, text } });
    if (!data) throw new Error("The mutation brought no data.");
    return data.sendMessage;
  }

  /** What the cache has of it. */
  cached(): readonly LoggedEvent[] {
    const data = this.client.readQuery({ query: EVENTS, variables: { id: this.id } });
    return data?.conversation?.events.edges.map((edge) => edge.node) ?? [];
  }

  /** After a break of the connection events come again that are there already. */
  private append(edge: EventEdge): void {
    this.client.cache.updateQuery({ query: EVENTS, variables: { id: this.id } }, (data) => {
      const events = data?.conversation?.events;
      if (!data?.conversation || !events) return undefined;
      if (events.edges.some(({ node }) => node.id === edge.node.id)) return undefined;
      const pageInfo = { ...events.pageInfo, endCursor: edge.cursor };
      const grown = { ...events, edges: [...events.edges, edge], pageInfo };
      return { conversation: { ...data.conversation, events: grown } };
    });
  }
}
