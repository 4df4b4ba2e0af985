import { useSyncExternalStore } from "react";

import { SEND } from "../documents.ts";
import { newKey } from "../idempotency.ts";
import { ask, check, faultOf, onConnection } from "../server.ts";
import { tabStorage } from "../tab-storage.ts";

/** A message that is not answered yet, or was refused. */
export interface Outgoing {
  /** Made with the message and kept until it is answered, so that no attempt says it twice. */
  key: string;
  text: string;
  imageUrls: string[];
  attachments: { path: string; name: string }[];
  /** Why it is still here; null while it is under way. */
  problem: { message: string; code: string; isRefusal: boolean } | null;
}

export type NewMessage = Pick<Outgoing, "text" | "imageUrls" | "attachments">;

const NAME = "outbox:";
const NONE: readonly Outgoing[] = [];
const queues = new Map<string, readonly Outgoing[]>();
const listeners = new Set<() => void>();
const delivering = new Set<string>();

function read(conversationId: string): readonly Outgoing[] {
  let queue = queues.get(conversationId);
  if (!queue) {
    queue = tabStorage.read<Outgoing[]>(NAME + conversationId) ?? NONE;
    queues.set(conversationId, queue);
  }
  return queue;
}

function change(conversationId: string, queue: readonly Outgoing[]) {
  queues.set(conversationId, queue);
  if (queue.length > 0) tabStorage.write(NAME + conversationId, queue);
  else tabStorage.remove(NAME + conversationId);
  for (const listener of listeners) listener();
}

function replace(conversationId: string, key: string, changed: Partial<Outgoing>) {
  change(
    conversationId,
    read(conversationId).map((message) => (message.key === key ? { ...message, ...changed } : message)),
  );
}

/** Sends what waits, one after another; the first that gets no answer ends it, so that the order stays. */
async function deliver(conversationId: string): Promise<void> {
  if (delivering.has(conversationId)) return;
  delivering.add(conversationId);
  try {
    for (;;) {
      const next = read(conversationId).find(({ problem }) => !problem?.isRefusal);
      if (!next || next.problem) return;
      const { key, text, imageUrls, attachments } = next;
      const message = { text, imageUrls, attachments: attachments.map(({ path }) => ({ path })) };
      try {
        check((await ask(SEND, { input: { conversationId, message, idempotencyKey: key } })).sendMessage);
        outbox.remove(conversationId, key);
      } catch (error) {
        const { message: problem, code, isRefusal } = faultOf(error);
        replace(conversationId, key, { problem: { message: problem, code, isRefusal } });
      }
    }
  } finally {
    delivering.delete(conversationId);
  }
}

export const outbox = {
  add(conversationId: string, message: NewMessage): void {
    change(conversationId, [...read(conversationId), { ...message, key: newKey(), problem: null }]);
    void deliver(conversationId);
  },
  remove(conversationId: string, key: string): void {
    change(conversationId, read(conversationId).filter((message) => message.key !== key));
  },
  /** Sends once more what has not arrived; a refused message is a new one then. */
  retry(conversationId: string): void {
    const queue = read(conversationId).map((message) => ({
      ...message,
      key: message.problem?.isRefusal ? newKey() : message.key,
      problem: null,
    }));
    change(conversationId, queue);
    void deliver(conversationId);
  },
};

/** Sends what got no answer again: after a reload, and whenever the connection is back. */
export function resumeSending(): () => void {
  const resume = () => {
    for (const conversationId of new Set([...queues.keys(), ...tabStorage.names(NAME)])) {
      const queue = read(conversationId);
      if (queue.length === 0) continue;
      change(
        conversationId,
        queue.map((message) => (message.problem?.isRefusal ? message : { ...message, problem: null })),
      );
      void deliver(conversationId);
    }
  };
  resume();
  return onConnection((isConnected) => isConnected && resume());
}

export function useOutbox(conversationId: string): readonly Outgoing[] {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => read(conversationId),
  );
}
