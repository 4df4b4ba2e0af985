/** How this server's objects lie in Apollo Client's cache. */

import { InMemoryCache } from "@apollo/client";
import { relayStylePagination } from "@apollo/client/utilities";

import possibleTypes from "../../possible-types.json" with { type: "json" };

export function createCache(): InMemoryCache {
  return new InMemoryCache({
    // Without it a fragment on `Event`, `Node` or `UserError` would match nothing when it is read from the cache.
    possibleTypes,
    typePolicies: {
      Query: {
        fields: {
          conversations: relayStylePagination(["filter", "orderBy"]),
          conversation: {
            // What a list has brought is found when it is asked for by its id.
            read: (existing, { args, toReference }) =>
              existing === undefined ? toReference({ __typename: "Conversation", id: String(args?.["id"]) }) : existing,
          },
        },
      },
      Conversation: { fields: { events: relayStylePagination(["filter"]), usage: { merge: true } } },
    },
  });
}
