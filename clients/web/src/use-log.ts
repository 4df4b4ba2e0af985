import { useEffect, useState } from "react";

import { ANSWER, type LogEvent, LOG, OUTPUT } from "./documents.ts";
import { follow } from "./server.ts";

interface Answer {
  id: string;
  text: string;
  /** Its message is in the log: pieces that come later are of no use. */
  isOver: boolean;
}

export interface Log {
  events: LogEvent[];
  /** What the agent has written of its next message so far. */
  answer: Answer | null;
  /** What tools that still run have written, by the id of their calls. */
  output: ReadonlyMap<string, string>;
  /** The server has ended it: the conversation is deleted. */
  isOver: boolean;
}

const EMPTY: Log = { events: [], answer: null, output: new Map(), isOver: false };

/** A conversation's log from its beginning, and what is being written into it. */
export function useLog(id: string): Log {
  const [log, setLog] = useState(EMPTY);

  useEffect(() => {
    setLog(EMPTY);
    const ends = [
      follow(
        LOG,
        { id, after: "" },
        ({ conversationEvents: { node } }) => setLog((before) => withEvent(before, node)),
        () => setLog((before) => ({ ...before, isOver: true })),
      ),
      follow(ANSWER, { id }, ({ messageDeltas: { answerId, text } }) =>
        setLog((before) => ({ ...before, answer: withPiece(before.answer, answerId, text) })),
      ),
      follow(OUTPUT, { id }, ({ toolOutputDeltas: { toolCallId, text } }) =>
        setLog((before) => ({
          ...before,
          output: new Map(before.output).set(toolCallId, (before.output.get(toolCallId) ?? "") + text),
        })),
      ),
    ];
    return () => ends.forEach((end) => end());
  }, [id]);

  return log;
}

function withPiece(answer: Answer | null, id: string, text: string): Answer {
  return answer?.id === id ? { ...answer, text: answer.text + text } : { id, text, isOver: false };
}

/** After a break the log is replayed from its beginning: what is there already is left as it is. */
function withEvent(log: Log, event: LogEvent): Log {
  const last = log.events.at(-1);
  if (last && event.sequence <= last.sequence) return log;
  const events = [...log.events, event];
  if (event.__typename === "ToolResultEvent" && event.toolCall) {
    const output = new Map(log.output);
    output.delete(event.toolCall.id);
    return { ...log, events, output };
  }
  // Pieces and events come on ways of their own, so the last pieces may come behind their message.
  const isAnswered = event.source === "AGENT" && log.answer !== null;
  return { ...log, events, answer: isAnswered && log.answer ? { ...log.answer, isOver: true } : log.answer };
}
