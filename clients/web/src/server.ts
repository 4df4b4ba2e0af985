import { type AnyVariables, Client, fetchExchange, stringifyDocument, type TypedDocumentNode } from "@urql/core";
import { createClient } from "graphql-ws";

// What the browser forgets when its tab is closed. A server on the own machine asks for no token.
const TOKEN = "parley:token";
const LONGEST_PAUSE_MILLISECONDS = 5000;
// The code with which the server closes a WebSocket whose token it refuses.
const FORBIDDEN = 4403;

const url = new URL("/graphql", window.location.href);

/** A failure whose message is for people. `code` is the server's, or `UNREACHABLE` where there was no answer. */
export class Fault extends Error {
  readonly code: string;
  /** The server has looked at the input and refused it: asked again, it would say the same. */
  readonly isRefusal: boolean;

  constructor(message: string, code: string, isRefusal = false) {
    super(message);
    this.code = code;
    this.isRefusal = isRefusal;
  }
}

/** Returns what can be told of any failure. */
export function faultOf(error: unknown): Fault {
  return error instanceof Fault ? error : new Fault(error instanceof Error ? error.message : String(error), "INTERNAL");
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set(value: string) {
    if (value) sessionStorage.setItem(TOKEN, value);
    else sessionStorage.removeItem(TOKEN);
    refusals.tell(null);
    wake?.();
    socket.terminate();
  },
};

class Listeners<Value> {
  private readonly all = new Set<(value: Value) => void>();

  add(listener: (value: Value) => void): () => void {
    this.all.add(listener);
    return () => this.all.delete(listener);
  }

  tell(value: Value) {
    for (const listener of this.all) listener(value);
  }
}

const connections = new Listeners<boolean>();
const refusals = new Listeners<string | null>();
let wake: (() => void) | null = null;
let isRefused = false;

/** Calls `listener` whenever the connection comes or goes; the function that ends this is returned. */
export function onConnection(listener: (isConnected: boolean) => void): () => void {
  return connections.add(listener);
}

/** Calls `listener` with the reason when the server refuses the caller's token, and with null when there is another. */
export function onRefusal(listener: (reason: string | null) => void): () => void {
  return refusals.add(listener);
}

function authorization(): Record<string, string> {
  const kept = token.get();
  return kept ? { Authorization: `Bearer ${kept}` } : {};
}

function noteClosing(event: unknown) {
  const { code, reason } = event as CloseEvent;
  isRefused = code === FORBIDDEN;
  if (isRefused) refusals.tell(reason || "A bearer token is needed.");
  else connections.tell(false);
}

const socket = createClient({
  url: Object.assign(new URL(url), { protocol: url.protocol.replace("http", "ws") }).href,
  connectionParams: authorization,
  retryAttempts: Infinity,
  shouldRetry: () => true,
  // The server may be away for as long as it likes; the page asks at least every five seconds. With a token that was
  // refused it asks again only once there is another.
  retryWait: (retries) =>
    new Promise((done) => {
      wake = done;
      if (!isRefused) setTimeout(done, Math.min(250 * 2 ** retries, LONGEST_PAUSE_MILLISECONDS));
    }),
  on: { connected: () => connections.tell(true), closed: noteClosing },
});

const client = new Client({
  url: url.href,
  preferGetMethod: false,
  fetchOptions: () => ({ headers: authorization() }),
  exchanges: [fetchExchange],
});

/** The data of a query or a mutation. Throws a Fault. */
export async function ask<Data, Variables extends AnyVariables>(
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
): Promise<Data> {
  const isMutation = document.definitions.some((node) => node.kind === "OperationDefinition" && node.operation === "mutation");
  const { data, error } = isMutation
    ? await client.mutation(document, variables)
    : await client.query(document, variables, { requestPolicy: "network-only" });
  const first = error?.graphQLErrors[0];
  if (first) {
    const code = String(first.extensions["code"] ?? "INTERNAL");
    if (code === "UNAUTHENTICATED") refusals.tell(first.message);
    throw new Fault(first.message, code);
  }
  if (error || data === undefined) throw new Fault("The server can’t be reached.", "UNREACHABLE");
  return data;
}

/** The whole address of a URL that the server gave. */
export function endpoint(relative: string): string {
  return new URL(relative, url).href;
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
 * subscription; the function that ends it from here is returned. After a break it is asked for again with `variables`
 * as they are then, so that a listener may move a cursor in them.
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

/** Throws the first of a payload's errors, as a Fault. */
export function check(payload: { userErrors: readonly UserError[] }): void {
  const first = payload.userErrors[0];
  if (first) throw new Fault(first.message, first.code, true);
}
