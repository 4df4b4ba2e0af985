import assert from "node:assert/strict";
import { test } from "node:test";

import type { Transport } from "../src/connect.ts";
import { Conversations } from "../src/conversations.ts";
import type { Conversation, LoggedEvent } from "../src/documents.ts";
import { Log } from "../src/log.ts";
import { Arrivals, createConversations, fail, newMarker, session } from "./session.ts";

const WAITING = "AWAITING_USER_INPUT";
const TRANSPORTS: readonly Transport[] = ["websocket", "sse", "fetch"];

for (const transport of TRANSPORTS) {
  test(`over ${transport}, the list follows what happens elsewhere`, async (context) => {
    const marker = newMarker();
    const [old] = await createConversations(context, [`${marker} old`]);
    const conversations = new Conversations(session(context, { transport }).client, 10, marker);
    const lists = new Arrivals<readonly Conversation[]>();
    context.after(conversations.watch(lists.add, fail));
    await lists.until((list) => list.length === 1);
    context.after(conversations.follow(fail));
    const elsewhere = new Conversations(session(context).client, 10);

    const { conversationEdge } = await elsewhere.create({ title: `${marker} new`, initialMessage: { text: "Hello" } });
    const id = conversationEdge?.node.id;
    assert(id);
    // It was created without this client, and stands where a query would have it.
    const grown = await lists.until((list) => list.length === 2);
    assert.deepEqual(
      grown.map((conversation) => conversation.id),
      [id, old],
    );

    const [waiting] = await lists.until(([first]) => first?.id === id && first.agentState === WAITING);
    assert.equal(waiting?.status, "RUNNING");
    await elsewhere.delete(id);
    const left = await lists.until((list) => list.length === 1 && lists.all.indexOf(list) > lists.all.indexOf(grown));
    assert.deepEqual(
      left.map((conversation) => conversation.id),
      [old],
    );
  });

  test(`over ${transport}, a log is followed from its beginning, and again from where it was left`, async (context) => {
    const { client } = session(context, { transport });
    const [id] = await createConversations(context, [newMarker()]);
    assert(id);
    const log = new Log(client, id);
    const events = new Arrivals<LoggedEvent>();
    const stop = log.follow(events.add, fail);
    await events.until(({ agentState }) => agentState === WAITING);
    stop();

    await log.send("Hello");
    context.after(log.follow(events.add, fail));
    const answer = await events.until(({ source, text }) => source === "AGENT" && text !== undefined);
    await events.until(({ agentState, sequence }) => agentState === WAITING && sequence > answer.sequence);

    assert.deepEqual(
      events.all.map(({ sequence }) => sequence),
      events.all.map((_, index) => index + 1),
    );
    assert.deepEqual(
      events.all.filter(({ __typename }) => __typename === "MessageEvent").map(({ source }) => source),
      ["USER", "AGENT"],
    );
  });
}

test("after a break of the connection a log goes on without a gap or a double", async (context) => {
  const { client, socket } = session(context);
  const [id] = await createConversations(context, [newMarker()]);
  assert(id && socket);
  const log = new Log(client, id);
  const events = new Arrivals<LoggedEvent>();
  context.after(log.follow(events.add, fail));
  await events.until(({ agentState }) => agentState === WAITING);

  const connected = Promise.withResolvers<void>();
  socket.on("connected", () => connected.resolve());
  socket.terminate();
  await log.send("Hello");
  await connected.promise;
  await events.until(({ source, text }) => source === "AGENT" && text !== undefined);

  assert.deepEqual(
    events.all.map(({ sequence }) => sequence),
    events.all.map((_, index) => index + 1),
  );
});
