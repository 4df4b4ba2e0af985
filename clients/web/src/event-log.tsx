import { useEffect, useRef } from "react";

import { Approval } from "./approval.tsx";
import type { Conversation, LogEvent } from "./documents.ts";
import { RichText } from "./rich-text.tsx";
import { describe } from "./status-chip.tsx";
import type { Log } from "./use-log.ts";

const CLOSE_TO_END_PIXELS = 120;

interface Props {
  conversation: Conversation;
  log: Log;
  fail: (error: unknown) => void;
}

export function EventLog({ conversation, log, fail }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  const isWorking = describe(conversation)[1] === "busy";
  const waiting = conversation.agentState === "AWAITING_USER_CONFIRMATION" ? lastCall(log.events) : undefined;

  // What is new is scrolled to, unless one reads further up.
  useEffect(() => {
    if (box.current && isAtEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [log]);

  function noteScroll() {
    if (box.current) {
      const { scrollHeight, scrollTop, clientHeight } = box.current;
      isAtEnd.current = scrollHeight - scrollTop - clientHeight < CLOSE_TO_END_PIXELS;
    }
  }

  return (
    <div className="log" role="log" aria-label="Conversation" tabIndex={0} ref={box} onScroll={noteScroll}>
      {log.events.length === 0 && <p className="empty">Nothing was said yet.</p>}
      {log.events.map((event) => (
        <Entry key={event.id} event={event} />
      ))}
      {[...log.output].map(([id, text]) => (
        <pre key={id} className="output is-live">
          {text}
        </pre>
      ))}
      {isWorking && log.answer && !log.answer.isOver && (
        <div className="message agent is-live">
          <RichText text={log.answer.text} />
        </div>
      )}
      {waiting && <Approval conversationId={conversation.id} call={waiting} fail={fail} />}
    </div>
  );
}

function lastCall(events: LogEvent[]) {
  const last = events.findLast(({ __typename }) => __typename === "ToolCallEvent");
  return last?.__typename === "ToolCallEvent" ? last : undefined;
}

function Entry({ event }: { event: LogEvent }) {
  switch (event.__typename) {
    case "MessageEvent":
      if (event.source === "ENVIRONMENT") return <p className="note">{event.text}</p>;
      return (
        <div className={event.source === "USER" ? "message user" : "message agent"}>
          <RichText text={event.text} />
          {event.imageUrls.map((url) => (
            <p key={url} className="note">
              Image: {url.startsWith("data:") ? "attached" : url}
            </p>
          ))}
        </div>
      );
    case "ToolCallEvent":
      return (
        <div className="call">
          {event.thought && <p>{event.thought}</p>}
          <pre>
            <b>{event.toolName}</b> {written(event.arguments)}
          </pre>
        </div>
      );
    case "ToolResultEvent":
      return (
        <details className={event.isError ? "result is-error" : "result"} open={event.output.length < 2000}>
          <summary>{event.isError ? "Failed" : "Result"}{event.truncated ? ", shortened" : ""}</summary>
          <pre className="output">{event.output}</pre>
        </details>
      );
    case "StateChangeEvent":
      return event.problem ? <p className="note is-error">{event.problem.message}</p> : null;
    default:
      return null;
  }
}

/** A call of one argument, such as a command, is shown as that alone. */
function written(given: unknown): string {
  const values = given && typeof given === "object" ? Object.values(given) : [given];
  return values.length === 1 && typeof values[0] === "string" ? values[0] : JSON.stringify(given, null, 2);
}
