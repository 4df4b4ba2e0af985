import { memo } from "react";

import type { LogEvent } from "../documents.ts";
import { PlainText, RichText } from "./rich-text.tsx";
import { LoneResult, ToolCard, type ToolResult } from "./tool-card.tsx";

interface Props {
  event: LogEvent;
  /** What the log's end says already. */
  told: string | undefined;
  /** Of a call. */
  result: ToolResult | undefined;
  /** What a call's tool has written so far. */
  live: string | undefined;
}

/** One event of the log. */
export const Entry = memo(function Entry({ event, told, result, live }: Props) {
  switch (event.__typename) {
    case "MessageEvent":
      return <Message message={event} />;
    case "ToolCallEvent":
      return <ToolCard call={event} result={result} live={live} />;
    case "ToolResultEvent":
      return <LoneResult result={event} />;
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
      {source === "USER" ? <PlainText text={text} /> : <RichText text={text} />}
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
