import { useRef, useState } from "react";

import { type Conversation, RENAME } from "../documents.ts";
import { ask, check } from "../server.ts";

interface Props {
  conversation: Conversation;
  put: (conversation: Conversation) => void;
  fail: (error: unknown) => void;
}

/** The title, which a click makes editable. Enter and leaving the field save it, Escape does not; empty means: make one. */
export function Title({ conversation, put, fail }: Props) {
  const [draft, setDraft] = useState<string | null>(null);
  const isDone = useRef(false);

  async function save(title: string) {
    // Removing the field takes its focus, which must not save a second time.
    if (isDone.current) return;
    isDone.current = true;
    setDraft(null);
    if (title === conversation.title) return;
    try {
      const { renameConversation } = await ask(RENAME, { input: { id: conversation.id, title } });
      check(renameConversation);
      if (renameConversation.conversation) put(renameConversation.conversation);
    } catch (error) {
      edit(title);
      fail(error);
    }
  }

  function edit(title: string) {
    isDone.current = false;
    setDraft(title);
  }

  function cancel() {
    isDone.current = true;
    setDraft(null);
  }

  if (draft === null)
    return (
      <h2>
        <button className="title" dir="auto" title={conversation.title} aria-description="Rename" onClick={() => edit(conversation.title)}>
          {conversation.title}
        </button>
      </h2>
    );
  return (
    <form
      onSubmit={(submitted) => {
        submitted.preventDefault();
        void save(draft);
      }}
    >
      <input
        autoFocus
        aria-label="Title"
        dir="auto"
        placeholder="Leave it empty, and one is made"
        maxLength={200}
        value={draft}
        onFocus={(focused) => focused.target.select()}
        onChange={(change) => setDraft(change.target.value)}
        onKeyDown={(pressed) => {
          if (pressed.key !== "Escape" || pressed.nativeEvent.isComposing) return;
          pressed.stopPropagation();
          cancel();
        }}
        onBlur={() => (draft.trim() ? void save(draft) : cancel())}
      />
    </form>
  );
}
