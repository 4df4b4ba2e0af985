import { useCallback, useEffect, useRef, useState } from "react";

import { type Conversation, LIST, STATUSES } from "./documents.ts";
import { ask, follow, onConnection } from "./server.ts";

const TYPING_MILLISECONDS = 200;
// Titles are told by no subscription: another window's are seen this much later.
const LOOK_MILLISECONDS = 5000;

interface Page {
  conversations: Conversation[];
  endCursor: string | null;
  hasNextPage: boolean;
}

export interface Conversations extends Page {
  isLoading: boolean;
  error: string | null;
  loadMore: () => void;
  /** Show a conversation as it is now, ahead of the server. */
  put: (conversation: Conversation) => void;
}

const EMPTY: Page = { conversations: [], endCursor: null, hasNextPage: false };

function newestFirst(conversations: Conversation[]): Conversation[] {
  return conversations.toSorted((one, other) => Date.parse(other.updatedAt) - Date.parse(one.updatedAt));
}

/** The caller's conversations whose title contains `search`, the last changed first, kept up to date. */
export function useConversations(search: string): Conversations {
  const [page, setPage] = useState(EMPTY);
  const [isLoading, setIsLoading] = useState(true);
  const [error, setError] = useState<string | null>(null);
  const title = search.trim() || null;
  // The answer to an earlier question must not be shown for a later one.
  const question = useRef(0);

  const load = useCallback(
    async (after: string | null, isQuiet: boolean) => {
      const asked = isQuiet ? question.current : ++question.current;
      try {
        const { conversations: found } = await ask(LIST, { title, after });
        if (asked !== question.current) return;
        setPage((before) => merged(before, found.nodes, found.pageInfo, after, isQuiet));
        setError(null);
      } catch (failure) {
        if (asked === question.current) setError((failure as Error).message);
      } finally {
        if (asked === question.current) setIsLoading(false);
      }
    },
    [title],
  );

  useEffect(() => {
    setIsLoading(true);
    const timer = setTimeout(() => void load(null, false), TYPING_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [load]);

  useEffect(() => {
    const look = () => document.visibilityState === "visible" && void load(null, true);
    const timer = setInterval(look, LOOK_MILLISECONDS);
    window.addEventListener("focus", look);
    // What was deleted meanwhile is told by nothing but the whole list.
    const stopListening = onConnection((isConnected) => isConnected && void load(null, false));
    return () => {
      clearInterval(timer);
      window.removeEventListener("focus", look);
      stopListening();
    };
  }, [load]);

  const put = useCallback(
    (changed: Conversation) =>
      setPage((before) => {
        const isShown = before.conversations.some(({ id }) => id === changed.id);
        const isFound = title === null || changed.title.toLowerCase().includes(title.toLowerCase());
        if (!isShown && !isFound) return before;
        const others = before.conversations.filter(({ id }) => id !== changed.id);
        return { ...before, conversations: newestFirst([changed, ...others]) };
      }),
    [title],
  );

  useEffect(
    () =>
      follow(STATUSES, {}, ({ conversationStatusChanged: { conversation, deletedConversationId } }) => {
        if (conversation) put(conversation);
        if (deletedConversationId)
          setPage((before) => ({
            ...before,
            conversations: before.conversations.filter(({ id }) => id !== deletedConversationId),
          }));
      }),
    [put],
  );

  return { ...page, isLoading, error, put, loadMore: () => void load(page.endCursor, false) };
}

function merged(
  before: Page,
  found: readonly Conversation[],
  info: { endCursor: string | null; hasNextPage: boolean },
  after: string | null,
  isQuiet: boolean,
): Page {
  const isFirst = after === null;
  if (isFirst && !isQuiet) return { conversations: [...found], ...info };
  const ids = new Set(found.map(({ id }) => id));
  const conversations = newestFirst([...before.conversations.filter(({ id }) => !ids.has(id)), ...found]);
  return isFirst ? { ...before, conversations } : { conversations, ...info };
}
