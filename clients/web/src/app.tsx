import { useCallback, useEffect, useRef, useState } from "react";

import { ConversationView, NotFound } from "./conversation/conversation-view.tsx";
import { CreateDialog } from "./dialogs/create-dialog.tsx";
import { KeysDialog } from "./dialogs/keys-dialog.tsx";
import { SettingsDialog } from "./dialogs/settings-dialog.tsx";
import { ConversationList } from "./list/conversation-list.tsx";
import { useConversations } from "./list/use-conversations.ts";
import { NoticeStack, useNotices } from "./notices.tsx";
import { faultOf, onConnection, onRefusal } from "./server.ts";
import { SignIn } from "./sign-in.tsx";
import { useDeletions } from "./use-deletions.ts";
import { useKeys } from "./use-keys.ts";
import { useRoute } from "./use-route.ts";

/** The page, or what asks for a token where the server wants one. */
export function App() {
  const [refusal, setRefusal] = useState<string | null>(null);
  useEffect(() => onRefusal(setRefusal), []);
  return refusal === null ? <Page /> : <SignIn key={refusal} reason={refusal} />;
}

function Page() {
  const [openId, open] = useRoute();
  const [search, setSearch] = useState("");
  const [isCreating, setIsCreating] = useState(false);
  const [isSetting, setIsSetting] = useState(false);
  const [isShowingKeys, setIsShowingKeys] = useState(false);
  const searchField = useRef<HTMLInputElement>(null);
  const [settingsVersion, setSettingsVersion] = useState(0);
  const [isConnected, setIsConnected] = useState<boolean | null>(null);
  const notices = useNotices();
  const found = useConversations(search);
  const openSettings = useCallback(() => setIsSetting(true), []);

  useEffect(() => onConnection(setIsConnected), []);

  function fail(error: unknown) {
    notices.add({ text: faultOf(error).message, isError: true });
  }

  const { doomed, remove } = useDeletions(notices, fail);
  const conversations = found.conversations.filter(({ id }) => !doomed.has(id));
  const hidden = found.conversations.length - conversations.length;

  useKeys({
    "/": () => searchField.current?.focus(),
    "?": () => setIsShowingKeys(true),
    // With a conversation, which knows better what it ends.
    ...(openId === null && search ? { Escape: () => setSearch("") } : {}),
    ...(openId === "" ? { Escape: () => open(null) } : {}),
  });

  return (
    <div className={openId === null ? "app" : "app is-open"} data-live={isConnected ?? false}>
      {isConnected === false && (
        <p className="banner" role="status">
          The server can’t be reached. What is new is shown as soon as it is back.
        </p>
      )}
      <aside className="side">
        <header>
          <h1>Parley</h1>
          <button className="quiet" aria-label="Keys" title="Keys" onClick={() => setIsShowingKeys(true)}>
            ?
          </button>
          <button className="quiet" onClick={openSettings}>
            Settings
          </button>
          <button className="primary" onClick={() => setIsCreating(true)}>
            New
          </button>
        </header>
        <input
          ref={searchField}
          type="search"
          className="search"
          placeholder="Search titles"
          aria-label="Search titles"
          dir="auto"
          maxLength={200}
          value={search}
          onChange={(change) => setSearch(change.target.value)}
        />
        <ConversationList
          found={{ ...found, conversations, totalCount: found.totalCount - hidden }}
          search={search}
          openId={openId}
          open={open}
        />
      </aside>
      <main className="main">
        {openId === null ? (
          <p className="empty">Choose a conversation, or begin a new one.</p>
        ) : openId === "" ? (
          <NotFound close={() => open(null)} />
        ) : (
          <ConversationView
            key={openId}
            id={openId}
            listed={found.conversations.find(({ id }) => id === openId)}
            put={found.put}
            remove={(conversation) => {
              remove(conversation);
              open(null);
            }}
            close={() => open(null)}
            openSettings={openSettings}
            fail={fail}
          />
        )}
      </main>
      {isCreating && (
        <CreateDialog
          settingsVersion={settingsVersion}
          close={() => setIsCreating(false)}
          created={(conversation) => {
            found.put(conversation);
            open(conversation.id);
            setIsCreating(false);
          }}
          openSettings={openSettings}
        />
      )}
      {isSetting && (
        <SettingsDialog
          close={() => {
            setIsSetting(false);
            setSettingsVersion((version) => version + 1);
          }}
        />
      )}
      {isShowingKeys && <KeysDialog close={() => setIsShowingKeys(false)} />}
      <NoticeStack notices={notices} />
    </div>
  );
}
