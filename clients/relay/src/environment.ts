/** A Relay environment for a Parley server: queries and mutations over HTTP, subscriptions over graphql-transport-ws. */

import { CloseCode, createClient, type Client as Socket } from "graphql-ws";
import {
  Environment,
  Network,
  Observable,
  RecordSource,
  Store,
  type FetchFunction,
  type GraphQLResponse,
  type SubscribeFunction,
} from "relay-runtime";

const REQUEST_MILLISECONDS = 30_000;

export interface Server {
  /** Such as `http://127.0.0.1:8000`. */
  readonly url: string;
  /** A bearer token, where the server asks for one. */
  readonly token?: string | undefined;
}

export interface Connection {
  readonly environment: Environment;
  /** Ends subscriptions and the socket. */
  readonly close: () => Promise<void>;
}

export function serverFromEnvironment(): Server {
  return { url: process.env["PARLEY_URL"] ?? "http://127.0.0.1:8000", token: process.env["PARLEY_TOKEN"] };
}

export function connect(server: Server): Connection {
  const address = new URL("/graphql", server.url);
  const authorization: Record<string, string> = server.token ? { Authorization: `Bearer ${server.token}` } : {};
  const socket = createClient({
    url: address.href.replace("http", "ws"),
    // A browser can't set headers on a WebSocket, so the token goes in the first message.
    connectionParams: authorization,
    // A refused or expired token won't be better the next time.
    shouldRetry: (reason) => (reason as Partial<CloseEvent>).code !== CloseCode.Forbidden,
  });
  const environment = new Environment({
    network: Network.create(overHTTP(address, authorization), overSocket(socket)),
    store: new Store(new RecordSource()),
  });
  return { environment, close: async () => void (await socket.dispose()) };
}

function overHTTP(address: URL, authorization: Record<string, string>): FetchFunction {
  return async ({ name, text }, variables) => {
    const response = await fetch(address, {
      method: "POST",
      headers: {
        ...authorization,
        Accept: "application/graphql-response+json",
        "Content-Type": "application/json",
      },
      body: JSON.stringify({ query: text, operationName: name, variables }),
      signal: AbortSignal.timeout(REQUEST_MILLISECONDS),
    });
    return (await response.json()) as GraphQLResponse;
  };
}

function overSocket(socket: Socket): SubscribeFunction {
  return ({ name, text }, variables) =>
    Observable.create((sink) => {
      if (text == null) throw new Error(`${name} has no text: it was compiled for persisted queries.`);
      return socket.subscribe(
        { query: text, operationName: name, variables },
        {
          next: (result) => sink.next(result as GraphQLResponse),
          // Errors of GraphQL come as a list, and a closed socket as an event.
          error: (reason) => sink.error(reason instanceof Error ? reason : new Error(JSON.stringify(reason))),
          complete: () => sink.complete(),
        },
      );
    });
}
