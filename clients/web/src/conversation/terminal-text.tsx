import Anser from "anser";
import type { CSSProperties } from "react";

// Links and titles of terminals, and moves of the cursor, which mean nothing in a log.
const UNSHOWN = /\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[[0-9;?]*[A-LN-Za-ln-z]|\x1b[()][0-9A-B]/g;
// What a progress bar wrote over.
const OVERWRITTEN = /^.*\r(?!\n|$)/gm;
const MOST_COLOURED_CHARACTERS = 200_000;

/** What a program wrote to a terminal, in its colours. */
export function TerminalText({ text }: { text: string }) {
  const shown = text.replace(UNSHOWN, "").replace(OVERWRITTEN, "");
  if (!shown.includes("\x1b") || shown.length > MOST_COLOURED_CHARACTERS) return shown;
  const parts = Anser.ansiToJson(shown, { json: true, use_classes: true, remove_empty: true });
  return parts.map(({ content, fg, bg, fg_truecolor, bg_truecolor, decorations }, number) => {
    const style: CSSProperties = {};
    const classes = [fg, bg && `${bg}-back`, ...decorations.map((name) => `ansi-${name}`)].filter(Boolean);
    if (fg_truecolor) style.color = `rgb(${fg_truecolor})`;
    if (bg_truecolor) style.backgroundColor = `rgb(${bg_truecolor})`;
    return classes.length > 0 ? (
      <span key={number} className={classes.join(" ")} style={style}>
        {content}
      </span>
    ) : (
      content
    );
  });
}
