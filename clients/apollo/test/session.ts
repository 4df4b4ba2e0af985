/** What the tests share: a caller with settings, conversations that go away again, and waiting with a bound. */

import { gql, type ObservableQuery, type OperationVariables, type TypedDocumentNode } from "@apollo/client";
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { TestContext } from "node:test";
import { filter, firstValueFrom, from, map, timeout, type ObservableInput } from "rxjs";

import { connect, serverFromEnvironment, type Connection, type Options } from "../src/connect.ts";
import { Conversations } from "../src/conversations.ts";

const WAIT_MILLISECONDS = 60_000;

const SETTINGS: TypedDocumentNode<{ settings: { __typename: string; id: string } | null }> = gql`
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

/** A connection that is closed after the test. */
export function session(test: TestContext, options: Options = {}): Connection {
  const connection = connect(serverFromEnvironment(), options);
  test.after(connection.close);
  return connection;
}

/** In the titles of a test's conversations, so that it leaves others alone. */
export function newMarker(): string {
  return randomUUID();
}

/** Watch a query until the test ends, and return once it has data. */
export async function loaded<T, V extends OperationVariables>(
  test: TestContext,
  query: ObservableQuery<T, V>,
): Promise<void> {
  const watching = query.subscribe(() => undefined);
  test.after(() => watching.unsubscribe());
  await until(query, ({ dataState, error }) => (error ? assert.fail(error) : dataState === "complete" || undefined));
}

/** Conversations of one's own, from the oldest, deleted after the test. */
export async function createConversations(test: TestContext, titles: readonly string[]): Promise<string[]> {
  const { client } = session(test);
  const { data } = await client.query({ query: SETTINGS });
  if (data?.settings === null) await client.mutate({ mutation: SAVE_SETTINGS });
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

/** The first value that is as wanted. Fails when it does not come. */
export async function until<T, R>(source: ObservableInput<T>, wanted: (value: T) => R | undefined): Promise<R> {
  const [found] = await firstValueFrom(
    from(source).pipe(
      map((value) => [wanted(value)] as const),
      filter((found): found is readonly [R & {}] => found[0] !== undefined),
      timeout(WAIT_MILLISECONDS),
    ),
  );
  return found;
}

/** For errors that nobody expects: the test that runs fails. */
export function fail(error: unknown): never {
  throw error instanceof Error ? error : new Error(String(error));
}
