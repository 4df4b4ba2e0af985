import { type ComponentProps, useDeferredValue, useRef, useState } from "react";
import ReactMarkdown, { type Components } from "react-markdown";
import remarkGfm from "remark-gfm";

import { CopyButton } from "./copy-button.tsx";

const PLUGINS = [remarkGfm];
const SAFE_LINK = /^(?:https?:|mailto:)/i;
const SAFE_IMAGE = /^data:image\/(?:png|jpeg|gif|webp);base64,/i;

/** Addresses that can be shown; others become empty. An answer must not make the browser ask a foreign server. */
function safeAddress(address: string, name: string): string {
  if (name === "href") return SAFE_LINK.test(address) ? address : "";
  return SAFE_IMAGE.test(address) ? address : "";
}

const COMPONENTS: Components = {
  a: ({ href, children }) =>
    href ? (
      <a href={href} target="_blank" rel="noreferrer noopener">
        {children}
      </a>
    ) : (
      <span>{children}</span>
    ),
  img: ({ src, alt }) => (src ? <img src={src} alt={alt ?? ""} /> : <span className="note">[Image: {alt || "not shown"}]</span>),
  pre: CodeBlock,
  table: ({ children }) => (
    <div className="table" tabIndex={0} role="region" aria-label="Table">
      <table>{children}</table>
    </div>
  ),
};

/** An agent's Markdown: no HTML of its own becomes markup, and nothing in it is loaded from elsewhere. */
export default function Markdown({ text }: { text: string }) {
  // While an answer grows, typing comes before showing its last words.
  const shown = useDeferredValue(text);
  return (
    <div className="markdown">
      <ReactMarkdown remarkPlugins={PLUGINS} components={COMPONENTS} urlTransform={safeAddress}>
        {shown}
      </ReactMarkdown>
    </div>
  );
}

function CodeBlock({ children }: ComponentProps<"pre">) {
  const block = useRef<HTMLPreElement>(null);
  const [isWrapped, setIsWrapped] = useState(false);
  return (
    <div className="code-block" dir="ltr">
      <div className="code-tools">
        <button type="button" className="quiet small" aria-pressed={isWrapped} onClick={() => setIsWrapped(!isWrapped)}>
          Wrap
        </button>
        <CopyButton text={() => block.current?.textContent?.replace(/\n$/, "") ?? ""} />
      </div>
      <pre ref={block} className={isWrapped ? "is-wrapped" : ""} tabIndex={0}>
        {children}
      </pre>
    </div>
  );
}
