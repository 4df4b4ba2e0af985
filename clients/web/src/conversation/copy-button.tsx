import { useEffect, useState } from "react";

import { copy } from "../clipboard.ts";

const SHOWN_MILLISECONDS = 1500;

export function CopyButton({ text, label = "Copy" }: { text: () => string; label?: string }) {
  const [outcome, setOutcome] = useState<string | null>(null);
  useEffect(() => {
    if (outcome === null) return;
    const timer = setTimeout(() => setOutcome(null), SHOWN_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [outcome]);
  return (
    <button
      type="button"
      className="quiet small"
      aria-live="polite"
      onClick={() =>
        copy(text()).then(
          () => setOutcome("Copied"),
          () => setOutcome("Not copied"),
        )
      }
    >
      {outcome ?? label}
    </button>
  );
}
