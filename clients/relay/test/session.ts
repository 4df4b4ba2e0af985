/** What the tests share: a caller with settings, conversations that go away again, and waiting with a bound. */

import "../src/artifacts.ts";

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { TestContext } from "node:test";

import type { ConversationList } from "../src/list.ts";

// Static imports would be resolved before the line above had its effect.
const { connect, serverFromEnvironment } = await import("../src/environment.ts");
const lists = await import("../src/list.ts");

export const { readLog } = await import("../src/log.ts");

const WAIT_MILLISECONDS = 60_000;

/** A list in an environment of its own, loaded; it holds what has the marker in its title. */
export async function session(
  context: TestContext,
  { marker = randomUUID() as string, first = 20, conversations = 0 } = {},
) {
  const { environment, close } = connect(serverFromEnvironment());
  context.after(close);
  const list = new lists.ConversationList(environment, first, marker);
  // Creates without the list's knowing of it.
  const writer = new lists.ConversationList(environment, 1, "");
  await writer.load();
  const created: string[] = [];
  for (let index = 0; index < conversations; index += 1) {
    const { conversation } = await writer.create({ title: `${marker} ${index}` });
    assert(conversation);
    created.push(conversation.id);
    context.after(() => writer.delete(conversation.id));
  }
  const retained = await list.load();
  context.after(() => retained.dispose());
  return { environment, list, marker, created };
}

/** Follow the statuses until the test ends; what comes back waits until the list is as wanted. */
export function followed(context: TestContext, list: ConversationList): (wanted: () => boolean) => Promise<void> {
  let look: () => void = () => undefined;
  const following = list.follow(
    () => look(),
    (error) => assert.fail(error),
  );
  context.after(() => following.dispose());
  return (wanted) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("it never came")), WAIT_MILLISECONDS);
      look = () => {
        if (!wanted()) return;
        clearTimeout(timer);
        resolve();
      };
      look();
    });
}

export function ids(list: ConversationList): string[] {
  return list.rows().map(({ id }) => id);
}
