import { type FormEvent, useState } from "react";

import { token } from "./server.ts";

/** Stands in the page's place while the server refuses its token, or asks for one. */
export function SignIn({ reason }: { reason: string }) {
  const [text, setText] = useState("");

  function use(submitted: FormEvent) {
    submitted.preventDefault();
    token.set(text.trim());
  }

  return (
    <main className="sign-in">
      <form onSubmit={use} aria-label="Sign in">
        <h1>Parley</h1>
        <p role="alert">{reason}</p>
        <p className="hint">
          This server knows its callers by bearer tokens. Whoever runs it can give you one (PARLEY_AUTH in its
          configuration). It is kept until this tab is closed.
        </p>
        <label>
          Bearer token
          <input type="password" autoComplete="off" autoFocus value={text} onChange={(change) => setText(change.target.value)} />
        </label>
        <button className="primary" disabled={!text.trim()}>
          Continue
        </button>
      </form>
    </main>
  );
}
