import { memo } from "react";

import type { LogEvent } from "../documents.ts";
import { RichText } from "./rich-text.tsx";
import { TerminalText } from "./terminal-text.tsx";

interface Props {
  event: LogEvent;
  /** What the log's end says already. */
  told: string | undefined;
}

/** One event of the log. */
export const Entry = memo(function Entry({ event, told }: Props) {
  switch (event.__typename) {
    case "MessageEvent":
      return <Message message={event} />;
    case "ToolCallEvent":
      return (
        <div className="call entry">
          {event.thought && <p dir="auto">{event.thought}</p>}
          <pre>
            <b>{event.toolName}</b> {written(event.arguments)}
          </pre>
        </div>
      );
    case "ToolResultEvent":
      return (
        <details className={event.isError ? "result entry is-error" : "result entry"} open={event.output.length < 2000}>
          <summary>
            {event.isError ? "Failed" : "Result"}
            {event.truncated ? ", shortened" : ""}
          </summary>
          <pre className="output">
            <TerminalText text={event.output} />
          </pre>
        </details>
      );
    case "StateChangeEvent":
      if (!event.problem || event.problem.message === told) return null;
      return (
        <p className="note entry is-error" dir="auto">
          {event.problem.message}
        </p>
      );
    default:
      return null;
  }
});

type MessageEvent = Extract<LogEvent, { __typename: "MessageEvent" }>;

function Message({ message: { source, text, imageUrls, attachments, isPartial } }: { message: MessageEvent }) {
  if (source === "ENVIRONMENT")
    return (
      <p className="note entry" dir="auto">
        {text}
      </p>
    );
  return (
    <div className={source === "USER" ? "message entry user" : "message entry agent"} dir="auto">
      <RichText text={text} />
      {imageUrls.map((url) => (
        <p key={url} className="note">
          Image: {url.startsWith("data:") ? "attached" : url}
        </p>
      ))}
      {attachments.map(({ name }, number) => (
        <p key={number} className="note">
          File: <bdi>{name}</bdi>
        </p>
      ))}
      {isPartial && <p className="note cut-off">Cut off here.</p>}
    </div>
  );
}

/** A call of one argument, such as a command, is shown as that alone. */
function written(given: unknown): string {
  const values = given && typeof given === "object" ? Object.values(given) : [given];
  return values.length === 1 && typeof values[0] === "string" ? values[0] : JSON.stringify(given, null, 2);
}
