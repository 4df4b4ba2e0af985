import { useCallback, useEffect, useRef, useState } from "react";

import { type Conversation, LIST, STATUSES } from "../documents.ts";
import { ask, faultOf, follow, onConnection } from "../server.ts";

const TYPING_MILLISECONDS = 200;
// Titles are told by no subscription: another window's are seen this much later.
const LOOK_MILLISECONDS = 5000;
// Changes are shown together, since a subscription begins with the status of every conversation.
const GATHERING_MILLISECONDS = 30;
const PAGE_SIZE = 50;
// After a break so many are asked for at once, or what is shown would become shorter for most.
const LARGEST_PAGE_SIZE = 100;

interface Page {
  conversations: readonly Conversation[];
  totalCount: number;
  endCursor: string | null;
  hasNextPage: boolean;
}

export interface Conversations extends Page {
  isLoading: boolean;
  error: string | null;
  loadMore: () => void;
  retry: () => void;
  /** Show a conversation as it is now, ahead of the server. */
  put: (conversation: Conversation) => void;
}

interface Change {
  conversation: Conversation | null;
  deletedConversationId: string | null;
}

const EMPTY: Page = { conversations: [], totalCount: 0, endCursor: null, hasNextPage: false };

/** The caller's conversations whose title contains `search`, the last changed first, in pages, kept up to date. */
export function useConversations(search: string): Conversations {
  const [page, setPage] = useState<Page | null>(null);
  const [isLoading, setIsLoading] = useState(true);
  const [error, setError] = useState<string | null>(null);
  const title = search.trim() || null;
  // The answer to an earlier question must not be shown for a later one.
  const question = useRef(0);
  const paging = useRef(0);
  // Answers under way still have what was deleted meanwhile.
  const deleted = useRef(new Set<string>());

  const load = useCallback(
    async (isQuiet: boolean, first = PAGE_SIZE) => {
      const asked = isQuiet ? question.current : ++question.current;
      try {
        const { conversations: found } = await ask(LIST, { title, first, after: null, isCounted: true });
        if (asked !== question.current) return;
        const nodes = found.nodes.filter(({ id }) => !deleted.current.has(id));
        const whole = { conversations: nodes, totalCount: found.totalCount ?? 0, ...found.pageInfo };
        setPage((before) => (isQuiet && before ? withNewest(before, whole) : whole));
        setError(null);
      } catch (failure) {
        if (asked === question.current) setError(faultOf(failure).message);
      } finally {
        if (asked === question.current) setIsLoading(false);
      }
    },
    [title],
  );

  async function loadMore() {
    const asked = question.current;
    if (page === null || paging.current === asked) return;
    paging.current = asked;
    try {
      const { conversations: found } = await ask(LIST, { title, first: PAGE_SIZE, after: page.endCursor, isCounted: false });
      if (asked !== question.current) return;
      const nodes = found.nodes.filter(({ id }) => !deleted.current.has(id));
      setPage((before) => before && { ...before, ...found.pageInfo, conversations: joined(before.conversations, nodes) });
      setError(null);
    } catch (failure) {
      if (asked === question.current) setError(faultOf(failure).message);
    } finally {
      if (paging.current === asked) paging.current = 0;
    }
  }

  useEffect(() => {
    setIsLoading(true);
    const timer = setTimeout(() => void load(false), TYPING_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [load]);

  const loaded = useRef(0);
  loaded.current = page?.conversations.length ?? 0;
  useEffect(() => {
    const look = () => document.visibilityState === "visible" && void load(true);
    const timer = setInterval(look, LOOK_MILLISECONDS);
    window.addEventListener("focus", look);
    // What was deleted meanwhile is told by nothing but the list itself.
    const again = () => void load(false, Math.min(Math.max(loaded.current, PAGE_SIZE), LARGEST_PAGE_SIZE));
    const stopListening = onConnection((isConnected) => isConnected && again());
    return () => {
      clearInterval(timer);
      window.removeEventListener("focus", look);
      stopListening();
    };
  }, [load]);

  const apply = useCallback(
    (changes: readonly Change[]) => setPage((before) => before && withChanges(before, changes, title)),
    [title],
  );
  const put = useCallback(
    (conversation: Conversation) => apply([{ conversation, deletedConversationId: null }]),
    [apply],
  );
  useStatuses(page !== null, deleted.current, apply);

  return {
    ...(page ?? EMPTY),
    isLoading,
    error,
    put,
    loadMore: () => void loadMore(),
    retry: () => void load(false),
  };
}

/** Follows the statuses once the first page is there, which is older than what they tell. */
function useStatuses(isReady: boolean, deleted: Set<string>, apply: (changes: readonly Change[]) => void) {
  const current = useRef(apply);
  current.current = apply;
  useEffect(() => {
    if (!isReady) return;
    let gathered: Change[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = follow(STATUSES, {}, ({ conversationStatusChanged: change }) => {
      if (change.deletedConversationId) deleted.add(change.deletedConversationId);
      gathered.push(change);
      timer ??= setTimeout(() => {
        timer = undefined;
        current.current(gathered);
        gathered = [];
      }, GATHERING_MILLISECONDS);
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [isReady, deleted]);
}

function newestFirst(conversations: Conversation[]): Conversation[] {
  return conversations.toSorted((one, other) => Date.parse(other.updatedAt) - Date.parse(one.updatedAt));
}

/** Both, each conversation once, as it was changed last. */
function joined(before: readonly Conversation[], found: readonly Conversation[]): Conversation[] {
  const known = new Map(before.map((conversation) => [conversation.id, conversation]));
  for (const conversation of found) {
    const older = known.get(conversation.id);
    if (!older || Date.parse(older.updatedAt) <= Date.parse(conversation.updatedAt)) known.set(conversation.id, conversation);
  }
  return newestFirst([...known.values()]);
}

function withNewest(before: Page, newest: Page): Page {
  return { ...before, totalCount: newest.totalCount, conversations: joined(before.conversations, newest.conversations) };
}

/** Changes of what is on no page yet are left out: paging finds them where they are then. */
function withChanges(before: Page, changes: readonly Change[], title: string | null): Page {
  const known = new Map(before.conversations.map((conversation) => [conversation.id, conversation]));
  const oldest = before.conversations.at(-1);
  const end = before.hasNextPage && oldest ? Date.parse(oldest.updatedAt) : -Infinity;
  let totalCount = before.totalCount;
  let isChanged = false;
  for (const { conversation, deletedConversationId } of changes) {
    if (deletedConversationId && known.delete(deletedConversationId)) {
      totalCount -= 1;
      isChanged = true;
    }
    if (!conversation) continue;
    const isShown = known.has(conversation.id);
    const isFound = title === null || conversation.title.toLowerCase().includes(title.toLowerCase());
    if (!isShown && (!isFound || Date.parse(conversation.updatedAt) < end)) continue;
    if (!isShown) totalCount = Math.max(totalCount, known.size + 1);
    known.set(conversation.id, conversation);
    isChanged = true;
  }
  return isChanged ? { ...before, totalCount, conversations: newestFirst([...known.values()]) } : before;
}
