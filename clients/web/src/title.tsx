import { type FormEvent, useState } from "react";

import { type Conversation, RENAME } from "./documents.ts";
import { ask, check } from "./server.ts";

interface Props {
  conversation: Conversation;
  put: (conversation: Conversation) => void;
  fail: (error: unknown) => void;
}

/** The title, which a click makes editable. An empty one means: make one. */
export function Title({ conversation, put, fail }: Props) {
  const [draft, setDraft] = useState<string | null>(null);

  async function rename(submitted: FormEvent) {
    submitted.preventDefault();
    if (draft === null) return;
    setDraft(null);
    try {
      const { renameConversation } = await ask(RENAME, { input: { id: conversation.id, title: draft } });
      check(renameConversation);
      if (renameConversation.conversation) put(renameConversation.conversation);
    } catch (error) {
      fail(error);
    }
  }

  if (draft === null)
    return (
      <h2>
        <button className="title" title="Rename" onClick={() => setDraft(conversation.title)}>
          {conversation.title}
        </button>
      </h2>
    );
  return (
    <form onSubmit={rename}>
      <input
        autoFocus
        aria-label="Title"
        placeholder="Leave it empty, and one is made"
        maxLength={200}
        value={draft}
        onFocus={(focused) => focused.target.select()}
        onChange={(change) => setDraft(change.target.value)}
        onKeyDown={(pressed) => pressed.key === "Escape" && setDraft(null)}
        onBlur={() => setDraft(null)}
      />
    </form>
  );
}
