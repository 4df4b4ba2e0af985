import { gql, InMemoryCache } from "@apollo/client";
import assert from "node:assert/strict";
import { test } from "node:test";

import { EVENTS, NODE } from "../src/documents.ts";
import { Log } from "../src/log.ts";
import { createConversations, fail, loaded, newMarker, session, until } from "./session.ts";

test("fragments on the interface Event match every kind of event in the cache", async (context) => {
  const { client } = session(context);
  const [id] = await createConversations(context, [newMarker()]);
  assert(id);
  const log = new Log(client, id);
  const events = log.watch();
  await loaded(context, events);
  context.after(log.follow(fail));
  await log.send("Hello");
  await until(events, () => log.cached().some(({ source }) => source === "AGENT") || undefined);

  for (const event of log.cached()) {
    const read = client.readFragment({
      fragment: gql`
        fragment Line on Event {
          sequence
          source
        }
      `,
      from: { __typename: event.__typename, id: event.id },
    });
    assert.deepEqual(read, { __typename: event.__typename, sequence: event.sequence, source: event.source });
  }
  const kinds = new Set(log.cached().map(({ __typename }) => __typename));
  assert.deepEqual(kinds, new Set(["MessageEvent", "StateChangeEvent"]));
});

test("without the published types a fragment on an interface would match nothing", async (context) => {
  const { client } = session(context);
  const [id] = await createConversations(context, [newMarker()]);
  assert(id);
  const { data } = await client.query({ query: EVENTS, variables: { id }, fetchPolicy: "no-cache" });

  const cache = new InMemoryCache();
  cache.writeQuery({ query: EVENTS, variables: { id }, data: data ?? assert.fail() });

  const read = cache.readQuery({ query: EVENTS, variables: { id } });
  assert.equal(read?.conversation?.events.edges[0]?.node.sequence, undefined);
});

test("any object is found by its id, and lies in the cache once", async (context) => {
  const { client } = session(context);
  const marker = newMarker();
  const [id] = await createConversations(context, [marker]);
  assert(id);

  const { data } = await client.query({ query: NODE, variables: { id } });

  assert.deepEqual(data, { node: { __typename: "Conversation", id, title: marker } });
  assert.equal((client.cache.extract() as Record<string, { title?: string }>)[`Conversation:${id}`]?.title, marker);
});
