import { useEffect, useState } from "react";

import { unhidden } from "../conversation/unhidden.ts";
import type { Conversation } from "../documents.ts";
import { UnifiedDiff } from "../diff.tsx";
import { ask, type Fault, faultOf } from "../server.ts";
import { CHANGES, DIFF } from "./documents.ts";
import { Publish } from "./publish.tsx";
import { download } from "./transfer.ts";
import type { WorkspaceState } from "./use-workspace.ts";

const PAGE_SIZE = 100;

type Since = "CLONED" | "COMMITTED";

interface Change {
  cursor: string;
  path: string;
  previousPath: string | null;
  status: string;
  additions: number;
  deletions: number;
  isBinary: boolean;
}

interface Found {
  changes: Change[];
  totalCount: number;
  endCursor: string | null;
  hasNextPage: boolean;
}

interface Props {
  conversation: Conversation;
  workspace: WorkspaceState;
  fail: (error: unknown) => void;
}

/** What is different in the workspace, as it changes, and what can be made of it. */
export function Changes({ conversation, workspace: { change, version }, fail }: Props) {
  const { id } = conversation;
  const [since, setSince] = useState<Since>("CLONED");
  const [found, setFound] = useState<Found | null>(null);
  const [fault, setFault] = useState<Fault | null>(null);
  const [attempt, setAttempt] = useState(0);

  useEffect(() => {
    let isWanted = true;
    load(id, since, null).then(
      (page) => {
        if (!isWanted) return;
        setFound(page);
        setFault(null);
      },
      (failure: unknown) => isWanted && setFault(faultOf(failure)),
    );
    return () => {
      isWanted = false;
    };
  }, [id, since, version, attempt]);

  function loadMore() {
    if (!found) return;
    load(id, since, found.endCursor).then(
      (page) => setFound({ ...page, changes: [...found.changes, ...page.changes] }),
      fail,
    );
  }

  return (
    <div className="panel" role="tabpanel" aria-label="Changes">
      <div className="panel-tools">
        <select
          aria-label="Compared with"
          value={since}
          onChange={(changed) => {
            setFound(null);
            setSince(changed.target.value as Since);
          }}
        >
          <option value="CLONED">{conversation.repository ? "since the clone" : "since the beginning"}</option>
          <option value="COMMITTED">since the last commit</option>
        </select>
        <button disabled={!change?.changedFiles} onClick={() => void download(id, "PATCH").catch(fail)}>
          Download as a patch
        </button>
      </div>
      {conversation.repository && <Publish conversation={conversation} workspace={change?.workspace ?? null} version={version} />}
      {fault && (
        <p className="is-error" role="alert">
          {fault.message} <button onClick={() => setAttempt(attempt + 1)}>Retry</button>
        </p>
      )}
      {!fault && found === null && <p className="empty">Loading…</p>}
      {found?.changes.length === 0 && <p className="empty">Nothing is different.</p>}
      {found?.changes.map((each, index) => (
        <ChangedFile
          key={`${since} ${each.path}`}
          conversationId={id}
          change={each}
          after={found.changes[index - 1]?.cursor ?? null}
          since={since}
          version={version}
          isFirst={index === 0}
        />
      ))}
      {found?.hasNextPage && <button onClick={loadMore}>{found.totalCount - found.changes.length} more</button>}
    </div>
  );
}

async function load(id: string, since: Since, after: string | null): Promise<Found> {
  const { conversation } = await ask(CHANGES, { id, first: PAGE_SIZE, after, since });
  const page = conversation?.workspace?.changes;
  return {
    changes: (page?.edges ?? []).map(({ cursor, node }) => ({ cursor, ...node })),
    totalCount: page?.totalCount ?? 0,
    endCursor: page?.pageInfo.endCursor ?? null,
    hasNextPage: page?.pageInfo.hasNextPage ?? false,
  };
}

interface FileProps {
  conversationId: string;
  change: Change;
  /** The cursor of the change before it. */
  after: string | null;
  since: Since;
  version: number;
  isFirst: boolean;
}

/** A changed file; its difference is asked for when it is opened, and again when the workspace changed. */
function ChangedFile({ conversationId: id, change, after, since, version, isFirst }: FileProps) {
  const { path, previousPath, status, additions, deletions, isBinary } = change;
  const [isOpen, setIsOpen] = useState(isFirst);
  const [diff, setDiff] = useState<{ text: string; isTruncated: boolean } | null>(null);
  const [fault, setFault] = useState<Fault | null>(null);

  useEffect(() => {
    if (!isOpen || isBinary) return;
    let isWanted = true;
    ask(DIFF, { id, after, since }).then(
      ({ conversation }) => {
        const node = conversation?.workspace?.changes?.nodes[0];
        // Where the list has moved on meanwhile, the next change of the workspace brings the right one.
        if (!isWanted || node?.path !== path) return;
        setDiff({ text: node.diff, isTruncated: node.isTruncated });
        setFault(null);
      },
      (failure: unknown) => isWanted && setFault(faultOf(failure)),
    );
    return () => {
      isWanted = false;
    };
  }, [isOpen, id, after, since, version, path, isBinary]);

  return (
    <details className="change card" open={isOpen} onToggle={(toggled) => setIsOpen(toggled.currentTarget.open)}>
      <summary>
        <span className={`kind ${status.toLowerCase()}`} title={status.toLowerCase().replace("_", " ")}>
          {status === "TYPE_CHANGED" ? "T" : status[0]}
        </span>
        <code dir="ltr">
          {previousPath && previousPath !== path ? `${unhidden(previousPath)} → ` : ""}
          {unhidden(path)}
        </code>
        <span className="counts">
          <span className="plus">+{additions}</span> <span className="minus">−{deletions}</span>
        </span>
      </summary>
      {isBinary && <p className="note">A binary file.</p>}
      {fault && (
        <p className="note is-error" role="alert">
          {fault.message}
        </p>
      )}
      {isOpen && diff && <UnifiedDiff text={diff.text} />}
      {isOpen && diff?.isTruncated && <p className="note">The rest of this difference is left out.</p>}
    </details>
  );
}
