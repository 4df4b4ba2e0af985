import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { CREATE, DELETE, EVENTS, SEARCH } from "../src/codegen/documents.ts";
import { Server } from "../src/server.ts";

test("typed documents create a conversation, watch it and delete it", async (context) => {
  const server = new Server();
  context.after(() => server.close());
  const title = randomUUID();

  const { createConversation } = await server.execute(CREATE, { input: { title, initialMessage: { text: "Hello" } } });
  assert.deepEqual(createConversation.userErrors, []);
  assert(createConversation.conversation);
  const { id } = createConversation.conversation;
  context.after(() => server.execute(DELETE, { input: { id } }));

  const said: string[] = [];
  for await (const { conversationEvents } of server.watch(EVENTS, { id, after: "" })) {
    const { node } = conversationEvents;
    if (node.__typename === "MessageEvent") said.push(`${node.source}: ${node.text}`);
    if (node.__typename === "StateChangeEvent" && node.agentState === "AWAITING_USER_INPUT") break;
  }
  const [question, answer, ...others] = said;
  assert.deepEqual([question, others], ["USER: Hello", []]);
  assert.match(answer ?? "", /^AGENT: \S/);

  const search = { first: 5, filter: { titleContains: title } };
  assert.deepEqual((await server.execute(SEARCH, search)).conversations.nodes, [{ id, title }]);
  const { deleteConversation } = await server.execute(DELETE, { input: { id } });
  assert.deepEqual(deleteConversation, { deletedConversationId: id, userErrors: [] });
  assert.deepEqual((await server.execute(SEARCH, search)).conversations.nodes, []);
});

test("an expected failure is data, with its kind and where it lies", async (context) => {
  const server = new Server();
  context.after(() => server.close());

  const { createConversation } = await server.execute(CREATE, { input: { title: "x".repeat(201) } });

  assert.equal(createConversation.conversation, null);
  const [error] = createConversation.userErrors;
  assert(error?.__typename === "InvalidInputError");
  assert.deepEqual([error.code, error.path], ["INVALID_INPUT", ["title"]]);
});
