import { lazy, Suspense } from "react";

// Half of the page's weight, so it comes with the first conversation. Without it, texts are shown as they were written.
const Markdown = lazy(() => import("./markdown.tsx").catch(() => ({ default: PlainText })));

/** An agent's text, which is Markdown. */
export function RichText({ text }: { text: string }) {
  return (
    <Suspense fallback={<PlainText text={text} />}>
      <Markdown text={text} />
    </Suspense>
  );
}

/** A text as it was written. */
export function PlainText({ text }: { text: string }) {
  return <p className="plain">{text.trim()}</p>;
}
