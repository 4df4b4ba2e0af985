/** A conversation's log: refetched by the conversation's ID alone, as Relay does it for every object. */

import { createOperationDescriptor, fetchQuery, type ConcreteRequest, type Environment } from "relay-runtime";

import NEXT_EVENTS, {
  type conversationsNextEventsQuery,
  type conversationsNextEventsQuery$data,
} from "./artifacts/conversationsNextEventsQuery.graphql.ts";
import LOG, { type conversations_log$data } from "./artifacts/conversations_log.graphql.ts";
import { lookup } from "./lookup.ts";

export type Event = conversations_log$data["events"]["edges"][number]["node"];

/** All events up to now, in pages of `first`. */
export async function readLog(environment: Environment, id: string, first: number): Promise<readonly Event[]> {
  const start = createOperationDescriptor(NEXT_EVENTS as ConcreteRequest, { id, first });
  const retained = environment.retain(start);
  try {
    for (let after: string | null = null; ; ) {
      const variables = { id, first, after };
      await fetchQuery<conversationsNextEventsQuery>(environment, NEXT_EVENTS, variables).toPromise();
      const { node } = environment.lookup(start.fragment).data as conversationsNextEventsQuery$data;
      const { events } = lookup<conversations_log$data>(environment, LOG, node);
      if (!events.pageInfo.hasNextPage) return events.edges.map((edge) => edge.node);
      after = events.pageInfo.endCursor ?? null;
    }
  } finally {
    retained.dispose();
  }
}
