import { useEffect, useState } from "react";

import { Composer } from "./composer.tsx";
import { type Conversation, ONE, START, STOP } from "./documents.ts";
import { EventLog } from "./event-log.tsx";
import { ask, check } from "./server.ts";
import { StatusChip } from "./status-chip.tsx";
import { Title } from "./title.tsx";
import { useLog } from "./use-log.ts";

interface Props {
  id: string;
  /** The conversation as the list knows it, which hears of every change. */
  listed: Conversation | undefined;
  put: (conversation: Conversation) => void;
  remove: (conversation: Conversation) => void;
  close: () => void;
  fail: (error: unknown) => void;
}

export function ConversationView({ id, listed, put, remove, close, fail }: Props) {
  const [asked, setAsked] = useState<Conversation | null | undefined>(undefined);
  const log = useLog(id);
  const conversation = log.isOver ? asked : (listed ?? asked);
  // Each change of state is an event, so that one which is on no page of the list is kept up to date too.
  const changes = log.events.filter(({ __typename }) => __typename === "StateChangeEvent").length;

  useEffect(() => {
    ask(ONE, { id }).then(({ conversation: found }) => setAsked(found), fail);
  }, [id, changes, log.isOver]);

  if (conversation === undefined) return <p className="empty">Loading…</p>;
  if (conversation === null)
    return (
      <p className="empty">
        This conversation does not exist. <button onClick={close}>Back</button>
      </p>
    );

  const { status, statusReason, repository, branchName, usage } = conversation;
  const isLive = status === "RUNNING" || status === "STARTING";
  const change = (work: Promise<void>) => work.catch(fail);

  return (
    <article className="conversation">
      <header>
        <button className="quiet back" aria-label="Back to the list" onClick={close}>
          ←
        </button>
        <div className="heading">
          <Title conversation={conversation} put={put} fail={fail} />
          <p className="facts">
            <StatusChip conversation={conversation} />
            {repository && (
              <a href={repository.url} target="_blank" rel="noreferrer">
                {repository.nameWithOwner}
                {branchName ? ` · ${branchName}` : ""}
              </a>
            )}
            {conversation.llmModel && <span>{conversation.llmModel}</span>}
            {usage.promptTokens > 0 && (
              <span>{(usage.promptTokens + usage.completionTokens).toLocaleString("en")} tokens</span>
            )}
          </p>
        </div>
        <div className="actions">
          {isLive ? (
            <button onClick={() => change(ask(STOP, { id }).then(({ stopConversation }) => check(stopConversation)))}>
              Stop
            </button>
          ) : (
            <button onClick={() => change(ask(START, { id }).then(({ startConversation }) => check(startConversation)))}>
              Start
            </button>
          )}
          <button className="danger" onClick={() => remove(conversation)}>
            Delete
          </button>
        </div>
      </header>
      {statusReason && (
        <p className={status === "ERROR" ? "reason is-error" : "reason"} role="status">
          {statusReason.message}
        </p>
      )}
      <EventLog conversation={conversation} log={log} fail={fail} />
      <Composer conversationId={id} fail={fail} />
    </article>
  );
}
