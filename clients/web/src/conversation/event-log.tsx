import { type RefObject, useEffect, useLayoutEffect, useMemo, useRef } from "react";

import type { Conversation, LogEvent } from "../documents.ts";
import { describe } from "../status-chip.tsx";
import { Approval } from "./approval.tsx";
import { Entry } from "./entry.tsx";
import { RichText } from "./rich-text.tsx";
import type { ToolResult } from "./tool-card.tsx";
import { useEnd } from "./use-end.ts";
import type { Log } from "./use-log.ts";

// Earlier events are asked for before one has scrolled up to the first that is there.
const AHEAD = "800px 0px 0px";

interface Props {
  conversation: Conversation;
  log: Log;
  /** Something else is shown above it: it keeps its place, and can't be reached. */
  isHidden: boolean;
  loadEarlier: () => void;
  retry: (() => void) | null;
  openSettings: () => void;
  fail: (error: unknown) => void;
}

export function EventLog({ conversation, log, isHidden, loadEarlier, retry, openSettings, fail }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const { isFollowed, jump } = useEnd(box, content);
  const isWorking = describe(conversation)[1] === "busy";
  const waiting = conversation.agentState === "AWAITING_USER_CONFIRMATION" ? lastCall(log) : undefined;
  const { statusReason } = conversation;
  const [calls, results] = useMemo(() => pairs(log.events), [log.events]);
  useKeptPlace(box, log.events[0]?.id);

  return (
    <div className="log-frame" inert={isHidden}>
      <div className="log" role="log" aria-label="Conversation" tabIndex={0} ref={box}>
        <div className="log-content" ref={content}>
          {log.before && <Earlier key={log.before} box={box} load={loadEarlier} />}
          {log.events.every(isSilent) && <p className="empty">Nothing was said yet.</p>}
          {log.events.map(
            (event) =>
              !isPaired(event, calls) && (
                <Entry
                  key={event.id}
                  event={event}
                  told={statusReason?.message}
                  result={results.get(event.id)}
                  live={log.output.get(event.id)}
                />
              ),
          )}
          {isWorking && log.answer && !log.answer.isOver && (
            <div className="message agent is-live" dir="auto">
              <RichText text={log.answer.text} />
            </div>
          )}
          {waiting && <Approval conversationId={conversation.id} call={waiting} fail={fail} />}
          {statusReason && (
            <Reason conversation={conversation} reason={statusReason} retry={retry} openSettings={openSettings} />
          )}
        </div>
      </div>
      {!isFollowed && (
        <button className="jump" onClick={jump}>
          Jump to latest ↓
        </button>
      )}
    </div>
  );
}

/** The calls that are here, and their results by the calls' ids. */
function pairs(events: readonly LogEvent[]): [ReadonlySet<string>, ReadonlyMap<string, ToolResult>] {
  const calls = new Set<string>();
  const results = new Map<string, ToolResult>();
  for (const event of events) {
    if (event.__typename === "ToolCallEvent") calls.add(event.id);
    if (event.__typename === "ToolResultEvent" && event.toolCall) results.set(event.toolCall.id, event);
  }
  return [calls, results];
}

/** A result is shown with its call, if that is here. */
function isPaired(event: LogEvent, calls: ReadonlySet<string>): boolean {
  return event.__typename === "ToolResultEvent" && event.toolCall !== null && calls.has(event.toolCall.id);
}

/** Most changes of state are told by the conversation's status alone. */
function isSilent(event: LogEvent): boolean {
  return event.__typename === "StateChangeEvent" && event.problem === null;
}

function lastCall({ events }: Log) {
  const last = events.findLast(({ __typename }) => __typename === "ToolCallEvent");
  return last?.__typename === "ToolCallEvent" ? last : undefined;
}

/** At the very top browsers keep no place when something is inserted above, so this does. */
function useKeptPlace(box: RefObject<HTMLDivElement | null>, firstId: string | undefined) {
  const before = useRef({ firstId, height: 0 });
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    if (before.current.firstId && firstId !== before.current.firstId && element.scrollTop === 0)
      element.scrollTop = element.scrollHeight - before.current.height;
    before.current = { firstId, height: element.scrollHeight };
  });
}

/** Asks for earlier events when it comes into view. */
function Earlier({ box, load }: { box: RefObject<HTMLDivElement | null>; load: () => void }) {
  const button = useRef<HTMLButtonElement>(null);
  const current = useRef(load);
  current.current = load;
  useEffect(() => {
    if (!button.current) return;
    const observer = new IntersectionObserver(
      ([entry]) => entry?.isIntersecting && current.current(),
      { root: box.current, rootMargin: AHEAD },
    );
    observer.observe(button.current);
    return () => observer.disconnect();
  }, [box]);
  return (
    <button ref={button} className="earlier" onClick={load}>
      Earlier events
    </button>
  );
}

interface ReasonProps {
  conversation: Conversation;
  reason: { code: string; message: string };
  retry: (() => void) | null;
  openSettings: () => void;
}

/** Why the conversation stands still, and what can be done about it. */
function Reason({ conversation: { status }, reason, retry, openSettings }: ReasonProps) {
  const isFailed = status === "ERROR";
  return (
    <div className={isFailed ? "reason is-error" : "reason"} role="status">
      <p dir="auto">{reason.message}</p>
      {isFailed && retry && <button onClick={retry}>Retry</button>}
      {(isFailed || reason.code === "LIMIT_REACHED") && <button onClick={openSettings}>Open the settings</button>}
    </div>
  );
}
