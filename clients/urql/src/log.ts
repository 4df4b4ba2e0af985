/** A conversation's log, followed from its beginning or from where one was. */

import type { Client, CombinedError } from "@urql/core";
import { pipe, subscribe } from "wonka";

import { EVENT_ADDED, SEND, type LoggedEvent } from "./documents.ts";

export class Log {
  private readonly client: Client;
  private readonly id: string;
  private cursor = "";
  private sequence = 0;

  constructor(client: Client, conversationId: string) {
    this.client = client;
    this.id = conversationId;
  }

  /** Call back with each event once, in order. Returns what ends it; a later call goes on behind the last event. */
  follow(onEvent: (event: LoggedEvent) => void, onError: (error: CombinedError) => void): () => void {
    const { unsubscribe } = pipe(
      this.client.subscription(EVENT_ADDED, { id: this.id, after: this.cursor }),
      subscribe(({ data, error }) => {
        if (error) onError(error);
        const edge = data?.conversationEvents;
        // After a break of the connection events come again that were here already, and urql tells the last one again
        // when a stream ends.
        if (!edge || edge.node.sequence <= this.sequence) return;
        this.cursor = edge.cursor;
        this.sequence = edge.node.sequence;
        onEvent(edge.node);
      }),
    );
    return unsubscribe;
  }

  async send(text: string): Promise<void> {
    const { data, error } = await this.client.mutation(SEND, { id: this.id, text }).toPromise();
    const [refused] = data?.sendMessage.userErrors ?? [];
    if (error ?? refused) throw error ?? new Error(refused?.message);
  }
}
