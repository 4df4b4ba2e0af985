import { useEffect, useRef, useState } from "react";

import { ConversationList } from "./conversation-list.tsx";
import { ConversationView } from "./conversation-view.tsx";
import { CreateDialog } from "./create-dialog.tsx";
import { type Conversation, DELETE } from "./documents.ts";
import { ask, check, onConnection, sendAtLast } from "./server.ts";
import { SettingsDialog } from "./settings-dialog.tsx";
import { type Notice, Toast } from "./toast.tsx";
import { useConversations } from "./use-conversations.ts";
import { useRoute } from "./use-route.ts";

const UNDO_MILLISECONDS = 5000;

export function App() {
  const [openId, open] = useRoute();
  const [search, setSearch] = useState("");
  const [dialog, setDialog] = useState<"create" | "settings" | null>(null);
  const [notice, setNotice] = useState<Notice | null>(null);
  const [doomed, setDoomed] = useState<ReadonlySet<string>>(new Set());
  const [isConnected, setIsConnected] = useState(true);
  const pending = useRef(new Map<string, ReturnType<typeof setTimeout>>());
  const found = useConversations(search);
  const conversations = found.conversations.filter(({ id }) => !doomed.has(id));

  useEffect(() => onConnection(setIsConnected), []);

  // Whoever leaves the page does not undo any more.
  useEffect(() => {
    const leave = () => {
      for (const [id, timer] of pending.current) {
        clearTimeout(timer);
        sendAtLast(DELETE, { id });
      }
      pending.current.clear();
    };
    window.addEventListener("pagehide", leave);
    return () => window.removeEventListener("pagehide", leave);
  }, []);

  function fail(error: unknown) {
    setNotice({ text: (error as Error).message, isError: true });
  }

  /** Deletes once the time to undo it is over. Until then the conversation is only hidden. */
  function remove(conversation: Conversation) {
    const { id } = conversation;
    const spare = () => setDoomed((before) => new Set([...before].filter((other) => other !== id)));
    const timer = setTimeout(() => {
      pending.current.delete(id);
      setNotice(null);
      ask(DELETE, { id })
        .then(({ deleteConversation }) => check(deleteConversation))
        .catch((error: unknown) => {
          spare();
          fail(error);
        });
    }, UNDO_MILLISECONDS);
    pending.current.set(id, timer);
    setDoomed((before) => new Set(before).add(id));
    if (openId === id) open(null);
    setNotice({
      text: `“${conversation.title}” is deleted.`,
      undo: () => {
        clearTimeout(timer);
        pending.current.delete(id);
        spare();
        setNotice(null);
      },
    });
  }

  return (
    <div className={openId === null ? "app" : "app is-open"}>
      {!isConnected && (
        <p className="banner" role="status">
          The server can’t be reached. What is new is shown as soon as it is back.
        </p>
      )}
      <aside className="side">
        <header>
          <h1>Parley</h1>
          <button className="quiet" onClick={() => setDialog("settings")}>
            Settings
          </button>
          <button className="primary" onClick={() => setDialog("create")}>
            New
          </button>
        </header>
        <input
          type="search"
          className="search"
          placeholder="Search titles"
          aria-label="Search titles"
          maxLength={200}
          value={search}
          onChange={(change) => setSearch(change.target.value)}
        />
        <ConversationList found={{ ...found, conversations }} search={search} openId={openId} open={open} />
      </aside>
      <main className="main">
        {openId === null ? (
          <p className="empty">Choose a conversation, or begin a new one.</p>
        ) : (
          <ConversationView
            key={openId}
            id={openId}
            listed={found.conversations.find(({ id }) => id === openId)}
            put={found.put}
            remove={remove}
            close={() => open(null)}
            fail={fail}
          />
        )}
      </main>
      {dialog === "create" && (
        <CreateDialog
          close={() => setDialog(null)}
          created={(conversation) => {
            found.put(conversation);
            open(conversation.id);
            setDialog(null);
          }}
          openSettings={() => setDialog("settings")}
        />
      )}
      {dialog === "settings" && <SettingsDialog close={() => setDialog(null)} />}
      {notice && <Toast notice={notice} close={() => setNotice(null)} />}
    </div>
  );
}
