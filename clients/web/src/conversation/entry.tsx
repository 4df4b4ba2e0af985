import { memo } from "react";

import type { LogEvent } from "../documents.ts";
import { Attachments } from "./attachments.tsx";
import { CopyButton } from "./copy-button.tsx";
import { Guarded, PlainText, RichText } from "./rich-text.tsx";
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
export const Entry = memo(function Entry(props: Props) {
  return (
    <Guarded fallback={<p className="note entry">This event can't be shown.</p>}>
      <Shown {...props} />
    </Guarded>
  );
});

function Shown({ event, told, result, live }: Props) {
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
}

type MessageEvent = Extract<LogEvent, { __typename: "MessageEvent" }>;

function Message({ message: { id, source, createdAt, text, imageUrls, attachments, isPartial } }: { message: MessageEvent }) {
  if (source === "ENVIRONMENT")
    return (
      <p className="note entry" dir="auto">
        {text}
      </p>
    );
  return (
    <div className={source === "USER" ? "message entry user" : "message entry agent"} dir="auto">
      {source === "USER" ? text.trim() && <PlainText text={text} /> : <RichText text={text} />}
      {imageUrls.map((url, number) => (
        <Image key={number} url={url} />
      ))}
      <Attachments eventId={id} attachments={attachments} />
      {isPartial && <p className="note cut-off">Cut off here.</p>}
      {source === "AGENT" && (
        <div className="tools">
          <time dateTime={createdAt} title={new Date(createdAt).toLocaleString()}>
            {new Date(createdAt).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}
          </time>
          <CopyButton text={() => text} />
        </div>
      )}
    </div>
  );
}

/** An image within the message is shown; one at a foreign server is only named, so that nobody is told of the reader. */
function Image({ url }: { url: string }) {
  if (/^data:image\//.test(url)) return <img className="attached-image" src={url} alt="An image of this message" />;
  if (!/^https?:/i.test(url)) return <p className="note">Image: {url}</p>;
  return (
    <p>
      <a href={url} target="_blank" rel="noreferrer noopener">
        Image: {url}
      </a>
    </p>
  );
}
