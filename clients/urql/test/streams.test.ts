/** graphql-ws and graphql-sse by themselves: what they tell of results, of refusals, and of ends. */

import { stringifyDocument } from "@urql/core";
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import { eventStreams, serverFromEnvironment, sockets, type Server } from "../src/connect.ts";
import { Conversations } from "../src/conversations.ts";
import { EVENT_ADDED, type EventAdded } from "../src/documents.ts";
import { createConversations, newMarker, session } from "./session.ts";

const QUERY = stringifyDocument(EVENT_ADDED);
// Where a server asks for no token, none is bad.
const NEEDS_TOKENS = { skip: serverFromEnvironment().token === undefined };
const CLIENTS = { "graphql-ws": sockets, "graphql-sse": eventStreams } as const;

/** What both clients can do. */
interface Streams {
  iterate(request: { query: string; variables?: Record<string, unknown> }): AsyncIterableIterator<{
    data?: unknown;
    errors?: readonly { readonly message: string; readonly extensions?: Record<string, unknown> }[];
  }>;
}

function streams(context: TestContext, name: keyof typeof CLIENTS, server: Server): Streams {
  const created = CLIENTS[name](server);
  context.after(() => void created.dispose());
  return created as unknown as Streams;
}

for (const name of ["graphql-ws", "graphql-sse"] as const) {
  test(`with ${name}, a log comes from its beginning and ends with its conversation`, async (context) => {
    const [id] = await createConversations(context, [newMarker()]);
    assert(id);
    const sequences: number[] = [];

    for await (const { data, errors } of streams(context, name, serverFromEnvironment()).iterate({
      query: QUERY,
      variables: { id, after: "" },
    })) {
      assert.equal(errors, undefined);
      const { node } = (data as EventAdded).conversationEvents;
      sequences.push(node.sequence);
      if (node.agentState === "AWAITING_USER_INPUT") await new Conversations(session(context).client, 10).delete(id);
    }

    assert(sequences.length > 0);
    assert.deepEqual(
      sequences,
      sequences.map((_, index) => index + 1),
    );
  });

  test(`with ${name}, one that is not there is told as an error, and the connection goes on`, async (context) => {
    const client = streams(context, name, serverFromEnvironment());

    const absent = { id: "Q29udmVyc2F0aW9uOjA=", after: "" };
    assert.equal(await refusal(client, { query: QUERY, variables: absent }), "NOT_FOUND");
    assert.equal(await refusal(client, { query: "subscription { nothing }" }), "GRAPHQL_VALIDATION_FAILED");
    const { value } = await client.iterate({ query: "{ __typename }" }).next();
    assert.deepEqual(value, { data: { __typename: "Query" } });
  });
}

/** Of an operation that is refused: its error's code. */
async function refusal(client: Streams, request: Parameters<Streams["iterate"]>[0]): Promise<string> {
  try {
    // graphql-ws throws the errors, and graphql-sse brings them as a result.
    const { value } = await client.iterate(request).next();
    return told(value.errors);
  } catch (errors) {
    return told(errors as Parameters<typeof told>[0]);
  }
}

function told(errors: readonly { readonly message: string; readonly extensions?: Record<string, unknown> }[]): string {
  const [first] = errors;
  return String(first?.extensions?.["code"]);
}

test("with graphql-ws, a bad token is told by the code that closes the socket", NEEDS_TOKENS, async (context) => {
  const client = streams(context, "graphql-ws", { ...serverFromEnvironment(), token: "no-token" });

  await assert.rejects(client.iterate({ query: "{ __typename }" }).next(), { code: 4403, reason: "Forbidden" });
});

test("with graphql-sse, a bad token ends the retries", NEEDS_TOKENS, async (context) => {
  const client = streams(context, "graphql-sse", { ...serverFromEnvironment(), token: "no-token" });

  await assert.rejects(client.iterate({ query: "{ __typename }" }).next(), /The server refused the token/);
});
