import { gql } from "@apollo/client";
import assert from "node:assert/strict";
import { test } from "node:test";

import { newMarker, session } from "./session.ts";

test("a document is sent once, and from then on its hash alone", async (context) => {
  const sent: string[][] = [];
  const { client } = session(context, {
    isPersisted: true,
    fetch: (address, init) => {
      sent.push(Object.keys(JSON.parse(String(init?.body)) as object).filter((name) => /query|extensions/.test(name)));
      return fetch(address, init);
    },
  });
  // A document that no server has seen before.
  const query = gql(`query Unheard_${newMarker().replaceAll("-", "_")} { settings { id } }`);

  const results = [];
  for (let time = 0; time < 3; time += 1) results.push(await client.query({ query, fetchPolicy: "network-only" }));

  assert.deepEqual(sent, [["extensions"], ["extensions", "query"], ["extensions"], ["extensions"]]);
  assert.deepEqual(
    results.map(({ data, error }) => [Object.keys(data as object), error]),
    [1, 2, 3].map(() => [["settings"], undefined]),
  );
});
