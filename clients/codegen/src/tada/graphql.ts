/** gql.tada reads the documents in the type system itself: only the schema is generated, `npm run generate`. */

import { initGraphQLTada } from "gql.tada";

import type { introspection } from "./schema.d.ts";

export const graphql = initGraphQLTada<{
  introspection: introspection;
  scalars: { DateTime: string; JSON: unknown; Long: number; Secret: string; URI: string };
}>();
