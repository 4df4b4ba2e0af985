import { useState } from "react";

import { type LogEvent, RESPOND } from "../documents.ts";
import { ask, check } from "../server.ts";

interface Props {
  conversationId: string;
  call: LogEvent;
  fail: (error: unknown) => void;
}

/** Asks whether the agent may do what it wants to. */
export function Approval({ conversationId, call, fail }: Props) {
  const [reason, setReason] = useState("");

  async function respond(approved: boolean) {
    try {
      const input = { conversationId, toolCallId: call.id, approved, reason: approved ? null : reason };
      check((await ask(RESPOND, { input })).respondToToolCall);
    } catch (error) {
      fail(error);
    }
  }

  return (
    <form
      className="approval"
      aria-label="Approval"
      onSubmit={(submitted) => {
        submitted.preventDefault();
        void respond(true);
      }}
    >
      <p>The agent waits for your approval.</p>
      <input
        aria-label="Reason for refusing"
        placeholder="Reason, if you refuse"
        maxLength={2000}
        value={reason}
        onChange={(change) => setReason(change.target.value)}
      />
      <button type="button" onClick={() => void respond(false)}>
        Refuse
      </button>
      <button className="primary">Approve</button>
    </form>
  );
}
