import type { KeyboardEvent } from "react";

export type Tab = "log" | "changes" | "files";

const NAMES: Record<Tab, string> = { log: "Conversation", changes: "Changes", files: "Files" };
const ALL = Object.keys(NAMES) as Tab[];

interface Props {
  tab: Tab;
  changedFiles: number | null;
  choose: (tab: Tab) => void;
}

/** What of a conversation is shown. The arrow keys go from one to the next. */
export function Tabs({ tab, changedFiles, choose }: Props) {
  function move(pressed: KeyboardEvent<HTMLElement>) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[pressed.key];
    const next = step && ALL[(ALL.indexOf(tab) + step + ALL.length) % ALL.length];
    if (!next) return;
    choose(next);
    pressed.currentTarget.querySelector<HTMLElement>(`[data-tab=${next}]`)?.focus();
  }

  return (
    <div className="tabs" role="tablist" aria-label="Views" onKeyDown={move}>
      {ALL.map((name) => (
        <button
          key={name}
          role="tab"
          data-tab={name}
          aria-selected={name === tab}
          tabIndex={name === tab ? 0 : -1}
          onClick={() => choose(name)}
        >
          {NAMES[name]}
          {name === "changes" && changedFiles ? <span className="number">{changedFiles.toLocaleString("en")}</span> : null}
        </button>
      ))}
    </div>
  );
}
