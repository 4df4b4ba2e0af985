/** Compiled, never run: what the compiler must refuse, or else it would take everything as `any`. */

import * as generated from "../src/codegen/documents.ts";
import type { Server } from "../src/server.ts";
import * as inferred from "../src/tada/documents.ts";

export async function refused(server: Server): Promise<void> {
  // @ts-expect-error A title is a string.
  await server.execute(generated.CREATE, { input: { title: 5 } });
  // @ts-expect-error As above.
  await server.execute(inferred.CREATE, { input: { title: 5 } });
  // @ts-expect-error There is no such trigger.
  await server.execute(generated.CREATE, { input: { trigger: "CLOCK" } });
  // @ts-expect-error As above.
  await server.execute(inferred.CREATE, { input: { trigger: "CLOCK" } });
  // @ts-expect-error Exactly one way to name a repository.
  await server.execute(generated.CREATE, { input: { repository: {} } });
  // @ts-expect-error The input is missing.
  await server.execute(inferred.DELETE, {});
  // @ts-expect-error The status was not asked for.
  (await server.execute(generated.SEARCH, { first: 1 })).conversations.nodes.map(({ status }) => status);
  // @ts-expect-error As above.
  (await server.execute(inferred.SEARCH, { first: 1 })).conversations.nodes.map(({ status }) => status);
  // @ts-expect-error Nothing was created where there are user errors.
  (await server.execute(generated.CREATE, { input: {} })).createConversation.conversation.id;
  // @ts-expect-error As above.
  (await server.execute(inferred.CREATE, { input: {} })).createConversation.conversation.id;
}
