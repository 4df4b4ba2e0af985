import { type DragEvent, type FormEvent, useRef, useState } from "react";

import { newKey } from "../idempotency.ts";
import { useDraft } from "../tab-storage.ts";
import { outbox, type Outgoing, useOutbox } from "./outbox.ts";
import { type Attached, MOST_ATTACHMENTS, useAttachments } from "./use-attachments.ts";
import { Waiting } from "./waiting.tsx";

const MAX_CHARACTERS = 100_000;

interface Props {
  conversationId: string;
  openSettings: () => void;
}

/** Enter sends, Shift with Enter begins a new line. What is typed is kept until it is sent, conversation by conversation. */
export function Composer({ conversationId, openSettings }: Props) {
  const [text, setText] = useDraft(`message:${conversationId}`, "");
  const attachments = useAttachments(conversationId);
  const [isDraggedOver, setIsDraggedOver] = useState(false);
  const waiting = useOutbox(conversationId);
  const arrived = attachments.all.flatMap(({ path, name }) => (path === null ? [] : [{ path, name }]));
  const isUploading = attachments.all.some(({ path, problem }) => path === null && problem === null);
  const isReady = (text.trim() !== "" || arrived.length > 0) && !isUploading;

  function send(submitted?: FormEvent) {
    submitted?.preventDefault();
    if (!isReady) return;
    outbox.add(conversationId, { text, imageUrls: [], attachments: arrived });
    setText("");
    attachments.clear();
  }

  function takeBack({ key, text: said, attachments: files }: Outgoing) {
    outbox.remove(conversationId, key);
    setText([said, text].filter((part) => part.trim()).join("\n\n"));
    attachments.restore([...files.map((file) => ({ ...file, key: newKey(), problem: null })), ...attachments.all]);
  }

  function drop(dropped: DragEvent) {
    setIsDraggedOver(false);
    if (dropped.dataTransfer.files.length === 0) return;
    dropped.preventDefault();
    attachments.add(dropped.dataTransfer.files);
  }

  return (
    <div
      className={isDraggedOver ? "foot is-dragged-over" : "foot"}
      onDragOver={(dragged) => {
        if (!dragged.dataTransfer.types.includes("Files")) return;
        dragged.preventDefault();
        setIsDraggedOver(true);
      }}
      onDragLeave={() => setIsDraggedOver(false)}
      onDrop={drop}
    >
      {waiting.map((message) => (
        <Waiting
          key={message.key}
          message={message}
          retry={() => outbox.retry(conversationId)}
          takeBack={() => takeBack(message)}
          openSettings={openSettings}
        />
      ))}
      <AttachedFiles all={attachments.all} remove={attachments.remove} />
      <form className="composer" onSubmit={send}>
        <AttachButton isFull={attachments.all.length >= MOST_ATTACHMENTS} add={attachments.add} />
        <textarea
          aria-label="Message"
          placeholder="Say something"
          dir="auto"
          rows={2}
          maxLength={MAX_CHARACTERS}
          value={text}
          onChange={(change) => setText(change.target.value)}
          onPaste={(pasted) => {
            if (pasted.clipboardData.files.length === 0) return;
            pasted.preventDefault();
            attachments.add(pasted.clipboardData.files);
          }}
          onKeyDown={(pressed) => {
            if (pressed.key === "Enter" && !pressed.shiftKey && !pressed.nativeEvent.isComposing) {
              pressed.preventDefault();
              send();
            }
          }}
        />
        <button className="primary" disabled={!isReady}>
          Send
        </button>
      </form>
    </div>
  );
}

function AttachButton({ isFull, add }: { isFull: boolean; add: (files: Iterable<File>) => void }) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button type="button" title="Attach files" aria-label="Attach files" disabled={isFull} onClick={() => input.current?.click()}>
        +
      </button>
      <input
        ref={input}
        type="file"
        multiple
        hidden
        onChange={(chosen) => {
          add([...(chosen.target.files ?? [])]);
          // So that the same file can be chosen again.
          chosen.target.value = "";
        }}
      />
    </>
  );
}

function AttachedFiles({ all, remove }: { all: readonly Attached[]; remove: (key: string) => void }) {
  if (all.length === 0) return null;
  return (
    <ul className="attached" aria-label="Attached files">
      {all.map(({ key, name, path, problem }) => (
        <li key={key} className={problem ? "chip bad" : path === null ? "chip busy" : "chip good"}>
          <bdi>{name}</bdi>
          {problem ? `: ${problem}` : path === null ? " …" : ""}
          <button className="quiet small" aria-label={`Remove ${name}`} onClick={() => remove(key)}>
            ×
          </button>
        </li>
      ))}
    </ul>
  );
}
