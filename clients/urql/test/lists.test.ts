import { gql } from "@urql/core";
import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversations } from "../src/conversations.ts";
import { GET } from "../src/documents.ts";
import { createConversations, newMarker, session, SETTINGS } from "./session.ts";

test("the list is paged to its end, each conversation once, the newest first", async (context) => {
  const marker = newMarker();
  const created = await createConversations(
    context,
    [1, 2, 3, 4, 5, 6, 7].map((number) => `${marker} ${number}`),
  );
  const conversations = new Conversations(session(context).client, 3, marker);

  const sizes: number[] = [];
  while (conversations.hasMore()) {
    await conversations.more();
    sizes.push(conversations.cached().length);
  }

  assert.deepEqual(sizes, [3, 6, 7]);
  assert.deepEqual(
    conversations.cached().map(({ id }) => id),
    created.toReversed(),
  );
});

test("an ordinary query is answered with one result, though urql would take a stream", async (context) => {
  const requests: [accept: string, type: string | null][] = [];
  const { client } = session(context, {
    fetch: async (input, init) => {
      const response = await globalThis.fetch(input, init);
      requests.push([new Headers(init?.headers).get("accept") ?? "", response.headers.get("content-type")]);
      return response;
    },
  });

  const { data, error } = await client.query(SETTINGS, {}).toPromise();

  assert.deepEqual([Object.keys(data ?? {}), error], [["settings"], undefined]);
  assert.equal(requests.length, 1);
  assert.match(requests[0]?.[0] ?? "", /text\/event-stream, multipart\/mixed$/);
  assert.equal(requests[0]?.[1], "application/graphql-response+json; charset=utf-8");
});

test("a query is sent once, and from then on its hash alone, by GET where it fits", async (context) => {
  const sent: [method: string | undefined, hasDocument: boolean][] = [];
  const { client } = session(context, {
    isPersisted: true,
    fetch: (address, init) => {
      const inAddress = new URL(String(address)).searchParams.has("query");
      sent.push([init?.method, inAddress || /"query":/.test(String(init?.body))]);
      return fetch(address, init);
    },
  });
  // A document that no server has seen before.
  const query = gql<{ settings: unknown }>(`query Unheard_${newMarker().replaceAll("-", "_")} { settings { id } }`);

  for (let time = 0; time < 3; time += 1) {
    const { data, error } = await client.query(query, {}, { requestPolicy: "network-only" }).toPromise();
    assert.deepEqual([Object.keys(data ?? {}), error], [["settings"], undefined]);
  }

  assert.deepEqual(sent, [
    ["GET", false],
    ["GET", true],
    ["GET", false],
    ["GET", false],
  ]);
});

test("a conversation that a list has brought is not asked for again", async (context) => {
  const marker = newMarker();
  const [id] = await createConversations(context, [marker]);
  assert(id);
  const { client } = session(context);
  await new Conversations(client, 3, marker).more();

  const found = client.readQuery(GET, { id }, { requestPolicy: "cache-only" });

  assert.deepEqual([found?.data?.conversation?.title, found?.error], [marker, undefined]);
});
