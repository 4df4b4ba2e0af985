import { getOperationAST, parse } from "graphql";
import { createClient } from "graphql-ws";

// Stands for the id of the caller's newest conversation in a tab's variables, so that no id has to be pasted.
const LATEST = "<latest>";

const LATEST_QUERY = `query Latest {
  conversations(first: 1, orderBy: {field: CREATED_AT, direction: DESC}) {
    nodes { id }
  }
}`;

// A subscription shows its newest results; older ones are dropped so that the page stays quick.
const SHOWN_RESULTS = 100;

/**
 * What GraphiQL calls for every operation: queries and mutations go to `url` by POST,
 * subscriptions to the same address by WebSocket (graphql-transport-ws).
 * `authorization` completes the headers of every request, so that a token typed into one tab serves all.
 */
export function createFetcher(url, authorization) {
  return async (params, options = {}) => {
    const headers = authorization.complete(options.headers);
    const operation = operationOf(params);
    const request = {
      ...params,
      operationName: operation?.name?.value,
      variables: await resolveLatest(url, params.variables, headers),
    };
    return operation?.operation === "subscription" ? subscribe(url, request, headers) : post(url, request, headers);
  };
}

// For a moment after a change of tabs GraphiQL still gives the name, and the parsed form, of the tab before.
function operationOf({ query, operationName }) {
  const document = parse(query);
  return getOperationAST(document, operationName) ?? getOperationAST(document);
}

async function post(url, request, headers) {
  const response = await fetch(url, {
    method: "POST",
    headers: { accept: "application/graphql-response+json, application/json;q=0.9", "content-type": "application/json", ...headers },
    body: JSON.stringify(request),
  });
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`The server answered ${response.status} ${response.statusText}: ${text.slice(0, 500)}`);
  }
}

async function resolveLatest(url, variables, headers) {
  const text = JSON.stringify(variables ?? {});
  const placeholder = JSON.stringify(LATEST);
  if (!text.includes(placeholder)) {
    return variables;
  }
  const { data } = await post(url, { query: LATEST_QUERY }, headers);
  const latest = data?.conversations?.nodes?.[0]?.id;
  if (!latest) {
    throw new Error(`There is no conversation for ${LATEST} to stand for: run Create first.`);
  }
  return JSON.parse(text.replaceAll(placeholder, JSON.stringify(latest)));
}

function subscribe(url, request, headers) {
  const client = createClient({
    url: Object.assign(new URL(url), { protocol: url.protocol.replace("http", "ws") }).href,
    connectionParams: headers,
    lazy: true,
    // A silent second try would repeat or skip results; the closing is shown instead.
    retryAttempts: 0,
  });
  const results = client.iterate(request);
  const shown = [];
  let received = 0;
  return {
    async next() {
      let result;
      try {
        result = await results.next();
      } catch (error) {
        throw error instanceof CloseEvent
          ? new Error(`The server closed the subscription: ${error.code} ${error.reason}`.trim())
          : error;
      }
      if (result.done) {
        return result;
      }
      shown.unshift(result.value);
      shown.length = Math.min(shown.length, SHOWN_RESULTS);
      received += 1;
      return { done: false, value: { received, newestFirst: [...shown] } };
    },
    async return() {
      await results.return();
      await client.dispose();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
