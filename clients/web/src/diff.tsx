import { memo } from "react";

import { unhidden } from "./conversation/unhidden.ts";

/** A line of a diff: what it begins with says what became of it. */
interface Line {
  kind: "added" | "removed" | "same" | "place";
  text: string;
}

const MOST_LINES = 2000;

/** A unified diff, as git writes it, without the lines that name the files. */
export const UnifiedDiff = memo(function UnifiedDiff({ text }: { text: string }) {
  return <Lines lines={linesOf(text)} />;
});

/** What an edit took out, and what it put there. */
export const EditDiff = memo(function EditDiff({ before, after }: { before: string; after: string }) {
  return <Lines lines={edited(before.split("\n"), after.split("\n"))} />;
});

function Lines({ lines }: { lines: Line[] }) {
  const shown = lines.slice(0, MOST_LINES);
  return (
    <div className="diff" dir="ltr" role="group" aria-label="Difference" tabIndex={0}>
      {shown.map(({ kind, text }, number) => (
        <div key={number} className={`line ${kind}`}>
          <span aria-hidden="true">{{ added: "+", removed: "−", same: " ", place: " " }[kind]}</span>
          {kind === "added" && <span className="unseen">added: </span>}
          {kind === "removed" && <span className="unseen">removed: </span>}
          <code>{unhidden(text) || " "}</code>
        </div>
      ))}
      {lines.length > MOST_LINES && <p className="note">{lines.length - MOST_LINES} more lines.</p>}
    </div>
  );
}

function linesOf(diff: string): Line[] {
  const lines: Line[] = [];
  let isInside = false;
  for (const line of diff.replace(/\n$/, "").split("\n")) {
    if (line.startsWith("@@")) {
      isInside = true;
      lines.push({ kind: "place", text: line });
    } else if (isInside) {
      const kind = ({ "+": "added", "-": "removed", "\\": "place" } as const)[line[0] ?? " "] ?? "same";
      lines.push({ kind, text: kind === "place" ? line : line.slice(1) });
    } else if (/^(?:rename|copy|new|deleted|old|Binary) /.test(line)) {
      lines.push({ kind: "place", text: line });
    }
  }
  return lines;
}

/** The lines that both begin and end with are the same; what is between them was replaced. */
function edited(before: string[], after: string[]): Line[] {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  const most = Math.min(before.length, after.length) - start;
  while (end < most && before[before.length - 1 - end] === after[after.length - 1 - end]) end += 1;
  const of = (kind: Line["kind"]) => (text: string) => ({ kind, text });
  return [
    ...before.slice(0, start).map(of("same")),
    ...before.slice(start, before.length - end).map(of("removed")),
    ...after.slice(start, after.length - end).map(of("added")),
    ...before.slice(before.length - end).map(of("same")),
  ];
}
