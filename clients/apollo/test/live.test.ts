import assert from "node:assert/strict";
import { test } from "node:test";

import { connect, serverFromEnvironment, type Transport } from "../src/connect.ts";
import { Conversations } from "../src/conversations.ts";
import { Log } from "../src/log.ts";
import { createConversations, fail, loaded, newMarker, session, until } from "./session.ts";

const WAITING = "AWAITING_USER_INPUT";
// Where a server asks for no token, none is bad.
const NEEDS_TOKENS = { skip: serverFromEnvironment().token === undefined };
const TRANSPORTS: readonly Transport[] = ["websocket", "multipart"];

for (const transport of TRANSPORTS) {
  test(`over ${transport}, the list follows what happens elsewhere`, async (context) => {
    const marker = newMarker();
    const [old] = await createConversations(context, [`${marker} old`]);
    const conversations = new Conversations(session(context, { transport }).client, 10, marker);
    const list = conversations.watch();
    await loaded(context, list);
    context.after(conversations.follow(fail));
    const elsewhere = new Conversations(session(context, { transport: "multipart" }).client, 10);

    const { conversationEdge } = await elsewhere.create({ title: `${marker} new`, initialMessage: { text: "Hello" } });
    const id = conversationEdge?.node.id;
    assert(id);
    // It was created without this client, and stands where a query would have it.
    const seen = await until(list, () => (conversations.cached().length === 2 ? conversations.cached() : undefined));
    assert.deepEqual(
      seen.map((conversation) => conversation.id),
      [id, old],
    );

    await until(list, () => conversations.cached().find((it) => it.id === id && it.agentState === WAITING));
    assert.equal(conversations.cached()[0]?.status, "RUNNING");
    await elsewhere.delete(id);
    await until(list, () => conversations.cached().length === 1 || undefined);
    assert.deepEqual(
      conversations.cached().map((conversation) => conversation.id),
      [old],
    );
  });

  test(`over ${transport}, a log is read to its end and followed without a gap`, async (context) => {
    const { client } = session(context, { transport });
    const [id] = await createConversations(context, [newMarker()]);
    assert(id);
    const log = new Log(client, id);
    const events = log.watch();
    await loaded(context, events);
    context.after(log.follow(fail));

    await log.send("Hello");
    await until(events, () => log.cached().some(({ text }) => text === "Hello") || undefined);
    const found = await until(events, () => (log.cached().at(-1)?.agentState === WAITING ? log.cached() : undefined));

    assert.deepEqual(
      found.map(({ sequence }) => sequence),
      found.map((_, index) => index + 1),
    );
    assert.deepEqual(
      found.filter(({ __typename }) => __typename === "MessageEvent").map(({ source }) => source),
      ["USER", "AGENT"],
    );
  });
}

function answers(log: Log): number {
  return log.cached().filter(({ __typename, source }) => __typename === "MessageEvent" && source === "AGENT").length;
}

test("after a break of the connection a log goes on without a gap or a double", async (context) => {
  const { client, socket } = session(context);
  const [id] = await createConversations(context, [newMarker()]);
  assert(id && socket);
  const log = new Log(client, id);
  const events = log.watch();
  await loaded(context, events);
  context.after(log.follow(fail));
  await log.send("Before");
  await until(events, () => answers(log) === 1 || undefined);

  const connected = Promise.withResolvers<void>();
  socket.on("connected", () => connected.resolve());
  socket.terminate();
  await log.send("After");
  await connected.promise;
  await until(events, () => answers(log) === 2 || undefined);

  assert.deepEqual(
    log.cached().map(({ sequence }) => sequence),
    log.cached().map((_, index) => index + 1),
  );
});

test("what was deleted during a break of the connection leaves the list after it", async (context) => {
  const marker = newMarker();
  const [first, second] = await createConversations(context, [`${marker} 1`, `${marker} 2`]);
  assert(first && second);
  const { client, socket } = session(context);
  assert(socket);
  const conversations = new Conversations(client, 10, marker);
  const list = conversations.watch();
  await loaded(context, list);
  const connected = Promise.withResolvers<void>();
  context.after(socket.on("connected", () => connected.resolve()));
  context.after(conversations.follow(fail));
  await connected.promise;

  const elsewhere = new Conversations(session(context).client, 10);
  socket.terminate();
  // Well within the time after which the connection is tried again.
  await elsewhere.delete(first);

  await until(list, () => conversations.cached().length === 1 || undefined);
  assert.deepEqual(
    conversations.cached().map(({ id }) => id),
    [second],
  );
});

test("a subscription with a bad token fails, and is not tried again", NEEDS_TOKENS, async (context) => {
  for (const transport of TRANSPORTS) {
    const { client, close } = connect({ ...serverFromEnvironment(), token: "no-token" }, { transport });
    context.after(close);
    const told = Promise.withResolvers<unknown>();
    const ending = new Conversations(client, 10).follow(told.resolve);
    context.after(ending);
    const expected = transport === "websocket" ? /Socket closed with event 4403/ : /The token is malformed/;
    assert.match(String(await told.promise), expected);
  }
});
