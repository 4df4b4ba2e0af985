import { useEffect, useRef, useState } from "react";

import { type Conversation, DELETE } from "./documents.ts";
import type { Notices } from "./notices.tsx";
import { ask, check, sendAtLast } from "./server.ts";

const UNDO_MILLISECONDS = 5000;

interface Deletions {
  /** The conversations that are hidden, since they are about to be deleted. */
  doomed: ReadonlySet<string>;
  remove: (conversation: Conversation) => void;
}

/** Deletes once the time to undo it is over, each conversation by itself. Until then it is only hidden. */
export function useDeletions(notices: Notices, fail: (error: unknown) => void): Deletions {
  const [doomed, setDoomed] = useState<ReadonlySet<string>>(new Set());
  const pending = useRef(new Map<string, ReturnType<typeof setTimeout>>());

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

  function remove({ id, title }: Conversation) {
    if (pending.current.has(id)) return;
    const spare = () => setDoomed((before) => new Set([...before].filter((other) => other !== id)));
    const notice = notices.add({
      text: `“${title}” is deleted.`,
      action: {
        name: "Undo",
        run: () => {
          clearTimeout(pending.current.get(id));
          pending.current.delete(id);
          spare();
        },
      },
    });
    const timer = setTimeout(() => {
      pending.current.delete(id);
      notices.remove(notice);
      ask(DELETE, { id })
        .then(({ deleteConversation }) => check(deleteConversation))
        .catch((error: unknown) => {
          spare();
          fail(error);
        });
    }, UNDO_MILLISECONDS);
    pending.current.set(id, timer);
    setDoomed((before) => new Set(before).add(id));
  }

  return { doomed, remove };
}
