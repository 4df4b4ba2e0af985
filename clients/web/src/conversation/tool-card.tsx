import { EditDiff } from "../diff.tsx";
import type { LogEvent } from "../documents.ts";
import { Folded } from "./folded.tsx";
import { TerminalText } from "./terminal-text.tsx";
import { unhidden } from "./unhidden.ts";

export type ToolCall = Extract<LogEvent, { __typename: "ToolCallEvent" }>;
export type ToolResult = Extract<LogEvent, { __typename: "ToolResultEvent" }>;

const NAMES = new Map(
  Object.entries({
    run_command: "Command",
    search_files: "Search",
    read_file: "Read",
    write_file: "Write",
    edit_file: "Edit",
    list_files: "List",
    list_directory: "List",
    commit_changes: "Commit",
    open_pull_request: "Pull request",
  }),
);
// The line that ends the output of a command, which has fewer characters than are looked at: a search for it among all
// of a long output could take seconds.
const ENDING_CHARACTERS = 500;
const ENDING = /\n?\[((?:exit code (\d+)|killed: [^;\]]+)(?:; [^\]]*)?)\]\s*$/;

interface Props {
  call: ToolCall;
  result: ToolResult | undefined;
  /** What the tool has written so far, while it runs. */
  live: string | undefined;
}

/** A call of a tool with what came of it. */
export function ToolCard({ call, result, live }: Props) {
  const given = fieldsOf(call.arguments);
  const { command, path, old_text: before, new_text: after, content } = given;
  const isEdit = typeof before === "string" && typeof after === "string";
  const output = result ?? null;
  // A model may call a tool by any name.
  const name = NAMES.get(call.toolName) ?? unhidden(call.toolName);
  return (
    <div className="call entry">
      {call.thought && <p dir="auto">{call.thought}</p>}
      <section className="card" aria-label={name}>
        <header>
          <b>{name}</b>
          {typeof path === "string" && <code dir="ltr">{path}</code>}
          <Ending call={call} result={result} />
        </header>
        {typeof command === "string" && (
          <pre className="command" dir="ltr">
            {command}
          </pre>
        )}
        {isEdit && <EditDiff before={before} after={after} />}
        {!isEdit && typeof content === "string" && <Folded text={content} show={(text) => text} />}
        <Others given={given} />
        {output ? (
          <Output toolName={call.toolName} result={output} isQuiet={isEdit && !output.isError} />
        ) : (
          live !== undefined && (
            <div className="is-live">
              <Folded text={live} keepsEnd show={(text) => <TerminalText text={text} />} />
            </div>
          )
        )}
      </section>
    </div>
  );
}

/** A result whose call is among the earlier events, which are not here yet. */
export function LoneResult({ result }: { result: ToolResult }) {
  return (
    <div className="call entry">
      <section className="card" aria-label="Result">
        <Output toolName="" result={result} isQuiet={false} />
      </section>
    </div>
  );
}

function Output({ toolName, result, isQuiet }: { toolName: string; result: ToolResult; isQuiet: boolean }) {
  const text = toolName === "run_command" ? result.output.slice(0, endingOf(result.output)?.start) : result.output;
  if (isQuiet) return <p className="result note">{text}</p>;
  return (
    <div className={result.isError ? "result is-error" : "result"}>
      {text.trim() && (
        <Folded text={text} keepsEnd={toolName === "run_command"} show={(shown) => <TerminalText text={shown} />} />
      )}
      {result.truncated && <p className="note">The server kept only a part of this output.</p>}
    </div>
  );
}

/** How it ended, and how long it took. */
function Ending({ call, result }: { call: ToolCall; result: ToolResult | undefined }) {
  if (!result) return <span className="chip busy">not done yet</span>;
  const { ending, code } = endingOf(result.output) ?? {};
  const seconds = (Date.parse(result.createdAt) - Date.parse(call.createdAt)) / 1000;
  const words = code ? `exit code ${code}` : (ending?.split(";")[0] ?? (result.isError ? "failed" : "done"));
  return (
    <>
      <span className={`chip ${result.isError ? "bad" : "good"}`}>{words}</span>
      {seconds >= 0.1 && <span className="note">{seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s</span>}
    </>
  );
}

function endingOf(output: string): { start: number; ending: string | undefined; code: string | undefined } | null {
  const end = output.slice(-ENDING_CHARACTERS);
  const found = ENDING.exec(end);
  return found && { start: output.length - end.length + found.index, ending: found[1], code: found[2] };
}

/** The arguments that have no place of their own in the card. */
function Others({ given }: { given: Record<string, unknown> }) {
  const others = Object.entries(given).filter(([name]) => !["command", "path", "old_text", "new_text", "content"].includes(name));
  if (others.length === 0) return null;
  return (
    <dl className="arguments">
      {others.map(([name, value]) => (
        <div key={name}>
          <dt>{unhidden(name)}</dt>
          <dd dir="auto">{typeof value === "string" ? value : unhidden(JSON.stringify(value))}</dd>
        </div>
      ))}
    </dl>
  );
}

function fieldsOf(given: unknown): Record<string, unknown> {
  if (!given || typeof given !== "object" || Array.isArray(given)) return { arguments: given };
  const shown = ([name, value]: [string, unknown]) => [name, typeof value === "string" ? unhidden(value) : value];
  return Object.fromEntries(Object.entries(given).map(shown));
}
