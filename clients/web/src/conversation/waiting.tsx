import { useEffect, useState } from "react";

import type { Outgoing } from "./outbox.ts";

// What is answered sooner is never shown as under way.
const PATIENCE_MILLISECONDS = 700;
const OF_SETTINGS = ["CONFIGURATION_SETTINGS_NOT_FOUND", "STATUS_ERROR_LLM_AUTHENTICATION"];

interface Props {
  message: Outgoing;
  retry: () => void;
  takeBack: () => void;
  openSettings: () => void;
}

/** A message that is not in the log yet, with what can be done about it. */
export function Waiting({ message: { text, attachments, problem }, retry, takeBack, openSettings }: Props) {
  const [isLate, setIsLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setIsLate(true), PATIENCE_MILLISECONDS);
    return () => clearTimeout(timer);
  }, []);
  if (!problem && !isLate) return null;
  return (
    <div className="outgoing" role={problem ? "alert" : "status"} aria-label="Not sent yet">
      <p className="outgoing-text" dir="auto">
        {text || attachments.map(({ name }) => name).join(", ")}
      </p>
      {problem ? (
        <p className="is-error">
          Not sent: {problem.message}{" "}
          {OF_SETTINGS.includes(problem.code) && <button onClick={openSettings}>Open the settings</button>}
          <button onClick={retry}>Retry</button>
          <button onClick={takeBack}>Edit</button>
        </p>
      ) : (
        <p className="note">Sending…</p>
      )}
    </div>
  );
}
