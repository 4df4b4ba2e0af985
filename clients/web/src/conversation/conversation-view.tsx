import { lazy, Suspense, useEffect, useState } from "react";

import { type Conversation, type LogEvent, ONE, START, STOP } from "../documents.ts";
import { ask, check } from "../server.ts";
import { useKeys } from "../use-keys.ts";
import { describe, StatusChip } from "../status-chip.tsx";
import { useWorkspace } from "../workspace/use-workspace.ts";
import { Composer } from "./composer.tsx";
import { EventLog } from "./event-log.tsx";
import { outbox } from "./outbox.ts";
import { type Tab, Tabs } from "./tabs.tsx";
import { Title } from "./title.tsx";
import { usePageTitle } from "./use-page-title.ts";
import { useLog } from "./use-log.ts";

// They come when they are looked at first.
const Changes = lazy(() => import("../workspace/changes.tsx").then(({ Changes }) => ({ default: Changes })));
const Files = lazy(() => import("../workspace/files.tsx").then(({ Files }) => ({ default: Files })));

interface Props {
  id: string;
  /** The conversation as the list knows it, which hears of every change. */
  listed: Conversation | undefined;
  put: (conversation: Conversation) => void;
  remove: (conversation: Conversation) => void;
  close: () => void;
  openSettings: () => void;
  fail: (error: unknown) => void;
}

export function ConversationView({ id, listed, put, remove, close, openSettings, fail }: Props) {
  const [tab, setTab] = useState<Tab>("log");
  const workspace = useWorkspace(id);
  const { log, fault, retry, loadEarlier } = useLog(id);
  const asked = useConversation(id, log?.events, log?.isOver ?? false, fail);
  const known = asked === undefined ? log?.conversation : asked;
  const conversation = log?.isOver ? known : (listed ?? known);

  usePageTitle(conversation);
  useKeys({
    Escape: () => {
      if (conversation && tab === "log" && describe(conversation)[1] === "busy") stop(id).catch(fail);
      else if (tab === "log") close();
      else setTab("log");
    },
  });

  if (fault !== null && (log === null || conversation === undefined))
    return (
      <p className="empty is-error" role="alert">
        {fault.message} <button onClick={retry}>Retry</button> <button onClick={close}>Back</button>
      </p>
    );
  if (log === null || conversation === undefined) return <p className="empty">Loading…</p>;
  if (conversation === null) return <NotFound close={close} />;

  const lastSaid = log.events.findLast((event) => event.__typename === "MessageEvent" && event.source === "USER");
  const say = lastSaid?.__typename === "MessageEvent" ? lastSaid : null;
  return (
    <article className="conversation">
      <Header {...{ conversation, put, remove, close, fail }} />
      <Tabs tab={tab} changedFiles={workspace.change?.changedFiles ?? null} choose={setTab} />
      <div className="stage">
        <EventLog
          conversation={conversation}
          log={log}
          isHidden={tab !== "log"}
          loadEarlier={loadEarlier}
          retry={say && (() => outbox.add(id, { text: say.text, imageUrls: [...say.imageUrls], attachments: [] }))}
          openSettings={openSettings}
          fail={fail}
        />
        <Suspense fallback={<p className="panel empty">Loading…</p>}>
          {tab === "changes" && <Changes conversation={conversation} workspace={workspace} fail={fail} />}
          {tab === "files" && <Files conversationId={id} version={workspace.version} fail={fail} />}
        </Suspense>
      </div>
      <Composer conversationId={id} openSettings={openSettings} />
    </article>
  );
}

export function NotFound({ close }: { close: () => void }) {
  return (
    <p className="empty">
      This conversation does not exist. <button onClick={close}>Back</button>
    </p>
  );
}

/** The conversation as it is after its last change of state, if it is on no page of the list; undefined until then. */
function useConversation(
  id: string,
  events: readonly LogEvent[] | undefined,
  isOver: boolean,
  fail: (error: unknown) => void,
): Conversation | null | undefined {
  const [asked, setAsked] = useState<Conversation | null | undefined>(undefined);
  const changed = events?.findLast(({ __typename }) => __typename === "StateChangeEvent")?.sequence;
  const isThere = events !== undefined;
  useEffect(() => {
    if (!isThere) return;
    ask(ONE, { id }).then(({ conversation }) => setAsked(conversation), fail);
  }, [id, changed, isOver, isThere]);
  return asked;
}

async function stop(id: string): Promise<void> {
  check((await ask(STOP, { id })).stopConversation);
}

type HeaderProps = Pick<Props, "put" | "remove" | "close" | "fail"> & { conversation: Conversation };

function Header({ conversation, put, remove, close, fail }: HeaderProps) {
  const { id, status, repository, branchName, usage } = conversation;
  const isLive = status === "RUNNING" || status === "STARTING";

  function turn() {
    const work = isLive ? stop(id) : ask(START, { id }).then(({ startConversation }) => check(startConversation));
    work.catch(fail);
  }

  return (
    <header>
      <button className="quiet back" aria-label="Back to the list" onClick={close}>
        ←
      </button>
      <div className="heading">
        <Title conversation={conversation} put={put} fail={fail} />
        <p className="facts">
          <StatusChip conversation={conversation} />
          {repository && (
            <a href={repository.url} target="_blank" rel="noreferrer" dir="auto">
              {repository.nameWithOwner}
              {branchName ? ` · ${branchName}` : ""}
            </a>
          )}
          {conversation.llmModel && <bdi>{conversation.llmModel}</bdi>}
          {usage.promptTokens > 0 && (
            <span>{(usage.promptTokens + usage.completionTokens).toLocaleString("en")} tokens</span>
          )}
        </p>
      </div>
      <div className="actions">
        <button onClick={turn}>{isLive ? "Stop" : "Start"}</button>
        <button className="danger" onClick={() => remove(conversation)}>
          Delete
        </button>
      </div>
    </header>
  );
}
