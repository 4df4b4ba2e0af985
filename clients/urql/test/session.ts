/** What the tests share: a caller with settings, conversations that go away again, and waiting with a bound. */

import { gql } from "@urql/core";
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once, EventEmitter } from "node:events";
import type { TestContext } from "node:test";

import { connect, serverFromEnvironment, type Connection, type Options } from "../src/connect.ts";
import { Conversations } from "../src/conversations.ts";

const WAIT_MILLISECONDS = 60_000;

export const SETTINGS = gql<{ settings: { id: string } | null }, Record<string, never>>`
  query Settings {
    settings {
      id
    }
  }
`;

const SAVE_SETTINGS = gql`
  mutation SaveSettings {
    updateSettings(input: { llmModel: "demo/assistant" }) {
      settings {
        id
      }
    }
  }
`;

/** A connection that is closed after the test. Whatever the cache complains about fails it. */
export function session(test: TestContext, options: Options = {}): Connection {
  const complaints: string[] = [];
  const connection = connect(serverFromEnvironment(), {
    ...options,
    logger: (severity, message) => {
      // `debug` tells of what is not in the cache yet. The other is about fields of an event of another type: the cache
      // writes every fragment when it is given possible types instead of a whole schema.
      const isExpected = severity === "debug" || /^Invalid undefined.*Inline Fragment on/s.test(message);
      if (!isExpected) complaints.push(message);
    },
  });
  test.after(async () => {
    await connection.close();
    assert.deepEqual(complaints, []);
  });
  return connection;
}

/** In the titles of a test's conversations, so that it leaves others alone. */
export function newMarker(): string {
  return randomUUID();
}

/** Conversations of one's own, from the oldest, deleted after the test. */
export async function createConversations(test: TestContext, titles: readonly string[]): Promise<string[]> {
  const { client } = session(test);
  const { data } = await client.query(SETTINGS, {}).toPromise();
  if (data?.settings === null) await client.mutation(SAVE_SETTINGS, {}).toPromise();
  const conversations = new Conversations(client, 100);
  const ids: string[] = [];
  for (const title of titles) {
    const { conversationEdge, userErrors } = await conversations.create({ title });
    assert.deepEqual(userErrors, []);
    assert(conversationEdge);
    ids.push(conversationEdge.node.id);
    test.after(async () => void (await conversations.delete(conversationEdge.node.id)));
  }
  return ids;
}

/** Values that come one after the other, to be waited for. */
export class Arrivals<T> {
  readonly all: T[] = [];
  private readonly bell = new EventEmitter();

  readonly add = (value: T): void => {
    this.all.push(value);
    this.bell.emit("added");
  };

  /** The first value that is as wanted, also among those that were there already. */
  async until(wanted: (value: T) => boolean): Promise<T> {
    const signal = AbortSignal.timeout(WAIT_MILLISECONDS);
    for (let next = 0; ; next += 1) {
      while (next >= this.all.length) await once(this.bell, "added", { signal });
      const value = this.all[next] as T;
      if (wanted(value)) return value;
    }
  }
}

/** For errors that nobody expects: the test that runs fails. */
export function fail(error: unknown): never {
  throw error;
}
