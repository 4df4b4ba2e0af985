/** An Apollo Client for a Parley server: queries and mutations over HTTP, subscriptions as one likes. */

import { ApolloClient, ApolloLink, HttpLink } from "@apollo/client";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { OperationTypeNode } from "graphql";
import { CloseCode, createClient, type Client as Socket } from "graphql-ws";
import { createHash } from "node:crypto";
import { setTimeout } from "node:timers/promises";

import { createCache } from "./cache.ts";

/** `multipart` needs nothing but HTTP; `websocket` has one connection for all subscriptions. */
export type Transport = "websocket" | "multipart";

export interface Connection {
  readonly client: ApolloClient;
  /** What carries the subscriptions, where it is a WebSocket. */
  readonly socket?: Socket;
  /** Ends subscriptions and the socket. */
  readonly close: () => Promise<void>;
}

export interface Server {
  /** Such as `http://127.0.0.1:8000`. */
  readonly url: string;
  /** A bearer token, where the server asks for one. */
  readonly token?: string | undefined;
}

export interface Options {
  readonly transport?: Transport;
  readonly fetch?: typeof globalThis.fetch | undefined;
  /** Send a document once, and from then on its hash alone. */
  readonly isPersisted?: boolean;
}

export function serverFromEnvironment(): Server {
  return { url: process.env["PARLEY_URL"] ?? "http://127.0.0.1:8000", token: process.env["PARLEY_TOKEN"] };
}

export function connect(server: Server, options: Options = {}): Connection {
  const { transport = "websocket", fetch, isPersisted = false } = options;
  const address = new URL("/graphql", server.url);
  const authorization: Record<string, string> = server.token ? { Authorization: `Bearer ${server.token}` } : {};
  // It sends subscriptions too, and reads their results from the parts of one long answer.
  const direct = new HttpLink({ uri: address.href, headers: authorization, ...(fetch ? { fetch } : {}) });
  const http = isPersisted ? new PersistedQueryLink({ sha256 }).concat(direct) : direct;
  if (transport === "multipart") {
    const client = new ApolloClient({ link: http, cache: createCache() });
    return { client, close: async () => client.stop() };
  }
  const socket = openSocket(address.href.replace("http", "ws"), authorization);
  const link = ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(socket),
    http,
  );
  const client = new ApolloClient({ link, cache: createCache() });
  socket.on("connected", (_socket, _payload, wasRetry) => {
    if (wasRetry) reloadLists(client);
  });
  return {
    client,
    socket,
    close: async () => {
      client.stop();
      await socket.dispose();
    },
  };
}

/** Statuses are told of what is there; what was deleted during a break is only seen by asking. */
function reloadLists(client: ApolloClient): void {
  for (const query of client.getObservableQueries()) {
    // A query that fails tells those who watch it.
    if (query.queryName === "Conversations") query.refetch().catch(() => undefined);
  }
}

function openSocket(url: string, authorization: Record<string, string>): Socket {
  return createClient({
    url,
    // A browser can't set headers on a WebSocket, so the token goes in the first message.
    connectionParams: authorization,
    // After a break all of them begin again. Statuses come anew, and events behind the cursor: nothing is lost.
    retryAttempts: Infinity,
    retryWait: (retries) => setTimeout(Math.min(100 * 2 ** retries, 30_000) * (1 + Math.random())),
    // A refused or expired token won't be better the next time.
    shouldRetry: (reason) => (reason as Partial<CloseEvent>).code !== CloseCode.Forbidden,
  });
}

function sha256(document: string): string {
  return createHash("sha256").update(document).digest("hex");
}
