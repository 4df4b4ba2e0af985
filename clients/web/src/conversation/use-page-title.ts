import { useEffect, useRef } from "react";

import type { Conversation } from "../documents.ts";
import { describe } from "../status-chip.tsx";

const NAME = "Parley";

/** The browser's tab tells of the open conversation, also that its agent needs something, has failed or is done. */
export function usePageTitle(conversation: Conversation | null | undefined): void {
  const wasBusy = useRef(false);
  const [words, colour] = conversation ? describe(conversation) : ["", ""];
  if (colour === "busy") wasBusy.current = true;
  const isDone = colour === "good" && wasBusy.current;
  const state = isDone ? "done" : ["ask", "bad", "busy"].includes(colour) ? words : "";
  const title = conversation ? [state, conversation.title, NAME].filter(Boolean).join(" · ") : NAME;
  useEffect(() => {
    document.title = title;
    return () => {
      document.title = NAME;
    };
  }, [title]);
}
