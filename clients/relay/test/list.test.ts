import assert from "node:assert/strict";
import { test } from "node:test";

import { followed, ids, readLog, session } from "./session.ts";

test("the list is paged to its end, each conversation once, the newest first", async (context) => {
  const { list, marker, created } = await session(context, { conversations: 5, first: 2 });

  const sizes = [list.rows().length];
  while (list.hasMore()) {
    await list.more();
    sizes.push(list.rows().length);
  }

  assert.deepEqual(sizes, [2, 4, 5]);
  assert.deepEqual(
    list.rows().map(({ id, title }) => ({ id, title })),
    created.map((id, index) => ({ id, title: `${marker} ${index}` })).toReversed(),
  );
});

test("@prependEdge puts a new conversation on top of the list", async (context) => {
  const { list, marker, created } = await session(context, { conversations: 1 });

  const { conversation, userErrors } = await list.create({ title: `${marker} new` });
  assert(conversation);
  context.after(() => list.delete(conversation.id));

  assert.deepEqual(userErrors, []);
  assert.deepEqual(ids(list), [conversation.id, ...created]);
});

test("@deleteEdge takes a deleted conversation from the list", async (context) => {
  const { list, created } = await session(context, { conversations: 3 });
  const [oldest, middle, newest] = created;
  assert(middle);

  const { deletedConversationId, userErrors } = await list.delete(middle);

  assert.deepEqual({ deletedConversationId, userErrors }, { deletedConversationId: middle, userErrors: [] });
  assert.deepEqual(ids(list), [newest, oldest]);
});

test("a rename shows at once, and is taken back where the server refuses it", async (context) => {
  const { list, marker, created } = await session(context, { conversations: 1 });
  const [id] = created;
  assert(id);
  const title = () => list.rows()[0]?.title;

  const renaming = list.rename(id, `${marker} renamed`);
  assert.equal(title(), `${marker} renamed`);
  assert.deepEqual((await renaming).userErrors, []);
  const refusing = list.rename(id, "x".repeat(201));
  assert.equal(title(), "x".repeat(201));
  const { userErrors } = await refusing;

  assert.deepEqual(
    userErrors.map(({ code }) => code),
    ["INVALID_INPUT"],
  );
  assert.equal(title(), `${marker} renamed`);
});

test("the list follows over graphql-transport-ws what another caller does", async (context) => {
  const { list, marker, created } = await session(context, { conversations: 2 });
  const other = await session(context, { marker });
  const [oldest, newest] = created;
  assert(newest);
  const until = followed(context, list);
  const newestRow = () => list.rows().find(({ id }) => id === newest);

  await until(() => list.rows().every(({ agentState }) => agentState === "AWAITING_USER_INPUT"));
  await other.list.stop(newest);
  await until(() => newestRow()?.status === "STOPPED");
  assert.equal(newestRow()?.agentState, null);
  await other.list.delete(newest);
  await until(() => list.rows().length === 1);

  assert.deepEqual(ids(list), [oldest]);
});

test("a log is refetched by the conversation's ID, page by page", async (context) => {
  const { environment, list, marker } = await session(context);
  const { conversation } = await list.create({ title: marker, initialMessage: { text: "Hello" } });
  assert(conversation);
  context.after(() => list.delete(conversation.id));
  const until = followed(context, list);
  await until(() => list.rows()[0]?.agentState === "AWAITING_USER_INPUT");

  const events = await readLog(environment, conversation.id, 2);

  assert.deepEqual(
    events.map(({ sequence }) => sequence),
    events.map((_, index) => index + 1),
  );
  const [question, answer, ...others] = events.flatMap(({ text }) => text ?? []);
  assert.deepEqual([question, others], ["Hello", []]);
  assert.match(answer ?? "", /\S/);
});
