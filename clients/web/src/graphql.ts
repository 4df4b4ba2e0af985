import { initGraphQLTada } from "gql.tada";

import type { introspection } from "./graphql-env.d.ts";

/** Documents typed by the schema that the server publishes. */
export const graphql = initGraphQLTada<{
  introspection: introspection;
  disableMasking: true;
  scalars: { DateTime: string; JSON: unknown; Long: number; Secret: string; URI: string };
}>();

export type { FragmentOf, ResultOf, VariablesOf } from "gql.tada";
