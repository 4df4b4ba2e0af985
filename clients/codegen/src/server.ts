/** A Parley server: typed documents over HTTP, and over graphql-transport-ws where they are subscriptions. */

import type { TypedDocumentNode } from "@graphql-typed-document-node/core";
import { print } from "graphql";
import { CloseCode, createClient, type Client } from "graphql-ws";

const REQUEST_MILLISECONDS = 30_000;

export class Server {
  readonly #address: URL;
  readonly #authorization: Record<string, string>;
  readonly #socket: Client;

  constructor(
    url: string = process.env["PARLEY_URL"] ?? "http://127.0.0.1:8000",
    token: string | undefined = process.env["PARLEY_TOKEN"],
  ) {
    this.#address = new URL("/graphql", url);
    this.#authorization = token ? { Authorization: `Bearer ${token}` } : {};
    this.#socket = createClient({
      url: this.#address.href.replace("http", "ws"),
      connectionParams: this.#authorization,
      shouldRetry: (reason) => (reason as Partial<CloseEvent>).code !== CloseCode.Forbidden,
    });
  }

  /** The data of a query or mutation. Throws where there are errors. */
  async execute<Data, Variables>(document: TypedDocumentNode<Data, Variables>, variables: Variables): Promise<Data> {
    const response = await fetch(this.#address, {
      method: "POST",
      headers: {
        ...this.#authorization,
        Accept: "application/graphql-response+json",
        "Content-Type": "application/json",
      },
      body: JSON.stringify({ query: print(document), variables }),
      signal: AbortSignal.timeout(REQUEST_MILLISECONDS),
    });
    return dataOf((await response.json()) as Result<Data>);
  }

  /** What a subscription brings, until it ends or the loop is left. Throws where there are errors. */
  async *watch<Data, Variables extends Record<string, unknown>>(
    document: TypedDocumentNode<Data, Variables>,
    variables: Variables,
  ): AsyncGenerator<Data> {
    for await (const result of this.#socket.iterate<Data>({ query: print(document), variables })) {
      yield dataOf(result as Result<Data>);
    }
  }

  async close(): Promise<void> {
    await this.#socket.dispose();
  }
}

interface Result<Data> {
  readonly data?: Data | null;
  readonly errors?: readonly unknown[];
}

function dataOf<Data>({ data, errors }: Result<Data>): Data {
  if (data == null || errors?.length) throw new Error(JSON.stringify(errors));
  return data;
}
