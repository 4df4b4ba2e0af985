import { useVirtualizer } from "@tanstack/react-virtual";
import { type KeyboardEvent, useEffect, useRef } from "react";

import type { Conversation } from "../documents.ts";
import { StatusChip } from "../status-chip.tsx";
import type { Conversations } from "./use-conversations.ts";

const UNITS = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
] as const;
const FORMAT = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "narrow" });
// As in the style sheet.
const ROW_PIXELS = 64;
const OVERSCAN_ROWS = 10;

function ago(moment: string): string {
  const passed = Date.now() - Date.parse(moment);
  for (const [unit, length] of UNITS) if (passed >= length) return FORMAT.format(-Math.floor(passed / length), unit);
  return "now";
}

interface Props {
  found: Conversations;
  search: string;
  openId: string | null;
  open: (id: string) => void;
}

export function ConversationList({ found, search, openId, open }: Props) {
  const { conversations, error, isLoading, totalCount } = found;
  if (conversations.length === 0) {
    if (error !== null) return <Failure message={error} retry={found.retry} />;
    if (isLoading) return <p className="empty">Loading…</p>;
    return <p className="empty">{search.trim() ? "No title has these words." : "There is no conversation yet."}</p>;
  }
  return (
    <>
      <Rows found={found} openId={openId} open={open} />
      {error !== null && <Failure message={error} retry={found.retry} />}
      <p className="count">{count(Math.max(totalCount, conversations.length))}</p>
    </>
  );
}

function count(total: number): string {
  return total === 1 ? "1 conversation" : `${total.toLocaleString("en")} conversations`;
}

function Failure({ message, retry }: { message: string; retry: () => void }) {
  return (
    <p className="empty is-error" role="alert">
      {message} <button onClick={retry}>Retry</button>
    </p>
  );
}

/** Only the rows in view, and some around them, are in the page; the next page is loaded when its place comes into view. */
function Rows({ found, openId, open }: Omit<Props, "search">) {
  const { conversations, hasNextPage, loadMore } = found;
  const box = useRef<HTMLElement>(null);
  const rows = useVirtualizer({
    count: conversations.length,
    getScrollElement: () => box.current,
    estimateSize: () => ROW_PIXELS,
    overscan: OVERSCAN_ROWS,
    getItemKey: (index) => conversations[index]?.id ?? index,
  });
  const items = rows.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  const isAtEnd = hasNextPage && last >= conversations.length - 1;

  useEffect(() => {
    if (isAtEnd) loadMore();
  }, [isAtEnd, conversations.length]);

  function move(pressed: KeyboardEvent) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[pressed.key];
    const place = document.activeElement?.closest("[aria-posinset]")?.getAttribute("aria-posinset");
    if (!step || !place) return;
    pressed.preventDefault();
    box.current?.querySelector<HTMLElement>(`[aria-posinset="${Number(place) + step}"] button`)?.focus();
  }

  return (
    <nav aria-label="Conversations" className="list" ref={box} onKeyDown={move}>
      <ul style={{ height: rows.getTotalSize() }}>
        {items.map(({ index, key, start }) => {
          const conversation = conversations[index];
          return (
            conversation && (
              <li
                key={key}
                aria-setsize={Math.max(found.totalCount, conversations.length)}
                aria-posinset={index + 1}
                style={{ transform: `translateY(${start}px)` }}
              >
                <Row conversation={conversation} isOpen={conversation.id === openId} open={open} />
              </li>
            )
          );
        })}
      </ul>
    </nav>
  );
}

interface RowProps {
  conversation: Conversation;
  isOpen: boolean;
  open: (id: string) => void;
}

function Row({ conversation: { id, title, updatedAt, status, agentState, repository }, isOpen, open }: RowProps) {
  return (
    <button className="item" aria-current={isOpen ? "page" : undefined} title={title} onClick={() => open(id)}>
      <span className="item-title" dir="auto">
        {title}
      </span>
      <time dateTime={updatedAt}>{ago(updatedAt)}</time>
      <span className="item-more">
        <StatusChip conversation={{ status, agentState }} />
        {repository && <bdi className="item-where">{repository.nameWithOwner}</bdi>}
      </span>
    </button>
  );
}
