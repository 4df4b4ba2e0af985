import { useEffect, useState } from "react";

import { unhidden } from "../conversation/unhidden.ts";
import { ask, endpoint, type Fault, faultOf } from "../server.ts";
import { size } from "../size.ts";
import { ENTRIES, READ_FILE, type WorkspaceEntry } from "./documents.ts";
import { download } from "./transfer.ts";

const SHOWN_IMAGE = /^image\/(?:png|jpeg|gif|webp)$/;

interface Props {
  conversationId: string;
  version: number;
  fail: (error: unknown) => void;
}

interface Found {
  entries: readonly WorkspaceEntry[];
  endCursor: string | null;
  hasNextPage: boolean;
}

/** The workspace's directories and files, as they change. */
export function Files({ conversationId, version, fail }: Props) {
  const [directory, setDirectory] = useState("");
  const [file, setFile] = useState<string | null>(null);
  const [found, setFound] = useState<Found | null>(null);
  const [fault, setFault] = useState<Fault | null>(null);

  useEffect(() => {
    let isWanted = true;
    load(conversationId, directory, null).then(
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
  }, [conversationId, directory, version]);

  function go(path: string) {
    setFile(null);
    setFound(null);
    setDirectory(path);
  }

  function loadMore() {
    if (!found) return;
    load(conversationId, directory, found.endCursor).then(
      (page) => setFound({ ...page, entries: [...found.entries, ...page.entries] }),
      fail,
    );
  }

  return (
    <div className="panel" role="tabpanel" aria-label="Files">
      <div className="panel-tools">
        <Place path={directory} go={go} />
        <span className="downloads">
          <button onClick={() => void download(conversationId, "TRAJECTORY_MARKDOWN").catch(fail)}>Log as Markdown</button>
          <button onClick={() => void download(conversationId, "TRAJECTORY_JSON").catch(fail)}>Log as JSON</button>
          <button onClick={() => void download(conversationId, "ZIP", directory ? [directory] : []).catch(fail)}>
            Download as ZIP
          </button>
        </span>
      </div>
      {fault && (
        <p className="is-error" role="alert">
          {fault.message}
        </p>
      )}
      {!fault && found === null && <p className="empty">Loading…</p>}
      {found?.entries.length === 0 && <p className="empty">Nothing is here yet.</p>}
      <ul className="entries">
        {found?.entries.map((entry) => (
          <Entry key={entry.path} entry={entry} isOpen={entry.path === file} go={go} open={setFile} />
        ))}
      </ul>
      {found?.hasNextPage && <button onClick={loadMore}>More</button>}
      {file !== null && (
        <FileView
          key={file}
          conversationId={conversationId}
          path={file}
          version={version}
          close={() => setFile(null)}
          fail={fail}
        />
      )}
    </div>
  );
}

async function load(id: string, path: string, after: string | null): Promise<Found> {
  const { conversation } = await ask(ENTRIES, { id, path, after });
  const page = conversation?.workspace?.entries;
  return {
    entries: page?.nodes ?? [],
    endCursor: page?.pageInfo.endCursor ?? null,
    hasNextPage: page?.pageInfo.hasNextPage ?? false,
  };
}

/** The directories from the workspace down to the one that is shown. */
function Place({ path, go }: { path: string; go: (path: string) => void }) {
  const names = path === "" ? [] : path.split("/");
  return (
    <span className="place-names" dir="ltr">
      <button className="quiet" onClick={() => go("")}>
        workspace
      </button>
      {names.map((name, index) => (
        <span key={index}>
          /
          <button className="quiet" onClick={() => go(names.slice(0, index + 1).join("/"))}>
            {unhidden(name)}
          </button>
        </span>
      ))}
    </span>
  );
}

interface EntryProps {
  entry: WorkspaceEntry;
  isOpen: boolean;
  go: (path: string) => void;
  open: (path: string) => void;
}

function Entry({ entry, isOpen, go, open }: EntryProps) {
  switch (entry.__typename) {
    case "WorkspaceDirectory":
      return (
        <li>
          <button className="quiet" onClick={() => go(entry.path)}>
            <bdi>{unhidden(entry.name)}</bdi>/
          </button>
        </li>
      );
    case "WorkspaceFile":
      return (
        <li>
          <button className="quiet" aria-pressed={isOpen} onClick={() => open(entry.path)}>
            <bdi>{unhidden(entry.name)}</bdi>
          </button>
          <span className="note">{size(entry.sizeBytes)}</span>
        </li>
      );
    case "WorkspaceLink":
      return (
        <li className="note">
          <bdi>{unhidden(entry.name)}</bdi> → <bdi>{unhidden(entry.target)}</bdi>
        </li>
      );
    default:
      return null;
  }
}

interface FileProps {
  conversationId: string;
  path: string;
  version: number;
  close: () => void;
  fail: (error: unknown) => void;
}

interface ReadFile {
  sizeBytes: number;
  mediaType: string;
  text: string | null;
  isTruncated: boolean;
  downloadUrl: string;
}

function FileView({ conversationId: id, path, version, close, fail }: FileProps) {
  // Undefined until the server has answered; null where there is none any more.
  const [file, setFile] = useState<ReadFile | null | undefined>(undefined);

  useEffect(() => {
    let isWanted = true;
    ask(READ_FILE, { id, path }).then(
      ({ conversation }) => isWanted && setFile(conversation?.workspace?.file ?? null),
      (failure: unknown) => isWanted && fail(failure),
    );
    return () => {
      isWanted = false;
    };
  }, [id, path, version]);

  return (
    <section className="card file" aria-label={path}>
      <header>
        <code dir="ltr">{unhidden(path)}</code>
        {file && <span className="note">{size(file.sizeBytes)}</span>}
        <button onClick={() => void download(id, "FILE", [path]).catch(fail)}>Download</button>
        <button aria-label="Close the file" onClick={close}>
          ×
        </button>
      </header>
      {file === null && <p className="note">This file is gone.</p>}
      {file && SHOWN_IMAGE.test(file.mediaType) && <img src={endpoint(file.downloadUrl)} alt={path} />}
      {file && file.text !== null && !SHOWN_IMAGE.test(file.mediaType) && (
        <pre className="output" dir="auto" tabIndex={0}>
          {file.text}
        </pre>
      )}
      {file && file.text === null && !SHOWN_IMAGE.test(file.mediaType) && <p className="note">A binary file.</p>}
      {file?.isTruncated && <p className="note">Only its beginning is shown; the download has all of it.</p>}
    </section>
  );
}
