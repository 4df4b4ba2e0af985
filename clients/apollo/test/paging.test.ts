import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversations } from "../src/conversations.ts";
import { createConversations, loaded, newMarker, session } from "./session.ts";

test("the list is paged to its end, each conversation once, the newest first", async (context) => {
  const marker = newMarker();
  const created = await createConversations(context, [1, 2, 3, 4, 5, 6, 7].map((number) => `${marker} ${number}`));
  const { client } = session(context);
  const conversations = new Conversations(client, 3, marker);
  const list = conversations.watch();

  await loaded(context, list);
  const sizes = [conversations.cached().length];
  while (conversations.hasMore()) {
    await conversations.more(list);
    sizes.push(conversations.cached().length);
  }

  assert.deepEqual(sizes, [3, 6, 7]);
  assert.deepEqual(
    conversations.cached().map(({ id }) => id),
    created.toReversed(),
  );
});

test("a conversation created between two pages is neither doubled nor does it push one out", async (context) => {
  const marker = newMarker();
  const created = await createConversations(context, [1, 2, 3, 4].map((number) => `${marker} ${number}`));
  const { client } = session(context);
  const conversations = new Conversations(client, 1, marker);
  const list = conversations.watch();
  await loaded(context, list);

  const { conversationEdge } = await conversations.create({ title: `${marker} 5` });
  assert(conversationEdge);
  context.after(async () => void (await conversations.delete(conversationEdge.node.id)));
  for (const _ of created.slice(1)) await conversations.more(list);

  assert.deepEqual(
    conversations.cached().map(({ id }) => id),
    [conversationEdge.node.id, ...created.toReversed()],
  );
});

test("lists with different filters lie apart in the cache", async (context) => {
  const [one, other] = [newMarker(), newMarker()];
  const [first, second] = await createConversations(context, [one, other]);
  const { client } = session(context);
  const lists = [one, other].map((marker) => new Conversations(client, 3, marker));

  for (const conversations of lists) await loaded(context, conversations.watch());

  assert.deepEqual(
    lists.map((conversations) => conversations.cached().map(({ id }) => id)),
    [[first], [second]],
  );
});
