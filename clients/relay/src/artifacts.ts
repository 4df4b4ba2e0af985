/** Load this first: generated files import each other by names without `.ts`, which bundlers add and Node does not. */

import { registerHooks } from "node:module";

registerHooks({
  resolve: (specifier, context, next) =>
    next(specifier.endsWith(".graphql") ? `${specifier}.ts` : specifier, context),
});
