import { useEffect, useRef, useState } from "react";

import { newKey } from "../idempotency.ts";
import { faultOf } from "../server.ts";
import { tabStorage } from "../tab-storage.ts";
import { upload } from "../workspace/transfer.ts";

export const MOST_ATTACHMENTS = 10;
const MOST_BYTES = 20 * 1024 * 1024;

export interface Attached {
  key: string;
  name: string;
  /** Where it is in the workspace; null while it is on its way, or where it failed. */
  path: string | null;
  problem: string | null;
}

/** Files that go with the next message. Those that have arrived are kept with the draft. */
export function useAttachments(conversationId: string) {
  const name = `attachments:${conversationId}`;
  const [all, setAll] = useState<readonly Attached[]>(() => tabStorage.read<Attached[]>(name) ?? []);
  const isShown = useRef(true);
  useEffect(() => {
    isShown.current = true;
    return () => {
      isShown.current = false;
    };
  }, []);
  useEffect(() => {
    const arrived = all.filter(({ path }) => path !== null);
    if (arrived.length > 0) tabStorage.write(name, arrived);
    else tabStorage.remove(name);
  }, [name, all]);

  function add(files: Iterable<File>) {
    const room = MOST_ATTACHMENTS - all.length;
    const taken = [...files].slice(0, room).map((file) => ({ file, key: newKey() }));
    setAll((before) => [...before, ...taken.map(({ file, key }) => begun(key, file))]);
    for (const { file, key } of taken)
      if (file.size <= MOST_BYTES)
        // A second file of the same name must not take the place of the first.
        upload(conversationId, file, `uploads/${key.slice(0, 8)}/${file.name}`).then(
          (path) => isShown.current && change(key, { path }),
          (error: unknown) => isShown.current && change(key, { problem: faultOf(error).message }),
        );
  }

  function change(key: string, changed: Partial<Attached>) {
    setAll((before) => before.map((attached) => (attached.key === key ? { ...attached, ...changed } : attached)));
  }

  return {
    all,
    add,
    remove: (key: string) => setAll((before) => before.filter((attached) => attached.key !== key)),
    clear: () => setAll([]),
    restore: (attached: readonly Attached[]) => setAll(attached),
  };
}

function begun(key: string, file: File): Attached {
  return { key, name: file.name, path: null, problem: file.size > MOST_BYTES ? "A file of a message has 20 MiB at most." : null };
}
