import { StatusChip } from "./status-chip.tsx";
import type { Conversations } from "./use-conversations.ts";

const UNITS = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
] as const;
const FORMAT = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "narrow" });

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
  const { conversations, error, isLoading } = found;
  if (error !== null && conversations.length === 0) return <p className="empty is-error">{error}</p>;
  if (isLoading && conversations.length === 0) return <p className="empty">Loading…</p>;
  if (conversations.length === 0)
    return <p className="empty">{search.trim() ? "No title has these words." : "There is no conversation yet."}</p>;
  return (
    <nav aria-label="Conversations" className="list">
      <ul>
        {conversations.map((conversation) => (
          <li key={conversation.id}>
            <button
              className="item"
              aria-current={conversation.id === openId ? "page" : undefined}
              onClick={() => open(conversation.id)}
            >
              <span className="item-title">{conversation.title}</span>
              <time dateTime={conversation.updatedAt}>{ago(conversation.updatedAt)}</time>
              <span className="item-more">
                <StatusChip conversation={conversation} />
                {conversation.repository && <span className="item-where">{conversation.repository.nameWithOwner}</span>}
              </span>
            </button>
          </li>
        ))}
      </ul>
      {found.hasNextPage && (
        <button className="more" onClick={found.loadMore}>
          More
        </button>
      )}
    </nav>
  );
}
