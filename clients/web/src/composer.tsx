import { type FormEvent, useState } from "react";

import { SEND } from "./documents.ts";
import { ask, check } from "./server.ts";

const MAX_CHARACTERS = 100_000;

interface Props {
  conversationId: string;
  fail: (error: unknown) => void;
}

/** Enter sends, Shift with Enter begins a new line. */
export function Composer({ conversationId, fail }: Props) {
  const [text, setText] = useState("");
  const [isSending, setIsSending] = useState(false);

  async function send(submitted?: FormEvent) {
    submitted?.preventDefault();
    if (!text.trim() || isSending) return;
    setIsSending(true);
    try {
      // Whoever sends again after a break of the connection must not say it twice.
      const input = { conversationId, message: { text }, idempotencyKey: crypto.randomUUID() };
      check((await ask(SEND, { input })).sendMessage);
      setText("");
    } catch (error) {
      fail(error);
    } finally {
      setIsSending(false);
    }
  }

  return (
    <form className="composer" onSubmit={send}>
      <textarea
        aria-label="Message"
        placeholder="Say something"
        rows={2}
        maxLength={MAX_CHARACTERS}
        value={text}
        onChange={(change) => setText(change.target.value)}
        onKeyDown={(pressed) => {
          if (pressed.key === "Enter" && !pressed.shiftKey && !pressed.nativeEvent.isComposing) {
            pressed.preventDefault();
            void send();
          }
        }}
      />
      <button className="primary" disabled={!text.trim() || isSending}>
        Send
      </button>
    </form>
  );
}
