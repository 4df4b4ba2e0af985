import { useCallback, useEffect, useRef, useState } from "react";

import { ANSWER, type Conversation, type LogEvent, LOG, OUTPUT, PAGE } from "../documents.ts";
import { ask, type Fault, faultOf, follow, onConnection } from "../server.ts";

const PAGE_SIZE = 50;
// Pieces and events that come together are shown together.
const GATHERING_MILLISECONDS = 30;

interface Answer {
  id: string;
  text: string;
  /** Its message is in the log: pieces that come later are of no use. */
  isOver: boolean;
}

export interface Log {
  /** The conversation as it was when the log was opened; null if there is none. */
  conversation: Conversation | null;
  events: readonly LogEvent[];
  /** The cursor of the first event, if there are earlier ones. */
  before: string | null;
  /** What the agent has written of its next message so far. */
  answer: Answer | null;
  /** What tools that still run have written, by the id of their calls. */
  output: ReadonlyMap<string, string>;
  /** The server has ended it: the conversation is deleted. */
  isOver: boolean;
}

export interface OpenLog {
  /** Null until its end is there. */
  log: Log | null;
  fault: Fault | null;
  retry: () => void;
  loadEarlier: () => void;
}

type Change = (log: Log) => Log;

/** The end of a conversation's log, what is written into it, and as much of its beginning as was asked for. */
export function useLog(id: string): OpenLog {
  const [log, setLog] = useState<Log | null>(null);
  const [fault, setFault] = useState<Fault | null>(null);
  const [attempt, setAttempt] = useState(0);
  const isPaging = useRef(false);
  const retry = useCallback(() => setAttempt((before) => before + 1), []);

  useEffect(() => {
    let isWanted = true;
    const gather = gathering((changes) =>
      setLog((before) => before && changes.reduce((changed, change) => change(changed), before)),
    );
    // Of what is being written nothing is kept, so it is followed before the log is there.
    const ends = followPieces(id, gather.add);
    setFault(null);
    ask(PAGE, { id, last: PAGE_SIZE, before: null }).then(
      ({ conversation }) => {
        if (!isWanted) return;
        setLog(opened(conversation));
        gather.begin();
        if (conversation) ends.push(followEvents(id, conversation.events.pageInfo.endCursor ?? "", gather.add));
      },
      (failure: unknown) => isWanted && setFault(faultOf(failure)),
    );
    return () => {
      isWanted = false;
      gather.stop();
      for (const end of ends) end();
    };
  }, [id, attempt]);

  // A log that could not be opened is asked for again once the server is back.
  useEffect(() => onConnection((isConnected) => isConnected && fault && retry()), [fault, retry]);

  async function loadEarlier() {
    if (!log?.before || isPaging.current) return;
    isPaging.current = true;
    try {
      const { conversation } = await ask(PAGE, { id, last: PAGE_SIZE, before: log.before });
      if (conversation) setLog((now) => now && withEarlier(now, opened(conversation)));
    } finally {
      isPaging.current = false;
    }
  }

  return { log, fault, retry, loadEarlier: () => void loadEarlier().catch(() => {}) };
}

interface Page extends Conversation {
  events: { nodes: readonly LogEvent[]; pageInfo: { hasPreviousPage: boolean; startCursor: string | null } };
}

function opened(conversation: Page | null): Log {
  const { hasPreviousPage, startCursor } = conversation?.events.pageInfo ?? { hasPreviousPage: false, startCursor: null };
  return {
    conversation,
    events: conversation?.events.nodes ?? [],
    before: hasPreviousPage ? startCursor : null,
    answer: null,
    output: new Map(),
    isOver: false,
  };
}

/** Follows what comes after a cursor; after a break, from where it was. */
function followEvents(id: string, after: string, apply: (change: Change) => void): () => void {
  const place = { id, after };
  return follow(
    LOG,
    place,
    ({ conversationEvents: { cursor, node } }) => {
      place.after = cursor;
      apply((log) => withEvent(log, node));
    },
    () => apply((log) => ({ ...log, isOver: true })),
  );
}

/** Follows what is being written. */
function followPieces(id: string, apply: (change: Change) => void): (() => void)[] {
  return [
    follow(ANSWER, { id }, ({ messageDeltas: { answerId, text } }) =>
      apply((log) => ({ ...log, answer: withPiece(log.answer, answerId, text) })),
    ),
    follow(OUTPUT, { id }, ({ toolOutputDeltas: { toolCallId, text } }) =>
      apply((log) => ({ ...log, output: new Map(log.output).set(toolCallId, (log.output.get(toolCallId) ?? "") + text) })),
    ),
  ];
}

/** Calls `flush`, once it was begun, with what came within some milliseconds, so that many changes make one rendering. */
function gathering(flush: (changes: readonly Change[]) => void) {
  let gathered: Change[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isBegun = false;
  const begin = () => {
    isBegun = true;
    timer ??= setTimeout(() => {
      timer = undefined;
      const changes = gathered;
      gathered = [];
      if (changes.length > 0) flush(changes);
    }, GATHERING_MILLISECONDS);
  };
  return {
    add(change: Change) {
      gathered.push(change);
      if (isBegun) begin();
    },
    begin,
    stop: () => clearTimeout(timer),
  };
}

function withEarlier(log: Log, earlier: Log): Log {
  const first = log.events[0]?.sequence ?? Infinity;
  const events = earlier.events.filter(({ sequence }) => sequence < first);
  return { ...log, events: [...events, ...log.events], before: earlier.before };
}

function withPiece(answer: Answer | null, id: string, text: string): Answer {
  return answer?.id === id ? { ...answer, text: answer.text + text } : { id, text, isOver: false };
}

/** What is there already, since a subscription began anew, is left as it is. */
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
