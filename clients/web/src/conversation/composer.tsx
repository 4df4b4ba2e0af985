import { type FormEvent, useEffect, useState } from "react";

import { useDraft } from "../tab-storage.ts";
import { outbox, type Outgoing, useOutbox } from "./outbox.ts";

const MAX_CHARACTERS = 100_000;
// What is answered sooner is never shown as under way.
const PATIENCE_MILLISECONDS = 700;

interface Props {
  conversationId: string;
  openSettings: () => void;
}

/** Enter sends, Shift with Enter begins a new line. What is typed is kept until it is sent, conversation by conversation. */
export function Composer({ conversationId, openSettings }: Props) {
  const [text, setText] = useDraft(`message:${conversationId}`, "");
  const waiting = useOutbox(conversationId);

  function send(submitted?: FormEvent) {
    submitted?.preventDefault();
    if (!text.trim()) return;
    outbox.add(conversationId, { text, imageUrls: [], attachments: [] });
    setText("");
  }

  function takeBack({ key, text: said }: Outgoing) {
    outbox.remove(conversationId, key);
    setText([said, text].filter((part) => part.trim()).join("\n\n"));
  }

  return (
    <div className="foot">
      {waiting.map((message) => (
        <Waiting
          key={message.key}
          message={message}
          retry={() => outbox.retry(conversationId)}
          takeBack={() => takeBack(message)}
          openSettings={openSettings}
        />
      ))}
      <form className="composer" onSubmit={send}>
        <textarea
          aria-label="Message"
          placeholder="Say something"
          dir="auto"
          rows={2}
          maxLength={MAX_CHARACTERS}
          value={text}
          onChange={(change) => setText(change.target.value)}
          onKeyDown={(pressed) => {
            if (pressed.key === "Enter" && !pressed.shiftKey && !pressed.nativeEvent.isComposing) {
              pressed.preventDefault();
              send();
            }
          }}
        />
        <button className="primary" disabled={!text.trim()}>
          Send
        </button>
      </form>
    </div>
  );
}

interface WaitingProps {
  message: Outgoing;
  retry: () => void;
  takeBack: () => void;
  openSettings: () => void;
}

/** A message that is not in the log yet, with what can be done about it. */
function Waiting({ message: { text, problem }, retry, takeBack, openSettings }: WaitingProps) {
  const [isLate, setIsLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setIsLate(true), PATIENCE_MILLISECONDS);
    return () => clearTimeout(timer);
  }, []);
  if (!problem && !isLate) return null;
  const isOfSettings = problem?.code === "CONFIGURATION_SETTINGS_NOT_FOUND" || problem?.code === "STATUS_ERROR_LLM_AUTHENTICATION";
  return (
    <div className="outgoing" role={problem ? "alert" : "status"} aria-label="Not sent yet">
      <p className="outgoing-text" dir="auto">
        {text}
      </p>
      {problem ? (
        <p className="is-error">
          Not sent: {problem.message} {isOfSettings && <button onClick={openSettings}>Open the settings</button>}
          <button onClick={retry}>Retry</button>
          <button onClick={takeBack}>Edit</button>
        </p>
      ) : (
        <p className="note">Sending…</p>
      )}
    </div>
  );
}
