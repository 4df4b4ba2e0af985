import { type AnyVariables, Client, fetchExchange, stringifyDocument, type TypedDocumentNode } from "@urql/core";
import { createClient } from "graphql-ws";

// What the browser forgets when its tab is closed. A server on the own machine asks for no token.
const TOKEN = "parley:token";
const LONGEST_PAUSE_MILLISECONDS = 5000;

const url = new URL("/graphql", window.location.href);

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set(value: string) {
    if (value) sessionStorage.setItem(TOKEN, value);
    else sessionStorage.removeItem(TOKEN);
    socket.terminate();
  },
};

type Listener = (isConnected: boolean) => void;
const listeners = new Set<Listener>();

/** Calls `listener` whenever the connection comes or goes; the function that ends this is returned. */
export function onConnection(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell(isConnected: boolean) {
  for (const listener of listeners) listener(isConnected);
}

function authorization(): Record<string, string> {
  const kept = token.get();
  return kept ? { Authorization: `Bearer ${kept}` } : {};
}

const socket = createClient({
  url: Object.assign(new URL(url), { protocol: url.protocol.replace("http", "ws") }).href,
  connectionParams: authorization,
  retryAttempts: Infinity,
  shouldRetry: () => true,
  // The server may be away for as long as it likes; the page asks at least every five seconds.
  retryWait: (retries) =>
    new Promise((done) => setTimeout(done, Math.min(250 * 2 ** retries, LONGEST_PAUSE_MILLISECONDS))),
  on: { connected: () => tell(true), closed: () => tell(false) },
});

const client = new Client({
  url: url.href,
  preferGetMethod: false,
  fetchOptions: () => ({ headers: authorization() }),
  exchanges: [fetchExchange],
});

/** The data of a query or a mutation. Throws an Error whose message is for people. */
export async function ask<Data, Variables extends AnyVariables>(
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
): Promise<Data> {
  const isMutation = document.definitions.some((node) => node.kind === "OperationDefinition" && node.operation === "mutation");
  const { data, error } = isMutation
    ? await client.mutation(document, variables)
    : await client.query(document, variables, { requestPolicy: "network-only" });
  if (error) throw new Error(error.graphQLErrors[0]?.message ?? "The server can't be reached.");
  if (data === undefined) throw new Error("The server sent no answer.");
  return data;
}

/** Sends a mutation while the page is being left. Nobody is there to hear of the answer. */
export function sendAtLast<Data, Variables extends AnyVariables>(
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
): void {
  const body = JSON.stringify({ query: stringifyDocument(document), variables });
  const headers = { "Content-Type": "application/json", ...authorization() };
  void fetch(url, { method: "POST", keepalive: true, headers, body });
}

/**
 * Calls `listener` for each result, also across breaks of the connection, and `ended` when the server ends the
 * subscription; the function that ends it from here is returned.
 */
export function follow<Data, Variables extends AnyVariables>(
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
  listener: (data: Data) => void,
  ended: () => void = () => {},
): () => void {
  let isWanted = true;
  const end = () => {
    if (isWanted) ended();
  };
  const unsubscribe = socket.subscribe<Data>(
    { query: stringifyDocument(document), variables: variables ?? {} },
    { next: ({ data }) => data && isWanted && listener(data), error: end, complete: end },
  );
  return () => {
    isWanted = false;
    unsubscribe();
  };
}

export interface UserError {
  code: string;
  message: string;
  path: string[];
}

/** Throws the first of a payload's errors, as an Error whose message is for people. */
export function check(payload: { userErrors: readonly UserError[] }): void {
  const first = payload.userErrors[0];
  if (first) throw new Error(first.message);
}
