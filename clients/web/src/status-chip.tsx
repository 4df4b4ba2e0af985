import type { Conversation } from "./documents.ts";

/** What is going on, in a word or two, and the colour that goes with it. */
export function describe({ status, agentState }: Pick<Conversation, "status" | "agentState">): [string, string] {
  if (status !== "RUNNING") {
    const words = { STARTING: "starting", STOPPED: "stopped", ARCHIVED: "archived", ERROR: "failed" } as const;
    return [words[status], status === "ERROR" ? "bad" : status === "STARTING" ? "busy" : "still"];
  }
  switch (agentState) {
    case "RUNNING":
    case "LOADING":
      return ["working", "busy"];
    case "AWAITING_USER_CONFIRMATION":
      return ["needs your approval", "ask"];
    case "RATE_LIMITED":
      return ["waiting for the provider", "busy"];
    case "PAUSED":
      return ["paused", "ask"];
    case "FINISHED":
      return ["finished", "good"];
    case "REJECTED":
      return ["rejected", "still"];
    default:
      return ["ready", "good"];
  }
}

export function StatusChip({ conversation }: { conversation: Pick<Conversation, "status" | "agentState"> }) {
  const [words, colour] = describe(conversation);
  return <span className={`chip ${colour}`}>{words}</span>;
}
