import { useEffect, useState } from "react";

import { follow } from "../server.ts";
import { WORKSPACE_CHANGED, type WorkspaceChange } from "./documents.ts";

export interface WorkspaceState {
  /** Null until the server has told of it. */
  change: WorkspaceChange | null;
  /** Another number after each change. */
  version: number;
}

/** A conversation's workspace, and that it changed. */
export function useWorkspace(conversationId: string): WorkspaceState {
  const [state, setState] = useState<WorkspaceState>({ change: null, version: 0 });
  useEffect(
    () =>
      follow(WORKSPACE_CHANGED, { id: conversationId }, ({ workspaceChanged }) =>
        setState(({ version }) => ({ change: workspaceChanged, version: version + 1 })),
      ),
    [conversationId],
  );
  return state;
}
