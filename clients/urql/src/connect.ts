/** A urql client for a Parley server: queries and mutations over HTTP, subscriptions as one likes. */

import { Client, fetchExchange, subscriptionExchange, type Exchange } from "@urql/core";
import type { Logger } from "@urql/exchange-graphcache";
import { persistedExchange } from "@urql/exchange-persisted";
import { createClient as createEventStreams } from "graphql-sse";
import { CloseCode, createClient as createSocket, type Client as Socket } from "graphql-ws";
import { setTimeout } from "node:timers/promises";

import { createCache } from "./cache.ts";

/** `websocket` is graphql-ws, `sse` is graphql-sse, and `fetch` is what urql does without another package. */
export type Transport = "websocket" | "sse" | "fetch";

export interface Connection {
  readonly client: Client;
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
  readonly fetch?: typeof globalThis.fetch;
  /** Send a query's document once, and from then on its hash alone. */
  readonly isPersisted?: boolean;
  /** Hears what the cache complains about. */
  readonly logger?: Logger;
}

export function serverFromEnvironment(): Server {
  return { url: process.env["PARLEY_URL"] ?? "http://127.0.0.1:8000", token: process.env["PARLEY_TOKEN"] };
}

export function connect(server: Server, options: Options = {}): Connection {
  const { transport = "websocket", fetch, isPersisted, logger } = options;
  const socket = transport === "websocket" ? sockets(server) : undefined;
  const streams = transport === "sse" ? eventStreams(server) : undefined;
  const exchange = forwarding(socket ?? streams);
  const client = new Client({
    url: addressOf(server),
    exchanges: [
      createCache(logger),
      ...(isPersisted ? [persistedExchange()] : []),
      fetchExchange,
      ...(exchange ? [exchange] : []),
    ],
    fetchOptions: { headers: authorization(server) },
    fetchSubscriptions: transport === "fetch",
    ...(fetch ? { fetch } : {}),
  });
  return { client, socket, close: async () => (socket ?? streams)?.dispose() };
}

function forwarding(subscriptions: Pick<Socket, "subscribe"> | undefined): Exchange | undefined {
  if (subscriptions === undefined) return undefined;
  return subscriptionExchange({
    forwardSubscription: ({ query = "", variables }) => ({
      subscribe: (sink) => ({ unsubscribe: subscriptions.subscribe({ query, variables }, sink) }),
    }),
  });
}

/** One connection for all subscriptions. */
export function sockets(server: Server): Socket {
  return createSocket({
    url: addressOf(server).replace("http", "ws"),
    // A browser can't set headers on a WebSocket, so the token goes in the first message.
    connectionParams: authorization(server),
    retryAttempts: Infinity,
    retryWait,
    // A refused or expired token won't be better the next time.
    shouldRetry: (reason) => (reason as Partial<CloseEvent>).code !== CloseCode.Forbidden,
  });
}

/** Each subscription is an answer of its own: distinct connections, which is what graphql-sse does by default. */
export function eventStreams(server: Server): ReturnType<typeof createEventStreams> {
  let status = 0;
  return createEventStreams({
    url: addressOf(server),
    headers: authorization(server),
    retryAttempts: Infinity,
    fetchFn: async (...request: Parameters<typeof fetch>) => {
      const response = await fetch(...request);
      ({ status } = response);
      return response;
    },
    retry: async (retries) => {
      // What is thrown here ends the retries.
      if (status === 401) throw new Error("The server refused the token.");
      await retryWait(retries);
    },
  });
}

/** Soon after the first break, and after 30 to 60 seconds at last. */
function retryWait(retries: number): Promise<void> {
  return setTimeout(Math.min(100 * 2 ** retries, 30_000) * (1 + Math.random()));
}

function addressOf(server: Server): string {
  return new URL("/graphql", server.url).href;
}

function authorization(server: Server): Record<string, string> {
  return server.token ? { Authorization: `Bearer ${server.token}` } : {};
}
