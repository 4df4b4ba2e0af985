import { Component, lazy, type ReactNode, Suspense } from "react";

import { isParsable } from "./markdown-bounds.ts";

// Half of the page's weight, so it comes with the first conversation. Without it, texts are shown as they were written.
const Markdown = lazy(() => import("./markdown.tsx").catch(() => ({ default: PlainText })));

/** An agent's text, which is Markdown. What the parser can't take is shown as it was written. */
export function RichText({ text }: { text: string }) {
  const plain = <PlainText text={text} />;
  if (!isParsable(text)) return plain;
  return (
    <Guarded fallback={plain}>
      <Suspense fallback={plain}>
        <Markdown text={text} />
      </Suspense>
    </Guarded>
  );
}

/** A text as it was written. */
export function PlainText({ text }: { text: string }) {
  return <p className="plain">{text.trim()}</p>;
}

/** Shows the fallback where the children can't be shown, so that one event never ends the whole page. */
export class Guarded extends Component<{ children: ReactNode; fallback: ReactNode }, { isFaulty: boolean }> {
  override state = { isFaulty: false };

  static getDerivedStateFromError() {
    return { isFaulty: true };
  }

  override render() {
    return this.state.isFaulty ? this.props.fallback : this.props.children;
  }
}
